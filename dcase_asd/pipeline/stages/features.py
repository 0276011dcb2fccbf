"""Stage 2: features of every clip, memory-mapped, one store per machine and split."""

from __future__ import annotations

from pathlib import Path

from dcase_asd.errors import StageError
from dcase_asd.features.store import FeatureFolder
from dcase_asd.manifests.schema import Manifest
from dcase_asd.pipeline.settings import plugin_config
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.manifests import _root_of_unit, machine_index

__all__ = ["FeaturesStage"]


class FeaturesStage(Stage):
    """Computes the configured feature for each machine."""

    number = 2
    name = "features"
    reads = "manifest.csv, recordings"
    writes = "feature stores"
    version = 1
    upstream = ("raw", "manifests")
    finish_keys = ("features",)

    def units(self, context: Context) -> list[Unit]:
        """One unit a machine."""
        config = {"features": context.config["features"]}
        return [Unit(m, config=config, inputs={"manifests": ["manifest.csv"]}) for m in machine_index(context)]

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Build the stores of one machine."""
        del work
        from dcase_asd.features.build import build_machine

        manifest = Manifest.read(context.folders["manifests"] / "manifest.csv").select(machine=unit.name)
        plugin, config = plugin_config("features", unit.config["features"])
        build_machine(
            manifest,
            data_root=_root_of_unit(context),
            name=plugin.name,
            config=config,
            out=out,
            nj=context.resources.nj,
        )

    def finish(self, context: Context, out: Path) -> None:
        """Write ``feature.json``."""
        from dcase_asd.features.build import write_feature_json

        plugin, config = plugin_config("features", context.config["features"])
        write_feature_json(out, plugin.name, config, plugin.implementation(config).frame_rate_hz)

    def check(self, context: Context, out: Path) -> None:
        """Row counts equal the manifest's."""
        manifest = Manifest.read(context.folders["manifests"] / "manifest.csv")
        folder = FeatureFolder(out)
        for (machine, split), rows in manifest.table.groupby(["machine", "split"]):
            found = len(folder.open(str(machine), str(split)))
            if found != len(rows):
                raise StageError(f"{out}/{machine}/{split}: {found} clips, the manifest has {len(rows)}")
