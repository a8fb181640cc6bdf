"""Real pipelines in real workers: made-up weights, but nothing else is."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import av
import numpy as np
from PIL import Image

from carryon_core.messages import ExitCode

PICTURE = {"prompt": "dunes at dawn, ünïcode", "height": 64, "width": 64, "num_inference_steps": 2}
CLIP = {**PICTURE, "num_frames": 9, "guidance_scale": 1.0}


def test_the_same_unit_in_another_process_is_the_same_file(bench: Any, models: Mapping[str, str]) -> None:
    picture = bench.unit(0, _diffusers(models["image"], PICTURE))
    clip = bench.unit(1, _diffusers(models["video"], CLIP, output={"fps": 5}))
    again = bench.unit(2, _diffusers(f"file://{models['image']}", PICTURE))
    # The picture of the first unit, in the place where the pipeline expects one.
    varied = {"prompt": "night", "image": {"$input": {"stage": "clip", "name": None}}, "num_inference_steps": 4}
    source = {"clip": {"stage": "clip", "item": picture.item, "fingerprint": picture.fingerprint}}
    variation = bench.unit(
        3, _diffusers(models["image"], varied, pipeline="StableDiffusionImg2ImgPipeline"), inputs=source
    )
    first = bench.run(bench.assignment(picture, clip, again, variation), seconds=120)
    assert first.code == ExitCode.DONE, first.stderr
    made = {unit.index: bench.artifacts(unit) for unit in (picture, clip, again, variation)}

    for key in [each.key for each in bench.store.list()]:
        bench.store.delete(key)
    # In another order, so that what one unit draws at random can't help or harm another.
    second = bench.run(bench.assignment(clip, picture, variation), seconds=120)
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


def test_what_a_pipeline_can_not_take_is_a_bad_request_that_names_it(bench: Any, models: Mapping[str, str]) -> None:
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
        (_diffusers(str(bench.root / "nowhere"), PICTURE), "there is no such folder on this worker"),
        (_diffusers(str(bench.root / "empty"), PICTURE), "it has no model_index.json"),
    ]
    units = [bench.unit(index, generate) for index, (generate, _) in enumerate(table)]
    ended = bench.run(bench.assignment(*units), seconds=120)
    assert ended.code == ExitCode.BAD_REQUEST, ended.stderr
    failures = [line for line in ended.stderr.splitlines() if ": BadRequest: " in line]
    assert [message for (_, message), line in zip(table, failures, strict=True) if message not in line] == []
    assert "Traceback" not in ended.stderr


def test_a_result_that_is_not_a_number_is_a_failure_and_no_black_picture(bench: Any, models: Mapping[str, str]) -> None:
    unit = bench.unit(0, _diffusers(models["image"], {**PICTURE, "guidance_scale": 1e38}))
    ended = bench.run(bench.assignment(unit), seconds=120)
    assert ended.code == ExitCode.SOME_FAILED
    assert ended.termination.units[0].reason == "NotANumber"
    assert bench.done(unit) is None


def _diffusers(model: str, params: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"diffusers": {"model": model, "dtype": "float32", "params": dict(params), **more}}
