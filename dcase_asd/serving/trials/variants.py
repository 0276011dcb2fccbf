"""Changes of the advised model, to be compared.

A variant is written ``NAME:CHANGE,CHANGE`` or ``NAME``: a change is a key and its value (``aggregation=max``,
``fronts.shape.n_mels=64``), or ``members=a+b``, a choice among the advised members.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcase_asd.errors import UsageError

__all__ = ["Variant", "parse_variant"]


@dataclass(frozen=True)
class Variant:
    """A change of the advised model.

    Attributes
    ----------
    name : str
    members : tuple of str
        Empty: all.
    overrides : tuple of str
        ``a.b=c``.
    """

    name: str
    members: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()


def parse_variant(text: str) -> Variant:
    """Read ``NAME:CHANGE,CHANGE``; raises ``UsageError`` for anything else."""
    name, _, changes = text.partition(":")
    parts = [part for part in changes.split(",") if part]
    if not name or any("=" not in part for part in parts):
        raise UsageError(f"variant {text!r}: expected NAME or NAME:KEY=VALUE,KEY=VALUE")
    chosen = [part.removeprefix("members=") for part in parts if part.startswith("members=")]
    members = tuple(chosen[-1].split("+")) if chosen else ()
    return Variant(name, members, tuple(part for part in parts if not part.startswith("members=")))
