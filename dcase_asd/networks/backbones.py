"""Frozen ImageNet classifiers as feature maps: a network cut into named stages, and patch features made of them.

Architectures are torchvision's and, for EfficientNet-Lite0, that of the package ``efficientnet-lite-pytorch``; parameter
names are theirs, so that the published weights load and can be verified. Stage names say where a network is tapped:

==================  ==================================================  =================
network             stages                                              default layers
==================  ==================================================  =================
resnet18            stem, layer1 ... layer4                             layer1 layer2 layer3 (PaDiM)
wide_resnet50_2     stem, layer1 ... layer4                             layer2 layer3 (PatchCore)
vgg16               pool1 ... pool5                                     pool3 pool4
efficientnet_b0     stem, stage1 ... stage7, head                       stage3 stage5
efficientnet_lite0  stem, stage1 ... stage7, head                       stage3 stage5 (40 + 112 channels)
==================  ==================================================  =================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcase_asd.errors import ConfigError, FormatError, UnknownNameError

__all__ = [
    "DEFAULT_LAYERS",
    "NETWORKS",
    "FeatureMaps",
    "build_backbone",
    "normalise_imagenet",
    "patch_features",
    "standardise_imagenet",
]

DEFAULT_LAYERS: Mapping[str, tuple[str, ...]] = {
    "resnet18": ("layer1", "layer2", "layer3"),
    "wide_resnet50_2": ("layer2", "layer3"),
    "vgg16": ("pool3", "pool4"),
    "efficientnet_b0": ("stage3", "stage5"),
    "efficientnet_lite0": ("stage3", "stage5"),
}
NETWORKS = tuple(DEFAULT_LAYERS)

#: Channel means and deviations of ImageNet in [0, 1], as torchvision's and EfficientNet-Lite's weights expect them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
#: Places of the max pools in torchvision's ``vgg16().features``.
_VGG_POOLS = (4, 9, 16, 23, 30)
#: Blocks of EfficientNet-Lite0 by stage (Tan & Le, EfficientNet, ICML 2019, Table 1).
_LITE_BLOCKS = ((0, 1), (1, 3), (3, 5), (5, 8), (8, 11), (11, 15), (15, 16))


class FeatureMaps(nn.Module):
    """A network cut after the deepest wanted stage.

    Parameters
    ----------
    stages : mapping of str to nn.Module
        All stages of the network, in order.
    layers : sequence of str
        Stages whose outputs are wanted.

    Raises
    ------
    UnknownNameError
        For a stage the network lacks.
    """

    def __init__(self, stages: Mapping[str, nn.Module], layers: Sequence[str]) -> None:
        super().__init__()
        for name in layers:
            if name not in stages:
                raise UnknownNameError("layer", name, stages)
        names = list(stages)
        deepest = max(names.index(name) for name in layers)
        self.layers = tuple(layers)
        self.stages = nn.ModuleDict({name: stages[name] for name in names[: deepest + 1]})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{layer: [batch, channel, h, w]}`` for ``x [batch, 3, height, width]``."""
        found: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            x = stage(x)
            if name in self.layers:
                found[name] = x
        return found


def build_backbone(
    network: str, layers: Sequence[str], *, weights: Mapping[str, Tensor] | None, seed: int = 0, where: str = "weights"
) -> FeatureMaps:
    """Build a frozen network in eval mode; the global random generator is left as it was.

    Parameters
    ----------
    network : str
        One of :data:`NETWORKS`.
    layers : sequence of str
        Stages to return.
    weights : mapping or None
        State of the whole network by its publisher's names; None: random, drawn from ``seed`` (for tests).
    seed : int
    where : str
        Where the weights come from, for messages.

    Raises
    ------
    UnknownNameError
        For an unknown network or layer.
    FormatError
        If the weights are another network's.
    """
    if network not in NETWORKS:
        raise UnknownNameError("network", network, NETWORKS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole = _whole(network)
    if weights is not None:
        try:
            whole.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise FormatError(f"{where}: not the weights of {network} ({str(error)[:300]})") from error
    return FeatureMaps(_stages(network, whole), layers).eval().requires_grad_(requires_grad=False)


def normalise_imagenet(pictures: Tensor) -> Tensor:
    """Turn uint8 ``[batch, 1 or 3, h, w]`` into the network's input; grey is repeated to three channels.

    Repeating the channel and normalising by ImageNet's statistics keeps the first convolution, and so the weights,
    untouched.
    """
    return standardise_imagenet(pictures.float() / 255.0)


def standardise_imagenet(x: Tensor) -> Tensor:
    """Standardise pictures ``[batch, 1 or 3, h, w]`` in [0, 1] as :func:`normalise_imagenet` does those of bytes."""
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    return (x - x.new_tensor(_MEAN).view(3, 1, 1)) / x.new_tensor(_STD).view(3, 1, 1)


def patch_features(maps: Sequence[Tensor], *, neighbourhood: int) -> Tensor:
    """Average each map over neighbourhoods and join all at the resolution of the first (PatchCore, Eq. 1 to 3).

    Parameters
    ----------
    maps : sequence of Tensor ``[batch, channel, h, w]``
        The largest first; the others are upsampled bilinearly.
    neighbourhood : int
        Odd side of the window that is averaged over (paper: 3); 1: none. Beyond the border lie zeros, as in public code:
        features at the border are damped. That is wanted: a mean over the fewer positions that exist varies more, and
        the corners then win the largest distance (castings, PatchCore: AUROC 0.86 against 0.97).

    Returns
    -------
    Tensor [batch, sum of channels, h, w]
    """
    smooth = [F.avg_pool2d(m, neighbourhood, stride=1, padding=neighbourhood // 2) if neighbourhood > 1 else m for m in maps]
    size = smooth[0].shape[2:]
    return torch.cat([smooth[0], *(F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in smooth[1:])], dim=1)


def _whole(network: str) -> nn.Module:
    if network != "efficientnet_lite0":
        from torchvision import models

        whole: nn.Module = getattr(models, network)(weights=None)
        return whole
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ConfigError(
            'network efficientnet_lite0 needs the package efficientnet-lite-pytorch: pip install "dcase_asd[image]", '
            f"or choose one of {', '.join(n for n in NETWORKS if n != network)}"
        ) from error
    lite: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return lite


def _stages(network: str, whole: nn.Module) -> dict[str, nn.Module]:
    parts = dict(whole.named_children())
    if network in ("resnet18", "wide_resnet50_2"):
        stem = nn.Sequential(parts["conv1"], parts["bn1"], parts["relu"], parts["maxpool"])
        return {"stem": stem, **{f"layer{i}": parts[f"layer{i}"] for i in (1, 2, 3, 4)}}
    if network == "vgg16":
        layers = list(parts["features"].children())
        starts = (0, *(place + 1 for place in _VGG_POOLS))
        return {f"pool{i + 1}": nn.Sequential(*layers[starts[i] : starts[i + 1]]) for i in range(len(_VGG_POOLS))}
    if network == "efficientnet_b0":
        layers = list(parts["features"].children())
        return {"stem": layers[0], **{f"stage{i}": layers[i] for i in range(1, 8)}, "head": layers[8]}
    blocks = list(parts["_blocks"].children())
    stages = {f"stage{i}": nn.Sequential(*blocks[a:b]) for i, (a, b) in enumerate(_LITE_BLOCKS, start=1)}
    stem = nn.Sequential(parts["_conv_stem"], parts["_bn0"], parts["_swish"])
    return {"stem": stem, **stages, "head": nn.Sequential(parts["_conv_head"], parts["_bn1"], parts["_swish"])}
