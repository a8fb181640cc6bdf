"""Clips that are made longer: what is added is what a longer clip would have been, and the seam is none."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from carryon_worker.generators import history
from carryon_worker.generators.extending import Extension
from carryon_worker.generators.history import History, Keeping

STEPS = 2
PER_SECTION = 12
LONG = {**zoo.ENTRIES["framepack"].params, "latent_window_size": 3}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def framepack() -> Any:
    torch.manual_seed(3)
    pipeline = zoo.ENTRIES["framepack"].build("euler")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Long:
    """A clip of four sections, and what was known when two of them were made."""

    def __init__(self, pipeline: Any) -> None:
        self.generator = torch.Generator().manual_seed(7)
        keeping = Keeping(pipeline, None)
        drawn = []

        def step_ended(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            keeping.step_ended(pipe, step, tensors)
            if step + 1 == STEPS:
                drawn.append(self.generator.get_state())
            return tensors

        with keeping.watching():
            self.frames = call(pipeline, 4, self.generator, image=PICTURE, callback_on_step_end=step_ended)
        whole = keeping.history()
        assert whole is not None
        self.history = whole
        self.half = History(whole.first, whole.sections[:2])
        self.generator.set_state(drawn[1])


@pytest.fixture(scope="module")
def long(framepack: Any) -> Long:
    return Long(framepack)


def call(pipeline: Any, sections: int, generator: Any, **more: Any) -> Any:
    """Frames, shape (frames, height, width, 3)."""
    given = {**LONG, "num_frames": sections * 9, "sampling_type": "vanilla", **more}
    made = pipeline(**given, num_inference_steps=STEPS, generator=generator, output_type="np")
    return made.frames[0]


def extended(pipeline: Any, before: History, generator: Any) -> Any:
    """Two more sections after a history, with the frames of that history in front."""
    known = len(before.sections)
    extension: Any = Extension(clip=None, params={}, drop=0, history=before)  # type: ignore[arg-type]
    with extension.applied(pipeline):
        return call(pipeline, known + 2, generator, image=PICTURE)


def state(generator: Any) -> Any:
    return torch.Generator().set_state(generator.get_state())


def test_framepack_goes_on_as_if_it_had_never_stopped(framepack: Any, long: Long) -> None:
    frames = extended(framepack, long.half, state(long.generator))
    assert type(framepack) is diffusers.HunyuanVideoFramepackPipeline
    assert frames.shape == long.frames.shape == (1 + 4 * PER_SECTION, 32, 32, 3)
    assert np.array_equal(frames, long.frames)


def test_only_what_is_looked_back_on_is_needed(framepack: Any) -> None:
    """Of nine sections of three latent frames each, the last seven hold the nineteen that are looked back on."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn((1, 4, 27, 4, 4), generator=generator)
    first = torch.randn((1, 4, 1, 4, 4), generator=generator)
    whole = History(first, torch.split(latents, 3, dim=2))
    kept = History(first, history.last(whole.sections, 3))
    assert len(kept.sections) == 7
    made = [extended(framepack, each, torch.Generator().manual_seed(2)) for each in (whole, kept)]
    new = 2 * PER_SECTION
    assert np.array_equal(made[0][-new:], made[1][-new:])
    less = extended(framepack, History(first, kept.sections[2:]), torch.Generator().manual_seed(2))
    assert not np.array_equal(less[-new:], made[1][-new:])
