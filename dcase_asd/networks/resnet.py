"""ResNet-18 with a one-channel stem, giving the map of layer 4 and its pooled vector.

Blocks are torchvision's (He et al., Deep residual learning for image recognition, CVPR 2016); parameter names are
torchvision's too, so that its published weights load. Fujimura 2023, Section 4.2, uses ResNet-18 as the feature extractor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from dcase_asd.errors import ConfigError

__all__ = ["POOLINGS", "Pooling", "ResNet18", "as_picture"]

Pooling = Literal["mean", "max", "gem"]
POOLINGS = ("mean", "max", "gem")
# Channels of the four layers at width 1 (He et al., Table 1).
_PLANES = (64, 128, 256, 512)


def as_picture(log_mel: Tensor) -> Tensor:
    """View ``[batch, frame, mel]`` as ``[batch, 1, mel, frame]``, the input of :class:`ResNet18`; nothing is copied."""
    return log_mel.transpose(1, 2).unsqueeze(1)


class GeM(nn.Module):
    """Generalised mean pooling with a learned exponent (Radenovic et al., TPAMI 2019, Eq. 3).

    ``[batch, channel, freq, time]`` to ``[batch, channel]``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(3.0))  # the paper's initial value

    def forward(self, features: Tensor) -> Tensor:
        """Pool; values below 1e-6 count as 1e-6, because a root of zero has no gradient."""
        powered = features.float().clamp_min(1e-6).pow(self.exponent)
        return powered.mean(dim=(2, 3)).pow(1.0 / self.exponent)


class ResNet18(nn.Module):
    """ResNet-18 body.

    Parameters
    ----------
    width : float
        Factor on the channels of every layer; 1 gives 64, 128, 256, 512.
    input_pool : tuple of int
        Average pooling of the input in frequency and time before the stem; ``(1, 1)`` is none. Cost falls with the product.
    pooling : {"mean", "max", "gem"}
        From map to vector.
    n_bands : int
        Frequency bands of the input; 0 for no input normalisation. With bands, the input is standardised by the buffers
        ``input_mean`` and ``input_std`` (``[band, 1]``), which :meth:`set_input_statistics` fills.

    Raises
    ------
    ConfigError
        If width or input_pool is not positive, or the pooling is unknown.
    """

    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self, *, width: float = 1.0, input_pool: tuple[int, int] = (1, 1), pooling: Pooling = "mean", n_bands: int = 0
    ) -> None:
        super().__init__()
        planes = [round(n * width) for n in _PLANES]
        if planes[0] < 1 or min(input_pool) < 1 or pooling not in POOLINGS:
            raise ConfigError(
                f"expected width >= 1/64, input_pool >= 1 and pooling of {', '.join(POOLINGS)}; "
                f"got {width}, {input_pool} and {pooling!r}"
            )
        self.input_pool = tuple(input_pool)
        self.n_bands = n_bands
        self.register_buffer("input_mean", torch.zeros(n_bands, 1))
        self.register_buffer("input_std", torch.ones(n_bands, 1))
        self.conv1 = nn.Conv2d(1, planes[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = _layer(planes[0], planes[0], stride=1)
        self.layer2 = _layer(planes[0], planes[1], stride=2)
        self.layer3 = _layer(planes[1], planes[2], stride=2)
        self.layer4 = _layer(planes[2], planes[3], stride=2)
        self.gem = GeM() if pooling == "gem" else None
        self.pooling = pooling
        self.dim = planes[3]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def set_input_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation ``[band]`` of the input; a constant band is centred and not scaled."""
        self.input_mean.copy_(mean.reshape(-1, 1))
        self.input_std.copy_(torch.where(std > 0, std, torch.ones_like(std)).reshape(-1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embed ``[batch, 1, freq, time]``.

        Returns
        -------
        map : Tensor [batch, 512 * width, freq / 32, time / 32]
            Output of layer 4 (both axes divided by ``input_pool`` as well, rounded up).
        vector : Tensor [batch, 512 * width]
        """
        return self.embed(x, map_layer=4)

    def embed(self, x: Tensor, *, map_layer: int) -> tuple[Tensor, Tensor]:
        """Return the map of layer 1, 2, 3 or 4, ``[batch, channel, freq, time]``, and the pooled vector of layer 4."""
        if self.n_bands:
            x = (x - self.input_mean) / self.input_std
        if self.input_pool != (1, 1):
            # without the axis of one channel: channels-last pooling vectorises over channels (2.5 times as slow, same bits)
            x = F.avg_pool2d(x[:, 0], self.input_pool, ceil_mode=True)[:, None]
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps[map_layer - 1], self._pool(x)

    def load_torchvision(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over torchvision's ResNet-18 weights; a three-channel stem is summed, as if grey filled all three.

        Raises
        ------
        ConfigError
            If a parameter of the body is missing or has another shape (width must be 1).
        """
        own = self.state_dict()
        for name, value in own.items():
            if name.startswith(("input_", "gem.")):
                continue
            given = tensors.get(name)
            if given is not None and name == "conv1.weight" and given.shape[1] == 3:
                given = given.sum(dim=1, keepdim=True)
            if given is None or given.shape != value.shape:
                found = "nothing" if given is None else tuple(given.shape)
                raise ConfigError(
                    f"pretrained weights: expected {name} of shape {tuple(value.shape)}, found {found}; "
                    "give the state dict of a ResNet-18 and width 1"
                )
            value.copy_(given)

    def _pool(self, features: Tensor) -> Tensor:
        if self.gem is not None:
            pooled: Tensor = self.gem(features)
            return pooled
        return features.mean(dim=(2, 3)) if self.pooling == "mean" else features.amax(dim=(2, 3))


def _layer(n_in: int, n_out: int, *, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or n_in != n_out:
        shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(n_out))
    return nn.Sequential(BasicBlock(n_in, n_out, stride, shortcut), BasicBlock(n_out, n_out))
