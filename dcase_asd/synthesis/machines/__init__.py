"""The simulated machine types, one module each; the file name is the machine's name in lower case.

A module assigns ``MACHINE`` (:class:`dcase_asd.synthesis.machine.Machine`). The folder is the list; nothing else is to be edited.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dcase_asd.errors import UnknownNameError

if TYPE_CHECKING:
    from dcase_asd.synthesis.machine import Machine

__all__ = ["machine_of", "machines"]


@cache
def machines() -> dict[str, Machine]:
    """Return every simulated machine by name, in the order of the names."""
    stems = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))
    found = [importlib.import_module(f"{__name__}.{stem}").MACHINE for stem in stems]
    return {machine.name: machine for machine in sorted(found, key=lambda m: str(m.name))}


def machine_of(name: str) -> Machine:
    """Return the machine called ``name``; raises ``UnknownNameError`` for one that is not simulated."""
    if name not in machines():
        raise UnknownNameError("machine", name, machines())
    return machines()[name]
