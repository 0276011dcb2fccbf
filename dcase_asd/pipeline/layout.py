"""Where outputs go.

::

    <recipe>/downloads/<name>-<id>/   stage 0, raw data made or fetched here
    <recipe>/data/<corpus>-<id>/      stage 1, manifests
    <recipe>/dump/<feature>-<id>/     stage 2, features, shared by experiments
    <recipe>/exp/<tag>/               stages 3 to 9, one folder each; config.yaml, run.sh, log/

``<id>`` hashes the settings that decide the content, so two settings never fight over one folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcase_asd.io.hashing import sha256_json
from dcase_asd.pipeline.stage import Stage

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """The folders of one experiment.

    Attributes
    ----------
    recipe : Path
        The recipe's folder.
    tag : str
        Name of the experiment.
    data_root : Path or None
        Where raw data lie if stage 0 neither makes nor fetches them.
    expdir, dumpdir : Path
        Normally ``<recipe>/exp`` and ``<recipe>/dump``.
    """

    recipe: Path
    tag: str
    data_root: Path | None
    expdir: Path
    dumpdir: Path

    @property
    def experiment(self) -> Path:
        """The experiment's folder."""
        return self.expdir / self.tag

    @property
    def log_folder(self) -> Path:
        """Where logs go."""
        return self.experiment / "log"

    def folder(self, stage: Stage, config: Mapping[str, Any], records: Mapping[str, object]) -> Path:
        """Return the output folder of a stage."""
        del records
        if stage.number >= 3:
            return self.experiment / f"{stage.number}_{stage.name}"
        raw, corpus, features = config["raw"], config["corpus"], config["features"]
        extra = config.get("extra_features", {})
        keys = [raw, corpus, {"main": features, "extra": extra} if extra else features]
        names = [raw["source"] if raw["source"] != "synthesise" else f"synthetic_{raw['size']}", corpus["name"], features["name"]]
        top = (self.recipe / "downloads", self.recipe / "data", self.dumpdir)[stage.number]
        return top / f"{names[stage.number]}-{sha256_json(keys[: stage.number + 1])[:8]}"

    def shown(self, path: Path) -> str:
        """Return a path as short as it can be said from the current folder."""
        try:
            return os.path.relpath(path)
        except ValueError:
            return str(path)
