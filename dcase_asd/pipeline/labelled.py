"""Training clips of the positive class: who may have them, and how they join the normal ones.

The class of a training clip is its split. Only stage 5 and 6 open the embeddings of ``train_anomaly``, and only for detectors
that declare ``needs = ("labels",)``; the truth about test clips (``labels.csv``) is not read there at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd import registry
from dcase_asd.errors import ManifestError
from dcase_asd.features.segments import Embeddings, SegmentMeta

__all__ = ["POSITIVES", "both_classes", "learns_from_labels", "require_positives"]

#: The split of labelled anomalies.
POSITIVES = "train_anomaly"


def learns_from_labels(item: Mapping[str, Any]) -> bool:
    """Return whether the detector of a resolved entry declares that it needs labels."""
    needs: tuple[str, ...] = registry.load("detectors", item["detector"]["name"]).implementation.needs  # type: ignore[attr-defined]
    return "labels" in needs


def require_positives(index: Mapping[str, Any], machine: str, *, detector: str) -> None:
    """Raise ``ManifestError`` if a machine (of ``machines.json``) has no labelled anomalies to train on."""
    if POSITIVES not in index[machine]["splits"]:
        raise ManifestError(
            f"detector {detector!r} learns from labels, and machine {machine!r} has no training clips of split {POSITIVES} "
            f"(it has {', '.join(index[machine]['splits'])}); take a corpus that gives them (id_label_table, or image_folder "
            "with train_anomalies: use), or a detector that learns from normal clips"
        )


def both_classes(normal: Embeddings, positive: Embeddings) -> tuple[Embeddings, NDArray[np.int64]]:
    """Return all training segments, normal ones first, and their labels ``[segment]``, 0 and 1."""

    def joined(first: Any, second: Any) -> Any:
        return None if first is None or second is None else np.concatenate([first, second])

    columns = {name: joined(getattr(normal.meta, name), getattr(positive.meta, name)) for name in vars(normal.meta)}
    both = Embeddings(
        joined(normal.vector, positive.vector),
        joined(normal.map, positive.map),
        joined(normal.power, positive.power),
        SegmentMeta(**columns),
    )
    label = np.repeat(np.array([0, 1], dtype=np.int64), [len(normal.meta), len(positive.meta)])
    return both, label
