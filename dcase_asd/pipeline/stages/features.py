"""Stage 2: features of every clip, memory-mapped, one store per machine and split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcase_asd.errors import StageError
from dcase_asd.features.store import FeatureFolder
from dcase_asd.manifests.schema import Manifest
from dcase_asd.pipeline.settings import MAIN_FEATURES, plugin_config
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.manifests import machine_index, root_of_unit

__all__ = ["FeaturesStage", "feature_place"]

#: Sub-folder that holds one feature folder for each of ``extra_features``; it has no store of its own, so it is no machine.
_EXTRA = "_extra"


class FeaturesStage(Stage):
    """Computes the configured features for each machine: the main ones on top, extra ones below ``_extra/<name>/``."""

    number = 2
    name = "features"
    reads = "manifest.csv, recordings"
    writes = "feature stores"
    version = 1
    upstream = ("raw", "manifests")
    finish_keys = ("features", "extra_features")

    def units(self, context: Context) -> list[Unit]:
        """One unit a machine and feature."""
        return [
            Unit(f"{place}{machine}", config={"features": item}, inputs={"manifests": ["manifest.csv"]})
            for place, item in _places(context.config).items()
            for machine in machine_index(context)
        ]

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Build the stores of one machine."""
        del work
        from dcase_asd.features.build import build_machine

        manifest = Manifest.read(context.folders["manifests"] / "manifest.csv").select(machine=unit.name.rsplit("/", 1)[-1])
        plugin, config = plugin_config("features", unit.config["features"])
        build_machine(
            manifest,
            data_root=root_of_unit(context),
            name=plugin.name,
            config=config,
            out=out,
            nj=context.resources.nj,
        )

    def finish(self, context: Context, out: Path) -> None:
        """Write a ``feature.json`` for each feature."""
        from dcase_asd.features.build import write_feature_json

        for place, item in _places(context.config).items():
            plugin, config = plugin_config("features", item)
            write_feature_json(out / place, plugin.name, config, plugin.implementation(config).frame_rate_hz)

    def check(self, context: Context, out: Path) -> None:
        """Row counts equal the manifest's."""
        manifest = Manifest.read(context.folders["manifests"] / "manifest.csv")
        for place in _places(context.config):
            folder = FeatureFolder(out / place)
            for (machine, split), rows in manifest.table.groupby(["machine", "split"]):
                found = len(folder.open(str(machine), str(split)))
                if found != len(rows):
                    raise StageError(f"{folder.path}/{machine}/{split}: {found} clips, the manifest has {len(rows)}")


def feature_place(name: str) -> str:
    """Return where the features of a name lie below the stage's output: nothing for the main ones, or a path with its slash."""
    return "" if name == MAIN_FEATURES else f"{_EXTRA}/{name}/"


def _places(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    extra = {feature_place(name): item for name, item in config["extra_features"].items()}
    return {feature_place(MAIN_FEATURES): config["features"], **extra}
