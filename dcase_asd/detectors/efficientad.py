"""EfficientAD: a student of a patch description network, and an autoencoder of the same features.

Batzner, Heckler and König, EfficientAD, WACV 2024; settings the paper leaves open as in ``nelson1425/EfficientAD``. (What Özcan
and Özcan call EfficientAD is another system: ``effnet_st``.) Deviations, all named:

* the teacher is read from a file (the published ones load), or distilled in the fit from a network whose weights are at hand, on
  normal pictures and dead leaves; the paper distils from a WideResNet-101 on ImageNet;
* there are no penalty pictures unless a folder is named (or ``dead_leaves``); the paper takes ImageNet's. Nothing is downloaded;
* hard features are chosen picture by picture, so that ``batch_size`` averages what the paper does with single pictures;
* the score is the largest value of the map on the networks' own grid, before it is enlarged to the picture;
* other sizes than 256 change the autoencoder's bottleneck and upsampled sizes in proportion.

Where the distillation lives: in stage 5, as the first step of this detector's fit, because stage 3 hands detectors maps and no
networks. It is a part of the detector's configuration and so of its fingerprint, is checkpointed in ``workdir/teacher`` and
resumes, and its product is saved with the detector. To train several students by one teacher, name the ``tensors.safetensors``
of a fitted detector as ``teacher``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.picture_network import PictureDetector
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from dcase_asd.detectors._shared.efficientad_model import EfficientAd
    from dcase_asd.detectors._shared.picture_model import PictureModel

__all__ = ["INFO", "Config", "Distil", "EfficientAdDetector"]

INFO = Info(
    summary="student and autoencoder of a small teacher's patch descriptions, with a map of where",
    implementation="EfficientAdDetector",
    source="Batzner et al., EfficientAD, WACV 2024, Sections 3.1 to 3.4 and appendix",
    input="map",
    cost="paper size: 70000 steps, days on a CPU; a quarter of the width, 1500 steps: minutes; scoring is three small networks",
    strengths="sharp maps; local and logical anomalies; constant, small cost per picture",
    weaknesses="needs a good teacher: one distilled here knows the corpus, little else",
)

_DISTIL, _RANDOM = "distil", "random"
#: Pictures from which on batches of a distillation can be half others.
_LEAST_BATCH = 2


@configclass
class Distil:
    """How a teacher is distilled; sizes of Batzner et al. (60000 batches of 16, Adam at 1e-4, decay 1e-5).

    Attributes
    ----------
    network, layers, weights :
        The network distilled from, as of the ``backbone`` extractor; its maps are joined as patch features are.
    pictures : str
        What is distilled on beside normal pictures: ``dead_leaves`` (drawn), a folder of pictures, or empty for nothing.
    share : float
        Their share of a batch.
    steps, batch_size, learning_rate, weight_decay :
        Of the training.
    """

    network: Literal["resnet18", "wide_resnet50_2", "vgg16", "efficientnet_b0", "efficientnet_lite0"] = "efficientnet_lite0"
    layers: tuple[str, ...] = ("stage3", "stage5")
    weights: str = ""
    pictures: str = "dead_leaves"
    share: float = 0.5
    steps: int = 60000
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.steps < 1 or self.batch_size < _LEAST_BATCH or not 0.0 <= self.share < 1.0 or not self.layers:
            raise ConfigError(
                "distil: expected steps >= 1, batch_size >= 2, a share from 0 up to below 1 and at least one layer; "
                f"got {self.steps}, {self.batch_size}, {self.share} and {list(self.layers)}"
            )


@configclass
class Config:
    """Configuration of :class:`EfficientAdDetector`; the defaults are those of the paper's EfficientAD-S.

    Attributes
    ----------
    size : {"small", "medium"}
        EfficientAD-S or -M.
    n_channels : int
        Channels of the teacher.
    width : float
        Factor on the hidden channels of teacher and student (1).
    padding : bool
        Zeros at the borders of the description networks, so that the map covers the picture; without (the paper), 4 cells
        at each border have no value and a side needs 33 pixels.
    teacher : str
        ``distil``: see ``distil``; ``random``: untrained (for tests); otherwise the path of its weights.
    distil : Distil
    penalty : str
        Pictures on which the student must give 0: a folder, ``dead_leaves``, or empty for none.
    quantile : float
        Of the hard-feature loss (.999).
    map_quantiles : tuple of float
        Quantiles of the maps of held-out normal pictures that become 0 and .1 (.9 and .995).
    valid_fraction : float
        Share of the training clips held out for them (.1).
    steps, batch_size, learning_rate, weight_decay :
        Of the training (70000 steps of single pictures, Adam at 1e-4, a tenth of it from 95 % on, decay 1e-5).
    """

    size: Literal["small", "medium"] = "small"
    n_channels: int = 384
    width: float = 1.0
    padding: bool = False
    teacher: str = _DISTIL
    distil: Distil = Distil()
    penalty: str = ""
    quantile: float = 0.999
    map_quantiles: tuple[float, float] = (0.9, 0.995)
    valid_fraction: float = 0.1
    steps: int = 70000
    batch_size: int = 1
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if min(self.n_channels, self.steps, self.batch_size) < 1 or not self.width > 0 or not self.teacher:
            raise ConfigError(
                "expected n_channels, steps and batch_size >= 1, width > 0 and a teacher; "
                f"got {self.n_channels}, {self.steps}, {self.batch_size}, {self.width} and {self.teacher!r}"
            )
        low, high = self.map_quantiles
        if not 0.0 <= low < high <= 1.0 or not 0.0 <= self.quantile < 1.0 or not 0.0 < self.valid_fraction < 1.0:
            raise ConfigError(
                "expected 0 <= quantile < 1, rising map_quantiles from 0 to 1 and a valid_fraction between 0 and 1; "
                f"got {self.quantile}, {low}, {high} and {self.valid_fraction}"
            )


class EfficientAdDetector(PictureDetector[Config]):
    """EfficientAD on maps ``[segment, 1 or 3 channels, h, w]``; ``Scores.map`` has a value for every 4 x 4 pixels."""

    def held_out_share(self) -> float:
        """Return the share of the training clips that sets the quantiles."""
        return self.config.valid_fraction

    def require(self) -> None:
        """Raise if weights of the teacher, or of what it is distilled from, or pictures are missing."""
        from pathlib import Path

        from dcase_asd.io.pretrained import require_weights

        given = self.config
        folders = {given.penalty}
        if given.teacher == _DISTIL:
            require_weights(given.distil.network, given.distil.weights)
            folders.add(given.distil.pictures)
        elif given.teacher != _RANDOM and not Path(given.teacher).expanduser().is_file():
            raise DataError(f"{given.teacher}: no such weights file of a teacher; set `teacher` to one, or to {_DISTIL}")
        for name in sorted(folders - {"", "dead_leaves"}):
            if not Path(name).expanduser().is_dir():
                raise DataError(f"{name}: no such folder of pictures (`penalty`, `distil.pictures`)")

    def build(self, shape: tuple[int, int, int]) -> PictureModel:
        """Return the three networks for pictures of a shape."""
        from dcase_asd.detectors._shared.efficientad_model import EfficientAd
        from dcase_asd.detectors._shared.picture_model import Preparation, check_colours
        from dcase_asd.networks.pdn import FeatureAutoencoder, PatchDescription, description_size

        given = self.config
        check_colours(shape, owner=self)
        side = (shape[1], shape[2])
        options: dict[str, Any] = {"size": given.size, "padding": given.padding, "width": given.width}
        return EfficientAd(
            Preparation(),
            PatchDescription(given.n_channels, **options),
            PatchDescription(2 * given.n_channels, **options),
            FeatureAutoencoder(given.n_channels, size=side, out_size=description_size(side, padding=given.padding)),
            n_channels=given.n_channels,
            quantile=given.quantile,
            padding=given.padding,
        )

    def train_model(self, model: PictureModel, x: NDArray[np.float32], held_out: NDArray[np.float32], *, seed: int) -> None:
        """Get the teacher, train student and autoencoder, set the quantiles."""
        from dcase_asd.detectors._shared.picture_model import told_of
        from dcase_asd.detectors._shared.picture_sources import OtherPictures, StudentBatches
        from dcase_asd.training.contract import TrainConfig
        from dcase_asd.training.placed import train_in

        given = self.config
        networks = cast("EfficientAd", model)
        penalty = OtherPictures(given.penalty, x.shape[1:]) if given.penalty else None
        self._teach(networks, x, seed=seed)
        networks.set_channels(x)
        train_in(
            self.workdir,
            networks,
            StudentBatches(x, given.batch_size, seed, penalty),
            config=TrainConfig(
                steps=given.steps,
                optimiser="adam",
                learning_rate=given.learning_rate,
                weight_decay=given.weight_decay,
                schedule="late_drop",
                precision="fp32",
                channels_last=False,
                loader_threads=0,
            ),
            seed=seed,
            identity=[told_of(x), given.batch_size, given.penalty, networks.channel_mean.tolist()],
        )
        networks.set_bounds(held_out, quantiles=given.map_quantiles)

    def _teach(self, networks: EfficientAd, x: NDArray[np.float32], *, seed: int) -> None:
        from pathlib import Path

        from dcase_asd.detectors._shared.distillation import distil, load_description
        from dcase_asd.io.hashing import sha256_file
        from dcase_asd.networks.pdn import PatchDescription

        given, self.pretrained_sha256 = self.config, {}
        if given.teacher == _RANDOM:
            return
        if given.teacher != _DISTIL:
            load_description(networks.teacher, given.teacher)
            self.pretrained_sha256 = {"teacher": sha256_file(Path(given.teacher).expanduser())}
            return
        # padding has no weights of its own: distilled on the whole picture, used as configured
        network = PatchDescription(given.n_channels, size=given.size, padding=True, width=given.width)
        network.load_state_dict(networks.teacher.state_dict())
        read = distil(network, x, n_outputs=given.n_channels, config=given.distil, seed=seed, workdir=self.workdir)
        self.pretrained_sha256 = {given.distil.network: read} if read else {}
        networks.teacher.load_state_dict(network.state_dict())
