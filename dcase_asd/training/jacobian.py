"""The squared Frobenius norm of an encoder's Jacobian, estimated by random directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Estimator", "squared_jacobian"]

Estimator = Literal["vjp", "fd"]
#: Length of a finite-difference step, in units of the input's.
_STEP = 1e-2


def squared_jacobian(
    encode: Callable[[Tensor], Tensor], x: Tensor, *, estimator: Estimator, probes: int, step: float = _STEP
) -> Tensor:
    """Estimate ``||J||_F^2`` of an encoder at every item, mean over the batch (Rifai et al., ICML 2011, Eq. 1).

    The exact norm needs a pass per latent value (128 at 256x256 pixels in Rotondi and Lavalle's Table 1, 200,704 in their
    Table 2), and Rifai's closed form needs one sigmoid layer. For v ~ N(0, I) the expectation of ``||J^T v||^2`` is the norm
    (Hutchinson), and so is that of ``||E(x + s e) - E(x)||^2 / s^2`` for e ~ N(0, I), up to order s.

    Parameters
    ----------
    encode : callable
        ``[item, ...]`` to ``[item, ...]``. With batch normalisation in train mode its Jacobian couples the items of a batch;
        what couples counts.
    x : Tensor [item, ...]
    estimator : {"vjp", "fd"}
        ``vjp``: one product with the transposed Jacobian, differentiated twice; ``fd``: one finite difference, cheaper.
    probes : int
        Random directions that are averaged over.
    step : float
        s of ``fd``.

    Returns
    -------
    Tensor
        A scalar that can be differentiated.
    """
    with torch.enable_grad():
        at = x.detach().requires_grad_() if estimator == "vjp" else x
        code = encode(at)
        total = code.new_zeros(())
        for _ in range(probes):
            if estimator == "vjp":
                direction = torch.randn_like(code)
                (product,) = torch.autograd.grad((code * direction).sum(), at, create_graph=True)
            else:
                product = (encode(x + step * torch.randn_like(x)) - code) / step
            total = total + product.square().flatten(1).sum(dim=1).mean()
    return total / probes
