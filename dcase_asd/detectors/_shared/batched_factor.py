"""Cholesky factors of a covariance at every position, and what is multiplied by their inverses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcase_asd.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["solve_factor", "whiten"]

#: Up to this size a matrix is factorised by LAPACK; above, by halves, since matrix products run ten times as fast.
_WHOLE = 32


def whiten(covariance: NDArray[Any], ridge: NDArray[np.float64], *, out: NDArray[np.float32]) -> None:
    """Write ``chol(covariance + ridge I)^-1`` into the lower triangle of ``out``; overwrites the covariance.

    Parameters
    ----------
    covariance : ndarray [position, dim, dim]
        Its precision is the one computed in.
    ridge : ndarray [position]
    out : ndarray [position, dim, dim]

    Raises
    ------
    DataError
        If one is not positive definite.
    """
    import torch

    given, result = torch.from_numpy(covariance), torch.from_numpy(out)
    given.diagonal(dim1=1, dim2=2).add_(torch.from_numpy(ridge).to(given.dtype)[:, None])
    if given.dtype == result.dtype:
        _inverse_of_factor(given, out=result)
        return
    exact = torch.zeros_like(given)
    _inverse_of_factor(given, out=exact)
    result.copy_(exact)


def solve_factor(positive: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``chol(positive)^-1 right`` for every position.

    Parameters
    ----------
    positive : ndarray [position, dim, dim]
    right : ndarray [position, dim, column]

    Raises
    ------
    DataError
        If one is not positive definite.
    """
    import torch

    factor = _cholesky(torch.from_numpy(positive))
    return np.asarray(torch.linalg.solve_triangular(factor, torch.from_numpy(right), upper=False).numpy())


def _inverse_of_factor(positive: Tensor, *, out: Tensor) -> None:
    """Write ``chol(positive)^-1`` by halves.

    With W1 = chol(A11)^-1 the factor's lower left is L21 = A21 W1^T, its lower right the factor of A22 - L21 L21^T, whose
    inverse is W2, and the lower left of the whole inverse is -W2 L21 W1.
    """
    import torch

    size = positive.shape[1]
    if size <= _WHOLE:
        unit = torch.eye(size, dtype=positive.dtype).expand_as(positive)
        out.copy_(torch.linalg.solve_triangular(_cholesky(positive), unit, upper=False))
        return
    half = size // 2
    first, second = out[:, :half, :half], out[:, half:, half:]
    _inverse_of_factor(positive[:, :half, :half], out=first)
    lower = torch.bmm(positive[:, half:, :half], first.mT)
    _inverse_of_factor(torch.baddbmm(positive[:, half:, half:], lower, lower.mT, alpha=-1.0), out=second)
    out[:, half:, :half] = torch.bmm(second, torch.bmm(lower, first)).neg_()


def _cholesky(positive: Tensor) -> Tensor:
    import torch

    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(positive)
    if failed.any():
        raise DataError("padim: the covariance of a position is not positive definite to working precision; raise eps")
    return factor
