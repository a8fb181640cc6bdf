"""Clips made section by section whose journal outgrows its bound: finished sections are kept by their results."""

from __future__ import annotations

import random
from typing import Any

import pytest

from carryon_core.messages import AssignedUnit, Cadence, ExitCode
from carryon_worker.journal import compaction
from forked_workers import Fate
from studios import KILL, NEVER, TERM, Studio

SECTION = 16
"""Calls in one section: its steps."""
ALL = 4 * SECTION
CALL = 3300
"""Bytes of a call in the journal: latents of 2 frames, 4 channels, 8 x 8, in float32, and what describes them."""
RESULT = 25_000
"""Bytes of a finished section's result, most of it the state of generators."""
BOUND = 90_000
"""Room for a section and a half, or for the results of three and some calls."""
NEWEST_FIRST = "inverted_anti_drifting"
BOUNDED = Cadence(every_seconds=3600, max_bytes=BOUND)


def clip(studio: Studio, model: str = "framepack", **params: Any) -> AssignedUnit:
    sections = {"num_frames": 17, "latent_window_size": 2, "sampling_type": "vanilla" if "+" in model else NEWEST_FIRST}
    return studio.unit(model, height=64, width=64, num_inference_steps=SECTION, **sections, **params)


def held(studio: Studio, unit: AssignedUnit) -> int:
    """Bytes of the journal in the bucket."""
    return sum(len(studio.content()[key]) for key in studio.keys(unit))


def standing(studio: Studio, unit: AssignedUnit) -> int:
    """Sections that the journal holds by their results."""
    return sum(call.section is not None for segment in studio.journal(unit) for call in segment.header.calls)


def test_every_pipeline_whose_sections_are_kept_by_results_is_tried_here() -> None:
    assert {*compaction.CERTIFIED} == {"HunyuanVideoFramepackPipeline"}
    assert compaction.CERTIFIED["HunyuanVideoFramepackPipeline"] == {"FlowMatchEulerDiscreteScheduler"}


@pytest.mark.parametrize("model", [pytest.param("framepack", marks=pytest.mark.slow), "framepack+stochastic"])
def test_a_clip_that_is_killed_in_each_section_goes_on_to_the_same_bits(studio: Studio, model: str) -> None:
    unit = clip(studio, model)
    expected, total = studio.uninterrupted(unit)
    assert total == ALL
    reached = 0
    for section in range(4):
        # In the fourth call of the section, counted from those that this worker computes.
        at = section * SECTION + 4 - reached
        attempt = studio.run(unit, fate=Fate(TERM, at), cadence=BOUNDED)
        assert attempt.code == ExitCode.INTERRUPTED, attempt.stderr
        assert attempt.computed == at
        reached += at
        assert studio.calls(unit) == reached
        # The first section leaves room for another one.
        assert standing(studio, unit) == (section if section > 1 else 0)
        assert held(studio, unit) < BOUND
    last = studio.run(unit, cadence=BOUNDED)
    assert last.code == ExitCode.DONE, last.stderr
    assert last.computed == total - reached
    resume = studio.done(unit).resume
    assert resume is not None
    assert (resume.calls, resume.replayed, resume.step, resume.refused) == (total, reached, reached - 1, "")
    assert studio.bench.artifacts(unit) == expected
    assert studio.keys(unit) == []


def test_a_finished_section_that_is_damaged_costs_work_and_nothing_else(studio: Studio) -> None:
    unit = clip(studio)
    expected, total = studio.uninterrupted(unit)
    assert studio.run(unit, fate=Fate(TERM, 3 * SECTION + 4), cadence=BOUNDED).code == ExitCode.INTERRUPTED
    # Two sections by their results, one more, and four calls of the last.
    assert [segment.compacted for segment in studio.journal(unit)] == [True, True, False]
    assert len(studio.keys(unit)) == 3
    whole = studio.content()
    first, second = (segment.key for segment in studio.journal(unit)[:2])
    diverged = f"call {3 * SECTION} of transformer has another latents_clean, {3 * SECTION + 3} steps lost"
    for key, computed, reason in (
        (first, total, "no segment from call 0 on is whole, 3 objects are of no use"),
        (second, 2 * SECTION, f"segment 1 is missing or damaged, {SECTION + 3} steps lost"),
        ("", total, diverged),
    ):
        studio.fill(whole)
        if key:
            studio.turn(key)
        else:
            studio.mend(unit, 1)
        last = studio.run(unit, cadence=BOUNDED)
        assert last.code == ExitCode.DONE, last.stderr
        resume = studio.done(unit).resume
        assert resume is not None
        assert resume.refused == f"CheckpointNotResumable: {reason}"
        assert (last.computed, resume.replayed) == (computed, total - computed)
        assert studio.bench.artifacts(unit) == expected


@pytest.mark.slow
def test_random_kills_go_on_to_the_same_bits_whatever_room_there_is(studio: Studio) -> None:
    draw = random.Random("sections")
    unit = clip(studio)
    expected, total = studio.uninterrupted(unit)
    for room in (20_000, 60_000, BOUND, 150_000, 250_000):
        for kill in draw.choices([TERM, KILL], k=4):
            cadence = Cadence(every_seconds=draw.choice([0.02, 3600]), max_bytes=room)
            attempt = studio.run(unit, fate=Fate(kill, draw.randint(1, 30)), cadence=cadence)
            if attempt.code == ExitCode.DONE:
                break
            # Whoever is killed right after it has written results leaves what they replace.
            assert held(studio, unit) <= room + SECTION * CALL + 3 * RESULT
        else:
            attempt = studio.run(unit, cadence=NEVER)
        assert attempt.code == ExitCode.DONE, attempt.stderr
        resume = studio.done(unit).resume
        assert resume is not None
        assert (resume.refused, resume.replayed + attempt.computed) == ("", total), room
        assert studio.bench.artifacts(unit) == expected
        studio.fill({})
