"""Sound: shapes, ranges, and what a WAV holds."""

from __future__ import annotations

import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from carryon_worker.failures import UnitFailure
from carryon_worker.generators import results
from carryon_worker.generators.sound_files import to_samples, write_wav

TONE = np.sin(np.linspace(0, 60, 1600, dtype=np.float32))
STEREO = np.stack([TONE, -TONE])


@pytest.mark.parametrize(
    ("sound", "channels"),
    [(TONE, 1), (TONE[None], 1), (TONE[:, None], 1), (STEREO, 2), (STEREO.T, 2), (STEREO.astype(np.float16), 2)],
)
def test_sound_of_any_shape_plays_as_it_was(tmp_path: Path, sound: Any, channels: int) -> None:
    path = tmp_path / "audio.wav"
    write_wav(path, sound, 16_000)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("pcm_s16le", 16_000, channels)
        played = np.concatenate([frame.to_ndarray().reshape(-1, channels) for frame in container.decode(audio=0)])
    assert np.abs(played[:, 0] / 32767 - TONE).max() < 2e-3
    with wave.open(str(path)) as file:
        assert file.getnframes() == len(TONE)


def test_what_is_louder_than_it_can_be_is_cut_off() -> None:
    assert to_samples(np.array([0.0, 2.0, -3.0])).ravel().tolist() == [0, 32767, -32767]


def test_what_is_no_sound_is_a_failure() -> None:
    for sound, reason in (
        (np.array([0.0, np.nan]), "NotANumber"),
        (np.zeros((9, 9)), "NoSound"),
        (np.zeros((2, 3, 4)), "NoSound"),
        (np.zeros(0), "NoSound"),
    ):
        with pytest.raises(UnitFailure) as failure:
            to_samples(sound)
        assert failure.value.reason == reason


def test_the_rate_is_the_one_of_the_part_that_makes_the_sound() -> None:
    def pipeline(own: dict[str, Any], **parts: Any) -> Any:
        made = {name: SimpleNamespace(config=SimpleNamespace(**config)) for name, config in parts.items()}
        return SimpleNamespace(components={**made, "scheduler": object(), "tokenizer": None}, **own)

    assert results.sampling_rate(pipeline({}, vae={"latent_channels": 4})) is None
    assert results.sampling_rate(pipeline({}, vae={"sampling_rate": 44_100})) == 44_100
    vocoder = {"sampling_rate": 16_000, "output_sampling_rate": 24_000}
    assert results.sampling_rate(pipeline({}, vae={"sample_rate": 8_000}, vocoder=vocoder)) == 24_000
    assert results.sampling_rate(pipeline({"sample_rate": 48_000}, unet={})) == 48_000
