"""FastFlow: affine couplings of convolutions on feature maps of any size, as nflows transforms.

Yu et al., FastFlow: Unsupervised anomaly detection and localization via 2D normalizing flows, 2021 ([12] of Fujimura 2023,
Eq. 7). A step permutes the channels (fixed at random) and scales and shifts one half of them by what a small convolutional
network makes of the other half; kernels are 3x3 and 1x1 in turn. Differences from the published one: instead of a trainable
layer normalisation of ``[channel, freq, time]``, which fixes the size of the input, each channel is standardised by
statistics kept in the state (part of the flow, so Eq. 7 stays exact); the last convolution of each step starts at zero, so that
the untrained flow only standardises and permutes.
"""

from __future__ import annotations

import math

import torch
from nflows.transforms.base import CompositeTransform, Transform
from nflows.transforms.permutations import RandomPermutation
from torch import Tensor, nn

from dcase_asd.errors import ConfigError

__all__ = ["ChannelPermutation", "ChannelStandardisation", "ConvCoupling", "FastFlow", "log_density"]

# A channel that hardly varies in training (dead after a ReLU) must not blow up the score by its first small excursion: its
# deviation counts as this share of the root mean square over channels.
_DEVIATION_FLOOR = 1e-2
_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)
# Share of a new batch in the running statistics of joint training: that of torch's batch normalisation.
_MOMENTUM = 0.1


class _LocalTransform(Transform):
    """A transform whose log-determinant is a sum over positions; :meth:`local` gives the summands."""

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs ``[batch, channel, h, w]`` and log-determinants ``[batch, h, w]``."""
        raise NotImplementedError(type(self).__name__)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return outputs and log-determinants ``[batch]``."""
        del context
        outputs, logabsdet = self.local(inputs)
        return outputs, logabsdet.sum(dim=(1, 2))


class ChannelStandardisation(_LocalTransform):
    """``(x - mean) / deviation`` per channel with constants kept in the state.

    Parameters
    ----------
    n_channels : int
    """

    mean: Tensor
    variance: Tensor
    n_observed: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("variance", torch.ones(n_channels))
        self.register_buffer("n_observed", torch.zeros((), dtype=torch.int64))

    def observe(self, inputs: Tensor) -> None:
        """Take the statistics of a training batch ``[batch, channel, h, w]`` into the running ones; the first one sets them."""
        values = inputs.detach().float()
        mean, variance = values.mean(dim=(0, 2, 3)), values.var(dim=(0, 2, 3), correction=0)
        share = torch.where(self.n_observed == 0, 1.0, _MOMENTUM)
        self.mean.lerp_(mean, share)
        self.variance.lerp_(variance, share)
        self.n_observed += 1

    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Set mean and variance ``[channel]``."""
        self.mean.copy_(mean)
        self.variance.copy_(variance)
        self.n_observed.fill_(1)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation per channel, not below a hundredth of the root mean square over channels."""
        typical = self.variance.mean()
        floor = torch.where(typical > 0, _DEVIATION_FLOOR**2 * typical, torch.ones_like(typical))
        return torch.maximum(self.variance, floor).sqrt()

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Standardise."""
        deviation = self.deviation
        outputs = (inputs - self.mean[:, None, None]) / deviation[:, None, None]
        n_batch, _, height, width = inputs.shape
        return outputs, -deviation.log().sum().expand(n_batch, height, width)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo :meth:`forward`."""
        del context
        deviation = self.deviation
        outputs = inputs * deviation[:, None, None] + self.mean[:, None, None]
        return outputs, (deviation.log().sum() * inputs.shape[2] * inputs.shape[3]).expand(len(inputs))


class ChannelPermutation(RandomPermutation, _LocalTransform):
    """A fixed permutation of the channels, drawn from torch's generator."""

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Permute; the log-determinant is zero."""
        outputs, _ = RandomPermutation.forward(self, inputs)
        return outputs, inputs.new_zeros(len(inputs), *inputs.shape[2:])


class ConvCoupling(_LocalTransform):
    """Affine coupling: the first half of the channels says how the second half is scaled and shifted at each position.

    Parameters
    ----------
    n_channels : int
        At least 2.
    kernel_size : int
        Odd; the maps keep their size.
    hidden_ratio : float
        Hidden channels per channel of the first half.
    clamp : float
        Largest absolute logarithm of a scale: ``clamp * tanh(raw / clamp)``.
    """

    def __init__(self, n_channels: int, *, kernel_size: int, hidden_ratio: float, clamp: float) -> None:
        super().__init__()
        self.n_kept = n_channels - n_channels // 2
        self.kernel_size = kernel_size
        self.clamp = clamp
        n_changed, n_hidden = n_channels // 2, max(round(self.n_kept * hidden_ratio), 1)
        padding = kernel_size // 2
        last = nn.Conv2d(n_hidden, 2 * n_changed, kernel_size, padding=padding)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.subnet = nn.Sequential(nn.Conv2d(self.n_kept, n_hidden, kernel_size, padding=padding), nn.ReLU(inplace=True), last)

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift the second half."""
        kept, changed = inputs[:, : self.n_kept], inputs[:, self.n_kept :]
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, changed * log_scale.exp() + shift], dim=1), log_scale.sum(dim=1)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo :meth:`forward`."""
        del context
        kept, changed = inputs[:, : self.n_kept], inputs[:, self.n_kept :]
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, (changed - shift) * (-log_scale).exp()], dim=1), -log_scale.sum(dim=(1, 2, 3))

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.subnet(kept).chunk(2, dim=1)
        return self.clamp * torch.tanh(raw / self.clamp), shift


class FastFlow(CompositeTransform):
    """The whole flow, ``[batch, channel, h, w]`` to a latent of the same shape.

    Parameters
    ----------
    n_channels : int
        At least 2; vectors are maps of one position.
    n_steps : int
        Couplings; 8 in the published code for ResNet-18.
    hidden_ratio : float
        1.0 in the published code.
    clamp : float
        Soft bound of the logarithm of a scale; 2.0 in the published code.
    pointwise : bool
        Only 1x1 kernels: for vectors.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    """

    def __init__(
        self, n_channels: int, *, n_steps: int = 8, hidden_ratio: float = 1.0, clamp: float = 2.0, pointwise: bool = False
    ) -> None:
        if n_channels < 2 or n_steps < 1 or hidden_ratio <= 0 or clamp <= 0:
            raise ConfigError(
                "a flow needs at least 2 channels and 1 step, hidden_ratio > 0 and clamp > 0; "
                f"got {n_channels}, {n_steps}, {hidden_ratio} and {clamp}"
            )
        parts: list[Transform] = [ChannelStandardisation(n_channels)]
        for step in range(n_steps):
            kernel_size = 1 if pointwise or step % 2 else 3
            parts.append(ChannelPermutation(n_channels))
            parts.append(ConvCoupling(n_channels, kernel_size=kernel_size, hidden_ratio=hidden_ratio, clamp=clamp))
        super().__init__(parts)
        self.n_channels, self.n_steps = n_channels, n_steps
        self.hidden_ratio, self.clamp, self.pointwise = hidden_ratio, clamp, pointwise

    @property
    def standardisation(self) -> ChannelStandardisation:
        """The first transform, which holds the statistics of the input."""
        first: ChannelStandardisation = self._transforms[0]
        return first

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latent and the log-determinant ``[batch, h, w]``, whose sum over positions is that of Eq. 7."""
        outputs, total = self._transforms[0].local(inputs)
        for transform in self._transforms[1:]:
            outputs, logabsdet = transform.local(outputs)
            total = total + logabsdet
        return outputs, total

    @torch.no_grad()
    def broken_part(self, inputs: Tensor) -> str:
        """Say in words where values cease to be finite on the way through; empty if they stay finite."""
        outputs = inputs
        if not bool(torch.isfinite(outputs).all()):
            return "its input, the feature map"
        for number, transform in enumerate(self._transforms):
            outputs, logabsdet = transform.local(outputs)
            if not bool(torch.isfinite(outputs).all() and torch.isfinite(logabsdet).all()):
                if not isinstance(transform, ConvCoupling):
                    return "the standardisation of its input"
                return f"step {number // 2} of {self.n_steps} ({transform.kernel_size}x{transform.kernel_size} coupling)"
        return ""


def log_density(latent: Tensor, *, n_domain: int = 0, domain_mean: Tensor | None = None) -> Tensor:
    """Return ``log p_Z`` (natural logarithm) at each position, summed over channels (Fujimura 2023, Eq. 7 and Section 3.1).

    Parameters
    ----------
    latent : Tensor [batch, channel, h, w]
    n_domain : int
        The last so many channels are z_d; the others, z_c, follow N(0, 1).
    domain_mean : Tensor [batch], optional
        Mean ``k v`` of z_d, whose variance is 1. Where it is NaN, and if it is not given, z_d is left out: that is the
        domain-invariant ``log p_Z(z_c)`` which scores are made of.

    Returns
    -------
    Tensor [batch, h, w]
    """
    n_invariant = latent.shape[1] - n_domain
    invariant = latent[:, :n_invariant]
    density = -0.5 * invariant.square().sum(dim=1) - n_invariant * _HALF_LOG_2_PI
    if not n_domain or domain_mean is None:
        return density
    known = domain_mean.isfinite()
    mean = torch.where(known, domain_mean, 0.0).to(latent.dtype)
    residual = latent[:, n_invariant:] - mean[:, None, None, None]
    domain = -0.5 * residual.square().sum(dim=1) - n_domain * _HALF_LOG_2_PI
    return density + domain * known[:, None, None]
