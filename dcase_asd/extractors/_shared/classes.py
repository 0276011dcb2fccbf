"""Class targets of target-machine clips: attribute values and sections as one-hot columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.extractors._shared.clips import ClipList

__all__ = ["AttributeForm", "ClassList", "attribute_classes", "section_classes"]

AttributeForm = Literal["per_key", "joint"]


@dataclass(frozen=True)
class ClassList:
    """Names of the classes and how to find them in a clip.

    Attributes
    ----------
    names : tuple of str
        One a column: ``key=value``, the joint JSON text, or the section.
    form : str
        ``per_key``, ``joint`` or ``section``.
    """

    names: tuple[str, ...]
    form: str

    def targets(self, clips: ClipList) -> NDArray[np.float32]:
        """Return ``[clip, class]``: 1 where the clip has the class; a value never seen in training has no column."""
        column = {name: i for i, name in enumerate(self.names)}
        out = np.zeros((len(clips), len(self.names)), dtype=np.float32)
        for row, found in enumerate(_names(clips, self.form)):
            for name in found:
                if name in column:
                    out[row, column[name]] = 1.0
        return out


def attribute_classes(clips: ClipList, form: AttributeForm) -> ClassList:
    """List the attribute values of training clips (K_att of Eq. 8); empty if they tell no clips apart.

    Parameters
    ----------
    clips : ClipList
    form : {"per_key", "joint"}
        ``per_key``: one column for each value of each key that has at least two values (a clip that lacks the key counts as
        another value); ``joint``: one column for each combination.
    """
    if form == "joint":
        names = sorted({name for found in _names(clips, form) for name in found})
        return ClassList(tuple(names) if len(names) > 1 else (), form)
    keys = sorted({key for attributes in clips.attributes for key in attributes})
    varied = {key for key in keys if len({a.get(key) for a in clips.attributes}) > 1}
    names = sorted({f"{k}={v}" for a in clips.attributes for k, v in a.items() if k in varied})
    return ClassList(tuple(names), form)


def section_classes(clips: ClipList) -> ClassList:
    """List the sections of training clips (K of Eq. 3); empty if there is only one."""
    names = sorted({str(section) for section in clips.section})
    return ClassList(tuple(names) if len(names) > 1 else (), "section")


def _names(clips: ClipList, form: str) -> Sequence[Sequence[str]]:
    if form == "section":
        return [[str(section)] for section in clips.section]
    if form == "joint":
        return [[json.dumps(a, sort_keys=True, ensure_ascii=False)] for a in clips.attributes]
    return [[f"{key}={value}" for key, value in a.items()] for a in clips.attributes]
