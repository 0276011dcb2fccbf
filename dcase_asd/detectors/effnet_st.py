"""A student of a frozen EfficientNet's early and middle features with a decoder: "EfficientAD" of Özcan and Özcan.

The published EfficientAD is another system (``efficientad``). What the text leaves open or what cannot work as written, and what
is done here:

* the projection of the teacher to 64 channels is fixed (orthogonal or principal components) after standardisation of its
  channels by normal pictures: were it trained together with the student's, both could fall to 0, which costs nothing and
  detects nothing. The reported AUC of .55 looks like that;
* layers: those of index 1 and 3 of the authors' report, ``stage1`` and ``stage3``; compared at half and at an eighth of the
  side, the teacher's maps resized to the student's;
* widths of the student and decoder are not given; (32, 64, 128, 128) with strides (2, 1, 2, 2);
* the learned log-variances start at 0. Adam moves them by about its rate a step, so that 20 epochs of a hundred pictures at 1e-4
  leave both losses with nearly equal weight, as they must have done in the text;
* the weights of the three maps are not given: each is z-scored by held-out normal pictures, then their mean is taken;
* the image score is not given: the mean of the largest 1 % of the map (``top_share``);
* EfficientNet-Lite0 in place of -B0 by default, because its weights come as a package; B0 by ``network``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.map_pooling import check_top_share
from dcase_asd.detectors._shared.picture_network import PictureDetector
from dcase_asd.errors import ConfigError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dcase_asd.detectors._shared.effnet_model import EffnetStudent
    from dcase_asd.detectors._shared.picture_model import PictureModel

__all__ = ["INFO", "Config", "EffnetStudentDetector"]

INFO = Info(
    summary="student of a frozen ImageNet network's early and middle features, and its reconstruction of the picture",
    implementation="EffnetStudentDetector",
    source="Özcan and Özcan, model 2 (there called EfficientAD), with a fixed projection of the teacher",
    input="map",
    cost="20 epochs: minutes on a CPU; scoring is the first stages of the teacher and a small student",
    strengths="small and quick; trains in minutes; three views of a defect in one map",
    weaknesses="early features only; needs published weights; a student may generalise to defects",
)

_N_LAYERS = 2


@configclass
class Config:
    """Configuration of :class:`EffnetStudentDetector`.

    Attributes
    ----------
    network, weights :
        The teacher, as of the ``backbone`` extractor; ``weights: random`` for tests.
    layers : tuple of str
        Its early and its middle layer.
    n_project : int
        Channels both sides are projected to (64).
    projection : {"orthogonal", "pca"}
        The teacher's: random orthonormal, or principal components of its standardised channels (the rest of ``n_project`` 0
        where it has fewer).
    widths : tuple of int
        Channels of the student's four blocks.
    top_share : float
        Score of a picture: the mean of this share of the map's largest values; 0: the largest alone.
    valid_fraction : float
        Share of the training clips held out: for the validation loss and the statistics of the maps (.1).
    epochs, batch_size, learning_rate :
        Özcan and Özcan: 20 epochs of batches of 16, Adam at 1e-4, falling to 0 along a cosine.
    """

    network: Literal["resnet18", "wide_resnet50_2", "vgg16", "efficientnet_b0", "efficientnet_lite0"] = "efficientnet_lite0"
    weights: str = ""
    layers: tuple[str, ...] = ("stage1", "stage3")
    n_project: int = 64
    projection: Literal["orthogonal", "pca"] = "orthogonal"
    widths: tuple[int, ...] = (32, 64, 128, 128)
    top_share: float = 0.01
    valid_fraction: float = 0.1
    epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_top_share(self.top_share)
        if len(self.layers) != _N_LAYERS or len(set(self.layers)) != _N_LAYERS:
            raise ConfigError(f"layers: expected an early and a middle layer of {self.network}, got {list(self.layers)}")
        if min(self.n_project, self.epochs) < 1 or self.batch_size < 2 or not 0.0 < self.valid_fraction < 1.0:
            raise ConfigError(
                "expected n_project and epochs >= 1, batch_size >= 2 and a valid_fraction between 0 and 1; "
                f"got {self.n_project}, {self.epochs}, {self.batch_size} and {self.valid_fraction}"
            )


class EffnetStudentDetector(PictureDetector[Config]):
    """Teacher and student on maps ``[segment, 1 or 3 channels, h, w]``; ``Scores.map`` has half the side.

    The part of the teacher that is needed is saved with the detector.
    """

    def held_out_share(self) -> float:
        """Return the share of the training clips that sets the statistics of the maps."""
        return self.config.valid_fraction

    def require(self) -> None:
        """Raise ``DataError`` if there are no weights of the teacher."""
        from dcase_asd.io.pretrained import require_weights

        require_weights(self.config.network, self.config.weights)

    def build(self, shape: tuple[int, int, int]) -> PictureModel:
        """Return the networks for pictures of a shape, the teacher with its published weights."""
        networks = self._networks(shape, weights=self.config.weights)
        self.pretrained_sha256 = {self.config.network: networks.teacher.sha256} if networks.teacher.sha256 else {}
        return networks

    def load_state(self, tensors: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what :meth:`state` returned, teacher included; its weights file is not needed."""
        self._fill(tensors, lambda shape: self._networks(shape, weights=None))

    def _networks(self, shape: tuple[int, int, int], *, weights: str | None) -> EffnetStudent:
        from dcase_asd.detectors._shared.backbone_teacher import BackboneTeacher
        from dcase_asd.detectors._shared.effnet_model import EffnetStudent
        from dcase_asd.detectors._shared.picture_model import Preparation, check_colours
        from dcase_asd.networks.student import Projection, Student

        given = self.config
        check_colours(shape, owner=self)
        teacher = BackboneTeacher(given.network, given.layers, weights=weights)
        early, middle = teacher.channels(shape[0], (shape[1], shape[2]))
        return EffnetStudent(
            Preparation(),
            teacher,
            (Projection(early, given.n_project), Projection(middle, given.n_project)),
            Student(shape[0], n_outputs=(given.n_project, given.n_project), widths=given.widths),
            top_share=given.top_share,
        )

    def train_model(self, model: PictureModel, x: NDArray[np.float32], held_out: NDArray[np.float32], *, seed: int) -> None:
        """Fix the projections, train the student, take the statistics of the maps."""
        from dcase_asd.detectors._shared.items import SegmentItems
        from dcase_asd.detectors._shared.picture_model import told_of
        from dcase_asd.training.contract import TrainConfig
        from dcase_asd.training.placed import train_in
        from dcase_asd.training.reconstruction import ItemBatches
        from dcase_asd.training.seeding import isolated

        given = self.config
        networks = cast("EffnetStudent", model)
        with isolated(seed, "projection"):
            networks.set_projections(x, kind=given.projection)
        both = SegmentItems(np.concatenate([x, held_out]))
        rows = np.arange(len(both))
        train_in(
            self.workdir,
            networks,
            ItemBatches(both, train=rows[: len(x)], valid=rows[len(x) :], batch_size=given.batch_size, seed=seed),
            config=TrainConfig(
                epochs=given.epochs,
                optimiser="adam",
                learning_rate=given.learning_rate,
                weight_decay=0.0,
                schedule="cosine",
                precision="fp32",
                channels_last=False,
                loader_threads=0,
            ),
            seed=seed,
            identity=told_of(x),
        )
        networks.set_map_statistics(held_out)
