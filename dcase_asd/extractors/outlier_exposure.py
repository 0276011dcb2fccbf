"""Outlier exposure: ResNet-18 trained to tell the target machine from other machines, and its attributes apart.

Fujimura 2023, Equations 1 to 3 and 5 to 8 and Section 4.2; with ``flow_weight`` a flow on the map of
layer 4 is trained along with it and kept as the state of a ``fastflow`` detector, which stage 5 can adopt. Input normalisation:
mean and standard deviation of each mel band over the target's training frames, kept in the state (computed once, so that
embedding does not depend on batches, as a leading batch normalisation of mixed machines would in training).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import ConfigError, DataError, FormatError, NotFittedError
from dcase_asd.extractors._shared.exposure_config import Config
from dcase_asd.extractors._shared.exposure_presets import PRESETS
from dcase_asd.extractors.base import Extractor, TrainingData
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from dcase_asd.networks.resnet import ResNet18

__all__ = ["PRESETS", "Config", "OutlierExposure"]

INFO = Info(
    summary="ResNet-18 trained against other machines (outlier exposure) with attribute or section heads",
    implementation="OutlierExposure",
    source="Fujimura et al., DCASE 2023 Task 2, Eq. 1-3, 5-8; Serial-OE: Kuroyanagi et al., EUSIPCO 2022",
    input="log_mel",
    cost="cpu preset: 12 s per machine on one core (110 clips of 6 s); full size: 16 s a step of 128 there, so use a GPU",
    strengths="embeddings shaped by what makes this machine sound unlike others",
    weaknesses="needs other machines; fails on attribute values it never heard (Fujimura 2023, Table 3, valve)",
)

# The detector whose state a jointly trained flow is.
_FLOW = "fastflow"
# Segments a forward pass takes when embedding; always exactly so many, the last filled up with zeros: kernels may round
# differently for another batch size.
_EMBED_BATCH = 8


class OutlierExposure(Extractor[Config]):
    """ResNet-18 trained by outlier exposure; ``state()["record"]`` is JSON that says what was trained on what."""

    trains: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._backbone: ResNet18 | None = None
        self._record: dict[str, Any] = {}
        self._heads: dict[str, NDArray[Any]] = {}
        self._flow: dict[str, NDArray[Any]] = {}
        self._device = "cpu"

    def require(self) -> None:
        """Raise ``DataError`` if the weights to start from are missing."""
        if self.config.pretrained and not Path(self.config.pretrained).expanduser().is_file():
            raise DataError(f"{self.config.pretrained}: no such weights file; set `pretrained` to a ResNet-18's, or to nothing")

    def fit(
        self, data: TrainingData, *, seed: int, workdir: Path, device: str = "cpu", log: Callable[[str], None] = print
    ) -> None:
        """Train on the target machine's clips against all other machines'; see :meth:`Extractor.fit`.

        Raises
        ------
        TrainingError
            If there are too few clips or pseudo-anomalies, or a loss is not finite.
        DataError
            If no training clip has ``flow_attribute``.
        ConfigError
            If ``checkpoint`` is ``best`` and no clips are held out, the pretrained weights do not fit, or ``gain_db`` is given
            and the features are not logarithmic.
        """
        from dcase_asd.extractors._shared import exposure, exposure_model, several_processes
        from dcase_asd.training import distributed, loop

        if self.config.n_processes > 1 and not distributed.started():
            n_processes = self.config.n_processes
            self._device = device
            several_processes.fit(self, data, seed=seed, workdir=workdir, device=device, log=log, n_processes=n_processes)
            return
        if data.segment_frames < 1:
            raise ConfigError("outlier_exposure learns from segments of one length; set segments.length_s above 0")
        clips = exposure.open_clips(data, supplemental_noise=self.config.supplemental_noise)
        if self.config.checkpoint == "best" and not len(clips.valid_target):
            raise ConfigError("checkpoint: best needs held-out clips (valid_clips); hold some out or take last")
        plan = exposure_model.plan_losses(self.config, clips, machine=data.machine, log=log)
        record = exposure_model.describe(data.machine, clips, plan)
        objective = exposure_model.build_objective(self.config, clips, plan, seed=seed)
        source = exposure_model.build_batches(self.config, clips, plan, data=data, seed=seed, log=log)
        result = loop.train(
            objective,
            source,
            config=exposure_model.train_config(self.config),
            seed=seed,
            workdir=workdir,
            device=device,
            log=log,
            loss_weights=plan.weights,
            lr_factors=exposure_model.lr_factors(self.config),
            identity=[record, exposure_model.identity(self.config, clips, objective, n_frames=data.segment_frames)],
        )
        if self.config.checkpoint == "best":
            loop.load_best(objective, workdir)
        exposure_model.settle_flow(objective, clips, n_frames=data.segment_frames, device=device)
        self._record = {**record, "steps": result.steps, "best_epoch": result.best_epoch}
        self._heads, self._flow = exposure_model.term_arrays(objective, plan)
        self._take(objective.backbone, device)
        log(f"{data.machine}: {exposure_model.summary(result.history)}")

    def embed(self, segments: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Embed ``[segment, frame, mel]`` in float32; see :meth:`Extractor.embed`.

        Returns
        -------
        vector : ndarray [segment, 512 * width]
        map : ndarray [segment, 512 * width, freq, time] or None
            If ``return_map`` is set.

        Raises
        ------
        NotFittedError
            Before :meth:`fit` or :meth:`load_state`.
        FormatError
            For another number of mel bands, or values that are not finite.
        """
        import torch

        from dcase_asd.networks.resnet import as_picture

        network = self._fitted()
        if segments.ndim != 3 or segments.shape[2] != network.n_bands:
            raise FormatError(f"expected log-mel segments [segment, frame, {network.n_bands}], got {segments.shape}")
        vectors, maps = [], []
        for first in range(0, len(segments), _EMBED_BATCH):
            part = np.asarray(segments[first : first + _EMBED_BATCH], dtype=np.float32)
            if not np.isfinite(part).all():
                raise FormatError(f"segments {first}..{first + len(part) - 1}: values are not finite; re-run stage 2")
            full = np.zeros((_EMBED_BATCH, *part.shape[1:]), dtype=np.float32)
            full[: len(part)] = part
            with torch.inference_mode():
                picture = as_picture(torch.from_numpy(full).to(self._device))
                features, vector = network.embed(picture, map_layer=self.config.map_layer)
                if self.config.map_frames:
                    features = torch.nn.functional.adaptive_avg_pool2d(features, (features.shape[2], self.config.map_frames))
            vectors.append(vector[: len(part)].cpu().numpy())
            if self.config.return_map:
                maps.append(np.ascontiguousarray(features[: len(part)].cpu().numpy()))
        if not vectors:
            raise FormatError("expected at least one segment, got none")
        return np.concatenate(vectors), np.concatenate(maps) if maps else None

    def state(self) -> dict[str, NDArray[Any]]:
        """Return backbone, heads, the flow as the state of a ``fastflow`` detector, and the training's record (JSON as bytes)."""
        from dcase_asd.training.checkpoint import model_arrays

        body = {f"backbone.{name}": value for name, value in model_arrays(self._fitted()).items()}
        text = json.dumps(self._record, sort_keys=True, ensure_ascii=False).encode()
        flow = {f"{_FLOW}.{name}": value for name, value in self._flow.items()}
        return {**body, **self._heads, **flow, "record": np.frombuffer(text, dtype=np.uint8).copy()}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; ``FormatError`` if it does not fit the configuration."""
        from dcase_asd.extractors._shared.exposure_model import build_network
        from dcase_asd.training.checkpoint import set_model

        body = {n.removeprefix("backbone."): v for n, v in tensors.items() if n.startswith("backbone.")}
        if "input_mean" not in body or "record" not in tensors:
            raise FormatError("not the state of an outlier_exposure extractor: backbone.input_mean or record is missing")
        network = build_network(self.config, n_bands=len(body["input_mean"]))
        set_model(network, body, where="outlier_exposure state")
        self._heads = {name: np.array(value) for name, value in tensors.items() if name.startswith("terms.")}
        mark = f"{_FLOW}."
        self._flow = {n.removeprefix(mark): np.array(v) for n, v in tensors.items() if n.startswith(mark)}
        if bool(self._flow) != (self.config.flow_weight > 0):
            raise FormatError("outlier_exposure state: flow_weight and the presence of a flow do not agree; train it again")
        self._record = dict(json.loads(tensors["record"].tobytes()))
        self._take(network, "cpu")

    def module_and_input(self, n_frames: int) -> tuple[Any, Any]:
        """Return the backbone and one segment of zeros; see :meth:`Extractor.module_and_input`."""
        import torch

        from dcase_asd.networks.resnet import as_picture

        network = self._fitted()
        return network, as_picture(torch.zeros(1, n_frames, network.n_bands, device=self._device))

    def joint_detectors(self) -> dict[str, dict[str, Any]]:
        """Return the flow's configuration, if one is trained and its maps are kept; see :meth:`Extractor.joint_detectors`."""
        given = self.config
        if given.flow_weight == 0 or not given.return_map:
            return {}
        domain = (
            {"domain_channels": given.flow_domain_channels, "attribute": given.flow_attribute} if given.flow_attribute else {}
        )
        shape = {"n_steps": given.flow_steps, "hidden_ratio": given.flow_hidden_ratio, "clamp": given.flow_clamp}
        return {_FLOW: {**shape, **domain, "k_scale": given.flow_k_scale}}

    def joint_state(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the state of a jointly trained detector; see :meth:`Extractor.joint_state`."""
        self._fitted()
        if name not in self.joint_detectors():
            return super().joint_state(name)
        return dict(self._flow)

    @property
    def record(self) -> dict[str, Any]:
        """What was trained on what: machine, others, counts, classes, loss weights, steps."""
        return dict(self._record)

    def _fitted(self) -> ResNet18:
        if self._backbone is None:
            raise NotFittedError("outlier_exposure: call fit (or load a saved state) before embed or state")
        return self._backbone

    def _take(self, network: Any, device: str) -> None:
        import torch

        # one layout however the network came here: another layout may round differently
        layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
        self._backbone = network.to(device).to(memory_format=layout).eval().requires_grad_(requires_grad=False)
        self._device = device
