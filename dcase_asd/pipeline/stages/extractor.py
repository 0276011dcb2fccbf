"""Stage 3: train the embedding, one extractor per target machine and seed, or record a pretrained one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcase_asd import registry
from dcase_asd.detectors.base import save_detector
from dcase_asd.errors import StageError
from dcase_asd.extractors.base import Extractor, TrainingData, save_extractor
from dcase_asd.features.segments import segment_frames as frames_of
from dcase_asd.features.store import FeatureFolder
from dcase_asd.manifests.schema import Manifest
from dcase_asd.manifests.splits import validation_clips
from dcase_asd.pipeline.settings import joint_detectors, plugin_config
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.features import feature_place
from dcase_asd.pipeline.stages.manifests import machine_index, target_machines

__all__ = ["ExtractorStage", "extractor_seeds", "extractor_units", "segment_frames"]


class ExtractorStage(Stage):
    """Fits every configured extractor for every machine that has test clips, once per seed."""

    number = 3
    name = "extractor"
    reads = "feature stores"
    writes = "extractor weights, loss curves"
    version = 1
    upstream = ("manifests", "features")

    def units(self, context: Context) -> list[Unit]:
        """One unit per extractor, seed and machine."""
        units = []
        for key, seed, machine in extractor_units(context):
            config, inputs = dict(context.config["extractors"][key]), {}
            if _trains(config["extractor"]):
                place = feature_place(config["entry"]["features"])
                stores = [f"{place}{name}" for name in (*machine_index(context), "feature.json")]
                inputs = {"manifests": ["manifest.csv"], "features": stores}
                config |= {"seed": seed, "split": context.config["split"]}
            else:
                del config["entry"]
            units.append(Unit(f"{key}/{seed}/{machine}", config=config, inputs=inputs))
        return units

    def foresee(self, config: Mapping[str, Any]) -> None:
        """Weights of pretrained extractors are there."""
        for item in config["extractors"].values():
            plugin, options = plugin_config("extractors", item["extractor"])
            plugin.implementation(options).require()

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Fit one extractor and save it."""
        plugin, config = plugin_config("extractors", unit.config["extractor"])
        extractor = plugin.implementation(config)
        if extractor.trains:
            _, seed, machine = unit.name.split("/")
            entry = unit.config["entry"]
            features = FeatureFolder(context.folders["features"] / feature_place(entry["features"]))
            manifest = Manifest.read(context.folders["manifests"] / "manifest.csv")
            data = TrainingData(
                features=features,
                machine=machine,
                valid_clips=validation_clips(manifest, machine=machine, seed=int(seed), **unit.config["split"]),
                segment_frames=segment_frames(entry["segments"], features.info["frame_rate_hz"])[0],
            )
            extractor.fit(data, seed=int(seed), workdir=work, device=context.resources.device, log=context.log)
            for path in sorted(work.glob("*.csv")):
                (out / path.name).write_bytes(path.read_bytes())
        _save(extractor, plugin.name, out)

    def check(self, context: Context, out: Path) -> None:
        """Every unit, and every detector trained along with it, holds a configuration and tensors."""
        for key, seed, machine in extractor_units(context):
            unit = out / key / str(seed) / machine
            for folder in (unit, *(unit / name for name in joint_detectors(context.config["extractors"][key]))):
                for name in ("config.json", "tensors.safetensors"):
                    if not (folder / name).is_file():
                        raise StageError(f"{folder / name} is missing")


def _save(extractor: Extractor[Any], name: str, out: Path) -> None:
    """Save an extractor and, each in a folder of its name, the detectors trained along with it."""
    save_extractor(out, name, extractor)
    for joint, values in extractor.joint_detectors().items():
        plugin, config = plugin_config("detectors", {"name": joint, **values})
        detector = plugin.implementation(config)
        detector.load_state(extractor.joint_state(joint))
        save_detector(out / joint, joint, detector)


def _trains(item: Mapping[str, Any]) -> bool:
    return bool(registry.load("extractors", item["name"]).implementation.trains)  # type: ignore[attr-defined]


def extractor_seeds(config: Mapping[str, Any], key: str) -> list[int]:
    """Return the seeds an extractor is fitted with: all of the run's, or the first alone if it learns nothing."""
    seeds: list[int] = config["seeds"]
    return list(seeds) if _trains(config["extractors"][key]["extractor"]) else seeds[:1]


def extractor_units(context: Context) -> list[tuple[str, int, str]]:
    """List (extractor, seed, machine) for every machine with test clips."""
    tested = target_machines(context)
    config = context.config
    return [(key, seed, m) for key in config["extractors"] for seed in extractor_seeds(config, key) for m in tested]


def segment_frames(segments: Mapping[str, Any], frame_rate_hz: float) -> tuple[int, int]:
    """Return length and hop of a segment in frames; (0, 0) takes whole clips."""
    return frames_of(segments["length_s"], segments["overlap"], frame_rate_hz=frame_rate_hz)
