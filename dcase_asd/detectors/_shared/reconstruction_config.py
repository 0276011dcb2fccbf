"""What the reconstruction detectors can be told."""

from __future__ import annotations

from typing import Literal

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError

__all__ = ["ReconstructionConfig"]


@configclass
class ReconstructionConfig:
    """What every reconstruction detector can be told.

    Attributes
    ----------
    input_form : {"auto", "flat", "frames", "image"}
        What is rebuilt. ``flat``: a whole segment as one vector; ``frames``: windows of ``n_context`` frames, hop one frame;
        ``image``: a whole segment as a picture. For a dense network ``flat`` and ``image`` are the same. ``auto``: vectors
        flat; maps as frames in a dense network, as images in a convolutional one.
    n_context : int
        Frames of a window (official baseline: 5).
    standardise : {"auto", "element", "band", "none"}
        z-score by mean and deviation of the training segments: of each value of a segment (Argese, Degni: flattened, "mean of 0
        and a standard deviation of 1"), of each channel and frequency over time, or not at all. ``auto``: ``element`` for
        ``flat``, ``band`` otherwise; ``element`` means ``band`` for ``frames``.
    epochs, batch_size, learning_rate, weight_decay, schedule, plateau_factor, plateau_epochs, stop_epochs, monitor :
        See :class:`~dcase_asd.training.contract.TrainConfig`; a batch counts segments, or windows. A schedule ``plateau`` and
        an early stop look at the validation segments, which are normal ones held out of training.
    adam_eps : float
        Added to Adam's denominator.
    valid_fraction : float
        Share of the segments (windows) for validation.
    checkpoint : {"last", "best"}
        Which weights are kept: the last, or those of the lowest validation loss.
    """

    input_form: Literal["auto", "flat", "frames", "image"] = "auto"
    n_context: int = 5
    standardise: Literal["auto", "element", "band", "none"] = "auto"
    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    adam_eps: float = 1e-8
    schedule: Literal["one_cycle", "fixed", "cosine", "plateau"] = "one_cycle"
    plateau_factor: float = 0.5
    plateau_epochs: int = 10
    stop_epochs: int = 0
    monitor: Literal["total", "reconstruction"] = "total"
    valid_fraction: float = 0.1
    checkpoint: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if min(self.n_context, self.epochs) < 1 or self.batch_size < 2 or not 0 <= self.valid_fraction < 1:
            raise ConfigError(
                "expected n_context and epochs >= 1, batch_size >= 2 and 0 <= valid_fraction < 1; got "
                f"{self.n_context}, {self.epochs}, {self.batch_size} and {self.valid_fraction}"
            )
        if self.valid_fraction == 0 and (self.checkpoint == "best" or self.schedule == "plateau" or self.stop_epochs):
            raise ConfigError("checkpoint: best, schedule: plateau and stop_epochs need validation; raise valid_fraction")
