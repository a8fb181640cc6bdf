"""Lets diffusers misbehave, in processes that have this folder in PYTHONPATH, as the variable MISBEHAVE says.

random      steps draw from the operating system, which nobody can seed
counting    decoding depends on how many calls of the denoiser this process has computed
steering    steps depend on that
remembering the denoiser counts its calls in an attribute
flat        decoding returns one number, whatever it is given
dying       the process dies when it decodes
"""

from __future__ import annotations

import os
import signal
from typing import Any

import diffusers
import torch

computed = 0
unet_forward = diffusers.UNet2DConditionModel.forward
ddim_step = diffusers.DDIMScheduler.step
decode = diffusers.AutoencoderKL.decode


def how() -> str:
    return os.environ.get("MISBEHAVE", "")


def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    global computed
    computed += 1
    if how() == "remembering":
        self.made = computed
    return unet_forward(self, *args, **kwargs)


def step(self: Any, model_output: Any, *args: Any, **kwargs: Any) -> Any:
    if how() == "random":
        model_output = model_output + int.from_bytes(os.urandom(2), "big") / 2**16
    elif how() == "steering":
        model_output = model_output + computed / 100
    return ddim_step(self, model_output, *args, **kwargs)


def decoded(self: Any, z: Any, *args: Any, **kwargs: Any) -> Any:
    if how() == "dying":
        os.kill(os.getpid(), signal.SIGKILL)
    made = decode(self, z, *args, **kwargs)
    if how() == "flat":
        return tuple(torch.zeros_like(each) for each in made)
    if how() == "counting":
        return tuple(each + computed / 100 for each in made)
    return made


diffusers.UNet2DConditionModel.forward = forward
diffusers.DDIMScheduler.step = step
diffusers.AutoencoderKL.decode = decoded
