"""Real pipelines in real workers: made-up weights, but nothing else is."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from carryon_core.done import Outcome
from carryon_core.messages import ExitCode
from forked_workers import Forge
from worker_runs import Runs

PICTURE = {"prompt": "dunes at dawn, ünïcode", "height": 64, "width": 64, "num_inference_steps": 2}
CLIP = {**PICTURE, "num_frames": 9, "guidance_scale": 1.0}


@pytest.fixture
def runs(bench: Any, forge: Forge) -> Runs:
    return Runs(bench, forge)


def test_the_same_unit_in_another_process_is_the_same_file(bench: Any, runs: Runs, models: Mapping[str, str]) -> None:
    picture = bench.unit(0, _diffusers(models["image"], PICTURE))
    clip = bench.unit(1, _diffusers(models["video"], CLIP, output={"fps": 5}))
    again = bench.unit(2, _diffusers(f"file://{models['image']}", PICTURE))
    # The picture of the first unit, in the place where the pipeline expects one.
    varied = {"prompt": "night", "image": {"$input": {"stage": "clip", "name": None}}, "num_inference_steps": 4}
    source = {"clip": {"stage": "clip", "item": picture.item, "fingerprint": picture.fingerprint}}
    variation = bench.unit(
        3, _diffusers(models["image"], varied, pipeline="StableDiffusionImg2ImgPipeline"), inputs=source
    )
    first = runs.run(picture, clip, again, variation)
    assert first.code == ExitCode.DONE, first.stderr
    made = {unit.index: bench.artifacts(unit) for unit in (picture, clip, again, variation)}

    for key in [each.key for each in bench.store.list()]:
        bench.store.delete(key)
    # In another order, so that what one unit draws at random can't help or harm another.
    second = runs.run(clip, picture, variation)
    assert second.code == ExitCode.DONE, second.stderr
    assert {unit.index: bench.artifacts(unit) for unit in (clip, picture, variation)} == {
        index: made[index] for index in (1, 0, 3)
    }

    assert [list(made[index]) for index in range(4)] == [["image.png"], ["clip.mp4"], ["image.png"], ["image.png"]]
    image = Image.open(io.BytesIO(made[0]["image.png"]))
    assert (image.size, image.mode) == ((64, 64), "RGB")
    assert image.info == {"prompt": PICTURE["prompt"], "seed": "1000", "model": models["image"]}
    # Colourful, and another seed is another picture.
    assert np.asarray(image).std(axis=(0, 1)).min() > 5
    assert np.asarray(image).tobytes() != np.asarray(Image.open(io.BytesIO(made[2]["image.png"]))).tobytes()
    with av.open(io.BytesIO(made[1]["clip.mp4"])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.codec_context.pix_fmt, stream.codec_context.name) == (5, "yuv420p", "h264")
        assert container.metadata["title"] == PICTURE["prompt"]
        assert container.metadata["comment"] == f"seed 1001, model {models['video']}"
        assert "creation_time" not in container.metadata
    assert (len(frames), frames[0].shape) == (9, (64, 64, 3))
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 2
    done = bench.done(clip)
    assert done.device == "cpu"
    assert {"torch", "diffusers", "transformers", "av"} <= done.versions.keys()
    assert "dunes" not in first.stderr


def test_what_a_pipeline_can_not_take_is_a_bad_request_that_names_it(
    bench: Any, runs: Runs, models: Mapping[str, str]
) -> None:
    image = models["image"]
    (bench.root / "empty").mkdir()
    table = [
        (
            _diffusers(image, {**PICTURE, "hieght": 64}),
            "has no argument hieght: did you mean height? it takes clip_skip",
        ),
        (
            _diffusers(image, {**PICTURE, "height": "64"}),
            "params.height of StableDiffusionPipeline must be a whole number",
        ),
        (_diffusers(image, {**PICTURE, "generator": 1}), "params.generator is set by the worker"),
        (_diffusers(image, {**PICTURE, "height": 65}), "refuses its arguments: `height` and `width` have to be"),
        (_diffusers(image, PICTURE, pipeline="StableDifusionPipeline"), "did you mean StableDiffusionPipeline"),
        (_diffusers(image, PICTURE, pipeline="UNet2DConditionModel"), "has no pipeline UNet2DConditionModel"),
        (_diffusers(image, PICTURE, pipeline="WanPipeline"), "can't be loaded as WanPipeline"),
        (_diffusers(image, PICTURE, dtype="float8"), "diffusers.dtype"),
        (_sampled(image, "EulerScheduler"), "has no scheduler EulerScheduler: did you mean"),
        (_sampled(image, "UNet2DConditionModel"), "has no scheduler UNet2DConditionModel: see diffusers'"),
        (
            _sampled(image, "EulerDiscreteScheduler", use_karras=True),
            "has no field use_karras: did you mean use_karras_s",
        ),
        (
            _sampled(image, "FlowMatchEulerDiscreteScheduler"),
            "StableDiffusionPipeline does not work with FlowMatchEulerDiscreteScheduler: AttributeError",
        ),
        (_diffusers(str(bench.root / "nowhere"), PICTURE), "there is no such folder on this worker"),
        (_diffusers(str(bench.root / "empty"), PICTURE), "it has no model_index.json"),
    ]
    units = [bench.unit(index, generate) for index, (generate, _) in enumerate(table)]
    ended = runs.run(*units)
    assert ended.code == ExitCode.BAD_REQUEST, ended.stderr
    failures = [line for line in ended.stderr.splitlines() if ": BadRequest: " in line]
    assert [message for (_, message), line in zip(table, failures, strict=True) if message not in line] == []
    assert "Traceback" not in ended.stderr


def test_a_result_that_is_not_a_number_is_a_failure_and_no_black_picture(
    bench: Any, runs: Runs, models: Mapping[str, str]
) -> None:
    unit = bench.unit(0, _diffusers(models["image"], {**PICTURE, "guidance_scale": 1e38}))
    ended = runs.run(unit)
    assert ended.code == ExitCode.SOME_FAILED
    assert ended.termination.units[0].reason == "NotANumber"
    assert bench.done(unit) is None


def test_pictures_that_are_gathered_and_pictures_of_users_reach_the_pipeline(
    bench: Any, runs: Runs, models: Mapping[str, str]
) -> None:
    sources = [bench.unit(index, {}) for index in (1, 2)]
    pictures = []
    for unit, colour in zip(sources, ("navy", "gold"), strict=True):
        made = io.BytesIO()
        Image.new("RGB", (64, 64), colour).save(made, "PNG")
        pictures.append(made.getvalue())
        bench.publish(unit, "image", {"image.png": pictures[-1]})
    refs = [{"stage": "image", "item": unit.item, "fingerprint": unit.fingerprint} for unit in sources]
    gathered: Any = {"$input": {"stage": "image", "name": None}}
    files: Any = [
        {"$file": {"uri": (bench.root / f"{n}.png").as_uri(), "sha256": hashlib.sha256(content).hexdigest()}}
        for n, content in enumerate(pictures)
    ]
    for n, content in enumerate(pictures):
        (bench.root / f"{n}.png").write_bytes(content)
    common = {"prompt": ["night", "day"], "num_inference_steps": 4, "strength": 0.3}
    pipeline = "StableDiffusionImg2ImgPipeline"

    def unit(index: int, image: Any, **more: Any) -> Any:
        made = bench.unit(0, _diffusers(models["image"], {**common, "image": image}, pipeline=pipeline), **more)
        return made.model_copy(update={"fingerprint": str(index) * 32})

    units = [unit(10, gathered, inputs={"image": refs}), unit(11, files), unit(12, files[::-1])]
    ended = runs.run(*units)
    assert ended.code == ExitCode.DONE, ended.stderr
    gathered_first, from_files, turned_round = (bench.artifacts(unit) for unit in units)
    assert gathered_first.keys() == {"image-0.png", "image-1.png"}
    assert gathered_first == from_files
    # The order counts.
    assert from_files["image-0.png"] != turned_round["image-0.png"]


def test_what_the_safety_checker_refuses_is_filtered_and_not_kept(
    bench: Any, runs: Runs, models: Mapping[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "careful"
    subprocess.run([sys.executable, "-c", CAREFUL, models["image"], folder], check=True, timeout=120)
    unit = bench.unit(0, _diffusers(str(folder), PICTURE))
    ended = runs.run(unit)
    assert ended.code == ExitCode.DONE, ended.stderr
    done = bench.done(unit)
    assert (done.outcome, done.reason, done.artifacts) == (Outcome.FILTERED, "SafetyChecker", [])
    assert [each.key for each in bench.store.list()] == [bench.prefix(unit) + "done.json"]


CAREFUL = """
import sys
import diffusers, transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

vision = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16)
text = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=10)
checker = StableDiffusionSafetyChecker(
    transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
)
# Everything is near enough to what must not be shown.
checker.concept_embeds_weights.data.fill_(-10.0)
processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
    sys.argv[1], safety_checker=checker, feature_extractor=processor
)
pipeline.save_pretrained(sys.argv[2])
"""  # noqa: E501


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [
        ({"nsfw_content_detected": None}, ["image-0.png", "image-1.png", "image-2.png"]),
        ({"nsfw_content_detected": [False, False, False]}, ["image-0.png", "image-1.png", "image-2.png"]),
        ({"nsfw_content_detected": np.array([False, True, False])}, ["image-0.png", "image-2.png"]),
        ({"nsfw_detected": [True, True, False]}, ["image-2.png"]),
        ({"nsfw_content_detected": [True, True, True]}, []),
        ({"nsfw_content_detected": True}, []),
        ({"nsfw_content_detected": [True]}, []),
    ],
)
def test_only_what_the_safety_checker_passed_is_kept_under_the_name_it_has_anyway(
    tmp_path: Path, verdict: Any, kept: list[str]
) -> None:
    from carryon_core.pipelines import Diffusers
    from carryon_worker.generators import results

    session: Any = SimpleNamespace(outputs=tmp_path, seed=7)
    result = SimpleNamespace(images=np.zeros((3, 8, 8, 3)), **verdict)
    made = results.write(result, Diffusers(model="m"), session, None)
    assert [output.name for output in made.outputs] == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert made.outcome is (Outcome.GENERATED if kept else Outcome.FILTERED)


def test_memory_knobs_of_a_round_are_used_and_recorded_where_they_can_be(
    bench: Any, runs: Runs, models: Mapping[str, str]
) -> None:
    unit = bench.unit(0, _diffusers(models["image"], {**PICTURE, "height": 96, "width": 96}))
    plain = runs.run(unit)
    assert plain.code == ExitCode.DONE
    assert bench.done(unit).overrides == {}
    tiled = unit.model_copy(update={"fingerprint": "f" * 64})
    knobs = {"tiling": True, "offload": "model"}
    ended = runs.run(tiled, knobs=knobs)
    assert ended.code == ExitCode.DONE, ended.stderr
    on_gpu = torch.cuda.is_available()
    assert bench.done(tiled).overrides == (knobs if on_gpu else {"tiling": True})
    assert ("offload: model is asked for, but there is no GPU" in ended.stderr) is not on_gpu


@pytest.mark.skipif(not torch.cuda.is_available(), reason="offload needs a GPU")
@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offload_makes_the_same_picture(bench: Any, runs: Runs, models: Mapping[str, str], offload: str) -> None:
    unit = bench.unit(0, _diffusers(models["image"], PICTURE))
    assert runs.run(unit).code == ExitCode.DONE
    other = unit.model_copy(update={"fingerprint": "f" * 64})
    ended = runs.run(other, knobs={"offload": offload})
    assert ended.code == ExitCode.DONE, ended.stderr
    assert bench.done(other).overrides == {"offload": offload}
    assert bench.artifacts(other) == bench.artifacts(unit)


def _diffusers(model: str, params: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"diffusers": {"model": model, "dtype": "float32", "params": dict(params), **more}}


def _sampled(model: str, scheduler: str, **params: Any) -> dict[str, Any]:
    return _diffusers(model, PICTURE, scheduler={"class": scheduler, "params": params})
