"""Names to modules: the file name is the key, ``detectors/gmm.py`` is ``gmm``.

A module is a plug-in if it assigns ``INFO = Info(...)`` at top level and defines ``Config`` and the class that
``INFO.implementation`` names. Listing reads file names only and imports nothing; ``load`` imports one module.
Plug-in modules import torch and scikit-learn inside functions, so that reading a ``Config`` stays fast.
Third parties add names through the entry-point groups ``dcase_asd.detectors``, ``dcase_asd.extractors``, ... (value: module).
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from dcase_asd.errors import ConfigError, UnknownNameError, UsageError

__all__ = ["KINDS", "Info", "Plugin", "load", "names"]

KINDS = ("corpora", "features", "extractors", "detectors", "ensembles")
_FOLDERS = {
    "corpora": "manifests",
    "features": "features",
    "extractors": "extractors",
    "detectors": "detectors",
    "ensembles": "ensemble",
}
_MARK = re.compile(r"^INFO(?::\s*\w+)?\s*=\s*", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a plug-in says about itself; ``dcase-asd list`` and the docs table are made from it.

    Attributes
    ----------
    summary : str
        One line.
    implementation : str
        Name of the class in the module.
    source : str
        Paper and equation, or official rule.
    input : str
        What it reads: ``vector``, ``map``, ``log_mel``, ``waveform``, ``image``, ``files`` ...
    cost, strengths, weaknesses : str
        One phrase each.
    """

    summary: str
    implementation: str
    source: str
    input: str = ""
    cost: str = ""
    strengths: str = ""
    weaknesses: str = ""


@dataclass(frozen=True)
class Plugin:
    """One loaded plug-in: its configuration class, description and implementation."""

    kind: str
    name: str
    config: type
    info: Info
    implementation: type


@cache
def _modules(kind: str) -> dict[str, str]:
    if kind not in _FOLDERS:
        raise UnknownNameError("kind of plug-in", kind, KINDS)
    folder = Path(__file__).parent / _FOLDERS[kind]
    package = "dcase_asd." + _FOLDERS[kind].replace("/", ".")
    found = {
        path.stem: f"{package}.{path.stem}"
        for path in sorted(folder.glob("*.py"))
        if not path.stem.startswith("_") and _MARK.search(path.read_text(encoding="utf-8"))
    }
    for entry in metadata.entry_points(group=f"dcase_asd.{kind}"):
        if entry.name in found:
            raise ConfigError(f"entry point {entry.name!r} of {entry.value!r} hides the built-in of dcase_asd.{kind}; rename it")
        found[entry.name] = entry.value
    return found


def names(kind: str) -> list[str]:
    """List the names registered under ``kind`` without importing any of them."""
    return sorted(_modules(kind))


@cache
def load(kind: str, name: str) -> Plugin:
    """Import the plug-in ``name`` of ``kind``.

    Raises
    ------
    UnknownNameError
        If nothing is registered under the name; the message names the nearest.
    UsageError
        If the module lacks ``INFO``, ``Config`` or the class it names.
    """
    modules = _modules(kind)
    if name not in modules:
        raise UnknownNameError("corpus" if kind == "corpora" else kind.rstrip("s"), name, modules)
    module: ModuleType = importlib.import_module(modules[name])
    try:
        return Plugin(kind, name, module.Config, module.INFO, getattr(module, module.INFO.implementation))
    except AttributeError as error:
        raise UsageError(f"{modules[name]} is no plug-in: {error}; it needs INFO, Config and the class INFO names") from error
