"""Knobs that save memory, and what is said when it runs out: real workers, tiny models, a real bucket."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import pytest

from carryon_core.messages import AssignedUnit, ExitCode
from forked_workers import Fate
from studios import NEVER, Studio

GROUP = {"offload": "group", "groupOffload": {"level": "block", "blocksPerGroup": 1, "streams": False}}
LEAF = {"offload": "group", "groupOffload": {"level": "leaf", "streams": False}}
CAST = {"layerwiseCasting": "float8_e4m3fn"}
DECODER = {"tiling": True, "slicing": True}


def pictures(studio: Studio) -> AssignedUnit:
    """Two pictures, larger than a tile."""
    return studio.unit("sd", height=64, width=64, num_images_per_prompt=2, num_inference_steps=4)


def clip(studio: Studio) -> AssignedUnit:
    return studio.unit("wan", dtype="bfloat16", num_inference_steps=4)


def resumes(studio: Studio, unit: AssignedUnit, knobs: Mapping[str, Any]) -> None:
    """Kill a unit, and hold what a new process with the same knobs makes of it against one that was not killed."""
    expected, total = studio.uninterrupted(unit, knobs=knobs)
    studio.half_made(unit, 3, knobs=knobs)
    last = studio.run(unit, knobs=knobs)
    assert last.code == ExitCode.DONE, last.stderr
    assert last.computed == total - 3
    resume = studio.done(unit).resume
    assert resume is not None
    assert (resume.replayed, resume.refused) == (3, "")
    assert studio.bench.artifacts(unit) == expected


@pytest.mark.parametrize("knobs", [DECODER, GROUP, CAST, pytest.param(LEAF, marks=pytest.mark.slow)], ids=str)
def test_a_unit_that_is_killed_goes_on_to_the_same_bits_with_each_knob(
    studio: Studio, knobs: Mapping[str, Any]
) -> None:
    unit = pictures(studio)
    resumes(studio, unit, knobs)
    assert studio.done(unit).overrides == knobs


def test_a_clip_that_is_killed_goes_on_to_the_same_bits_with_all_knobs_at_once(studio: Studio) -> None:
    unit = clip(studio)
    asked = {**GROUP, **CAST, **DECODER, "conv3dFloat32": "always"}
    resumes(studio, unit, asked)
    assert studio.done(unit).overrides == {**asked, "conv3dFloat32": True}


def test_a_journal_of_other_knobs_is_refused_by_name_and_the_unit_is_right(studio: Studio) -> None:
    unit = pictures(studio)
    plain, total = studio.uninterrupted(unit)
    studio.half_made(unit, 3)
    kept = studio.content()
    table: list[tuple[Mapping[str, Any], str, bool]] = [
        (DECODER, "memory.slicing False -> True, memory.tiling False -> True, ", False),
        (GROUP, "memory.groupOffload.blocksPerGroup absent -> 1, memory.groupOffload.level absent -> block, ", True),
        (CAST, "memory.layerwiseCasting none -> float8_e4m3fn, ", False),
    ]
    for knobs, reason, same in table:
        studio.fill(kept)
        attempt = studio.run(unit, knobs=knobs)
        assert attempt.code == ExitCode.DONE, attempt.stderr
        resume = studio.done(unit).resume
        assert resume is not None
        assert resume.refused.startswith(f"CheckpointNotResumable: {reason}"), resume.refused
        assert resume.refused.endswith(", 2 steps lost"), resume.refused
        assert attempt.computed == total
        made = studio.bench.artifacts(unit)
        # Where weights lie changes no bit; how they are cast, and what is decoded by itself, does.
        assert (made == plain) is same, knobs
        studio.fill({})
        assert made == studio.uninterrupted(unit, knobs=knobs)[0]


def test_a_journal_with_knobs_is_refused_without_them(studio: Studio) -> None:
    unit = clip(studio)
    expected, total = studio.uninterrupted(unit)
    studio.half_made(unit, 3, knobs={"conv3dFloat32": "always"})
    last = studio.run(unit)
    assert last.computed == total
    resume = studio.done(unit).resume
    assert resume is not None
    assert resume.refused == "CheckpointNotResumable: memory.conv3dFloat32 True -> False, 1 step lost"
    assert studio.bench.artifacts(unit) == expected


@pytest.mark.parametrize(
    ("short_of", "knobs", "message"),
    [
        (
            "GPU",
            {"tiling": True},
            "the GPU ran out of memory in the denoiser (2.00 GiB asked for), with tiling: true. What would help, the"
            " cheapest first: memory.offload: model; memory.layerwiseCasting: float8_e4m3fn; memory.offload: group;"
            " memory.offload: sequential; a smaller height or width or num_images_per_prompt; a GPU with more memory"
            " (resources, nodeSelector)",
        ),
        ("host", {}, "the worker ran out of memory in the denoiser (1048576.00 GiB asked for, "),
    ],
)
def test_out_of_memory_ends_with_13_and_what_would_help_and_the_journal_stays(
    studio: Studio, short_of: str, knobs: Mapping[str, Any], message: str
) -> None:
    unit = pictures(studio)
    expected, total = studio.uninterrupted(unit, knobs=knobs)
    short = studio.run(unit, fate=Fate(short_of=short_of, at=3), cadence=NEVER, knobs=knobs)
    assert short.code == ExitCode.OUT_OF_MEMORY
    assert short.termination is not None
    (report,) = short.termination.units
    assert (report.reason, report.permanent, report.durable) == ("OutOfMemory", False, True)
    assert report.message.startswith(message)
    assert studio.calls(unit) == 3
    assert studio.run(unit, knobs=knobs).computed == total - 3
    assert studio.bench.artifacts(unit) == expected


@pytest.mark.parametrize(
    ("model", "knobs", "message"),
    [
        (
            "sd3",
            {"compile": "regional"},
            "memory.compile: regional can't be had: diffusers names no repeated blocks of SD3Transformer2DModel"
            " (transformer); leave memory.compile out",
        ),
        ("sd", {"offload": "disk"}, "memory.offload: Input should be 'none', 'model', 'group' or 'sequential'"),
    ],
)
def test_what_can_t_be_had_fails_for_good_and_says_why(
    studio: Studio, model: str, knobs: Mapping[str, Any], message: str
) -> None:
    ended = studio.run(studio.unit(model), knobs=knobs)
    assert ended.code == ExitCode.BAD_REQUEST, ended.stderr
    assert ended.termination is not None
    assert ended.termination.units[0].message == message


def test_compiling_without_a_compiler_fails_for_good_and_says_what_is_missing(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nonexistent/g++")
    ended = studio.run(studio.unit("sd"), knobs={"compile": "regional"})
    assert ended.code == ExitCode.BAD_REQUEST, ended.stderr
    assert ended.termination is not None
    assert ended.termination.units[0].message == (
        "memory.compile: regional needs a C++ compiler in the worker's image, and /nonexistent/g++ can't be run; leave"
        " memory.compile out, or give the stage an image that has one"
    )


def test_a_knob_without_effect_is_told_and_not_recorded(studio: Studio) -> None:
    unit = pictures(studio)
    knobs = {"offload": "group", "groupOffload": {"streams": True}, "conv3dFloat32": "always", "undreamtOf": 1}
    ended = studio.run(unit, knobs=knobs)
    assert ended.code == ExitCode.DONE, ended.stderr
    assert "this worker has no memory.undreamtOf: it goes without" in ended.stderr
    assert "streams is asked for, but there is no GPU that has any" in ended.stderr
    assert studio.done(unit).overrides == GROUP


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++")
@pytest.mark.parametrize(("model", "more"), [("sd", {}), ("ltx", CAST), ("wan", GROUP)])
def test_a_compiled_unit_that_is_killed_goes_on_to_the_same_bits(
    studio: Studio, model: str, more: Mapping[str, Any]
) -> None:
    unit = studio.unit(model, num_inference_steps=4)
    knobs = {**more, "compile": "regional"}
    resumes(studio, unit, knobs)
    assert studio.done(unit).overrides == knobs


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++")
def test_a_journal_of_compiled_blocks_is_refused_by_a_worker_that_does_not_compile(studio: Studio) -> None:
    unit = studio.unit("sd", num_inference_steps=4)
    expected, _ = studio.uninterrupted(unit)
    studio.half_made(unit, 3, knobs={"compile": "regional"})
    assert studio.run(unit).code == ExitCode.DONE
    resume = studio.done(unit).resume
    assert resume is not None
    assert resume.refused.startswith("CheckpointNotResumable: memory.compile regional -> none, ")
    assert studio.bench.artifacts(unit) == expected


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++")
def test_what_is_compiled_does_not_depend_on_what_was_seen_before(studio: Studio) -> None:
    """A unit of another size before it would else leave it one kernel for both."""
    knobs = {"compile": "regional"}
    unit = studio.unit("sd", height=32, width=32, num_inference_steps=4)
    expected, _ = studio.uninterrupted(unit, knobs=knobs)
    before = studio.bench.unit(1, studio.unit("sd", num_inference_steps=4).generate)
    assert studio.run(before, unit, knobs=knobs).code == ExitCode.DONE
    assert studio.bench.artifacts(unit) == expected
