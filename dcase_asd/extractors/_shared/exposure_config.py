"""How outlier exposure is built and trained: Fujimura 2023, Equations 1 to 3 and 5 to 8 and Section 4.2."""

from __future__ import annotations

from typing import Literal

from dcase_asd.config import configclass
from dcase_asd.errors import ConfigError
from dcase_asd.extractors._shared.exposure_presets import PRESETS
from dcase_asd.training.domain_code import check_domain

__all__ = ["Config"]


@configclass
class Config:
    """How the network is built and trained.

    Attributes
    ----------
    preset : {"cpu", "paper_oe", "paper_flow"}
        Fills every field that is None; see :data:`PRESETS`.
    width, input_pool :
        Factor on all channels; average pooling (mel, frame) of the input.
    pooling : {"mean", "max", "gem"}
        From map to vector.
    pretrained : str
        Path of torchvision ResNet-18 weights; none by default.
    machine_head : {"linear", "norm"}
        g_machine of Eq. 2; ``norm`` is the form of Serial-OE.
    machine_weight, attribute_weight, section_weight : float
        Weights of Eq. 2, 8 and 3 in the sum (Eq. 1; Section 4.2 sets lambda_section to 5); a loss of weight 0 has no head.
    attribute_form : {"per_key", "joint"}
        One column per value of each attribute, or per combination.
    supplemental_noise : bool
        Other machines' noise-only recordings are pseudo-anomalies too.
    mixup_alpha, mixup_probability, mixup_schedule :
        See :class:`~dcase_asd.training.mixup.MixupConfig`.
    gain_db : float
        Each training crop is raised by a gain from +-gain_db, so that a recording's level is not taken for the machine; 0 for
        none. A constant is added to features of scale ``log`` or ``db`` (no other is accepted); their floor ``eps`` moves along.
    target_domain_share : float, optional
        Share of domain ``target`` among the target machine's crops; None: as many as there are clips.
    checkpoint : {"last", "best"}
        Which weights are used: the last, or those of the lowest validation loss; both files are kept.
    epochs, batch_size, optimiser, learning_rate, weight_decay, schedule, grad_clip, precision, channels_last,
    checkpoint_minutes, loader_threads, tensorboard :
        See :class:`~dcase_asd.training.contract.TrainConfig`.
    n_processes : int
        Processes that train one model together (on GPUs: one each), every batch cut among them. Another number gives another
        result, within what seeds do: batch normalisation sees a part of the batch, sums have another order.
    return_map : bool or None
        Whether embedding also gives a map; None: if a flow is trained on it.
    map_layer : int
        Layer whose map that is (1 to 4). A flow reads layer 4; earlier layers keep more of frequency and know less of machines.
    map_frames : int
        Columns of time that the map is averaged to; 0: as many as it has. 1 is all that ``input: rows`` of a detector needs.
    flow_weight : float
        lambda_Flow of Eq. 5, the weight of the sum of Eq. 6 over channels and positions (Section 4.2: 1e-7); 0: no flow.
    flow_gradient : {"own", "scaled"}
        ``scaled``: one sum of losses as in Eq. 5; lambda_Flow then scales the gradients of the flow's own weights too, towards
        Adam's eps (cpu preset at 1e-7: median 1.6e-8 at the start, 1.5e-7 after 40 steps; eps is 1e-8). ``own``: they get the
        gradient of the mean of Eq. 6 over channels and positions; the extractor gets the same as with ``scaled``.
    flow_steps, flow_hidden_ratio, flow_clamp :
        See :class:`~dcase_asd.networks.fastflow.FastFlow`.
    flow_learning_rate : float or None
        Peak learning rate of the flow's weights; None: that of the preset, or else that of all others.
    flow_eps : float
        Adam's eps for the flow's weights.
    flow_attribute : str
        Makes the latent space domain-invariant (Section 3.1) to this attribute: a key, or ``#1``, ``#2`` ... for the machine's
        first, second ... attribute that varies in training, sorted; the last one where there are fewer. Empty: not (OE-Flow).
    flow_domain_channels : int
        Latent channels that follow the attribute (Section 4.2: 8 of 512).
    flow_k_scale : float
        k is this over the smallest distance of values (Section 4.2: 5).
    """

    preset: Literal["cpu", "paper_oe", "paper_flow"] = "cpu"
    width: float | None = None
    input_pool: tuple[int, int] | None = None
    pooling: Literal["mean", "max", "gem"] = "mean"
    pretrained: str = ""
    machine_head: Literal["linear", "norm"] = "linear"
    machine_weight: float = 1.0
    attribute_weight: float | None = None
    section_weight: float = 0.0
    attribute_form: Literal["per_key", "joint"] = "per_key"
    supplemental_noise: bool = False
    mixup_alpha: float = 0.2
    mixup_probability: float = 1.0
    mixup_schedule: Literal["constant", "cosine"] = "constant"
    gain_db: float = 0.0
    target_domain_share: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float | None = None
    weight_decay: float = 0.01
    schedule: Literal["one_cycle", "fixed", "cosine"] | None = None
    grad_clip: float = 0.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    checkpoint: Literal["last", "best"] = "last"
    checkpoint_minutes: float = 2.0
    loader_threads: int = -1
    tensorboard: bool = False
    n_processes: int = 1
    return_map: bool | None = None
    map_layer: int = 4
    map_frames: int = 0
    flow_weight: float = 0.0
    flow_gradient: Literal["own", "scaled"] = "own"
    flow_steps: int | None = None
    flow_hidden_ratio: float | None = None
    flow_clamp: float = 2.0
    flow_learning_rate: float | None = None
    flow_eps: float = 1e-8
    flow_attribute: str = ""
    flow_domain_channels: int | None = None
    flow_k_scale: float = 5.0

    def __post_init__(self) -> None:
        """Fill in the preset, so that a stored configuration says everything."""
        if self.preset not in PRESETS:
            raise ConfigError(f"preset {self.preset!r}: expected one of {', '.join(PRESETS)}")
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        weights = (self.machine_weight, self.attribute_weight or 0.0, self.section_weight, self.flow_weight)
        if min(weights) < 0 or max(weights[:3]) == 0:
            raise ConfigError(f"loss weights must not be negative, nor all zero but the flow's; got {weights}")
        if self.return_map is None:
            object.__setattr__(self, "return_map", self.flow_weight > 0)
        if not 0.0 <= self.gain_db < float("inf"):
            raise ConfigError(f"gain_db: expected 0 or more, got {self.gain_db}")
        if self.target_domain_share is not None and not 0.0 < self.target_domain_share < 1.0:
            raise ConfigError(f"target_domain_share: expected between 0 and 1, got {self.target_domain_share}")
        if (self.epochs or 0) < 1 or (self.batch_size or 0) < 2 or (self.batch_size or 0) % 2:
            raise ConfigError(f"expected epochs >= 1 and an even batch_size >= 2, got {self.epochs} and {self.batch_size}")
        if self.n_processes < 1 or (self.batch_size or 0) % (2 * self.n_processes):
            raise ConfigError(f"n_processes {self.n_processes}: half of batch_size {self.batch_size} must be a multiple of it")
        self._check_map()
        self._check_flow()

    def _check_map(self) -> None:
        if not 1 <= self.map_layer <= 4 or self.map_frames < 0:
            raise ConfigError(f"expected map_layer 1 to 4 and map_frames >= 0, got {self.map_layer} and {self.map_frames}")
        if self.flow_weight > 0 and (self.map_layer, self.map_frames) != (4, 0):
            raise ConfigError("map_layer, map_frames: a flow is trained on the whole map of layer 4; leave both out")

    def _check_flow(self) -> None:
        if self.flow_attribute:
            check_domain(self.flow_domain_channels or 0, self.flow_attribute)
            if self.flow_weight == 0:
                raise ConfigError(f"flow_attribute {self.flow_attribute!r} needs a flow; set flow_weight (1e-7 in the paper)")
        rate = 1.0 if self.flow_learning_rate is None else self.flow_learning_rate
        shape = (self.flow_steps or 0, self.flow_hidden_ratio or 0.0, self.flow_clamp)
        if min(rate, self.flow_eps, self.flow_k_scale, *shape) <= 0:
            raise ConfigError(
                "flow_learning_rate, flow_eps, flow_k_scale, flow_steps, flow_hidden_ratio and flow_clamp must be positive; "
                f"got {rate}, {self.flow_eps}, {self.flow_k_scale}, {', '.join(map(str, shape))}"
            )
