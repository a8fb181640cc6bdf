"""Which pipelines go on from a clip, by how much, and what is said where they can't."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from carryon_core.pipelines import Diffusers
from carryon_worker.failures import BadRequest
from carryon_worker.generators import HISTORY, clips, extendable, extending, history, sounds
from carryon_worker.generators.arguments import accepted
from carryon_worker.generators.extending import Clip, Extension
from carryon_worker.generators.history import History

LATENTS = torch.arange(27.0).reshape(1, 1, 27, 1, 1)


@pytest.mark.parametrize("name", extendable.names())
def test_every_pipeline_named_is_there_and_takes_what_it_will_be_given(name: str) -> None:
    takes = accepted(getattr(diffusers, name).__call__)
    assert set(extendable.arguments_of(name)) <= takes.keys()


@given(st.integers(1, 5000), st.sampled_from([*extendable.WAYS.values()]), st.integers(1, 400))
def test_what_is_asked_for_has_enough_new_frames_and_few_more(new: int, way: Any, frames: int) -> None:
    overlap = extendable.overlap(way, frames)
    assert 1 <= overlap <= frames
    assert (overlap - 1) % way.stride == 0
    asked = extendable.frames_asked(way, overlap, new)
    assert (asked - 1) % way.stride == 0
    assert new <= asked - overlap < new + way.stride


@given(st.integers(1, 5000), st.integers(1, 12))
def test_framepack_adds_whole_sections(new: int, window: int) -> None:
    sections = extendable.sections_asked(window, 4, new)
    assert (sections - 1) * window * 4 < new <= sections * window * 4


@pytest.mark.parametrize(("value", "number"), [(5, 5.0), (2.5, 2.5), ("7.25", 7.25), (600, 600.0)])
def test_seconds_are_a_number_or_a_text_that_is_one(value: Any, number: float) -> None:
    assert extendable.seconds(value) == number


@pytest.mark.parametrize(
    "value", [0, -1, "soon", None, True, float("nan"), float("inf"), 601, "{{ item.seconds }}", []]
)
def test_seconds_that_are_none_are_refused_with_what_they_must_be(value: Any) -> None:
    with pytest.raises(BadRequest, match=r"extend.seconds must be a number above 0 and at most 600, not "):
        extendable.seconds(value)


def test_a_pipeline_that_can_not_go_on_says_which_can() -> None:
    with pytest.raises(BadRequest, match=r"WanPipeline can't go on from a clip: set `pipeline` .*LTXConditionPipeline"):
        extendable.check("WanPipeline", {})


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [("WanImageToVideoPipeline", "image"), ("LTXConditionPipeline", "video"), (extendable.FRAMEPACK, "num_frames")],
)
def test_what_extend_sets_itself_is_refused_as_a_parameter(pipeline: str, name: str) -> None:
    with pytest.raises(BadRequest, match=f"params.{name} is set by `extend`: leave it out"):
        extendable.check(pipeline, {name: 1})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "shot"
    path.mkdir()
    return path


def film(path: Path, sound: bool = False, size: tuple[int, int] = (32, 48)) -> None:
    pictures = [np.full((*size, 3), 10 * number, np.uint8) for number in range(9)]
    heard = sounds.Sound(np.zeros((1, 9000), np.float32), 8000) if sound else None
    clips.write_clip(path, pictures, 8, {}, sound=heard)


def plan(
    folder: Path, kind: str = "WanImageToVideoPipeline", seconds: Any = 1, fps: int = 8, **params: Any
) -> Extension:
    wanted = Diffusers.model_validate(
        {"model": "/m", "params": params, "output": {"fps": fps}, "extend": {"from": "shot", "seconds": seconds}}
    )
    pipeline = getattr(diffusers, kind).__new__(getattr(diffusers, kind))
    object.__setattr__(pipeline, "vae_scale_factor_temporal", 4)
    session: Any = SimpleNamespace(inputs=folder.parent)
    assert wanted.extend is not None
    return extending.plan(pipeline, wanted, wanted.extend, session)


def test_the_last_picture_goes_in_and_size_and_rate_are_the_clips_own(folder: Path) -> None:
    film(folder / "clip.mp4")
    made = plan(folder, seconds="1.2", prompt="dunes")
    assert made.params["image"].size == (48, 32)
    assert np.asarray(made.params["image"]).mean() == pytest.approx(80, abs=2)
    assert {name: made.params[name] for name in made.params if name != "image"} == {
        "prompt": "dunes", "height": 32, "width": 48, "num_frames": 13,
    }  # fmt: skip
    assert (made.drop, made.known, made.clip.rate, made.clip.count) == (1, 0, 8, 9)
    # No more in memory than anything looks at.
    assert len(made.clip.end) == 1


def test_the_last_frames_go_in_as_many_as_the_clip_has(folder: Path) -> None:
    film(folder / "clip.mp4")
    made = plan(folder, "LTXConditionPipeline")
    assert len(made.params["video"][0]) == made.drop == 9
    assert made.params["num_frames"] == 17


def test_framepack_goes_on_from_the_history_beside_the_clip(folder: Path) -> None:
    film(folder / "clip.mp4")
    history.save(History(torch.zeros(1, 4, 1, 4, 6), tuple(torch.randn(4, 1, 4, 3, 4, 6))), folder / HISTORY)
    start = Image.new("RGB", (48, 32))
    given = {"sampling_type": "vanilla", "latent_window_size": 3}
    made = plan(folder, extendable.FRAMEPACK, image=start, **given)
    assert made.params["image"] is start
    assert (made.known, made.drop) == (4, 1 + 4 * 12)
    # Nine frames a window: four sections that are known, and one of twelve frames for eight.
    assert made.params["num_frames"] == 5 * 9
    assert plan(folder, extendable.FRAMEPACK, **given).params["image"].size == (48, 32)
    with pytest.raises(BadRequest, match="latent_window_size is 9, but the clip was made with 3: take the same"):
        plan(folder, extendable.FRAMEPACK, sampling_type="vanilla")
    (folder / HISTORY).write_bytes(b"no tensors")
    with pytest.raises(BadRequest, match=r"history.safetensors is no history of a clip"):
        plan(folder, extendable.FRAMEPACK, **given)


def test_framepack_that_samples_backwards_goes_on_from_the_last_picture(folder: Path) -> None:
    film(folder / "clip.mp4")
    made = plan(folder, extendable.FRAMEPACK, seconds=10)
    assert (made.drop, made.known, made.params["num_frames"]) == (1, 0, 3 * 33)
    assert np.asarray(made.params["image"]).mean() == pytest.approx(80, abs=2)
    with pytest.raises(BadRequest, match=r"params.image is set by `extend` unless sampling_type is vanilla"):
        plan(folder, extendable.FRAMEPACK, image=made.params["image"])


def test_a_clip_too_short_to_be_encoded_says_what_it_takes(folder: Path) -> None:
    film(folder / "clip.mp4")
    with pytest.raises(BadRequest, match=r"the clip has 9 frames, .* with latent_window_size 9 it takes 37"):
        plan(folder, extendable.FRAMEPACK, sampling_type="vanilla")


@pytest.mark.parametrize("more", [{"prompt": ["a", "b"]}, {"num_videos_per_prompt": 2}])
def test_one_clip_does_not_become_two(folder: Path, more: dict[str, Any]) -> None:
    film(folder / "clip.mp4")
    with pytest.raises(BadRequest, match="extend makes one clip longer: give one prompt"):
        plan(folder, extendable.FRAMEPACK, sampling_type="vanilla", **more)


def test_there_must_be_one_clip_in_pictures_alone(folder: Path) -> None:
    (folder / "notes.txt").write_text("dunes")
    with pytest.raises(BadRequest, match=r"exactly one clip from stage shot, which made 0 \(notes.txt\)"):
        plan(folder)
    film(folder / "clip-0.mp4")
    film(folder / "clip-1.mp4")
    with pytest.raises(BadRequest, match=r"which made 2 \(clip-0.mp4, clip-1.mp4, notes.txt\): let it make one"):
        plan(folder)
    (folder / "clip-1.mp4").unlink()
    assert plan(folder).clip.path == folder / "clip-0.mp4"
    film(folder / "clip-0.mp4", sound=True)
    with pytest.raises(BadRequest, match="the clip of stage shot has sound"):
        plan(folder)


def test_what_does_not_fit_the_clip_is_refused(folder: Path) -> None:
    film(folder / "clip.mp4")
    with pytest.raises(BadRequest, match=r"output.fps is 24, but the clip of stage shot has 8 frames a second"):
        plan(folder, fps=24)
    with pytest.raises(BadRequest, match=r"params.height is 64, but the clip's is 32: leave it out"):
        plan(folder, height=64)
    assert plan(folder, height=32, width=48).params["height"] == 32


def test_a_history_reads_back_and_goes_on(tmp_path: Path) -> None:
    whole = tuple(torch.split(LATENTS, 3, dim=2))
    before = History(torch.ones(1, 1, 1, 1, 1), history.last(whole[:8], 3))
    assert len(before.sections) == 7
    history.save(before, tmp_path / HISTORY)
    read = history.load(tmp_path / HISTORY).followed_by(whole[8:])
    assert read.window == 3
    assert torch.cat(read.sections, dim=2).flatten().tolist() == list(range(6, 27))
    assert history.looked_back_on(9) == 3


def test_a_difference_at_the_seam_fades_out_over_the_first_new_frames() -> None:
    own = Image.fromarray(np.full((2, 2, 3), 102, np.uint8))
    extension = Extension(Clip(Path("clip.mp4"), Fraction(8), 1, own, [own]), {}, drop=2)
    frames = np.full((14, 2, 2, 3), 0.31, np.float32)
    seen = extension.new(frames)[:, 0, 0, 0]
    assert seen[:8] == pytest.approx([0.31 + 0.01 * (8 - number) for number in range(8)], abs=1e-5)
    assert seen[8:] == pytest.approx([0.31] * 4)
    assert frames.max() == np.float32(0.31)


@pytest.mark.parametrize("codec", clips.CODECS)
def test_frames_that_were_there_are_the_same_to_the_bit_in_the_longer_clip(codec: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    pictures = [draw.integers(0, 256, (32, 48, 3), dtype=np.uint8) for _ in range(23)]
    before, longer, again = (tmp_path / f"{name}.{clips.CODECS[codec].suffix}" for name in ("a", "b", "c"))
    clips.write_clip(before, pictures[:13], 12, {"title": "short"}, codec)
    clips.write_longer(longer, before, pictures[13:], {"title": "long"}, codec, None)
    clips.write_longer(again, before, pictures[13:], {"title": "long"}, codec, None)
    assert longer.read_bytes() == again.read_bytes()
    clips.write_clip(tmp_path / "alone", pictures[13:], 12, {}, codec)
    parts = [*decoded(before), *decoded(tmp_path / "alone")]
    assert [np.array_equal(one, other) for one, other in zip(decoded(longer), parts, strict=True)] == [True] * 23
    with av.open(str(longer)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 12
        times = [round(float(frame.time) * 12) for frame in container.decode(stream)]
        assert container.metadata["title"] == "long"
    assert times == list(range(23))
    assert sorted(path.name for path in tmp_path.iterdir() if "added" in path.name) == []


def test_a_clip_of_another_kind_is_written_anew(tmp_path: Path) -> None:
    pictures = [np.full((32, 32, 3), 10 * number, np.uint8) for number in range(12)]
    clips.write_clip(tmp_path / "a.webm", pictures[:6], 10, {}, "vp9")
    clips.write_longer(tmp_path / "b.mkv", tmp_path / "a.webm", pictures[6:], {}, "ffv1", None)
    old, new = decoded(tmp_path / "a.webm"), decoded(tmp_path / "b.mkv")
    assert [np.array_equal(one, other) for one, other in zip(new, [*old, *pictures[6:]], strict=True)] == [True] * 12


def decoded(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
