"""A training step of the flow on ResNet-18's maps, against nflows' own coupling around the same convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.benchmarks import Row, one_thread, race

DESCRIPTION = "FastFlow step (forward, loss, backward, AdamW): 32 maps of 256 x 4 x 3, 4 couplings, against nflows' own coupling"

N_BATCH, N_CHANNELS, HEIGHT, WIDTH, N_STEPS, HIDDEN = 32, 256, 4, 3, 4, 0.25


def run() -> list[Row]:
    """Time a step of each and of the convolutions alone."""
    import torch

    with one_thread():
        torch.manual_seed(0)
        x = torch.randn(N_BATCH, N_CHANNELS, HEIGHT, WIDTH)
        functions = {"ours": _ours(x), "nflows": _nflows(x), "its convolutions": _convolutions(x)}
        found = race(functions, rounds=25)
    return [
        found.row("times faster than nflows' AffineCouplingTransform", "ours", "nflows", target=">= 1", limit="its convolutions")
    ]


def _step(module: Any, loss: Callable[[], Any]) -> Callable[[], None]:
    import torch

    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        optimiser.step()

    return step


def _ours(x: Any) -> Callable[[], None]:
    import torch

    from dcase_asd.networks.fastflow import FastFlow
    from dcase_asd.training.flow import FlowTerm

    term = FlowTerm(FastFlow(N_CHANNELS, n_steps=N_STEPS, hidden_ratio=HIDDEN), running_statistics=True).train()
    batch = {"t": torch.ones(N_BATCH)}
    return _step(term, lambda: term(x, x, batch))


def _subnet(n_in: int, n_out: int, kernel_size: int) -> Any:
    from torch import nn

    hidden = round(n_in * HIDDEN)
    padding = kernel_size // 2
    first, last = nn.Conv2d(n_in, hidden, kernel_size, padding=padding), nn.Conv2d(hidden, n_out, kernel_size, padding=padding)
    return nn.Sequential(first, nn.ReLU(inplace=True), last)


def _nflows(x: Any) -> Callable[[], None]:
    import torch
    from nflows.transforms import AffineCouplingTransform, CompositeTransform, RandomPermutation
    from torch import nn

    class Network(nn.Module):
        """What nflows calls its transform network: the convolutions, and a context that there is none of."""

        def __init__(self, n_in: int, n_out: int, kernel_size: int) -> None:
            super().__init__()
            self.net = _subnet(n_in, n_out, kernel_size)

        def forward(self, inputs: Any, context: Any = None) -> Any:
            del context
            return self.net(inputs)

    mask = torch.cat([torch.zeros(N_CHANNELS // 2), torch.ones(N_CHANNELS // 2)])
    parts: list[Any] = []
    for number in range(N_STEPS):
        size = 1 if number % 2 else 3
        parts += [
            RandomPermutation(N_CHANNELS),
            AffineCouplingTransform(mask, lambda n_in, n_out, size=size: Network(n_in, n_out, size)),
        ]
    flow = CompositeTransform(parts)

    def loss() -> Any:
        latent, logabsdet = flow(x)
        return (0.5 * latent.square().sum(dim=(1, 2, 3)) - logabsdet).mean()

    return _step(flow, loss)


def _convolutions(x: Any) -> Callable[[], None]:
    from torch import nn

    nets = nn.ModuleList([_subnet(N_CHANNELS // 2, N_CHANNELS, 1 if number % 2 else 3) for number in range(N_STEPS)])
    half = x[:, : N_CHANNELS // 2]
    return _step(nets, lambda: sum(net(half).square().mean() for net in nets))
