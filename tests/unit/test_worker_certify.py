"""Decisions of a certification: what a pipeline is called with, where it is cut, and what that means."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from carryon_core.done import Resume
from carryon_worker.certify import Control, Verdict, calling, control, cuts, drawing, verdicts
from carryon_worker.certify.calling import Argument, Drawing
from carryon_worker.certify.cuts import Cut
from carryon_worker.certify.report import markdown
from carryon_worker.certify.runs import Made
from carryon_worker.journal.segments import Blob

KILL, TERM = signal.SIGKILL, signal.SIGTERM
MADE = Made("bits", ("file",), finite=True, flat=False)


def takes(**kinds: Any) -> Mapping[str, Argument]:
    """Arguments by name: a type as text for a required one, else the default and the type."""
    return {
        name: Argument(True, None, kind) if isinstance(kind, str) else Argument(False, *kind)
        for name, kind in kinds.items()
    }


def test_a_picture_is_made_from_a_prompt_in_few_steps() -> None:
    text = takes(prompt=(None, "str | None"), height=(None, "int"), num_inference_steps=(50, "int"), eta=(0.0, "float"))
    made = calling.choose(text, {}, 64)
    assert made.missing == ()
    assert made.params == {"prompt": made.params["prompt"], "num_inference_steps": calling.STEPS}
    assert made.params["prompt"]


def test_what_the_user_says_is_left_as_it_is() -> None:
    given = {"prompt": "fox", "num_inference_steps": 3, "unknown": 1}
    text = takes(prompt=(None, "str"), num_inference_steps=(50, "int"))
    assert calling.choose(text, given, 64).params == given


def test_pictures_and_clips_have_the_size_that_is_asked_for_else_the_models() -> None:
    inpaint = takes(prompt="str", image=(None, "PipelineImageInput"), mask_image="PipelineImageInput")
    assert calling.choose(inpaint, {}, 64).params["image"] == Drawing(False, 64, 64)
    assert calling.choose(inpaint, {}, 64).params["mask_image"] == Drawing(True, 64, 64)
    sized = {**inpaint, **takes(height=(480, "int"), width=(832, "int"))}
    assert calling.choose(sized, {}, 64).params["image"] == Drawing(False, 832, 480)
    assert calling.choose(sized, {"width": 96}, 64).params["image"] == Drawing(False, 96, 480)
    clip = takes(video="list[PIL.Image.Image]", num_frames=(17, "int"))
    assert calling.choose(clip, {}, 8).params["video"] == [Drawing(False, 8, 8, frame) for frame in range(17)]
    # One of them is enough where both may be given.
    assert "video" not in calling.choose(takes(image=(None, ""), video=(None, "")), {}, 8).params


def test_what_is_needed_and_can_not_be_guessed_is_named() -> None:
    decoder = takes(image_embeds="torch.Tensor | list[torch.Tensor]", prompt="str", last_image=(None, "PIL.Image"))
    made = calling.choose(decoder, {}, 64)
    assert made.missing == ("image_embeds",)
    assert calling.lacking("X", made.missing, decoder) == (
        "X needs image_embeds, which are tensors: a job has no way to give them"
    )
    poses = takes(trajectory="Any", speed="float")
    made = calling.choose(poses, {}, 64)
    assert calling.lacking("X", made.missing, poses) == (
        "X needs trajectory, speed, which can't be guessed: pass --param trajectory=... --param speed=..."
    )


def test_pictures_are_written_once_and_referred_to_by_their_content(tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    Image.new("RGB", (4, 4)).save(own)
    wanted = {"image": Drawing(False, 32, 16), "again": [Drawing(False, 32, 16)], "own": own, "n": {"a": (1, "x")}}
    made = drawing.as_files(wanted, tmp_path)
    assert made["again"] == [made["image"]]
    assert made["n"] == {"a": [1, "x"]}
    assert made["own"]["$file"]["uri"] == own.as_uri()
    (written,) = [path for path in tmp_path.iterdir() if path != own]
    assert made["image"]["$file"]["uri"] == written.as_uri()
    assert Image.open(written).size == (32, 16)
    # Something to see, and other things in other frames.
    first, later = (np.asarray(drawing.draw(Drawing(False, 32, 16, frame))) for frame in (0, 8))
    assert first.std() > 20
    assert (first != later).any()
    assert set(np.unique(np.asarray(drawing.draw(Drawing(True, 32, 16))))) == {0, 255}
    json.dumps(made)


@pytest.mark.parametrize(
    ("timesteps", "count", "expected"),
    [
        ("abcdefgh", 3, [Cut(2, KILL), Cut(5, KILL), Cut(7, TERM)]),
        ("abcdefgh", 1, [Cut(7, TERM)]),
        ("abc", 3, [Cut(1, KILL), Cut(2, TERM)]),
        # Two calls a step: 4 would be between steps.
        ("aabbccdd", 2, [Cut(3, KILL), Cut(7, TERM)]),
        ("aabbccdd", 3, [Cut(2, KILL), Cut(5, KILL), Cut(7, TERM)]),
        # It does not say where it is.
        (["", "", "", ""], 2, [Cut(2, KILL), Cut(3, TERM)]),
    ],
)
def test_a_unit_is_cut_all_over_last_before_its_last_call(timesteps: Any, count: int, expected: list[Cut]) -> None:
    assert list(cuts.plan(list(timesteps), count)) == expected


@given(st.lists(st.sampled_from(["", "a", "b"]), min_size=cuts.FEWEST, max_size=60), st.integers(1, 20))
def test_every_cut_leaves_something_before_and_after_it(timesteps: list[str], count: int) -> None:
    planned = cuts.plan(timesteps, count)
    places = [cut.before for cut in planned]
    assert places == sorted(set(places))
    assert 1 <= len(places) <= count
    assert all(1 <= place < len(timesteps) for place in places)
    assert planned[-1] == Cut(len(timesteps) - 1, TERM)
    inside = {n for n in range(1, len(timesteps) - 1) if timesteps[n] and timesteps[n] == timesteps[n - 1]}
    if len(planned) > 1 and inside:
        assert inside & set(places)


def test_a_resumed_run_is_exact_only_if_everything_fits() -> None:
    right = Resume(calls=8, replayed=7)
    assert verdicts.not_exact(MADE, MADE, 1, 8, right, 7) == ""
    other = Made("bits", ("another file",), finite=True, flat=False)
    table = [
        ((MADE, other, 1, 8, right, 7), "gives other bits"),
        ((MADE, MADE, 1, 8, Resume(calls=9, replayed=7), 7), "makes 9 calls, an uninterrupted one 8"),
        ((MADE, MADE, 1, 8, Resume(calls=8, replayed=3), 7), "of 7 calls that the journal can answer, 3 were"),
        ((MADE, MADE, 4, 8, right, 7), "computed 4 of 8 calls, although 7 are in the journal"),
    ]
    for given_, sentence in table:
        assert sentence in verdicts.not_exact(*given_)


def test_a_verdict_is_certified_only_if_nothing_is_open() -> None:
    good = Verdict("P", "S", 8, True, True, Control.CHANGED, replayed=7)
    assert good.certified
    for change in (
        {"repeatable": None}, {"exact": False}, {"exact": None}, {"control": Control.NONE},
        {"control": Control.VACUOUS}, {"recomputed": 1}, {"problem": "something"},
    ):  # fmt: skip
        fields: dict[str, Any] = {"calls": 8, "repeatable": True, "exact": True, "control": Control.CHANGED, **change}
        assert not Verdict("P", "S", **fields).certified


def test_an_output_that_proves_nothing_is_said_to() -> None:
    assert "is not a number" in verdicts.vacuous(Made("", (), finite=False, flat=False))
    assert "is one number" in verdicts.vacuous(Made("", (), finite=True, flat=True))
    assert "does not depend on the call" in verdicts.vacuous(MADE)


@pytest.mark.parametrize(
    ("dtype", "array"),
    [
        ("F32", np.array([0.0, 1.0, -2.5, 0.5], np.float32)),
        ("F16", np.array([0.0, 1.0, -2.5, 7.0], np.float16)),
        ("F64", np.array([0.0, 1.0, -2.5, 7.0])),
        # 1.0, 2.0 and 0.0.
        ("BF16", np.array([0x3F80, 0x4000, 0], np.uint16)),
        ("I64", np.array([0, 1, -7])),
        ("BOOL", np.array([True, False])),
    ],
)
def test_the_negative_control_changes_every_number_and_keeps_its_form(dtype: str, array: Any) -> None:
    blob = Blob(dtype, array.shape, array.tobytes())
    changed = control.other(blob)
    assert (changed.dtype, changed.shape, len(changed.data)) == (dtype, array.shape, len(blob.data))
    seen = np.frombuffer(changed.data, array.dtype)
    assert (seen != array).all()
    if dtype == "BF16":
        assert (seen.astype(np.uint32) << 16).view(np.float32).tolist() == [-0.5, -1.5, 0.5]
    elif dtype.startswith("F"):
        assert np.isfinite(seen).all()


def test_verdicts_are_rows_of_markdown() -> None:
    good = Verdict("P", "S", 8, True, True, Control.CHANGED, replayed=14, bytes=16_000)
    bad = Verdict("P", "", problem="a | b\nc")
    head, rule, *rows = markdown([good, bad]).splitlines()
    assert head.startswith("| pipeline | scheduler | verdict |")
    assert rule.count("---") == head.count("|") - 1
    assert rows == [
        "| P | S | certified | yes | yes | changed | 8 | 14 | 0 | 2,000 |",
        "| P |  | not certified: a / b c |  |  |  |  |  |  |  |",
    ]
