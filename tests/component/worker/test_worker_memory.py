"""Knobs that save memory, and what is said when it runs out: real workers, tiny models, a real bucket."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import pytest

from carryon_core.messages import AssignedUnit, ExitCode
from forked_workers import Fate
from studios import NEVER, Studio

GROUP = {"offload": "group", "groupOffload": {"level": "block", "blocksPerGroup": 1}}
LEAF = {"offload": "group", "groupOffload": {"level": "leaf"}}
CAST = {"layerwiseCasting": "float8_e4m3fn"}
EFFECT: Mapping[str, Mapping[str, Any]] = {
    "tiling": {"tiling": True},
    "slicing": {"slicing": True},
    "group": {"offload": "group", "groupOffload": {"level": "block", "blocksPerGroup": 1, "streams": False}},
    "leaf": {"offload": "group", "groupOffload": {"level": "leaf", "streams": False}},
    "cast": CAST,
}
"""What done.json says of each of `KNOBS`."""
KNOBS: Mapping[str, Mapping[str, Any]] = {**EFFECT, "group": GROUP, "leaf": LEAF}


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


@pytest.mark.parametrize("name", [*KNOBS])
def test_a_unit_that_is_killed_goes_on_to_the_same_bits_with_each_knob(studio: Studio, name: str) -> None:
    unit = pictures(studio)
    resumes(studio, unit, KNOBS[name])
    assert studio.done(unit).overrides == EFFECT[name]


def test_a_clip_that_is_killed_goes_on_to_the_same_bits_with_all_knobs_at_once(studio: Studio) -> None:
    unit = clip(studio)
    knobs = {**GROUP, **CAST, "tiling": True, "slicing": True, "conv3dFloat32": "always"}
    resumes(studio, unit, knobs)
    done = studio.done(unit)
    assert done.overrides == {
        **EFFECT["group"], **CAST, "tiling": True, "slicing": True, "conv3dFloat32": True,
    }  # fmt: skip


REFUSED = {
    "tiling": "memory.tiling False -> True, ",
    "slicing": "memory.slicing False -> True, ",
    "group": "memory.groupOffload.blocksPerGroup absent -> 1, ",
    "leaf": "memory.groupOffload.level absent -> leaf, ",
    "cast": "memory.layerwiseCasting none -> float8_e4m3fn, ",
}


def test_a_journal_of_other_knobs_is_refused_by_name_and_the_unit_is_right(studio: Studio) -> None:
    unit = pictures(studio)
    plain, total = studio.uninterrupted(unit)
    studio.half_made(unit, 3)
    kept = studio.content()
    for name, reason in REFUSED.items():
        studio.fill(kept)
        attempt = studio.run(unit, knobs=KNOBS[name])
        assert attempt.code == ExitCode.DONE, attempt.stderr
        resume = studio.done(unit).resume
        assert resume is not None
        assert resume.refused.startswith(f"CheckpointNotResumable: {reason}"), resume.refused
        assert resume.refused.endswith(" lost")
        assert attempt.computed == total
        made = studio.bench.artifacts(unit)
        # Where weights lie changes no bit; how they are cast and what is decoded together does.
        assert (made == plain) is (name in ("group", "leaf", "slicing")), name
        studio.fill({})
        assert made == studio.uninterrupted(unit, knobs=KNOBS[name])[0]


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
    last = studio.run(unit, knobs=knobs)
    assert last.computed == total - 3
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
    assert studio.done(unit).overrides == EFFECT["group"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++")
@pytest.mark.parametrize(("model", "more"), [("sd", {}), ("ltx", CAST), ("wan", EFFECT["group"])])
def test_a_compiled_unit_that_is_killed_goes_on_to_the_same_bits(
    studio: Studio, model: str, more: Mapping[str, Any]
) -> None:
    unit = studio.unit(model, num_inference_steps=4)
    knobs = {**more, "compile": "regional"}
    resumes(studio, unit, knobs)
    assert studio.done(unit).overrides == knobs
    compiled = studio.bench.artifacts(unit)
    studio.fill({})
    studio.half_made(unit, 3, knobs=knobs)
    plain = studio.run(unit, knobs=more)
    assert plain.code == ExitCode.DONE
    resume = studio.done(unit).resume
    assert resume is not None
    assert resume.refused.startswith("CheckpointNotResumable: memory.compile regional -> none, ")
    assert studio.bench.artifacts(unit).keys() == compiled.keys()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++")
def test_what_is_compiled_does_not_depend_on_what_was_seen_before(studio: Studio) -> None:
    """A unit of another size before it, and one resumed in the middle, would else get kernels of their own."""
    knobs = {"compile": "regional"}
    unit = studio.unit("sd", height=32, width=32, num_inference_steps=4)
    expected, _ = studio.uninterrupted(unit, knobs=knobs)
    other = studio.unit("sd", num_inference_steps=4)
    before = studio.bench.unit(1, other.generate)
    assert studio.run(before, unit, knobs=knobs).code == ExitCode.DONE
    assert studio.bench.artifacts(unit) == expected
