"""What becomes of what a pipeline returned."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from carryon_core.done import Outcome
from carryon_core.pipelines import Diffusers
from carryon_worker.failures import BadRequest
from carryon_worker.generators import results

FRAMES = np.linspace(0, 1, 9 * 16 * 16 * 3, dtype=np.float32).reshape(1, 9, 16, 16, 3)
TONE = np.sin(np.arange(24_000) / 10, dtype=np.float32)
SPEAKING = SimpleNamespace(vocoder=SimpleNamespace(config=SimpleNamespace(output_sampling_rate=24_000)))


def write(folder: Path, result: dict[str, Any], pipeline: Any = None, **output: Any) -> Any:
    wanted = Diffusers(model="/m", params={"prompt": "dünes"}, output=output)
    session: Any = SimpleNamespace(outputs=folder, seed=7)
    return results.write(SimpleNamespace(**result), wanted, session, pipeline)


def names(made: Any) -> list[str]:
    return [output.name for output in made.outputs]


@pytest.mark.parametrize(
    ("output", "name"),
    [({}, "image.png"), ({"image": "jpeg"}, "image.jpg"), ({"image": "webp", "imageQuality": 50}, "image.webp")],
)
def test_pictures_are_written_in_the_format_asked_for(output: Any, name: str, tmp_path: Path) -> None:
    assert names(write(tmp_path, {"images": FRAMES[0, :1]}, **output)) == [name]
    with Image.open(tmp_path / name) as image:
        assert image.size == (16, 16)


def test_a_clip_with_sound_is_one_file_that_holds_both(tmp_path: Path) -> None:
    result = {"frames": FRAMES, "audio": np.stack([TONE, -TONE])[None]}
    for codec, suffix, heard in (("h264", "mp4", "aac"), ("vp9", "webm", "opus"), ("ffv1", "mkv", "flac")):
        made = write(tmp_path, result, SPEAKING, codec=codec, fps=9)
        assert names(made) == [f"clip.{suffix}"]
        with av.open(str(tmp_path / f"clip.{suffix}")) as container:
            assert container.streams.audio[0].codec_context.name == heard
            assert container.streams.audio[0].layout.name == "stereo"
            assert sum(1 for _ in container.decode(video=0)) == 9


def test_several_clips_each_have_their_own_sound(tmp_path: Path) -> None:
    result = {"frames": np.concatenate([FRAMES, FRAMES]), "audio": np.stack([TONE, TONE / 2])[:, None]}
    made = write(tmp_path, result, SPEAKING, fps=9)
    assert names(made) == ["clip-0.mp4", "clip-1.mp4"]
    peaks = []
    for name in names(made):
        with av.open(str(tmp_path / name)) as container:
            peaks.append(max(np.abs(frame.to_ndarray()).max() for frame in container.decode(audio=0)))
    assert peaks[1] < 0.7 * peaks[0]


def test_a_clip_without_sound_asks_no_pipeline_for_a_rate(tmp_path: Path) -> None:
    assert names(write(tmp_path, {"frames": FRAMES, "audio": None})) == ["clip.mp4"]


def test_clips_and_sounds_that_do_not_pair_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="returned 1 clips, but sound for 2"):
        write(tmp_path, {"frames": FRAMES, "audio": np.stack([TONE, TONE])[:, None]}, SPEAKING)


def test_a_clip_whose_sound_lasts_longer_says_what_to_set(tmp_path: Path, caplog: Any) -> None:
    result = {"frames": FRAMES, "audio": TONE[None, None]}
    write(tmp_path, result, SPEAKING, fps=9)
    assert "output.fps" not in caplog.text
    write(tmp_path, result, SPEAKING, fps=24)
    assert "the clip lasts 0.4 s, its sound 1.0 s: set output.fps" in caplog.text


@pytest.mark.parametrize(
    ("audios", "expected"),
    [
        (TONE[None], ["audio.wav"]),
        (TONE[None, None], ["audio.wav"]),
        (TONE, ["audio.wav"]),
        ([TONE, TONE], ["audio-0.wav", "audio-1.wav"]),
        (np.stack([TONE, TONE])[:, None], ["audio-0.wav", "audio-1.wav"]),
    ],
)
def test_sound_alone_becomes_a_file_each(audios: Any, expected: list[str], tmp_path: Path) -> None:
    made = write(tmp_path, {"audios": audios}, SPEAKING)
    assert names(made) == expected
    with av.open(str(tmp_path / expected[0])) as container:
        assert container.streams.audio[0].rate == 24_000
        assert container.metadata["title"] == "dünes"
        assert container.metadata["comment"] == "seed 7, model /m"


def test_what_the_safety_checker_refuses_is_left_out_of_every_kind(tmp_path: Path) -> None:
    made = write(tmp_path, {"frames": FRAMES, "audio": TONE[None, None], "nsfw_content_detected": [True]}, SPEAKING)
    assert (made.outcome, list(tmp_path.iterdir())) == (Outcome.FILTERED, [])


def test_a_pipeline_that_makes_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="neither images, frames nor audios, but SimpleNamespace"):
        write(tmp_path, {"depth": FRAMES})
