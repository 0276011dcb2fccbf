"""Randomness from (seed, key ...): no generator is carried from step to step, so resuming needs no replay."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from dcase_asd.errors import ConfigError

__all__ = ["derive", "generator", "isolated"]


def derive(seed: int, *keys: str | int) -> int:
    """Mix a seed and keys into one 63-bit number; different keys give independent numbers.

    Raises
    ------
    ConfigError
        If the seed is negative.
    """
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    text = repr((int(seed), *keys)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def generator(seed: int, *keys: str | int) -> np.random.Generator:
    """Return a fresh numpy generator for a seed and keys."""
    return np.random.default_rng(derive(seed, *keys))


@contextlib.contextmanager
def isolated(seed: int, *keys: str | int, device: str = "cpu") -> Iterator[None]:
    """Seed torch inside the block and give the caller's random state back afterwards."""
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(seed, *keys))
        yield
