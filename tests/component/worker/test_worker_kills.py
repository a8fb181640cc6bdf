"""Every family is killed inside and goes on in new processes, to the same bits, and computes nothing twice."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

import zoo
from carryon_core import layout
from carryon_core.messages import AssignedUnit, ExitCode
from forked_workers import Fate
from studios import NEVER, OFTEN, Studio

EXAMPLES = Path(__file__).parents[3] / "examples"
TERM, KILL = signal.SIGTERM, signal.SIGKILL
FAMILIES = ("sd", "sdxl", "flux", "sd3", "wan", "ltx", "hunyuan", "framepack", "cogvideo", "animatediff")
USUAL = (
    "sd+ddim",
    "sd+euler-a",
    "sd+dpm-sde",
    "sd+dpm-brownian",
    "sdxl+euler",
    "sdxl+dpm-sde",
    "flux+euler",
    "flux+stochastic",
    "sd3+stochastic",
    "sd3+dpm",
    "wan+unipc",
    "wan+stochastic",
    "ltx+euler",
    "ltx+stochastic",
    "hunyuan+euler",
    "hunyuan+stochastic",
    "framepack+euler",
    "framepack+stochastic",
    "cogvideo+ddim",
    "cogvideo+dpm",
    "animatediff+ddim",
    "animatediff+euler-a",
)
"""Of each family what it is shipped with, and what draws noise in each step."""
SEED = 4


def test_no_family_is_left_out() -> None:
    assert {zoo.parse(each)[0].pipeline for each in USUAL} == {zoo.ENTRIES[each].pipeline for each in FAMILIES}


def go_on(studio: Studio, unit: AssignedUnit, signals: Sequence[signal.Signals], draw: random.Random) -> None:
    """Interrupt a unit at random calls, and hold what comes out against what should."""
    expected, total = studio.uninterrupted(unit)
    held = 0
    for number, kill in enumerate(signals):
        # Some calls are left for the attempts to come.
        at = draw.randint(1, max(1, (total - held) // (len(signals) - number + 1)))
        print(f"{held} of {total} calls are kept; {kill.name} while call {at} of the next attempt is at work")
        attempt = studio.run(unit, fate=Fate(kill, at, pause=0.04), cadence=NEVER if kill == TERM else OFTEN)
        now = studio.calls(unit)
        assert attempt.computed == at, attempt.stderr
        if kill == TERM:
            assert attempt.code == ExitCode.INTERRUPTED, attempt.stderr
            # Although a call was at work, and would have been for a minute.
            assert attempt.ending < 2
            # All that had been computed; the call at work is lost.
            assert now == held + at
            assert attempt.termination is not None
            assert attempt.termination.units[0].durable
        else:
            assert attempt.code == -KILL
            assert held <= now <= held + at
        held = now
    last = studio.run(unit)
    assert last.code == ExitCode.DONE, last.stderr
    # Nothing that was kept is computed twice.
    assert last.computed == total - held
    resume = studio.done(unit).resume
    assert resume is not None
    assert (resume.calls, resume.replayed, resume.refused) == (total, held, "")
    assert held > 0
    assert studio.bench.artifacts(unit) == expected
    assert list(studio.bench.store.list(layout.journal_prefix(studio.bench.prefix(unit)))) == []


def drawing(model: str) -> random.Random:
    seed = f"{SEED} {model}"
    print(f"random.Random({seed!r})")
    return random.Random(seed)


@pytest.mark.parametrize("model", USUAL)
def test_a_unit_that_is_killed_inside_goes_on_to_the_same_bits(studio: Studio, model: str) -> None:
    draw = drawing(model)
    # Both, in any order, and up to two more.
    signals = draw.sample([TERM, KILL], 2) + draw.choices([TERM, KILL], k=draw.choice([0, 0, 0, 1, 2]))
    go_on(studio, studio.unit(model), signals, draw)


def test_a_clip_of_the_toy_model_that_is_killed_inside_goes_on_to_the_same_bits(studio: Studio) -> None:
    reel = yaml.safe_load((EXAMPLES / "reel.yaml").read_text())
    params = reel["spec"]["stages"][0]["generate"]["diffusers"]["params"]
    prompt = reel["spec"]["items"]["list"][0]["params"]["prompt"]
    unit = studio.unit(str(EXAMPLES / "toy-model" / "shapes"), like="wan", **{**params, "prompt": prompt})
    go_on(studio, unit, [KILL, TERM], drawing("toy model"))


@pytest.mark.slow
@pytest.mark.parametrize("model", zoo.variants(*FAMILIES))
def test_a_unit_that_is_killed_four_times_goes_on_to_the_same_bits(studio: Studio, model: str) -> None:
    draw = drawing(f"four times {model}")
    unit = studio.unit(model, num_inference_steps=16)
    go_on(studio, unit, [TERM, *draw.choices([TERM, KILL], k=3)], draw)


@pytest.mark.slow
@pytest.mark.parametrize("model", FAMILIES)
def test_a_whole_new_interpreter_goes_on_to_the_same_bits(studio: Studio, model: str) -> None:
    """Everywhere else workers are forked from one that has imported torch: addresses and hashes are the same there."""
    draw = drawing(f"whole {model}")
    unit = studio.unit(model, num_inference_steps=16)
    studio.uninterrupted(unit)  # by a forked one
    studio.whole = True
    go_on(studio, unit, [TERM, KILL], draw)
