"""A student of two layers of a frozen backbone, and a decoder from it: losses in training, the combined map afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dcase_asd.detectors._shared.backbone_teacher import BackboneTeacher, chunks, fit_projections
from dcase_asd.detectors._shared.map_pooling import top_mean
from dcase_asd.detectors._shared.picture_model import PictureModel, Preparation
from dcase_asd.networks.student import Projection, Student

__all__ = ["EffnetStudent", "balanced"]

_LEAST_STD = 1e-12


def balanced(loss: Tensor, log_variance: Tensor) -> Tensor:
    """Return ``exp(-s) loss + s``: a loss weighted by a learned variance (Kendall, Gal and Cipolla, CVPR 2018, Eq. 7).

    The halves of Eq. 7 are left out; they change neither the minimum nor the balance. At the minimum over ``s`` it is
    ``1 + log(loss)``.
    """
    return (-log_variance).exp() * loss + log_variance


class EffnetStudent(PictureModel):
    """Teacher, fixed projections, student and decoder.

    Parameters
    ----------
    prepare : Preparation
    teacher : BackboneTeacher
        Of two layers, early and middle.
    projections : sequence of Projection
        One for each layer.
    student : Student
    top_share : float
        See :func:`~dcase_asd.detectors._shared.map_pooling.top_mean`.
    """

    map_mean: Tensor
    map_std: Tensor

    def __init__(
        self,
        prepare: Preparation,
        teacher: BackboneTeacher,
        projections: tuple[Projection, Projection],
        student: Student,
        *,
        top_share: float,
    ) -> None:
        super().__init__(prepare)
        self.teacher, self.student, self.top_share = teacher, student, top_share
        self.projections = nn.ModuleList(projections)
        self.log_variance = nn.Parameter(torch.zeros(2))
        #: Statistics of the early, middle and reconstruction map over held-out normal pictures.
        self.register_buffer("map_mean", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("map_std", torch.ones(3, dtype=torch.float64))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``distillation`` and ``reconstruction``, each balanced by its learned variance."""
        x = batch["x"]
        taps, rebuilt = self.student(x)
        errors = [F.mse_loss(tap, target) for tap, target in zip(taps, self._targets(x, taps), strict=True)]
        return {
            "distillation": balanced(torch.stack(errors).sum(), self.log_variance[0]),
            "reconstruction": balanced(F.mse_loss(rebuilt, x), self.log_variance[1]),
        }

    def judge(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the score and the mean of the three z-scored maps, on the grid of the early tap."""
        maps = torch.stack(self.raw_maps(self.prepare(x)), dim=-1).double()
        combined = ((maps - self.map_mean) / self.map_std).mean(dim=-1)
        score = torch.from_numpy(top_mean(combined.flatten(1).numpy(), share=self.top_share))
        return {"map": score}, combined

    def raw_maps(self, x: Tensor) -> list[Tensor]:
        """Return the squared errors of the early and the middle tap and of the pixels, means over channels, on one grid."""
        taps, rebuilt = self.student(x)
        targets = self._targets(x, taps)
        early, middle = ((tap - target).square().mean(dim=1) for tap, target in zip(taps, targets, strict=True))
        size = early.shape[1:]
        middle = F.interpolate(middle[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
        pixels = F.adaptive_avg_pool2d((rebuilt - x).square().mean(dim=1, keepdim=True), tuple(size))[:, 0]
        return [early, middle, pixels]

    def set_projections(self, x: NDArray[np.float32], *, kind: Literal["orthogonal", "pca"]) -> None:
        """Set the teacher's statistics and projections from normal pictures in [0, 1]."""
        fit_projections(self._fixed(), (self.teacher(part) for part in chunks(x)), kind=kind)

    def set_map_statistics(self, x: NDArray[np.float32]) -> None:
        """Take mean and deviation of the three maps over all positions of normal pictures that were not trained on."""
        self.eval()
        with torch.inference_mode():
            maps = [[part.numpy().ravel() for part in self.raw_maps(pictures)] for pictures in chunks(x)]
        for number in range(3):
            values = np.concatenate([part[number] for part in maps]).astype(np.float64)
            self.map_mean[number] = float(values.mean())
            # a map that is the same everywhere on normal pictures has no scale
            self.map_std[number] = float(values.std()) if values.std() > _LEAST_STD else 1.0

    def _fixed(self) -> list[Projection]:
        return [part for part in self.projections if isinstance(part, Projection)]

    def _targets(self, x: Tensor, taps: list[Tensor]) -> list[Tensor]:
        """Return the projected maps of the teacher on the grids of the student's taps."""
        found = zip(self._fixed(), self.teacher(x), taps, strict=True)
        return [
            F.interpolate(fixed(part), size=tap.shape[2:], mode="bilinear", align_corners=False) for fixed, part, tap in found
        ]
