"""Pictures, clips and sound: ranges, shapes, and bytes that depend on nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import ExifTags, Image

from carryon_worker import content_types
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.generators import clips, media, sounds
from carryon_worker.generators.sounds import Sound

RAMP = np.linspace(0.0, 1.0, 6 * 5 * 3, dtype=np.float32).reshape(6, 5, 3)
BYTES = (RAMP * 255).round().astype(np.uint8)


class Tensor:
    """As much of a tensor as matters here."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def detach(self) -> Tensor:
        return self

    float = cpu = detach

    def numpy(self) -> Any:
        return self.array


@pytest.mark.parametrize(
    "picture",
    [RAMP, RAMP.astype(np.float16), BYTES, Image.fromarray(BYTES), np.moveaxis(RAMP, -1, 0), Tensor(RAMP)],
    ids=["float", "half", "bytes", "pil", "channels first", "tensor"],
)
def test_every_kind_of_picture_is_the_same_pixels(picture: Any) -> None:
    pixels = media.to_pixels(picture)
    assert (pixels.shape, pixels.dtype) == ((6, 5, 3), np.uint8)
    assert np.abs(pixels.astype(int) - BYTES).max() <= (1 if getattr(picture, "dtype", None) == np.float16 else 0)


def test_what_lies_outside_the_range_is_clipped_and_grey_becomes_colour() -> None:
    grey = np.array([[-3.0, 0.5], [1.0, 7.0]])
    assert media.to_pixels(grey)[..., 1].tolist() == [[0, 128], [255, 255]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_is_no_picture(value: float) -> None:
    with pytest.raises(UnitFailure, match="not numbers") as caught:
        media.to_pixels(np.full((4, 4, 3), value))
    assert caught.value.reason == "NotANumber"


def test_an_array_of_another_shape_is_no_picture() -> None:
    with pytest.raises(UnitFailure, match=r"\(2, 3, 4, 5\)"):
        media.to_pixels(np.zeros((2, 3, 4, 5)))


ENCODE = """
import sys
from pathlib import Path
import numpy as np
from carryon_worker.generators import clips, media, sounds
from carryon_worker.generators.sounds import Sound

folder = Path(sys.argv[1])
rows, columns = np.mgrid[0:96, 0:96]
frames = [np.stack([rows * 3 + 5 * n, columns * 2 + n * n, rows + columns], axis=-1) % 256 for n in range(17)]
frames = [frame.astype(np.uint8) for frame in frames]
samples = np.random.default_rng(1).normal(0, 0.2, (2, 60_000)).clip(-1, 1).astype(np.float32)
for name in clips.CODECS:
    clips.write_clip(folder / name, frames, 8, {"title": "t"}, name)
    clips.write_clip(folder / f"{name} heard", frames[:9], 8, {}, name, sound=Sound(samples, 44_100))
for name in sounds.FORMATS:
    sounds.write_sound(folder / name, Sound(samples, 44_100), {"title": "t"}, name)
for name in media.IMAGES:
    media.write_image(folder / name, frames[0], {"prompt": "p"}, name)
"""


def test_files_are_the_same_bytes_whatever_lay_in_memory_before(tmp_path: Path) -> None:
    made: list[dict[str, bytes]] = []
    for filling in (1, 200):
        folder = tmp_path / str(filling)
        folder.mkdir()
        environment = {**os.environ, "MALLOC_PERTURB_": str(filling)}
        subprocess.run([sys.executable, "-c", ENCODE, str(folder)], env=environment, check=True)
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert len(made[0]) == 2 * len(clips.CODECS) + len(sounds.FORMATS) + len(media.IMAGES)
    assert [name for name, content in made[0].items() if made[1][name] != content] == []


def test_a_clip_of_odd_size_is_padded_reads_back_and_is_the_same_bytes_twice(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:33, 0:47]
    frames = [np.stack([rows * 7 % 256, columns * 5, rows + 10 * n], axis=-1).astype(np.uint8) for n in range(6)]
    for name in ("a.mp4", "b.mp4"):
        clips.write_clip(tmp_path / name, frames, 12, {"title": "wörds"})
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    read = media.read_frames(tmp_path / "a.mp4")
    assert [frame.size for frame in read] == [(48, 34)] * 6
    assert np.abs(np.asarray(read[5])[:33, :47].astype(int) - frames[5]).mean() < 12
    # The index stands before the frames, so that a browser can begin to play.
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_colours_survive_the_way_into_a_clip_and_back(tmp_path: Path) -> None:
    red = np.zeros((32, 32, 3), dtype=np.uint8)
    red[..., 0] = 200
    clips.write_clip(tmp_path / "red.mp4", [red] * 3, 8, {})
    (first, *_) = media.read_frames(tmp_path / "red.mp4")
    assert np.abs(np.asarray(first).astype(int) - red).max() <= 6


@pytest.mark.parametrize("codec", clips.CODECS)
def test_a_clip_of_every_codec_reads_back_with_its_sound_and_what_is_told_of_it(codec: str, tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:40, 0:64]
    frames = [np.stack([rows * 6 % 256, columns * 3, rows + 20 * n], axis=-1).astype(np.uint8) for n in range(6)]
    how = clips.CODECS[codec]
    path = tmp_path / f"clip.{how.suffix}"
    told = {"title": "wörds", "comment": "seed 7, model /m"}
    clips.write_clip(path, frames, 12, told, codec, sound=Sound(tone(440, 12_000, 24_000), 24_000))
    assert content_types.of(path.name).startswith("video/")
    read = media.read_frames(path)
    assert [frame.size for frame in read] == [(64, 40)] * 6
    difference = np.abs(np.asarray(read[5]).astype(int) - frames[5]).mean()
    assert difference == 0 if codec == "ffv1" else difference < 6
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.codec_context.pix_fmt) == (12, how.pixels)
        metadata = {name.lower(): value for name, value in container.metadata.items()}
        assert {name: metadata[name] for name in told} == told
    assert abs(pitch(path) - 440) < 8


def test_a_lower_rate_factor_is_a_larger_clip_nearer_to_its_frames(tmp_path: Path) -> None:
    noise = [np.random.default_rng(n).integers(0, 256, (64, 64, 3), dtype=np.uint8) for n in range(5)]
    for codec in ("h264", "vp9", "av1"):
        sizes = []
        for crf in (10, None, 45):
            path = tmp_path / f"{codec}-{crf}"
            clips.write_clip(path, noise, 8, {}, codec, crf)
            sizes.append(path.stat().st_size)
        assert sizes[0] > sizes[1] > sizes[2]


def test_a_clip_too_small_for_its_codec_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"av1 can't write clips of 2 x 2: .*; choose another codec"):
        clips.write_clip(tmp_path / "clip.mp4", [np.zeros((2, 2, 3), np.uint8)] * 3, 8, {}, "av1")


@pytest.mark.parametrize("kind", sounds.FORMATS)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_sound_in_every_format_reads_back_at_its_pitch_and_length(kind: str, rate: int, tmp_path: Path) -> None:
    path = tmp_path / f"audio.{sounds.FORMATS[kind].suffix}"
    sounds.write_sound(path, Sound(tone(880, rate, rate), rate), {"title": "wörds", "comment": "seed 7"}, kind)
    assert content_types.of(path.name).startswith("audio/")
    with av.open(str(path)) as container:
        told = {**container.metadata, **container.streams.audio[0].metadata}
        assert (told["title"], told["comment"]) == ("wörds", "seed 7")
        stream = container.streams.audio[0]
        # Opus is always played at one rate.
        assert stream.rate == (48_000 if kind == "opus" else rate)
        seconds = sum(frame.samples for frame in container.decode(stream)) / stream.rate
    assert abs(seconds - 1) < 0.1
    assert abs(pitch(path) - 880) < 12


def test_wav_and_flac_lose_nothing_but_what_lies_below_a_step(tmp_path: Path) -> None:
    sound = Sound(tone(300, 9_000, 16_000), 16_000)
    for kind in ("wav", "flac"):
        sounds.write_sound(tmp_path / kind, sound, {}, kind)
        assert np.abs(heard(tmp_path / kind) - sound.samples).max() <= 1 / 32767


@pytest.mark.parametrize("shape", [(50,), (1, 50), (50, 1), (2, 50), (50, 2)])
def test_every_shape_of_sound_is_channels_by_samples(shape: tuple[int, ...]) -> None:
    samples = sounds.to_samples(np.full(shape, 3.0))
    assert samples.shape == (2 if 2 in shape else 1, 50)
    assert samples.max() == 1.0


@pytest.mark.parametrize(
    ("sound", "reason"),
    [(np.zeros((3, 50)), "NoSound"), (np.zeros((1, 2, 50)), "NoSound"), (np.full(5, np.nan), "NotANumber")],
)
def test_what_is_no_sound_is_not_written(sound: Any, reason: str) -> None:
    with pytest.raises(UnitFailure) as caught:
        sounds.to_samples(sound)
    assert caught.value.reason == reason


def test_the_vocoder_knows_the_rate_of_what_is_heard_before_the_pipeline_does() -> None:
    config = SimpleNamespace(output_sampling_rate=48_000)
    pipeline = SimpleNamespace(sample_rate=16_000, vocoder=SimpleNamespace(config=config))
    assert sounds.sampling_rate(pipeline) == 48_000
    assert sounds.sampling_rate(SimpleNamespace(vae=SimpleNamespace(sampling_rate=44_100))) == 44_100
    with pytest.raises(BadRequest, match="SimpleNamespace makes sound, but does not say how many samples a second"):
        sounds.sampling_rate(SimpleNamespace(vae=None))


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_pictures_carry_what_is_told_of_them_in_every_format(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"image.{media.IMAGES[kind]}"
    smooth = np.stack(np.meshgrid(np.arange(64) * 3, np.arange(48) * 4), axis=-1)[..., [0, 1, 0]].astype(np.uint8)
    media.write_image(path, smooth, {"prompt": "wörds", "seed": "7"}, kind)
    assert content_types.of(path.name) == f"image/{kind}"
    with Image.open(path) as image:
        assert image.format == kind.upper()
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
        assert comment.startswith(b"ASCII")
        assert json.loads(comment[8:]) == {"prompt": "wörds", "seed": "7"}
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - smooth).mean() < 4
    media.write_image(tmp_path / "small", smooth, {}, kind, quality=10)
    assert (tmp_path / "small").stat().st_size < path.stat().st_size


def test_a_prompt_too_long_for_a_picture_is_cut_and_the_rest_is_kept(tmp_path: Path) -> None:
    media.write_image(tmp_path / "image.jpg", BYTES, {"prompt": "ü" * 60_000, "seed": "7"}, "jpeg")
    with Image.open(tmp_path / "image.jpg") as image:
        told = json.loads(image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment][8:])
    assert told["seed"] == "7"
    assert 5_000 < len(told["prompt"]) < 60_000


def tone(hertz: float, count: int, rate: int) -> Any:
    """One channel of a sine."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(count) / rate)).astype(np.float32)[None]


def heard(path: Path) -> Any:
    """Samples of the first channel, shape (1, samples)."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono")
        frames = [made.to_ndarray() for frame in container.decode(audio=0) for made in resampler.resample(frame)]
    return np.concatenate(frames, axis=1)


def pitch(path: Path) -> float:
    """Frequency that sounds loudest, in hertz."""
    samples = heard(path)[0]
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate / len(samples))


@pytest.mark.parametrize("codec", clips.CODECS)
def test_whoever_writes_a_clip_is_scheduled_as_before(tmp_path: Path, codec: str) -> None:
    """SVT-AV1 makes its caller a real-time thread, and whatever that starts later: nothing else gets a turn."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    clips.write_clip(tmp_path / "clip", [np.zeros((64, 64, 3), np.uint8)] * 3, 8, {}, codec)
    assert (os.sched_getscheduler(0), os.sched_getparam(0)) == before
