"""Samplers by the kind of model they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from zoo.entry import Sampler

NOISE: Final = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
OFFSET: Final = {**NOISE, "steps_offset": 1}
TRAINED: Final[Mapping[str, Sampler]] = {
    "ddim": Sampler("DDIMScheduler", {**OFFSET, "clip_sample": False}),
    "pndm": Sampler("PNDMScheduler", {**OFFSET, "skip_prk_steps": False}),
    "euler": Sampler("EulerDiscreteScheduler", OFFSET),
    "euler-a": Sampler("EulerAncestralDiscreteScheduler", OFFSET),
    "dpm": Sampler("DPMSolverMultistepScheduler", OFFSET),
    "dpm-sde": Sampler(
        "DPMSolverMultistepScheduler", {**OFFSET, "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}
    ),
    "dpm-single": Sampler("DPMSolverSinglestepScheduler", {**NOISE, "lower_order_final": True}),
    # A Brownian tree: nothing of it can be saved.
    "dpm-brownian": Sampler("DPMSolverSDEScheduler", OFFSET),
    "unipc": Sampler("UniPCMultistepScheduler", OFFSET),
    "deis": Sampler("DEISMultistepScheduler", OFFSET),
    # Two calls a step.
    "heun": Sampler("HeunDiscreteScheduler", OFFSET),
    "kdpm2-a": Sampler("KDPM2AncestralDiscreteScheduler", OFFSET),
    "lms": Sampler("LMSDiscreteScheduler", OFFSET),
    "sa": Sampler("SASolverScheduler", OFFSET),
    "ddpm": Sampler("DDPMScheduler", OFFSET),
    "lcm": Sampler("LCMScheduler", OFFSET),
    "tcd": Sampler("TCDScheduler", OFFSET),
}
"""Of models that were trained to tell noise at a thousand steps."""
SHIFT: Final[Mapping[str, Any]] = {"shift": 3.0}
SHIFTING: Final[Mapping[str, Any]] = {"use_dynamic_shifting": True, "shift": 3.0}
"""With the size of the picture."""
VELOCITY: Final[Mapping[str, Any]] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
}


def flow(**config: Any) -> Mapping[str, Sampler]:
    """Of models that learned a flow; two of them draw from the generator of the process, not from the unit's own.

    Args:
        config: Of those that match a flow.
    """
    return {
        "euler": Sampler("FlowMatchEulerDiscreteScheduler", config),
        "stochastic": Sampler("FlowMatchEulerDiscreteScheduler", {**config, "stochastic_sampling": True}),
        "lcm": Sampler("FlowMatchLCMScheduler", config),
        "unipc": Sampler("UniPCMultistepScheduler", VELOCITY),
        "dpm": Sampler("DPMSolverMultistepScheduler", VELOCITY),
        "heun": Sampler("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
    }


def some(samplers: Mapping[str, Sampler], *names: str) -> Mapping[str, Sampler]:
    """Those of these names, in this order."""
    return {name: samplers[name] for name in names}
