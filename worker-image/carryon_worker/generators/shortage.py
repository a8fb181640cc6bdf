"""Looks at what there is when memory has run out."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from carryon_worker.failures import Shortage
from carryon_worker.generators import arguments
from carryon_worker.generators.relief import Situation
from carryon_worker.journal import interception

_SIZES: Final = (
    "height", "width", "num_frames", "video_length", "num_images_per_prompt", "num_videos_per_prompt",
)  # fmt: skip
"""Arguments by which a pipeline's memory grows."""
_PLACES: Final = (
    ("/diffusers/models/autoencoders/", "vae"),
    ("/diffusers/models/transformers/", "denoiser"),
    ("/diffusers/models/unets/", "denoiser"),
    ("/carryon_worker/journal/interception", "denoiser"),
    ("/transformers/models/", "encoder"),
    ("/carryon_worker/generators/placement", "loading"),
    ("/carryon_worker/generators/loading", "loading"),
)
"""Part of a source file's path -> what is going on while it is at work."""
_ASKED: Final = re.compile(r"tried to allocate ([\d.]+) (bytes|[KMGT]?i?B)", re.IGNORECASE)
_CGROUP: Final = Path("/sys/fs/cgroup")
_MACHINE: Final = Path("/proc/meminfo")


def look(
    shortage: Shortage, error: BaseException, pipeline: Any, target: str, in_force: Mapping[str, Any], dtype: str
) -> Situation:
    """The situation after an error.

    Args:
        shortage: Whose memory ran out.
        error: Its text and traceback tell more.
        pipeline: None while it is being loaded.
        target: Device that computes, cuda or cpu.
        in_force: Memory knobs that took effect.
        dtype: Of the weights.
    """
    free, total, others = _gpu_memory() if shortage is Shortage.GPU else (*_host_memory(), 0)
    return Situation(
        shortage=shortage,
        target=target,
        place=_place(error) or ("" if pipeline is not None else "loading"),
        in_force=in_force,
        possible=_possible(pipeline),
        dtype=dtype,
        sizes=() if pipeline is None else _sizes(pipeline),
        asked=_asked(str(error)),
        free=free,
        total=total,
        others=others,
    )


def _asked(text: str) -> str:
    """What an allocator says that it was asked for, such as 2.00 GiB; "" where it says nothing."""
    match _ASKED.search(text):
        case None:
            return ""
        case found if found[2] == "bytes":
            return f"{int(float(found[1])) / 2**30:.2f} GiB"
        case found:
            return f"{found[1]} {found[2]}"


def _place(error: BaseException) -> str:
    """Where the error was raised, by the innermost frame that tells."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for part, place in _PLACES:
            if part in frame.f_code.co_filename:
                return place
    return ""


def _possible(pipeline: Any) -> frozenset[str]:
    """Knobs and kinds of offload that a pipeline has; all of them while none is loaded."""
    if pipeline is None:
        return frozenset({"model", "group", "sequential", "layerwiseCasting", "tiling", "slicing"})
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    denoisers = interception.denoisers(pipeline.components).values()
    found = {knob for knob in ("tiling", "slicing") if any(hasattr(part, f"use_{knob}") for part in parts)}
    found.add("sequential")
    if getattr(pipeline, "model_cpu_offload_seq", None):
        found.add("model")
    if denoisers:
        found.add("layerwiseCasting")
        if all(getattr(each, "_supports_group_offloading", True) for each in denoisers):
            found.add("group")
    return frozenset(found)


def _sizes(pipeline: Any) -> tuple[str, ...]:
    takes = arguments.accepted(type(pipeline).__call__)
    return tuple(name for name in _SIZES if name in takes)


def _gpu_memory() -> tuple[int | None, int | None, int]:
    """(free, total, held by others) in bytes."""
    if not torch.cuda.is_available():
        return None, None, 0
    try:
        free, total = torch.cuda.mem_get_info()
        return free, total, max(0, total - free - torch.cuda.memory_reserved())
    except RuntimeError:
        # The error has left the device in no state to be asked.
        return None, None, 0


def _host_memory() -> tuple[int | None, int | None]:
    """(free, total) in bytes: of the container where it has a limit, else of the machine."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            return max(0, int(limit) - int((_CGROUP / "memory.current").read_text())), int(limit)
    except (OSError, ValueError):
        # No such file, or one of another form: this is no container with a limit of its own.
        pass
    told = dict(line.split(":", 1) for line in _MACHINE.read_text().splitlines())
    return int(told["MemAvailable"].split()[0]) * 1024, int(told["MemTotal"].split()[0]) * 1024
