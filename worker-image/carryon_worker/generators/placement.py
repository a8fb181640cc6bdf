"""Where a pipeline computes, and in how much memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger(__name__)


def place(pipeline: Any, target: str, knobs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Put a pipeline where it computes, in as little memory as the round's knobs want.

    Args:
        pipeline: Just loaded, in the host's memory.
        target: Device that computes, cuda or cpu.
        knobs: Of the round: tiling, offload.

    Returns:
        The knobs that took effect.
    """
    done: dict[str, Any] = {}
    if knobs.get("tiling"):
        vae: Any = getattr(pipeline, "vae", None)
        if hasattr(vae, "enable_tiling"):
            vae.enable_tiling()
            done["tiling"] = True
        else:
            _log.warning("tiling is asked for, but the decoder of %s has none", type(pipeline).__name__)
    offload = knobs.get("offload")
    if offload is None:
        pipeline.to(target)
        return done
    if target == "cpu":
        _log.warning("offload: %s is asked for, but there is no GPU to take anything off", offload)
        return done
    if offload == "sequential":
        pipeline.enable_sequential_cpu_offload()
    else:
        pipeline.enable_model_cpu_offload()
    done["offload"] = offload
    return done
