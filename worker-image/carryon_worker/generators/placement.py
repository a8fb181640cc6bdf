"""Where a pipeline computes, and in how much memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import torch
from diffusers.hooks.group_offloading import apply_group_offloading

from carryon_core.memory import GROUP, GroupOffload, Memory, knobs
from carryon_worker.failures import BadRequest
from carryon_worker.generators import compiling, configuration, conv3d
from carryon_worker.journal import interception

_log = logging.getLogger(__name__)

OFF: Final[Mapping[str, Any]] = {
    "offload": "none",
    "tiling": False,
    "slicing": False,
    "layerwiseCasting": "none",
    "compile": "none",
    "conv3dFloat32": False,
}
"""What each knob is where it has no effect."""
_KNOBS: Final = {info.alias or name: name for name, info in Memory.model_fields.items()}


def read(given: Mapping[str, Any]) -> Memory:
    """The memory knobs of an assignment; what this worker does not know is told and left out.

    Raises:
        BadRequest: A knob has a value that it can't have.
    """
    if unknown := sorted(given.keys() - _KNOBS.keys()):
        _log.warning("this worker has no memory.%s: it goes without", ", memory.".join(unknown))
    return configuration.parse(Memory, "memory", {name: value for name, value in given.items() if name in _KNOBS})


def asked(memory: Memory) -> Mapping[str, Any]:
    """The knobs that are on, before it is known which of them have an effect."""
    off = {*OFF.items(), ("conv3dFloat32", "auto"), ("conv3dFloat32", "never")}
    on = knobs(memory, Memory()).items()
    return {name: value for name, value in on if isinstance(value, Mapping) or (name, value) not in off}


def place(pipeline: Any, target: str, memory: Memory, dtype: str) -> Mapping[str, Any]:
    """Put a pipeline where it computes, in as little memory as is asked for.

    The order matters: casts and compiled blocks lie below the hooks that move weights, and whoever catches the
    denoisers' calls comes after all of it.

    Args:
        pipeline: Just loaded, adapters included, in the host's memory.
        target: Device that computes, cuda or cpu.
        memory: What is asked for.
        dtype: Of the weights, by name.

    Returns:
        The knobs that took effect, as they are recorded.

    Raises:
        BadRequest: Something can't be had with this pipeline or in this image.
    """
    modules = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    denoisers = interception.denoisers(modules)
    done: dict[str, Any] = {}
    float32 = conv3d.needed(memory.conv3d_float32, dtype, conv3d.capability(target))
    if float32 and conv3d.compute_in_float32(modules.values()):
        done["conv3dFloat32"] = True
    for knob in ("tiling", "slicing"):
        if not getattr(memory, knob):
            continue
        if _enable(knob, modules):
            done[knob] = True
        else:
            _log.warning("%s is asked for, but the decoder of %s has none", knob, type(pipeline).__name__)
    if memory.layerwise_casting not in (None, "none"):
        _cast(denoisers, memory.layerwise_casting, dtype)
        done["layerwiseCasting"] = memory.layerwise_casting
    if memory.compile == "regional":
        compiling.blocks(denoisers, target)
        done["compile"] = memory.compile
    return {**done, **_offload(pipeline, target, memory, denoisers)}


def _cast(denoisers: Mapping[str, Any], storage: str, dtype: str) -> None:
    if not denoisers:
        raise BadRequest("memory.layerwiseCasting: the pipeline has no denoiser of diffusers' own kind; leave it out")
    for denoiser in denoisers.values():
        denoiser.enable_layerwise_casting(storage_dtype=getattr(torch, storage), compute_dtype=getattr(torch, dtype))


def _enable(knob: str, modules: Mapping[str, Any]) -> bool:
    """Switch tiling or slicing on wherever there is such a thing; whether there is."""
    able = [part for part in modules.values() if hasattr(part, f"enable_{knob}") and hasattr(part, f"use_{knob}")]
    for part in able:
        getattr(part, f"enable_{knob}")()
    return bool(able)


def _offload(pipeline: Any, target: str, memory: Memory, denoisers: Mapping[str, Any]) -> Mapping[str, Any]:
    if memory.offload == GROUP:
        return _in_groups(pipeline, target, memory.group_offload or GroupOffload(), denoisers)
    if memory.offload in (None, "none"):
        pipeline.to(target)
        return {}
    if target == "cpu":
        _log.warning("offload: %s is asked for, but there is no GPU to take anything off", memory.offload)
        return {}
    if memory.offload == "sequential":
        pipeline.enable_sequential_cpu_offload()
    else:
        pipeline.enable_model_cpu_offload()
    return {"offload": memory.offload}


def _in_groups(pipeline: Any, target: str, wanted: GroupOffload, denoisers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keep a pipeline in the host's memory, but for the group of layers that computes.

    Not by the pipeline's own `enable_group_offload`, which treats all parts alike: blocks of a decoder would never come
    to the GPU, because `decode` goes by the call that brings them there. So denoisers get what is asked for, and all
    else, which runs seldom, layer by layer. Streams too are for denoisers: they take the order of layers from the first
    call, which differs in a decoder that works in tiles.
    """
    device = torch.device(target)
    streams = wanted.streams and target == "cuda"
    if wanted.streams and not streams:
        _log.warning("groupOffload.streams is asked for, but there is no GPU that has any")
    excluded = getattr(pipeline, "_exclude_from_cpu_offload", ())
    for name, part in pipeline.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        able = getattr(part, "_supports_group_offloading", True)
        if name in denoisers:
            if not able:
                raise BadRequest(
                    f"memory.offload: group can't be had: {type(part).__name__} ({name}) can't be divided; take model"
                    " or sequential"
                )
            apply_group_offloading(
                part,
                device,
                offload_type=f"{wanted.level}_level",
                num_blocks_per_group=wanted.blocks_per_group if wanted.level == "block" else None,
                use_stream=streams,
            )
        elif able and name not in excluded:
            apply_group_offloading(part, device, offload_type="leaf_level")
        else:
            part.to(device)
    effect: dict[str, Any] = {"level": wanted.level, "streams": streams}
    if wanted.level == "block":
        effect["blocksPerGroup"] = wanted.blocks_per_group
    return {"offload": GROUP, "groupOffload": effect}
