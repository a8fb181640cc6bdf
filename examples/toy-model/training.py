"""A training that can be killed at any moment: the same command goes on from its last checkpoint, to the same weights.

What a step draws depends on the seed and the step's number alone, so a checkpoint needs no state of random generators.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

CHECKPOINT_EVERY = 120.0
"""Seconds."""
WARM_UP = 50
"""Steps until the learning rate is at its highest."""
COOL_DOWN = 0.3
"""Share of the steps in which it goes back to nothing."""


class Average:
    """Running means of a module's weights, which make better results than the weights of any one step."""

    def __init__(self, module: nn.Module, decay: float = 0.995) -> None:
        self.decay = decay
        self.means = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, module: nn.Module, step: int) -> None:
        # Not much of what there was in the beginning.
        keep = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in module.state_dict().items():
                self.means[name].lerp_(value, 1 - keep)


def learning_rate(step: int, steps: int) -> float:
    """Share of the highest: up in a line, long the same, then down in a line to nothing."""
    return min((step + 1) / WARM_UP, 1.0, (steps - step) / (COOL_DOWN * steps))


def optimizers(module: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for what multiplies hidden states, AdamW, at half the rate, for everything else."""
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    hidden = [
        p
        for name, p in trained.items()
        if p.ndim == 2 and ("blocks." in name or "layers." in name) and "table" not in name
    ]
    chosen = {id(parameter) for parameter in hidden}
    others = [parameter for parameter in trained.values() if id(parameter) not in chosen]
    made: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, lr=rate / 2, betas=(0.9, 0.98), weight_decay=0.0)]
    if hidden:
        made.append(torch.optim.Muon(hidden, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
    for optimizer in made:
        for group in optimizer.param_groups:
            group["highest"] = group["lr"]
    return made


def train(
    module: nn.Module, loss: Callable[[int], torch.Tensor], steps: int, rate: float, checkpoint: Path, clip: float = 1.0
) -> Mapping[str, torch.Tensor]:
    """Take `steps` steps, fewer where a checkpoint says that some were taken.

    Args:
        module: What is trained, in place.
        loss: Of step n; draws nothing but from generators seeded with n.
        steps: In all.
        rate: Highest learning rate.
        checkpoint: File of the last state; written every two minutes and at the end.
        clip: Longest gradient.

    Returns:
        Averaged weights.
    """
    chosen, average, done = optimizers(module, rate), Average(module), 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(state["module"])
        average.means, done = state["average"], state["step"]
        for optimizer, saved in zip(chosen, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        print(f"{checkpoint.stem}: goes on at step {done} of {steps}", flush=True)
    saved_at, told, seen = time.monotonic(), time.monotonic(), []
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for step in range(done, steps):
        value = loss(step)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, clip)
        for optimizer in chosen:
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * learning_rate(step, steps)
            optimizer.step()
            optimizer.zero_grad()
        average.update(module, step)
        seen.append(value.item())
        now = time.monotonic()
        if now - told > 15:
            print(f"{checkpoint.stem}: step {step + 1} of {steps}, loss {sum(seen) / len(seen):.4f}", flush=True)
            told, seen = now, []
        if now - saved_at > CHECKPOINT_EVERY or step + 1 == steps:
            save(checkpoint, module, chosen, average, step + 1)
            saved_at = now
    return average.means


def save(file: Path, module: nn.Module, chosen: list[torch.optim.Optimizer], average: Average, step: int) -> None:
    """The file appears whole or not at all."""
    state: dict[str, Any] = {
        "module": module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in chosen],
        "average": average.means,
        "step": step,
    }
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, file)
