"""What is known about each public corpus, read from ``data_manifests/<name>.yaml``: one file documents and drives.

The folder stands beside the package in a checkout, and under ``<prefix>/share/dcase_asd/`` in an installation.
"""

from __future__ import annotations

import sys
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Literal

from dcase_asd.config import build, configclass, load_yaml
from dcase_asd.errors import DataError, UnknownNameError

__all__ = ["Archive", "CorpusSpec", "Counts", "corpus_spec", "data_manifests", "list_corpora"]

#: ``data_manifests/synthetic.yaml``: the simulator's machines, sizes and faults, not archives to fetch.
_SIMULATED = "synthetic"


@configclass
class Archive:
    """One kind of archive of a corpus.

    Attributes
    ----------
    subset : {"dev", "eval"}
        The part of the corpus it unpacks into.
    part : {"all", "train", "test"}
        What it holds; the development archives hold everything.
    record : int
        Zenodo record number.
    pattern : str
        Name of the zip with ``{machine}`` in place of the machine type.
    exceptions : dict of str to str
        Machine type to zip name where the pattern does not hold (re-issued archives).
    """

    subset: Literal["dev", "eval"]
    part: Literal["all", "train", "test"]
    record: int
    pattern: str
    exceptions: dict[str, str] = field(default_factory=dict)

    def zip_name(self, machine: str) -> str:
        """Return the name of the archive of one machine type."""
        return self.exceptions.get(machine, self.pattern.format(machine=machine))


@configclass
class Counts:
    """Clips per machine and section as published; 0 where they differ by machine.

    Attributes
    ----------
    train_source, train_target : int
        Normal training clips.
    test : int
        Test clips of all domains.
    """

    train_source: int = 0
    train_target: int = 0
    test: int = 0


@configclass
class CorpusSpec:
    """The facts about one corpus.

    Attributes
    ----------
    name, title, licence, website : str
        What it is called, on what terms its recordings may be used, where it is described.
    year : int
        Challenge year.
    folder : str
        Folder below the data root.
    layout : str
        One sentence on folders and file names.
    machines : dict of str to dict of str to tuple of str
        Subset (``dev``, ``eval``) to machine type to its sections.
    archives : tuple of Archive
        What to fetch from Zenodo.
    ground_truth : str
        Where the organisers publish the evaluation truth (never shipped here).
    sample_rate_hz, n_channels : int
        Sampling rate in Hz and channels of every clip.
    clip_s : tuple of float
        Shortest and longest clip in seconds.
    pad_s : float
        Length that clips are tiled to by published systems, in seconds.
    counts : dict of str to Counts
        Per subset, for one machine and section.
    test_counts : dict of str to tuple of int
        Evaluation machines whose test clips are counted apart: (source normal, source anomaly, target normal, target anomaly).
    domain_shift : bool
        Whether there is a target domain at all.
    test_domain_visible : bool
        Whether a system may know the domain of a test clip (2020 has one domain, 2021 shows it, later years hide it).
    no_attribute : dict of str to tuple of str
        Subset to the machines whose attributes are hidden.
    attribute_keys : tuple of str
        Parameter names seen in file names; longest match wins.
    supplemental : bool
        Whether machines come with clean or noise-only recordings.
    power_weighted : tuple of str
        Machines with clips in which the event is absent at times; clip scores are averaged with power weights.
    sources : tuple of str
        Where the facts were read.
    """

    name: str
    title: str
    licence: str
    year: int = 0
    website: str = ""
    folder: str = ""
    layout: str = ""
    machines: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    ground_truth: str = ""
    sample_rate_hz: int = 0
    n_channels: int = 1
    clip_s: tuple[float, float] = (0.0, 0.0)
    pad_s: float = 0.0
    counts: dict[str, Counts] = field(default_factory=dict)
    test_counts: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    domain_shift: bool = True
    test_domain_visible: bool = False
    no_attribute: dict[str, tuple[str, ...]] = field(default_factory=dict)
    attribute_keys: tuple[str, ...] = ()
    supplemental: bool = False
    power_weighted: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def machine_names(self, subset: str) -> list[str]:
        """The machine types of ``dev`` or ``eval``, sorted."""
        return sorted(self.machines.get(subset, {}))


def data_manifests() -> Path:
    """Return the folder with the corpus descriptions.

    Raises
    ------
    DataError
        If it is neither beside the package nor in the installation; the message names both places.
    """
    places = [
        Path(__file__).resolve().parents[2] / "data_manifests",
        Path(sys.prefix) / "share" / "dcase_asd" / "data_manifests",
    ]
    for place in places:
        if any(place.glob("*.yaml")):
            return place
    raise DataError(
        f"no corpus descriptions (*.yaml) in {places[0]} or {places[1]}; install with pip, or run from a full checkout"
    )


def list_corpora() -> list[str]:
    """The names of all described corpora, sorted; what ``dcase_asd.synthesis`` makes is described in a form of its own."""
    return sorted(path.stem for path in data_manifests().glob("*.yaml") if path.stem != _SIMULATED)


@cache
def corpus_spec(name: str) -> CorpusSpec:
    """Read the description of one corpus.

    Parameters
    ----------
    name : str
        Such as ``dcase2023``.

    Raises
    ------
    UnknownNameError
        If there is no such corpus; the message names the nearest.
    ConfigError
        If the description has an unknown key or a wrong value.
    """
    known = list_corpora()
    if name not in known:
        raise UnknownNameError("corpus", name, known)
    path = data_manifests() / f"{name}.yaml"
    return build(CorpusSpec, load_yaml(path), where=str(path))
