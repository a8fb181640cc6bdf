"""bfloat16 Conv3d in float32, for GPUs that have no bfloat16 convolutions.

cuDNN has them from compute capability 8.0 on. Below, torch falls back to a kernel that exists for CPUs only, and a
video model ends with "aten::slow_conv3d_forward". The switch is also a way around kernels that compute wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch

FIRST_CAPABLE: Final = (8, 0)
"""Compute capability from which on cuDNN convolves bfloat16."""


def needed(setting: str | None, dtype: str, capability: tuple[int, int] | None) -> bool:
    """Whether a pipeline's Conv3d layers are to compute in float32.

    Args:
        setting: `memory.conv3dFloat32`: auto (as None), always or never.
        dtype: Of the pipeline's weights.
        capability: Of the GPU; None where there is none.
    """
    if dtype != "bfloat16" or setting == "never":
        return False
    return setting == "always" or (capability is not None and capability < FIRST_CAPABLE)


def capability(target: str) -> tuple[int, int] | None:
    """Compute capability of the GPU that computes, None where none does."""
    return torch.cuda.get_device_capability() if target == "cuda" else None


def compute_in_float32(modules: Iterable[torch.nn.Module]) -> int:
    """Let every Conv3d in some models compute bfloat16 inputs in float32; returns how many there are.

    Weights stay bfloat16, and so do outputs: models read the type of their weights to decide about their inputs, which
    is why float32 weights break them. Offloading and casts work on the weights, whichever comes first; subclasses that
    pad or split their input call the same method in the end.
    """
    found = {id(part): part for module in modules for part in module.modules() if isinstance(part, torch.nn.Conv3d)}
    for convolution in found.values():
        # On the object: the class serves other pipelines too.
        convolution._conv_forward = _in_float32(convolution._conv_forward)  # type: ignore[method-assign]
    return len(found)


def _in_float32(plain: Callable[..., torch.Tensor]) -> Any:
    def convolve(given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if given.dtype is not torch.bfloat16:
            return plain(given, weight, bias)
        made = plain(given.float(), weight.float(), None if bias is None else bias.float())
        return made.to(torch.bfloat16)

    return convolve
