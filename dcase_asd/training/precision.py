"""Number formats of training: float32, bfloat16 autocast, float16 with gradient scaling.

Measured on an AVX-512 CPU without AVX512_BF16 (one core, ResNet-18, 16 crops of 224 x 313 pooled by 2 x 2): a bf16 autocast
step takes 3.5 times as long as a float32 one, channels_last saves about 5 to 20 %. ``auto`` therefore takes bf16 on a CPU
only where the instructions exist.
"""

from __future__ import annotations

import contextlib
from typing import Literal

import torch
from torch.amp.grad_scaler import GradScaler

from dcase_asd.errors import ConfigError

__all__ = ["Precision", "autocast", "grad_scaler", "resolve_precision"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def resolve_precision(precision: Precision, device: str) -> Precision:
    """Return the number format to use.

    Parameters
    ----------
    precision : {"auto", "fp32", "bf16", "fp16"}
        ``auto`` on a CPU: bf16 if it reports AVX512_BF16 or AMX_BF16, else fp32; on CUDA: bf16 if supported, else fp16.
    device : str

    Raises
    ------
    ConfigError
        For float16 on a CPU, which has no gradient scaling worth the name.
    """
    on_cpu = torch.device(device).type == "cpu"
    if precision == "fp16" and on_cpu:
        raise ConfigError("precision fp16 is for CUDA devices; on a CPU use auto, fp32 or bf16")
    if precision != "auto":
        return precision
    if on_cpu:
        able = torch.cpu.get_capabilities()
        return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def autocast(precision: Precision, device: str) -> contextlib.AbstractContextManager[object]:
    """Return the context a forward pass runs in."""
    if precision == "fp32":
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(torch.device(device).type, dtype=dtype)


def grad_scaler(precision: Precision, device: str) -> GradScaler:
    """Return the gradient scaler; it does nothing except for fp16."""
    return GradScaler(torch.device(device).type, enabled=precision == "fp16")
