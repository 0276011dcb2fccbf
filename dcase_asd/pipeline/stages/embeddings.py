"""Stage 4: segments to vectors and maps."""

from __future__ import annotations

from pathlib import Path

from dcase_asd.errors import StageError
from dcase_asd.extractors.base import load_extractor
from dcase_asd.features.segments import Embeddings
from dcase_asd.features.store import FeatureFolder
from dcase_asd.pipeline.stage import Context, Stage, Unit
from dcase_asd.pipeline.stages.extractor import extractor_units, segment_frames
from dcase_asd.pipeline.stages.features import feature_place

__all__ = ["EmbeddingsStage"]

_SPLITS = ("train", "train_anomaly", "test")


class EmbeddingsStage(Stage):
    """Runs every extractor over the machine it was fitted for, training and test clips."""

    number = 4
    name = "embeddings"
    reads = "feature stores, extractor weights"
    writes = "vectors and maps per segment"
    version = 1
    upstream = ("manifests", "features", "extractor")

    def units(self, context: Context) -> list[Unit]:
        """One unit per extractor, seed and machine."""
        units = []
        for key, seed, machine in extractor_units(context):
            name, entry = f"{key}/{seed}/{machine}", context.config["extractors"][key]["entry"]
            place = feature_place(entry["features"])
            inputs = {
                "features": [f"{place}{machine}", f"{place}feature.json"],
                "extractor": [f"{name}/config.json", f"{name}/tensors.safetensors"],
            }
            units.append(Unit(name, config=entry, inputs=inputs))
        return units

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Embed the splits of one machine."""
        del work
        from dcase_asd.extractors.embed import embed_store

        machine = unit.name.rsplit("/", 1)[1]
        extractor = load_extractor(context.folders["extractor"] / unit.name)
        folder = FeatureFolder(context.folders["features"] / feature_place(unit.config["features"]))
        rate = folder.info["frame_rate_hz"]
        length, hop = segment_frames(unit.config["segments"], rate)
        for split in _SPLITS:
            if folder.has(machine, split):
                store = folder.open(machine, split)
                embedded = embed_store(extractor, store, segment_frames=length, hop_frames=hop, frame_rate_hz=rate)
                embedded.write(out / split)

    def check(self, context: Context, out: Path) -> None:
        """Every clip of a machine has at least one segment."""
        folder = FeatureFolder(context.folders["features"])
        for key, seed, machine in extractor_units(context):
            for split in _SPLITS:
                if not folder.has(machine, split):
                    continue
                found = set(Embeddings.read(out / key / str(seed) / machine / split).meta.clip_id)
                lost = set(folder.open(machine, split).index["clip_id"]) - found
                if lost:
                    raise StageError(f"{out}/{key}/{seed}/{machine}/{split}: clips without embedding: {sorted(lost)[:3]}")
