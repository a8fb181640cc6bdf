"""What `python -m carryon_worker check` says before anything is made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PICTURE = {"prompt": "dunes", "height": 64, "width": 64, "num_inference_steps": 2}
INPUT = {"$input": {"stage": "image", "name": None}}
LONGER = {"extend": {"from": "clip", "seconds": 2}}
FILE = {"$file": {"uri": "s3://bucket/a.png", "sha256": "0" * 64}}


def run(text: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "carryon_worker", *(args or ("check",))],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )


def check(*units: tuple[str, str, Mapping[str, Any]]) -> dict[str, Any]:
    asked = [{"stage": stage, "item": item, "generate": generate} for stage, item, generate in units]
    ended = run(json.dumps({"units": asked}))
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def diffusers(model: str, params: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"diffusers": {"model": model, "params": {**PICTURE, **params}, **more}}


def test_each_problem_is_found_once_for_all_its_items_and_what_fits_is_no_problem(models: Mapping[str, str]) -> None:
    image, video = models["image"], models["video"]
    long = " ".join(["dunes"] * 100)
    answer = check(
        *[("image", f"item {n}", diffusers(image, {"hieght": 64})) for n in range(7)],
        ("fine", "a", diffusers(image, {})),
        ("fine", "b", diffusers("some/model", {"image": INPUT}, pipeline="StableDiffusionInpaintPipeline")),
        ("kind", "a", diffusers(image, {"height": "64", "guidance_scale": FILE})),
        ("long", "a", diffusers(image, {"prompt": long})),
        ("long", "b", diffusers(image, {"prompt": ["dunes", long + " " + long]})),
        ("long", "c", diffusers(image, {"prompt": "dunes", "negative_prompt": "x"})),
        ("clip", "a", diffusers(video, {"prompt": long, "num_frames": 9})),
        ("clip", "b", diffusers(video, {"prompt": long, "num_frames": 9, "max_sequence_length": 20})),
        ("class", "a", diffusers(image, {}, pipeline="StableDifusionPipeline")),
        ("sampler", "a", diffusers(image, {}, scheduler={"class": "EulerScheduler"})),
        (
            "field",
            "a",
            diffusers("some/model", {}, scheduler={"class": "EulerDiscreteScheduler", "params": {"kar": 1}}),
        ),
        ("fits", "a", diffusers(image, {}, scheduler={"class": "DDIMScheduler", "params": {"clip_sample": False}})),
        ("ours", "a", diffusers(image, {"generator": 1})),
        ("dtype", "a", diffusers(image, {}, dtype="float8")),
        ("hub", "a", diffusers("some/model", {"hieght": 64})),
        ("lora", "a", diffusers(image, {}, adapters=[{"model": "some/lora", "scale": 0.5}], revision="main")),
        ("twice", "a", diffusers(image, {}, adapters=[{"model": "a/b", "name": "x"}, {"model": "c/d", "name": "x"}])),
        ("none", "a", diffusers("some/model", {}, adapters=[{"model": "a/b"}], pipeline="PixArtAlphaPipeline")),
        ("program", "a", {"command": {"args": ["true"]}}),
        ("longer", "a", diffusers("some/model", {}, pipeline="LTXConditionPipeline", **LONGER)),
        ("longer", "b", diffusers("some/model", {}, pipeline="HunyuanVideoFramepackPipeline", **LONGER)),
        ("never", "a", diffusers(video, {}, **LONGER)),
    )
    found = {each["stage"]: each for each in answer["findings"]}
    assert {stage: (each["parameter"], each["problem"]) for stage, each in found.items()} == {
        "image": ("hieght", "unknown"),
        "kind": ("height", "wrongKind"),
        "long": ("prompt", "truncated"),
        "clip": ("prompt", "truncated"),
        "class": ("pipeline", "unknown"),
        "sampler": ("scheduler", "unknown"),
        "field": ("scheduler", "unknown"),
        "ours": ("generator", "reserved"),
        "dtype": ("dtype", "invalid"),
        "never": ("extend", "invalid"),
        "twice": ("adapters", "invalid"),
        "none": ("adapters", "invalid"),
    }
    assert "two adapters have one name" in found["twice"]["message"]
    assert "PixArtAlphaPipeline takes no LoRA adapters" in found["none"]["message"]
    assert len(found) == len(answer["findings"])
    assert (found["image"]["items"], found["image"]["count"]) == ([f"item {n}" for n in range(5)], 7)
    assert "did you mean height?" in found["image"]["message"]
    assert (found["long"]["items"], found["long"]["count"]) == (["a", "b"], 2)
    # The worst of them, in tokens.
    assert "of which StableDiffusionPipeline reads the first 77" in found["long"]["message"]
    assert found["clip"]["items"] == ["b"]
    assert "reads the first 20" in found["clip"]["message"]
    assert "did you mean StableDiffusionPipeline" in found["class"]["message"]
    assert "WanPipeline can't go on from a clip" in found["never"]["message"]
    assert "has no scheduler EulerScheduler: did you mean" in found["sampler"]["message"]
    assert "EulerDiscreteScheduler has no field kar: it has" in found["field"]["message"]
    assert {each["stage"] for each in answer["unchecked"]} == {"hub", "field"}
    assert "some/model is no folder of this machine" in answer["unchecked"][0]["message"]


def test_a_model_is_looked_at_without_its_weights(models: Mapping[str, str], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(models["image"], bare, ignore=shutil.ignore_patterns("*.safetensors"))
    assert not list(bare.rglob("*.safetensors"))
    answer = check(("image", "a", diffusers(bare.as_uri(), {"prompt": "x " * 200})))
    assert [each["problem"] for each in answer["findings"]] == ["truncated"]


def test_programs_are_not_looked_at_and_need_no_libraries() -> None:
    text = json.dumps({"units": [{"stage": "a", "item": "b", "generate": {"command": {"args": ["no-such-program"]}}}]})
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "carryon_worker", "check"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(ended.stdout) == {"findings": [], "unchecked": []}
    assert " torch" not in ended.stderr


def test_without_the_libraries_it_says_so_and_ends_well(tmp_path: Path) -> None:
    (tmp_path / "diffusers.py").write_text("raise ImportError('not installed')")
    unit = {"stage": "image", "item": "a", "generate": diffusers("some/model", {})}
    ended = run(json.dumps({"units": [unit]}), PYTHONPATH=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["findings"] == []
    assert answer["unchecked"][0]["message"].endswith("diffusers can't be loaded here: not installed")


def test_units_that_can_not_be_read_are_refused_in_a_sentence() -> None:
    for text in ("", "[]", '{"units": [{"stage": "a"}]}'):
        ended = run(text)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("the units can't be read: ")
        assert "Traceback" not in ended.stderr


def test_other_arguments_are_refused() -> None:
    ended = run("", "chek")
    assert (ended.returncode, ended.stderr) == (1, "a worker takes no arguments, or `check`\n")
