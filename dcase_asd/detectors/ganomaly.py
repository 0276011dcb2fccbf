"""GANomaly: the distance between the code of a picture and the code of its reconstruction.

Akcay, Atapour-Abarghouei and Breckon, GANomaly, ACCV 2018; also one of the six models of Özcan and Özcan on wood. Deviations
from the public code ``samet-akcay/ganomaly``, all named:

* scores are raw: never scaled by the smallest and largest of the test set;
* reconstruction error and the sum of both are scores, too (``scores``); the text of Özcan and Özcan names both differences
  and no mixture, their sum is unweighted here;
* a discriminator whose loss vanishes is not initialised anew;
* generator and discriminator take their steps at once, by one optimiser over disjoint losses: the same steps, see
  ``_shared/ganomaly_model.py``;
* an epoch leaves out a last batch of a single picture.

Özcan and Özcan replace feature matching by cross-entropy and the absolute by the squared contextual error
(``adversarial: bce, contextual: l2``); sizes and weights, which they do not give, are those of the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.grid import part_name
from dcase_asd.detectors._shared.picture_network import PictureDetector
from dcase_asd.errors import ConfigError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from dcase_asd.detectors._shared.picture_model import PictureModel

__all__ = ["INFO", "Config", "GanomalyDetector"]

INFO = Info(
    summary="distance of the codes of a picture and of its adversarially trained reconstruction",
    implementation="GanomalyDetector",
    source="Akcay et al., GANomaly, ACCV 2018, Eq. 1-5; one of the six models of Özcan and Özcan",
    input="map",
    cost="training of minutes (64 pixels) to hours (256 pixels) on a CPU; three small passes per picture",
    strengths="needs no pretrained network; the score is a distance of codes, so blur that is everywhere does not count",
    weaknesses="adversarial training wanders; the score has no place, only the reconstruction error has one",
)

_SMALLEST_SIDE = 16


@configclass
class Config:
    """Configuration of :class:`GanomalyDetector`.

    Attributes
    ----------
    side : int
        Height and width of the pictures the networks see, a power of two from 16; 0: the least one that holds the segments.
    fit_to_side : {"resize", "pad"}
        How segments of another size get there: resized (bilinear, antialiased), or padded below and to the right with the
        smallest training value (log-mels whose time axis must not be stretched); larger ones are resized in both cases.
    n_latent, width : int
        Size of the code (100) and channels after the first convolution (64).
    adversarial : {"feature", "bce"}
        The generator's adversarial loss: squared distance of the discriminator's features (Akcay et al., Eq. 1), or the
        cross-entropy of being taken for a picture (Özcan and Özcan).
    contextual : {"l1", "l2"}
        Absolute (Akcay et al., Eq. 2) or squared error (Özcan and Özcan).
    weights : tuple of float
        Of the adversarial, contextual and latent loss (1, 50, 1).
    scores : tuple of {"latent", "reconstruction", "sum"}
        ``latent``: mean squared difference of the codes; ``reconstruction``: mean squared error over pixels in [-1, 1];
        ``sum``: of both. Each is a part; the first is the score.
    epochs, batch_size, learning_rate : int, int, float
        Özcan and Özcan: 300 epochs of batches of 16, Adam at 2e-4 with beta1 0.5.
    """

    side: int = 0
    fit_to_side: Literal["resize", "pad"] = "resize"
    n_latent: int = 100
    width: int = 64
    adversarial: Literal["feature", "bce"] = "feature"
    contextual: Literal["l1", "l2"] = "l1"
    weights: tuple[float, float, float] = (1.0, 50.0, 1.0)
    scores: tuple[Literal["latent", "reconstruction", "sum"], ...] = ("latent",)
    epochs: int = 300
    batch_size: int = 16
    learning_rate: float = 2e-4

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.side and (self.side < _SMALLEST_SIDE or self.side & (self.side - 1)):
            raise ConfigError(
                f"side: expected a power of two from {_SMALLEST_SIDE}, or 0 for the least that fits; got {self.side}"
            )
        if min(self.n_latent, self.width, self.epochs) < 1 or self.batch_size < 2:
            raise ConfigError(
                "expected n_latent, width and epochs >= 1 and batch_size >= 2; "
                f"got {self.n_latent}, {self.width}, {self.epochs} and {self.batch_size}"
            )
        if min(self.weights) < 0 or max(self.weights) == 0:
            raise ConfigError(f"weights: expected three weights >= 0, not all 0; got {list(self.weights)}")
        if not self.scores or len(set(self.scores)) < len(self.scores):
            raise ConfigError(f"scores: expected each score once, got {list(self.scores)}")


class GanomalyDetector(PictureDetector[Config]):
    """GANomaly on maps ``[segment, channel, h, w]``; ``Scores.map`` has the squared error of every pixel."""

    def build(self, shape: tuple[int, int, int]) -> PictureModel:
        """Return generator and discriminator for pictures of a shape."""
        from dcase_asd.detectors._shared.ganomaly_model import Ganomaly
        from dcase_asd.detectors._shared.picture_model import Preparation
        from dcase_asd.networks.ganomaly import Discriminator, Generator

        given = self.config
        side = given.side or max(_SMALLEST_SIDE, 1 << (max(shape[1:]) - 1).bit_length())
        model = Ganomaly(
            Preparation((side, side), how=given.fit_to_side),
            Generator(shape[0], side=side, n_latent=given.n_latent, width=given.width),
            Discriminator(shape[0], side=side, width=given.width),
            adversarial=given.adversarial,
            contextual=given.contextual,
        )
        model.kept = {name: part_name(score=name) for name in given.scores}
        return model

    def train_model(self, model: PictureModel, x: NDArray[np.float32], held_out: NDArray[Any], *, seed: int) -> None:
        """Train both networks on all pictures."""
        from dcase_asd.detectors._shared.items import SegmentItems
        from dcase_asd.detectors._shared.picture_model import told_of
        from dcase_asd.training.contract import TrainConfig
        from dcase_asd.training.placed import train_in
        from dcase_asd.training.reconstruction import ItemBatches

        del held_out
        given = self.config
        everything = np.arange(len(x))
        train_in(
            self.workdir,
            model,
            ItemBatches(SegmentItems(x), train=everything, valid=everything[:0], batch_size=given.batch_size, seed=seed),
            config=TrainConfig(
                epochs=given.epochs,
                optimiser="adam",
                learning_rate=given.learning_rate,
                weight_decay=0.0,
                beta1=0.5,
                schedule="fixed",
                precision="fp32",
                channels_last=False,
                loader_threads=0,
            ),
            seed=seed,
            identity=told_of(x),
            loss_weights=dict(zip(("adversarial", "contextual", "latent"), given.weights, strict=True)),
        )
