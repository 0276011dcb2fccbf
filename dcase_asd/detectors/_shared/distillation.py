"""EfficientAD's teacher: read from a file, or distilled here from an ImageNet network.

The teacher of the paper was distilled on ImageNet from the features of a WideResNet-101 (Batzner et al., Section 3.1).
Without ImageNet the pictures are normal ones of the corpus, mirrored and colour-changed, beside *dead leaves* or the pictures of
a folder: distilled on normal pictures alone, a teacher has learned as little of defects as its student will. On synthetic wood
(64 pixels, 200 steps, one seed, 44 test pictures) the image AUROC was .58 without dead leaves, .82 with, .78 for a random
teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dcase_asd.config import to_dict
from dcase_asd.detectors._shared.backbone_teacher import BackboneTeacher, fit_projections
from dcase_asd.detectors._shared.picture_model import told_of
from dcase_asd.detectors._shared.picture_sources import DistilBatches, OtherPictures
from dcase_asd.errors import FormatError
from dcase_asd.io.state_dicts import read_state_dict
from dcase_asd.networks.backbones import patch_features, standardise_imagenet
from dcase_asd.networks.student import Projection
from dcase_asd.training.contract import TrainConfig
from dcase_asd.training.placed import train_in
from dcase_asd.training.seeding import isolated

if TYPE_CHECKING:
    from dcase_asd.detectors.efficientad import Distil
    from dcase_asd.networks.pdn import PatchDescription

__all__ = ["distil", "load_description"]

#: Batches whose maps set the statistics of the backbone's channels; window of its patch features (PatchCore).
_N_STATISTICS = 16
_NEIGHBOURHOOD = 3
#: Where a saved detector of this project keeps its teacher.
_PREFIX = "model.teacher."


class _Distillation(nn.Module):
    """Mean squared error of a description network against the projected maps of a backbone, bilinear on its grid."""

    def __init__(self, teacher: BackboneTeacher, projection: Projection, network: PatchDescription) -> None:
        super().__init__()
        self.teacher, self.projection, self.network = teacher, projection, network

    def joined(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        maps = patch_features(self.teacher(x), neighbourhood=_NEIGHBOURHOOD)
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``distillation``."""
        found = self.network(standardise_imagenet(batch["x"]))
        return {"distillation": F.mse_loss(found, self.projection(self.joined(batch["x"], tuple(found.shape[2:]))))}

    def train(self, mode: bool = True) -> Self:
        """Leave the backbone in evaluation mode."""
        super().train(mode)
        self.teacher.train(mode=False)
        return self


def distil(
    network: PatchDescription, x: NDArray[np.float32], *, n_outputs: int, config: Distil, seed: int, workdir: Path | None
) -> str:
    """Train a padded description network to give the standardised, orthogonally projected features of a backbone.

    Parameters
    ----------
    network : PatchDescription
        With padding, so that its grid is the picture's.
    x : ndarray [picture, channel, h, w]
        Normal pictures in [0, 1].
    n_outputs : int
        The network's channels.
    config : Distil
    seed : int
    workdir : pathlib.Path or None
        Gets checkpoints in ``teacher/`` and the loss curve as ``teacher_losses.csv``.

    Returns
    -------
    str
        SHA-256 of the backbone's weights file; empty for random weights.

    Raises
    ------
    DataError
        If the backbone's weights or the folder's pictures are missing.
    FormatError
        If the pictures are too small for the backbone.
    TrainingError
        If the loss is not finite.
    """
    shape = (int(x.shape[1]), int(x.shape[2]), int(x.shape[3]))
    teacher = BackboneTeacher(config.network, config.layers, weights=config.weights)
    with isolated(seed, "projection"):
        projection = Projection(sum(teacher.channels(shape[0], shape[1:])), n_outputs)
        model = _Distillation(teacher, projection, network)
        others = OtherPictures(config.pictures, shape) if config.pictures else None
        n_others = min(round(config.share * config.batch_size), config.batch_size - 1) if others is not None else 0
        source = DistilBatches(x, others, n_others, config.batch_size, seed)
        batches = (source.batch(step, progress=0.0)["x"] for step in range(min(_N_STATISTICS, config.steps)))
        size = (shape[1] // 4, shape[2] // 4)
        fit_projections([projection], ([model.joined(batch, size)] for batch in batches), kind="orthogonal")
    place = None if workdir is None else workdir / "teacher"
    train_in(
        place,
        model,
        source,
        config=TrainConfig(
            steps=config.steps,
            optimiser="adam",
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            schedule="late_drop",
            precision="fp32",
            channels_last=False,
            loader_threads=0,
        ),
        seed=seed,
        identity=[told_of(x), to_dict(config)],
    )
    if workdir is not None and place is not None:
        (workdir / "teacher_losses.csv").write_bytes((place / "losses.csv").read_bytes())
    return teacher.sha256


def load_description(network: PatchDescription, path: str) -> None:
    """Fill a description network from a state dictionary, its own or that of a saved ``efficientad`` detector.

    The published teachers (``nelson1425/EfficientAD:models/``) have the same names and load as they are.

    Raises
    ------
    DataError
        If there is no such file.
    FormatError
        If it holds no tensors, or another network's.
    """
    found = read_state_dict(path)
    own = {name.removeprefix(_PREFIX): value for name, value in found.items() if name.startswith(_PREFIX)}
    try:
        network.load_state_dict(own or found)
    except RuntimeError as error:
        raise FormatError(
            f"{path}: not the weights of such a description network ({str(error)[:300]}); check size, n_channels and width"
        ) from error
