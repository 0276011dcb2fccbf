"""FastFlow: the negative log-likelihood of a normalizing flow, at every position of a feature map.

Fujimura 2023, Eq. 4, 6 and 7 and Section 3.1; Yu et al., FastFlow, 2021. The state is the same
whether the flow was trained here, on the maps of a frozen extractor, or by the extractor itself (OE-Flow): stage 5 then adopts
it (``adopt: true``), and there is one way to score.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dcase_asd.config import configclass
from dcase_asd.detectors.base import Batches, Detector, Scores, check_input, require_fitted
from dcase_asd.errors import ConfigError, DataError
from dcase_asd.registry import Info
from dcase_asd.training.domain_code import check_domain

if TYPE_CHECKING:
    from dcase_asd.training.domain_code import DomainCode
    from dcase_asd.training.flow_state import TrainedFlow

__all__ = ["INFO", "Config", "FastFlowDetector"]

_log = logging.getLogger(__name__)

INFO = Info(
    summary="negative log-likelihood of a normalizing flow of convolutional couplings, position by position",
    implementation="FastFlowDetector",
    source="Fujimura 2023, Eq. 4-7 and Section 3.1; Yu et al., FastFlow, 2021",
    input="map or vector",
    cost="n_steps small convolutions per segment; trained by gradient descent, all training maps in memory",
    strengths="a density without assumptions on its shape; says where in time and frequency; domain channels absorb an attribute",
    weaknesses="needs many segments; wants maps of an extractor (return_map: true)",
)

# Segments of a forward pass; always exactly so many, the last pass filled up, because kernels may round differently for
# another batch size.
_BATCH = 16


@configclass
class Config:
    """Configuration of :class:`FastFlowDetector`.

    Attributes
    ----------
    n_steps, hidden_ratio, clamp :
        Couplings, hidden channels per input channel of their networks, soft bound of the logarithm of a scale; the defaults are
        those of the published code. A state that was adopted or loaded brings its own.
    epochs, batch_size, learning_rate, weight_decay, grad_clip :
        Adam at a fixed rate on batches of segments; rate and decay of the published code; ``grad_clip`` 0 for no clipping.
    score : {"nll", "nll_logdet"}
        ``nll``: ``-log p_Z(z)`` as in Fujimura 2023, Sec. 3; ``nll_logdet``: minus the log-determinant of Eq. 7, the negative
        log-likelihood of the map.
    reduction : {"mean", "max"}
        From positions to the segment's score; stage 6 pools the map itself where weights over time are asked for.
    domain_channels : int
        Latent channels z_d that follow N(k v, 1) and are left out of the score (8 of 512 in Fujimura 2023, Sec. 4.2); 0 for none.
    attribute : str
        Whose value is ``v``: a key, or ``#1``, ``#2`` ... for the machine's first, second ... attribute that varies in training
        (the last one where there are fewer). With one value only ``k`` is not defined: there are no domain channels then, which
        log and state say.
    k_scale : float
        ``k`` is this over the smallest distance of values (Section 4.2: 5).
    domain_centre : bool
        Count ``v`` from the middle of its range; see :mod:`dcase_asd.training.domain_code`.
    """

    n_steps: int = 8
    hidden_ratio: float = 1.0
    clamp: float = 2.0
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    grad_clip: float = 0.0
    score: Literal["nll", "nll_logdet"] = "nll"
    reduction: Literal["mean", "max"] = "mean"
    domain_channels: int = 0
    attribute: str = ""
    k_scale: float = 5.0
    domain_centre: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.n_steps < 1 or self.hidden_ratio <= 0 or self.clamp <= 0 or self.batch_size < 1 or self.k_scale <= 0:
            raise ConfigError(
                "n_steps and batch_size must be at least 1, hidden_ratio, clamp and k_scale positive; got "
                f"{self.n_steps}, {self.batch_size}, {self.hidden_ratio}, {self.clamp} and {self.k_scale}"
            )
        check_domain(self.domain_channels, self.attribute)


class FastFlowDetector(Detector[Config]):
    """Flow detector; ``Scores.map`` has the score of every position ``[segment, freq, time]`` (None for vectors)."""

    scoring_keys: ClassVar[tuple[str, ...]] = ("score", "reduction")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._trained: TrainedFlow | None = None

    def fit(self, batches: Batches, *, seed: int) -> None:
        """Train a flow on the maps or vectors; see :meth:`Detector.fit`. Checkpoints go to ``workdir``.

        Raises
        ------
        DataError
            For non-finite values, a wrong shape, fewer than two segments, segments that are all the same, too few channels, or
            an attribute that no clip has.
        TrainingError
            If a value becomes non-finite; coupling and step named.
        """
        from dcase_asd.detectors._shared.flow_training import train_alone
        from dcase_asd.networks.fastflow import FastFlow
        from dcase_asd.training.contract import TrainConfig
        from dcase_asd.training.flow_state import TrainedFlow
        from dcase_asd.training.seeding import isolated

        x, attributes = _gather(batches)
        domain = self._domain(attributes)
        n_domain = self.config.domain_channels if domain.applies else 0
        maps = x[:, :, None, None] if x.ndim == 2 else x
        _check_size(maps, n_domain)
        given = self.config
        with isolated(seed, "flow"):
            flow = FastFlow(
                maps.shape[1],
                n_steps=given.n_steps,
                hidden_ratio=given.hidden_ratio,
                clamp=given.clamp,
                pointwise=x.ndim == 2,
            )
        train_alone(
            flow,
            maps,
            mean=domain.means(attributes) if n_domain else np.zeros(len(maps), dtype=np.float32),
            n_domain=n_domain,
            config=TrainConfig(
                epochs=given.epochs,
                optimiser="adam",
                learning_rate=given.learning_rate,
                weight_decay=given.weight_decay,
                grad_clip=given.grad_clip,
                schedule="fixed",
                precision="fp32",
                channels_last=False,
                loader_threads=0,
            ),
            batch_size=given.batch_size,
            seed=seed,
            workdir=self.workdir,
        )
        self.load_state(TrainedFlow(flow, n_domain, domain, "alone").state())

    def score(self, x: NDArray[Any]) -> Scores:
        """Return the negative log-density per position in nats, summed over the (domain-invariant) channels."""
        trained = require_fitted(self._trained, self)
        flow = trained.flow
        kind, like = ("vector", (flow.n_channels,)) if flow.pointwise else ("map", (flow.n_channels, -1, -1))
        x = check_input(x, kind=kind, like=like)
        maps = x[:, :, None, None] if kind == "vector" else x
        parts = [self._positions(trained, maps[first : first + _BATCH]) for first in range(0, len(maps), _BATCH)]
        positions = np.concatenate(parts) if parts else np.zeros((0, *maps.shape[2:]))
        finite = np.isfinite(positions).all(axis=(1, 2))
        if not finite.all():
            raise DataError(
                f"fastflow: segment {int(np.flatnonzero(~finite)[0])} lies so far from everything in training that its "
                "likelihood cannot be computed; look at its values"
            )
        flat = positions.reshape(len(positions), -1)
        score = flat.mean(axis=1) if self.config.reduction == "mean" else flat.max(axis=1)
        return Scores(score, None if kind == "vector" else positions.astype(np.float32))

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the flow's weights and statistics, and ``about`` (JSON as bytes): its shape and what z_d was tied to."""
        trained: TrainedFlow = require_fitted(self._trained, self)
        return trained.state()

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing."""
        from dcase_asd.training.flow_state import TrainedFlow

        self._trained = TrainedFlow.from_state(tensors)

    @property
    def domain_note(self) -> str:
        """What was decided about domain channels, in words."""
        trained: TrainedFlow = require_fitted(self._trained, self)
        return trained.domain.note

    def _domain(self, attributes: list[dict[str, str]]) -> DomainCode:
        from dcase_asd.training.domain_code import DomainCode, domain_code

        if not self.config.domain_channels:
            return DomainCode()
        given = self.config
        code = domain_code(
            given.attribute, attributes, k_scale=given.k_scale, centre=given.domain_centre, where="fastflow: attribute"
        )
        _log.log(logging.INFO if code.applies else logging.WARNING, "fastflow: %s", code.note)
        return code

    def _positions(self, trained: TrainedFlow, maps: NDArray[Any]) -> NDArray[np.float64]:
        import torch

        from dcase_asd.networks.fastflow import log_density

        full = np.zeros((_BATCH, *maps.shape[1:]), dtype=np.float32)
        full[: len(maps)] = maps
        with torch.inference_mode():
            latent, logabsdet = trained.flow.local(torch.from_numpy(full))
            # in double precision: squares of what lies far out must neither overflow nor become equal
            result = -log_density(latent.double(), n_domain=trained.n_domain)
            if self.config.score == "nll_logdet":
                result -= logabsdet.double()
        return np.asarray(result[: len(maps)].numpy())


def _gather(batches: Batches) -> tuple[NDArray[np.float32], list[dict[str, str]]]:
    """Collect one pass, sorted by key: maps or vectors in float32, and the attributes of each segment."""
    parts: list[NDArray[Any]] = []
    keys: list[NDArray[np.int64]] = []
    texts: list[str] = []
    for batch in batches():
        like = parts[0].shape[1:] if parts else None
        found = check_input(batch.x, kind="any", like=like, name="training segments")
        parts.append(found.astype(np.float32, copy=False))
        keys.append(np.asarray(batch.key))
        texts += [str(text) for text in batch.meta.attributes]
    if not parts:
        raise DataError("fastflow: no training segments given; check that the machine has clips of split 'train'")
    order = np.argsort(np.concatenate(keys), kind="stable")
    decoded = {text: dict(json.loads(text)) for text in set(texts)}
    return np.concatenate(parts)[order], [decoded[texts[row]] for row in order]


def _check_size(maps: NDArray[np.float32], n_domain: int) -> None:
    n_segments, n_channels = maps.shape[:2]
    if n_segments < 2:
        raise DataError(f"fastflow: {n_segments} segments, at least 2 are needed (and many more to learn a density)")
    if n_channels < 2 or n_domain >= n_channels:
        raise DataError(
            f"fastflow: segments have {n_channels} channels, {max(2, n_domain + 1)} are needed with domain_channels {n_domain}"
        )
    if (maps == maps[:1]).all():
        raise DataError("fastflow: all training segments are the same; check the extractor that made them")
