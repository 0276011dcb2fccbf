"""The value ``k v`` that domain channels of a flow are tied to (Fujimura 2023, Sections 3.1 and 4.2).

``v`` is the value of one attribute: the number, if all its values in training are numbers, or else the position in the sorted
list of values. ``k`` is 5 over the smallest distance between two values. Values are counted from the middle of their range
(unless ``centre`` is off): a common shift of all means changes nothing but a constant that the flow would have to learn first,
and with operation speeds of thousands would take longer to learn than all the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError, DataError

__all__ = ["DomainCode", "check_domain", "choose_attribute", "domain_code", "varied_attributes"]

Attributes = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class DomainCode:
    """How attribute values become means of domain channels.

    Attributes
    ----------
    attribute : str
        Key, or empty if there are no domain channels.
    numeric : bool
        Whether values are numbers.
    values : tuple of str
        Distinct values in training, sorted: by size if numeric, else as text.
    k : float
        Factor on ``v``; 0 without domain channels.
    centre : float
        What is subtracted from ``v``.
    note : str
        What was decided and why, for log and state.
    """

    attribute: str = ""
    numeric: bool = False
    values: tuple[str, ...] = ()
    k: float = 0.0
    centre: float = 0.0
    note: str = "no domain channels"

    @property
    def applies(self) -> bool:
        """Whether there are domain channels."""
        return bool(self.attribute)

    def means(self, attributes: Attributes) -> NDArray[np.float32]:
        """Return ``k v [clip]``; NaN for a clip without the attribute or with a category never seen in training."""
        position = {value: float(number) for number, value in enumerate(self.values)}
        found = [attributes_of.get(self.attribute) for attributes_of in attributes]
        v = [math.nan if value is None else _number(value) if self.numeric else position.get(value, math.nan) for value in found]
        return np.asarray(self.k * (np.array(v, dtype=np.float64) - self.centre), dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, from which :meth:`from_json` makes the same again."""
        return {**asdict(self), "values": list(self.values)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DomainCode:
        """Make what :meth:`to_json` wrote; ``TypeError`` or ``KeyError`` for other values."""
        return cls(**{**values, "values": tuple(values["values"])})


def check_domain(n_channels: int, attribute: str) -> None:
    """Raise ``ConfigError`` unless domain channels and attribute are both given or both not, and ``#n`` counts from 1."""
    if n_channels < 0 or (n_channels > 0) != bool(attribute):
        raise ConfigError(
            f"domain_channels and attribute go together: {n_channels} channels and attribute {attribute!r}; give both (attribute "
            '"#1" takes whatever varies first) or neither'
        )
    if attribute.startswith("#") and not (attribute[1:].isdecimal() and int(attribute[1:]) >= 1):
        raise ConfigError(f"attribute {attribute!r}: expected #1, #2 ... or the name of an attribute")


def varied_attributes(attributes: Attributes) -> list[str]:
    """List the attributes that have at least two values among clips, sorted; a clip that lacks one has no value of it."""
    keys = {key for attributes_of in attributes for key in attributes_of}
    return sorted(key for key in keys if len({a[key] for a in attributes if key in a}) > 1)


def choose_attribute(name: str, attributes: Attributes, *, where: str) -> tuple[str, str]:
    """Return the attribute that a configuration means, and a note where that is not the one it names.

    Parameters
    ----------
    name : str
        A key, or ``#n``: the n-th of :func:`varied_attributes`, the last one if there are fewer, so that one configuration
        makes as many systems for every machine. Empty if a machine has none.
    attributes : sequence of mapping
        Those of the training clips.
    where : str
        For messages.

    Raises
    ------
    DataError
        If no clip has the key.
    """
    varied = varied_attributes(attributes)
    if name.startswith("#"):
        number = int(name[1:])
        if not varied:
            return "", f"no attribute has two values among the training clips, so {name} is none"
        chosen = varied[min(number, len(varied)) - 1]
        short = "" if number <= len(varied) else f": only {len(varied)} attributes vary, so the last one"
        return chosen, f"{name} is {chosen}{short}"
    if not any(name in attributes_of for attributes_of in attributes):
        known = sorted({key for attributes_of in attributes for key in attributes_of})
        raise DataError(
            f"{where}: no training clip has the attribute {name!r}; they have {', '.join(known) or 'none'}. "
            'Name one of these, "#1" for whatever comes first, or set no attribute'
        )
    return name, ""


def domain_code(name: str, attributes: Attributes, *, k_scale: float = 5.0, centre: bool = True, where: str) -> DomainCode:
    """Decide ``k`` and ``v`` for the training clips of a machine; see the module's text.

    Parameters
    ----------
    name : str
        As for :func:`choose_attribute`.
    attributes : sequence of mapping
    k_scale : float
        ``k`` is this over the smallest distance of values (Section 4.2: 5).
    centre : bool
    where : str
        For messages.

    Returns
    -------
    DomainCode
        Without domain channels, and a note that says so, where the attribute has only one value (``k`` is not defined then).

    Raises
    ------
    DataError
        If no clip has the attribute.
    """
    chosen, note = choose_attribute(name, attributes, where=where)
    texts = sorted({attributes_of[chosen] for attributes_of in attributes if chosen in attributes_of})
    numbers = {text: _number(text) for text in texts}
    numeric = bool(texts) and not any(math.isnan(number) for number in numbers.values())
    v = sorted(set(numbers.values())) if numeric else [float(position) for position in range(len(texts))]
    if len(v) < 2:
        told = note or f"attribute {chosen} has the one value {texts[0]!r}"
        return DomainCode(note=f"{told}; no domain channels")
    k = k_scale / min(b - a for a, b in pairwise(v))
    kind = "numbers" if numeric else "categories"
    told = f"domain channels follow {chosen} ({len(v)} {kind}, k = {k:g})"
    order = sorted(texts, key=lambda text: numbers[text]) if numeric else texts
    middle = (v[0] + v[-1]) / 2.0 if centre else 0.0
    return DomainCode(chosen, numeric, tuple(order), k, middle, f"{note}; {told}" if note else told)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
