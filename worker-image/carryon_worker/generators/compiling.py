"""Regional compilation: torch compiles the blocks that a denoiser repeats, once for all of them.

What is compiled must not depend on what a process has seen before, or a resumed unit would differ from one that was
never interrupted. So every shape gets a kernel of its own (after two, torch would make one for all shapes, whose bits
differ), kernels are not chosen by timing them, and there is no limit after which layers silently run uncompiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

import torch

from carryon_worker.failures import BadRequest

_MOST: Final = 1000
"""Variants of a block that are compiled: each shape, and with some hooks each layer, is one."""
_WITHOUT: Final = "; leave memory.compile out, or give the stage an image that has one"


def blocks(denoisers: Mapping[str, torch.nn.Module], target: str) -> None:
    """Let a pipeline's denoisers compile their repeated blocks at their first call.

    Args:
        denoisers: By name.
        target: Device that computes, cuda or cpu.

    Raises:
        BadRequest: This image has no compiler, or no denoiser has blocks that are known to be repeated.
    """
    # Small ones beside a large one (adapters, projections) have none, and need none.
    able = [denoiser for denoiser in denoisers.values() if _repeats(denoiser)]
    if not able:
        named = ", ".join(f"{type(denoiser).__name__} ({name})" for name, denoiser in denoisers.items())
        raise BadRequest(
            f"memory.compile: regional can't be had: diffusers names no repeated blocks of {named or 'this pipeline'};"
            " leave memory.compile out"
        )
    compiler(target)
    _configure()
    for denoiser in able:
        denoiser.compile_repeated_blocks(dynamic=False)  # type: ignore[operator]


def _repeats(denoiser: torch.nn.Module) -> bool:
    blocks = getattr(denoiser, "_repeated_blocks", None) or ()
    return any(type(part).__name__ in blocks for part in denoiser.modules())


def compiler(target: str) -> str:
    """First line of what the compiler says of itself that torch needs here.

    Raises:
        BadRequest: There is none.
    """
    if target == "cuda":
        if find_spec("triton") is None:
            raise BadRequest(f"memory.compile: regional needs triton in the worker's image{_WITHOUT}")
        # What triton builds is a small program in C around each kernel.
        name = os.environ.get("CC") or next(filter(shutil.which, ("gcc", "clang")), "")
        language = "C"
    else:
        name = os.environ.get("CXX") or "g++"
        language = "C++"
    try:
        told = subprocess.run([name, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        raise BadRequest(
            f"memory.compile: regional needs a {language} compiler in the worker's image, and {name or 'gcc'} can't be"
            f" run{_WITHOUT}"
        ) from None
    return told.partition("\n")[0].strip()


def _configure() -> None:
    # They take seconds to import.
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor

    dynamo.recompile_limit = _MOST
    dynamo.accumulated_recompile_limit = 10 * _MOST
    dynamo.fail_on_recompile_limit_hit = True
    inductor.deterministic = True
