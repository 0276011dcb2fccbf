"""What a picture autoencoder can be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from dcase_asd.config import configclass
from dcase_asd.detectors._shared.picture_presets import PRESETS, Network, Output, Preset
from dcase_asd.detectors._shared.reconstruction_config import ReconstructionConfig
from dcase_asd.errors import ConfigError

__all__ = ["PictureConfig"]


@configclass
class PictureConfig(ReconstructionConfig):
    """Configuration of the detector ``image_autoencoder``; the keys of :class:`ReconstructionConfig` apply too.

    Pictures are maps ``[channel, h, w]`` in [0, 1], as the extractor ``identity`` gives them.

    Attributes
    ----------
    network : str
        ``cae_t1``, ``cae_t2`` (Rotondi and Lavalle, Tables 1 and 2), ``wood``, ``wood_variational`` (Özcan and Özcan),
        ``casting``, ``casting_variational`` (Klimkevičius, CAE and CVAE), ``transfer``, ``transfer_variational`` (his TCAE and
        TCVAE). See :mod:`~dcase_asd.networks.picture_networks` for what differs from the papers, and why.
    widths : tuple of int
        Channels of the layers; empty: the paper's.
    n_latent : int
        Values of the latent vector, where there is one; 0: the paper's.
    n_wide : int
        ``cae_t1``: channels of the 1x1 map.
    output : {"auto", "sigmoid", "tanh", "linear"}
        Last activation. ``sigmoid`` rebuilds [0, 1], ``tanh`` pictures scaled to (-1, 1); ``auto``: the paper's. ``linear`` is
        for maps of any range, standardised as ``standardise`` says.
    encoder : {"vgg16", "efficientnet_lite0"}
        ``transfer``: the frozen network (paper: VGG16, up to ``pool2``).
    encoder_layer : str
        Its last layer; empty: ``pool2`` or ``stage2``, both a quarter of the picture's sides.
    encoder_weights : str
        Path of its ImageNet weights; empty: the installed package (``efficientnet_lite0``) or torchvision's cache (``vgg16``);
        ``random``: untrained, for tests. The weights become part of the saved model.
    loss : {"l2", "rmse", "ssim", "ms_ssim"}
        Squared error, its root over the batch, one minus (multi-scale) structural similarity.
    reduction : {"mean", "sum"}
        ``l2``: mean over pixels, or half the sum over a picture. With a divergence only ``sum`` is the evidence bound; ``mean``
        beside a divergence in nats (Klimkevičius: "MSE - 0.5 KLD") makes the latent collapse easily.
    beta : float
        Weight of the divergence of variational networks.
    noise : float
        Deviation of Gaussian noise on the input in training, which is clamped to the range of pixels; the target stays clean
        (Rotondi and Lavalle, Eq. 7, v = 0.3, in units of their range (-1, 1)). 0: none.
    contractive : float
        Weight of the squared Frobenius norm of the encoder's Jacobian (their Eq. 8, about 1e-4); 0: none.
    estimator, probes :
        How the norm is estimated; see :func:`~dcase_asd.training.jacobian.squared_jacobian`.
    mixer : bool
        Learn the class (the section of a picture) from its code, and take the threshold of the class that is seen (their
        Algorithm 1). Needs a model over several sections: ``sections: together`` on the entry.
    class_weight : float
        Weight of the cross-entropy (paper: 3).
    classifier_channels, classifier_hidden, dropout :
        See :class:`~dcase_asd.networks.picture_autoencoder.LatentClassifier`.
    scores : tuple of {"mse", "ssim", "ms_ssim", "abs_mix"}
        Each is a part; the first is the score. ``ssim`` and ``ms_ssim`` are one minus the similarity.
    scales : int
        Of MS-SSIM (5 need pictures of more than 160 pixels).
    data_range : float
        Width of the range of pixels for SSIM; 0: 1 for ``sigmoid``, 2 for ``tanh``.
    threshold : {"none", "ema", "refit"}
        If not ``none``, the score is the first of ``scores`` minus the model's own threshold (with ``mixer`` that of the class
        it sees), so that above 0 is an alarm: ``evaluate.fixed_thresholds: {"NAME:*threshold=*": 0}``. ``none``, because stage 8
        sets one for every system, on held-out clips. ``ema`` follows the training (their Eq. 6); ``refit`` is
        ``mu + beta sigma`` of clean held-out pictures after it, or their quantile.
    threshold_alpha, threshold_beta : float
        Of Eq. 6; not in the paper, but that beta lies in (-1, 1).
    threshold_quantile : float
        ``refit``: take this quantile instead; 0: ``mu + beta sigma``.
    flip, rotate_deg, shift, jitter :
        See :class:`~dcase_asd.training.augmentation.Augmentation`. Input and target are changed alike (the public code of Özcan
        and Özcan changes the input alone, so that its network learns to undo shifts).
    """

    epochs: int = 50
    batch_size: int = 16
    schedule: Literal["one_cycle", "fixed", "cosine", "plateau"] = "plateau"
    stop_epochs: int = 20
    monitor: Literal["total", "reconstruction"] = "reconstruction"
    checkpoint: Literal["last", "best"] = "best"
    network: Network = "casting"
    widths: tuple[int, ...] = ()
    n_latent: int = 0
    n_wide: int = 1024
    output: Literal["auto", "sigmoid", "tanh", "linear"] = "auto"
    encoder: Literal["vgg16", "efficientnet_lite0"] = "vgg16"
    encoder_layer: str = ""
    encoder_weights: str = ""
    loss: Literal["l2", "rmse", "ssim", "ms_ssim"] = "l2"
    reduction: Literal["mean", "sum"] = "mean"
    beta: float = 1.0
    noise: float = 0.0
    contractive: float = 0.0
    estimator: Literal["vjp", "fd"] = "vjp"
    probes: int = 1
    mixer: bool = False
    class_weight: float = 3.0
    classifier_channels: int = 32
    classifier_hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.5
    scores: tuple[Literal["mse", "ssim", "ms_ssim", "abs_mix"], ...] = ("mse",)
    scales: int = 5
    data_range: float = 0.0
    threshold: Literal["none", "ema", "refit"] = "none"
    threshold_alpha: float = 0.1
    threshold_beta: float = 0.0
    threshold_quantile: float = 0.0
    flip: Literal["none", "horizontal", "both"] = "none"
    rotate_deg: float = 0.0
    shift: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of range and parts that do not go together."""
        ReconstructionConfig.__post_init__(self)
        for said, wrong in self._contradictions():
            if wrong:
                raise ConfigError(f"image_autoencoder: {said}")

    @property
    def preset(self) -> Preset:
        """Sizes, the paper's where none are given."""
        preset = PRESETS[self.network]
        output: Output = preset.output if self.output == "auto" else self.output
        return replace(preset, widths=self.widths or preset.widths, n_latent=self.n_latent or preset.n_latent, output=output)

    @property
    def variational(self) -> bool:
        """Whether there is a divergence."""
        return self.network.endswith("_variational")

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Range of pixels as the network sees them."""
        return {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}.get(self.preset.output)

    def _contradictions(self) -> Iterator[tuple[str, bool]]:
        similarity = {self.loss, *self.scores} & {"ssim", "ms_ssim"}
        yield "scores: expected each of mse, ssim, ms_ssim, abs_mix at most once", not self.scores
        yield "scores: one stands twice", len(set(self.scores)) < len(self.scores)
        yield "input_form: pictures are taken whole, as image", self.input_form not in {"auto", "image"}
        yield "n_latent: this network's code is a map", self.n_latent > 0 and PRESETS[self.network].n_latent == 0
        yield "reduction: sum is for the loss l2", self.reduction == "sum" and self.loss != "l2"
        yield "contractive: a frozen encoder cannot be changed by a penalty", self.contractive > 0 and self.network == "transfer"
        yield "mixer: choose a threshold, ema or refit, which the class decides", self.mixer and self.threshold == "none"
        held_out = self.threshold == "refit" and self.valid_fraction == 0
        yield "threshold: refit needs held-out pictures; raise valid_fraction", held_out
        lacking = bool(similarity) and self.preset.output == "linear" and self.data_range <= 0
        yield "data_range: with output: linear the range of pixels must be given for SSIM", lacking
        scaled = self.preset.output != "linear" and self.standardise != "auto"
        yield "standardise: the output's activation decides the range; use output: linear", scaled
        values = (self.beta, self.noise, self.contractive, self.class_weight, self.rotate_deg, self.shift, self.jitter)
        yield "weights, noise and augmentation must not be negative", min(values) < 0
        yield "probes must be at least 1, threshold_quantile and dropout below 1", self._out_of_range()

    def _out_of_range(self) -> bool:
        return self.probes < 1 or not 0 <= self.threshold_quantile < 1 or not 0 <= self.dropout < 1
