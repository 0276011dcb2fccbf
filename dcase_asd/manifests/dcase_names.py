"""File names of DCASE Task 2 clips, 2020 to 2026, the broken ones included: pure functions on text.

The grammars (``nttcslab/dcase2023_task2_baseline_ae:README_legacy.md`` and the lists of evaluation files there)::

    2020   [normal_|anomaly_]id_<ID>_<8 digits>                      the machine ID is the section
    2021+  section_<NN>_<domain>_<split>_<label>_<4 digits>[_<attributes>][_]
           section_<NN>[_<domain>][_test]_<4 digits>                 evaluation test clips
    2024   RoboticArm leaves the split out                           section_00_source_normal_0035_weight15_BckgF
    2025   supplemental: ``machine`` or ``noise`` somewhere before the number
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from dcase_asd.errors import ManifestError

__all__ = ["ClipName", "clip_key", "parse_clip_name", "parse_supplemental_name"]

_ID_NAME = re.compile(r"(?:(?P<label>normal|anomaly)_)?id_(?P<section>\d{2})_(?P<index>\d{8})", re.ASCII)
_SECTION_NAME = re.compile(
    r"section_(?P<section>\d{2})(?:_(?P<domain>source|target))?(?:_(?P<split>train|test))?"
    r"(?:_(?P<label>normal|anomaly))?_(?P<index>\d{4,})(?:_(?P<attributes>.*?))?_?",
    re.ASCII,
)
_SUPPLEMENTAL_NAME = re.compile(
    r"section_(?P<section>\d{2})_(?P<words>[a-z_]+)_(?P<index>\d{4,})(?:_(?P<attributes>.*?))?_?", re.ASCII
)
_SPELLING = (
    "section_<NN>_<source|target>_<train|test>_<normal|anomaly>_<number>_<attributes>.wav, section_<NN>_<number>.wav "
    "or normal_id_<ID>_<8 digits>.wav"
)


@dataclass(frozen=True, kw_only=True)
class ClipName:
    """What a file name says.

    Attributes
    ----------
    section : str
        Two digits; the machine ID in 2020.
    domain : str
        ``source``, ``target``, or ``unknown`` where the name is silent. 2020 knows the source domain only.
    split : str
        ``train``, ``test``, ``supplemental_machine``, ``supplemental_noise``, or empty where the name is silent.
    label : str
        ``normal``, ``anomaly``, or empty where the name is silent.
    index : int
        The number in the name.
    attributes : str
        The attribute part as it stands, without outer underscores.
    """

    section: str
    domain: str
    split: str
    label: str
    index: int
    attributes: str = ""


def parse_clip_name(name: str) -> ClipName:
    """Parse the name of a clip outside ``supplemental/``.

    Parameters
    ----------
    name : str
        File name, with or without its ending.

    Raises
    ------
    ManifestError
        If it fits none of the grammars.
    """
    stem = _stem(name)
    match = _ID_NAME.fullmatch(stem)
    if match:
        return ClipName(
            section=match["section"], domain="source", split="", label=match["label"] or "", index=int(match["index"])
        )
    match = _SECTION_NAME.fullmatch(stem)
    if not match or (match["label"] and not match["domain"]):
        raise ManifestError(f"{name!r} is not the name of a DCASE clip; expected {_SPELLING}")
    return ClipName(
        section=match["section"],
        domain=match["domain"] or "unknown",
        split=match["split"] or "",
        label=match["label"] or "",
        index=int(match["index"]),
        attributes=(match["attributes"] or "").strip("_"),
    )


def parse_supplemental_name(name: str) -> ClipName:
    """Parse the name of a clip in ``supplemental/`` (2025 on): clean machine sound, or noise without the machine.

    The spelling differs between the announcement and the tools that read the data, so the kind is told by the word
    ``machine`` or ``noise`` before the number, wherever it stands. Attributes come after the number: a parameter called
    ``noise`` is no hint.

    Raises
    ------
    ManifestError
        If the name has no number, or both words or neither.
    """
    match = _SUPPLEMENTAL_NAME.fullmatch(_stem(name))
    words = match["words"].split("_") if match else []
    kinds = [kind for kind in ("machine", "noise") if any(kind in word for word in words)]
    if match is None or len(kinds) != 1:
        raise ManifestError(
            f"{name!r} is not the name of a supplemental clip; expected section_<NN>_...<machine|noise>..._<number>...wav"
        )
    domains = [word for word in words if word in {"source", "target"}]
    return ClipName(
        section=match["section"],
        domain=domains[0] if len(domains) == 1 else "unknown",
        split=f"supplemental_{kinds[0]}",
        label="normal" if "normal" in words else "",
        index=int(match["index"]),
        attributes=(match["attributes"] or "").strip("_"),
    )


def clip_key(name: str) -> str:
    """Return what identifies a test clip in score and truth files: the stem, without the ``test`` that some add.

    ``section_03_test_0007.wav`` (task description) and ``section_03_0007.wav`` (the files) are the same clip.
    """
    return re.sub(r"^(section_\d{2})_test_(\d{4,})$", r"\1_\2", _stem(name))


def _stem(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in {".wav", ".flac"} else path.name
