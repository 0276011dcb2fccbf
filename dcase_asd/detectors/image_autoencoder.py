"""Autoencoders of pictures, as three papers on product inspection have them, with parts that compose freely."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from dcase_asd.detectors._shared.examined import Examined
from dcase_asd.detectors._shared.fit_sets import TrainingRows
from dcase_asd.detectors._shared.grid import part_name, tensor_to_text, text_to_tensor, wanted
from dcase_asd.detectors._shared.picture_config import PictureConfig
from dcase_asd.detectors._shared.picture_presets import ENCODER_LAYERS, build_network
from dcase_asd.detectors._shared.reconstruction import Form, ReconstructionDetector
from dcase_asd.errors import DataError
from dcase_asd.registry import Info

if TYPE_CHECKING:
    from torch import nn

    from dcase_asd.networks.picture_autoencoder import PictureAutoencoder
    from dcase_asd.training.contract import TrainConfig
    from dcase_asd.training.picture_reconstruction import PictureLoss, PictureReconstruction
    from dcase_asd.training.reconstruction import ItemBatches, Reconstruction

__all__ = ["INFO", "Config", "ImageAutoencoder"]

INFO = Info(
    summary="autoencoder of pictures: denoising, contractive, variational, on a frozen encoder, with thresholds by class",
    implementation="ImageAutoencoder",
    source="Rotondi and Lavalle 2022 (MVTec AD); Klimkevičius (castings); Özcan and Özcan 2025 (wood)",
    input="map",
    cost="training of minutes to hours on a GPU at the papers' sizes",
    strengths="one model for many categories of product; the error has a place",
    weaknesses="a wide code copies defects as well; squared errors prefer bright, contrasty defects",
)

#: The keys; see :class:`PictureConfig`.
Config = PictureConfig


class ImageAutoencoder(ReconstructionDetector[PictureConfig]):
    """Picture autoencoder."""

    def __init__(self, config: PictureConfig) -> None:
        super().__init__(config)
        self._classes: list[str] = [""]

    def convolves(self) -> bool:
        """Return True."""
        return True

    def require(self) -> None:
        """Raise ``DataError`` if there are no weights of a frozen encoder."""
        from dcase_asd.io.pretrained import require_weights

        if self.config.network == "transfer":
            require_weights(self.config.encoder, self.config.encoder_weights)

    def make_network(self, shape: tuple[int, ...], *, form: Form) -> PictureAutoencoder:
        """Return the network for pictures ``(channel, h, w)``; a frozen encoder has no weights yet."""
        del form
        return build_network(self.config.network, shape, self.config.preset, n_wide=self.config.n_wide, encoder=self._encoder())

    def initialise(self, network: nn.Module, *, seed: int) -> None:
        """Draw Gaussian weights where the paper does, and read those of a frozen encoder.

        Raises
        ------
        DataError
            If the encoder's weights are not where they should be.
        """
        from dcase_asd.io.pretrained import RANDOM, find_weights
        from dcase_asd.io.state_dicts import read_state_dict
        from dcase_asd.networks.backbones import build_backbone
        from dcase_asd.networks.picture_autoencoder import FrozenEncoder, gaussian_weights
        from dcase_asd.training.seeding import isolated

        if self.config.preset.init_std > 0:
            with isolated(seed, "gaussian weights"):
                gaussian_weights(network, std=self.config.preset.init_std)
        encoder = getattr(network, "encoder", None)
        if isinstance(encoder, FrozenEncoder) and self.config.encoder_weights != RANDOM:
            found = find_weights(self.config.encoder, self.config.encoder_weights, download=False)
            self.pretrained_sha256 = {self.config.encoder: found.sha256}
            name, layer = self._encoder()
            trained = build_backbone(name, [layer], weights=read_state_dict(found.path), where=str(found.path))
            encoder.backbone.load_state_dict(trained.state_dict())

    def make_model(self, network: nn.Module, *, statistics: tuple[NDArray[Any], NDArray[Any]]) -> PictureReconstruction:
        """Return the network with its losses, classifier and thresholds."""
        from dcase_asd.networks.picture_autoencoder import LatentClassifier
        from dcase_asd.training.picture_reconstruction import PictureReconstruction
        from dcase_asd.training.thresholds import RunningThresholds

        config, built = self.config, cast("PictureAutoencoder", network)
        classifier = LatentClassifier(
            built.code_shape,
            n_classes=len(self._classes),
            n_channels=config.classifier_channels,
            hidden=config.classifier_hidden,
            dropout=config.dropout,
        )
        running = RunningThresholds(len(self._classes), alpha=config.threshold_alpha, beta=config.threshold_beta)
        return PictureReconstruction(
            built,
            mean=statistics[0],
            std=statistics[1],
            reduction=config.reduction,
            terms=self._terms(),
            scores=config.scores,
            classifier=classifier if config.mixer else None,
            thresholds=None if config.threshold == "none" else running,
        )

    def loss_weights(self) -> dict[str, float]:
        """Return the weights of the terms beside the reconstruction."""
        config = self.config
        weights = {"kl": config.beta} if config.variational else {}
        weights |= {"contractive": config.contractive} if config.contractive > 0 else {}
        return weights | ({"class": config.class_weight} if config.mixer else {})

    def learn_classes(self, rows: TrainingRows) -> NDArray[np.int64] | None:
        """Return the class of every picture: its section with ``mixer``, the same for all without.

        Raises
        ------
        DataError
            If ``mixer`` meets a single section.
        """
        if self.config.threshold == "none":
            return None
        sections = np.concatenate([np.asarray(part).astype(str) for part in (rows.source_section, rows.target_section)])
        self._classes = sorted(set(sections.tolist())) if self.config.mixer else [""]
        if self.config.mixer and len(self._classes) < 2:
            raise DataError(
                f"image_autoencoder: mixer tells classes apart and all pictures are of section {self._classes[0]!r}; let the "
                "corpus make categories sections of one machine (mvtec: `together`) and set sections: together on the entry"
            )
        return np.searchsorted(self._classes, sections) if self.config.mixer else np.zeros(len(sections), dtype=np.int64)

    def hold_out(
        self, rows: TrainingRows, n_items: int, labels: NDArray[np.int64] | None, *, seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Hold whole clips out: the segments of one resemble each other, and thresholds are not to be set on what was seen."""
        clips = np.concatenate([np.asarray(part).astype(str) for part in (rows.source_clip, rows.target_clip)])
        names, first, clip_of = np.unique(clips, return_index=True, return_inverse=True)
        if len(names) == n_items:  # pictures
            return super().hold_out(rows, n_items, labels, seed=seed)
        train, valid = super().hold_out(rows, len(names), None if labels is None else labels[first], seed=seed)
        return np.flatnonzero(np.isin(clip_of, train)), np.flatnonzero(np.isin(clip_of, valid))

    def augmentation(self) -> Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]] | None:
        """Return the configured changes of training pictures."""
        from dcase_asd.training.augmentation import Augmentation

        config = self.config
        bounds = None if config.bounds is None else (0.0, 1.0)
        made = Augmentation(config.flip, config.rotate_deg, config.shift, config.jitter, bounds)
        return made.apply if made.active else None

    def train_config(self) -> TrainConfig:
        """Return how the network is trained: with checkpoints, where there is a folder for them."""
        minutes = 0.0 if self.workdir is None else 2.0
        return replace(super().train_config(), checkpoint_minutes=minutes, loader_threads=0)

    def training_place(self, x: NDArray[Any]) -> dict[str, Any]:
        """Return where checkpoints go, the device, and what tells the training pictures from others."""
        import hashlib

        some = np.ascontiguousarray(x[:: max(1, len(x) // 64)], dtype=np.float32)
        identity = {"shape": list(x.shape), "pictures": hashlib.sha256(some.tobytes()).hexdigest(), "classes": self._classes}
        return {"workdir": self.workdir, "device": self.device, "identity": identity}

    def after_training(self, model: Reconstruction, source: ItemBatches) -> None:
        """Learn thresholds and the divergence of each latent dimension from held-out pictures, and warn of what is odd.

        Raises
        ------
        DataError
            If ``refit`` has fewer than two held-out pictures of a class.
        """
        import torch

        from dcase_asd.detectors._shared import picture_calibration as calibration

        trained = cast("PictureReconstruction", model)
        config, thresholds = self.config, trained.thresholds
        if thresholds is not None:
            thresholds.end_epoch()
            if config.threshold == "refit":
                beta, quantile = config.threshold_beta, config.threshold_quantile
                values = calibration.refit_thresholds(
                    trained, source, score=self._first, classes=self._classes, beta=beta, quantile=quantile
                )
                thresholds.value.copy_(torch.from_numpy(values))
        if trained.network.latent is not None:
            calibration.measure_divergences(trained, source)
        calibration.warn_of_wide_code(trained, n_values=source.items.take(source.train[:1]).size)

    def segment_scores(self, found: Examined) -> dict[str, float]:
        """Return the wanted scores of one picture; the margin over the model's own threshold, if it has one, comes first."""
        from dcase_asd.detectors.base import require_fitted

        raw = self._raw(found)
        parts = {part_name(score=name): value for name, value in raw.items()}
        thresholds = require_fitted(self._model, self).thresholds
        if thresholds is None:
            return parts
        seen = int(found.named["class"][0]) if "class" in found.named else 0
        first = self.config.scores[0]
        margin = raw[first] - float(thresholds.value[seen])
        return {part_name(score=first, threshold=self.config.threshold): margin, **parts}

    def segment_map(self, found: Examined, *, frames: bool) -> NDArray[np.float64]:
        """Return one minus the local similarity where that is the score, else the squared error."""
        if self.config.scores[0] == "ssim":
            return np.asarray(found.named["ssim_map"][0], dtype=np.float64)
        return super().segment_map(found, frames=frames)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return weights, thresholds, the shape of a picture, and the names of the classes."""
        return {**super().state(), "classes": text_to_tensor(self._classes)}

    def load_state(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` returned; raises ``FormatError`` if tensors are missing or do not fit."""
        self._classes = list(tensor_to_text(wanted(tensors, "classes", owner=self), name="classes"))
        super().load_state({name: value for name, value in tensors.items() if name != "classes"})

    def _encoder(self) -> tuple[str, str]:
        return self.config.encoder, self.config.encoder_layer or ENCODER_LAYERS[self.config.encoder]

    def _terms(self) -> PictureLoss:
        from dcase_asd.training.picture_reconstruction import PictureLoss

        config, bounds = self.config, self.config.bounds
        width = config.data_range if config.data_range > 0 else 1.0 if bounds is None else bounds[1] - bounds[0]
        return PictureLoss(
            loss=config.loss,
            data_range=width,
            scales=config.scales,
            noise=config.noise,
            bounds=bounds,
            contractive=config.contractive > 0,
            estimator=config.estimator,
            probes=config.probes,
        )

    def _statistics(self, x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what maps pixels to the range of the output; pixels outside [0, 1] are refused where that is fixed."""
        bounds = self.config.bounds
        if bounds is None:
            return super()._statistics(x)
        low, high = float(x.min()), float(x.max())
        if low < 0.0 or high > 1.0:
            raise DataError(
                f"image_autoencoder: output {self.config.preset.output} rebuilds pixels in [0, 1], found {low:g} to {high:g}; "
                "take pictures through the extractor identity, or set output: linear"
            )
        centre, half = (0.5, 0.5) if bounds[0] < 0 else (0.0, 1.0)
        return np.full(1, centre, dtype=np.float32), np.full(1, half, dtype=np.float32)

    def _raw(self, found: Examined) -> dict[str, float]:
        values: dict[str, float] = {}
        for name in self.config.scores:
            if name == "mse":
                values[name] = float(found.squared.mean())
            elif name == "abs_mix":
                gap = np.abs(found.residual, dtype=np.float64)
                values[name] = float((gap.mean() + gap.max() + gap.var()) / 3.0)
            else:
                values[name] = float(found.named[name].mean())
        return values

    def _first(self, found: Examined) -> float:
        return self._raw(found)[self.config.scores[0]]
