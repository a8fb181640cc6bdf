"""Certification of tiny pipelines: those that resume exactly are certified, and nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

import zoo
from carryon_worker.certify import Control, Forge, SchedulerChoice, Verdict, certify
from forked_workers import ONE_THREAD

MISBEHAVING = Path(__file__).parents[2] / "misbehaving"
SMALL = {"height": 16, "width": 16}


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tiny") / "sd"
    zoo.build("sd", folder)
    return str(folder)


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Its workers misbehave where they are told to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(MISBEHAVING))
        for name, value in ONE_THREAD.items():
            patch.setenv(name, value)
        made = Forge(tmp_path_factory.mktemp("forge"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is left behind: temporary files lie where they can be seen."""
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def verdict(forge: Forge, model: str, **more: Any) -> Verdict:
    (found,) = certify(model, **{"params": {**SMALL, "num_inference_steps": 4}, **more}, forge=forge)
    return found


def carryon(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carryon_standalone", "certify", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ, **ONE_THREAD})


@pytest.mark.slow
def test_a_plain_and_a_stochastic_sampler_are_certified_by_the_command(sd: str, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("prompt: a fox\nheight: 32\nwidth: 16\n")
    ended = carryon(
        sd, "--dtype=float32", f"--params={params}", "--param=height=16", "--json",
        "--scheduler=EulerAncestralDiscreteScheduler", "--scheduler=EulerDiscreteScheduler:use_karras_sigmas=true",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    made = json.loads(ended.stdout)
    assert [each["scheduler"] for each in made] == [
        "EulerAncestralDiscreteScheduler",
        'EulerDiscreteScheduler {"use_karras_sigmas": true}',
    ]
    for each in made:
        assert each["certified"]
        assert each["pipeline"] == "StableDiffusionPipeline"
        assert (each["repeatable"], each["exact"], each["control"], each["problem"]) == (True, True, "changed", "")
        # Cut before calls 2, 5 and 7 of 8: three times it is resumed, in the end from 7.
        assert (each["calls"], each["replayed"], each["recomputed"]) == (8, 2 + 5 + 7, 0)
        # A batch of 2 latents of 4 channels, 8 x 8 numbers of 4 bytes, and what is written beside them.
        assert 2 * 4 * 8 * 8 * 4 <= each["bytes"] / 8 < 2 * 4 * 8 * 8 * 4 + 2000
        assert 0 < each["waited"] < 5
        assert 0 < each["replay"] < 60
        assert 0 < each["durable"] < 10
        assert each["device"] == "cpu"
        assert "torch" in each["versions"]
    said = [line.partition(": ")[2] for line in ended.stderr.splitlines() if "Ancestral" in line]
    assert said == [
        "uninterrupted, without a journal",
        "uninterrupted, with a journal",
        "interrupted before call 2 of 8, SIGKILL",
        "interrupted before call 5 of 8, SIGKILL",
        "interrupted before call 7 of 8, SIGTERM",
        "resumed to the end, 7 calls answered",
        "negative control: resumed from a journal that holds other numbers",
    ]


@pytest.mark.parametrize(
    ("how", "repeatable", "exact", "control", "problem"),
    [
        ("random", False, None, Control.NONE, "two uninterrupted runs give different bits"),
        ("counting", True, False, Control.CHANGED, "a resumed run gives other bits than an uninterrupted one"),
        ("steering", True, False, Control.NONE, "it starts over instead of going on: call 1 of unet has another 0"),
        (
            "remembering",
            True,
            None,
            Control.NONE,
            "it can't be resumed: unet remembers earlier calls: made has changed",
        ),
        ("flat", True, True, Control.VACUOUS, "vacuous: all of its output is one number"),
        ("dying", None, None, Control.NONE, "the worker was killed by SIGKILL: is there enough memory?"),
    ],
)
def test_a_pipeline_that_misbehaves_is_not_certified(
    forge: Forge,
    sd: str,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    repeatable: bool | None,
    exact: bool | None,
    control: Control,
    problem: str,
) -> None:
    monkeypatch.setenv("MISBEHAVE", how)
    found = verdict(forge, sd, cuts=2)
    assert problem in found.problem
    assert (found.repeatable, found.exact, found.control) == (repeatable, exact, control)
    assert not found.certified


def test_what_can_not_be_tried_is_said_in_a_sentence(forge: Forge, sd: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    steps = {**SMALL, "num_inference_steps": 2}
    table: Sequence[tuple[dict[str, Any], str]] = [
        ({"model": str(tmp_path / "nowhere")}, "there is no such folder"),
        ({"model": str(tmp_path / "empty")}, "its model_index.json can't be read"),
        ({"model": sd, "pipeline": "StableDifusionPipeline"}, "did you mean StableDiffusionPipeline"),
        ({"model": sd, "pipeline": "FluxPipeline"}, "can't be loaded as FluxPipeline"),
        ({"model": sd, "pipeline": "LDMPipeline"}, "can't be loaded as LDMPipeline"),
        (
            {"model": sd, "pipeline": "KandinskyPipeline"},
            "needs image_embeds, negative_image_embeds, which are tensors",
        ),
        ({"model": sd, "params": steps}, "it makes 2 calls of its denoiser, too few to interrupt and resume it"),
        ({"model": sd, "params": {"hieght": 16}}, "has no argument hieght: did you mean height?"),
        ({"model": sd, "params": {"image": tmp_path / "none.png"}}, "none.png can't be read: No such file"),
        ({"model": sd, "schedulers": [SchedulerChoice("EulerScheduler")]}, "has no scheduler EulerScheduler: did you"),
    ]
    for asked, sentence in table:
        (found,) = certify(**{"params": SMALL, **asked}, forge=forge)
        assert sentence in found.problem
        assert "Traceback" not in found.problem
        assert not found.certified
        assert (found.exact, found.control) == (None, Control.NONE)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.slow
def test_a_certification_that_is_interrupted_leaves_nothing_behind(sd: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "carryon_standalone", "certify", sd, "--dtype=float32", "--param=height=16"]
    environment = {**os.environ, **ONE_THREAD, "TMPDIR": str(tmp_path)}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            while "with a journal" not in process.stderr.readline():
                pass
            others = psutil.Process(process.pid).children(recursive=True)
            assert len(others) >= 2
            process.send_signal(number)
            assert process.wait(60) == (-number if number == signal.SIGKILL else 130)
        assert psutil.wait_procs(others, timeout=60)[1] == []
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_calls_of_one_step_are_cut_apart(forge: Forge, tmp_path: Path) -> None:
    wan = tmp_path / "wan"
    zoo.build("wan", wan)
    said: list[str] = []
    params = {"height": 32, "width": 32, "num_frames": 9, "max_sequence_length": 16, "num_inference_steps": 4}
    found = verdict(forge, str(wan), params=params, cuts=2, tell=said.append)
    assert found.certified, found.problem
    assert (found.pipeline, found.scheduler, found.calls) == ("WanPipeline", "UniPCMultistepScheduler", 8)
    # Calls 4 and 5, and 2 and 3, are those of one step each: every cut before an even one would be between steps.
    cuts = [int(each.split("before call ")[1].split()[0]) for each in said if "before call" in each]
    assert cuts == [3, 7]
