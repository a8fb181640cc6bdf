"""Sound as files, and beside the frames of a clip: equal results of a pipeline become equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from carryon_worker.failures import BadRequest, UnitFailure

Samples = NDArray[np.float32]
"""Sound: (channels, samples), in [-1, 1]."""

_LAYOUTS: Final = {1: "mono", 2: "stereo"}
_RATES: Final[Sequence[tuple[str, ...]]] = (
    # Where there is a vocoder, it makes what is heard; the pipeline's own rate is then that of its spectrograms.
    ("vocoder", "config", "output_sampling_rate"),
    ("vocoder", "config", "sampling_rate"),
    ("sound_tokenizer", "config", "sampling_rate"),
    ("audio_sample_rate",),
    ("sample_rate",),
    ("vae", "config", "sampling_rate"),
    ("vae", "sampling_rate"),
    ("unet", "config", "sample_rate"),
)
"""Where pipelines say how many samples a second they make, the best first (diffusers 0.42)."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What is heard.

    Attributes:
        samples: Shape (channels, samples), one or two channels, in [-1, 1].
        rate: Samples per second.
    """

    samples: Samples
    rate: int


@dataclass(frozen=True, slots=True)
class Coding:
    """How sound is written.

    Attributes:
        encoder: Of FFmpeg.
        rates: Samples per second that it takes, ascending; empty if any.
        bit_rate: Bits per second; None where nothing is lost.
    """

    encoder: str
    rates: tuple[int, ...] = ()
    bit_rate: int | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """A file that holds nothing but sound."""

    coding: Coding
    container: str
    suffix: str


_MPEG_RATES: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
PCM: Final = Coding("pcm_s16le")
FLAC: Final = Coding("flac")
AAC: Final = Coding("aac", _MPEG_RATES, 192_000)
MP3: Final = Coding("libmp3lame", _MPEG_RATES, 192_000)
OPUS: Final = Coding("libopus", (8000, 12000, 16000, 24000, 48000), 128_000)
FORMATS: Final[Mapping[str, Format]] = {
    "wav": Format(PCM, "wav", "wav"),
    "flac": Format(FLAC, "flac", "flac"),
    "mp3": Format(MP3, "mp3", "mp3"),
    "aac": Format(AAC, "ipod", "m4a"),
    "opus": Format(OPUS, "ogg", "opus"),
}
"""What sound may be written as."""


def sampling_rate(pipeline: Any) -> int:
    """Samples per second that a pipeline makes.

    Raises:
        BadRequest: It does not say.
    """
    for path in _RATES:
        found = pipeline
        for name in path:
            found = getattr(found, name, None)
        if isinstance(found, int) and found > 0:
            return found
    raise BadRequest(f"{type(pipeline).__name__} makes sound, but does not say how many samples a second")


def to_samples(sound: Any) -> Samples:
    """One sound.

    Args:
        sound: Array or tensor of shape (samples,), (channels, samples) or (samples, channels), one or two channels.

    Raises:
        UnitFailure: It holds something that is not a number, or has no such shape.
    """
    if hasattr(sound, "detach"):
        sound = sound.detach().float().cpu().numpy()
    array = np.asarray(sound, dtype=np.float32)
    if array.ndim == 1:
        array = array[None]
    if array.ndim == 2 and array.shape[0] not in _LAYOUTS and array.shape[1] in _LAYOUTS:
        array = array.T
    if array.ndim != 2 or array.shape[0] not in _LAYOUTS or not array.shape[1]:
        raise UnitFailure("NoSound", f"the pipeline returned an array of shape {array.shape}, which is no sound")
    if not np.isfinite(array).all():
        raise UnitFailure("NotANumber", "the sound holds values that are not numbers: try dtype bfloat16 or float32")
    return np.ascontiguousarray(array.clip(-1.0, 1.0))


def write_sound(path: Path, sound: Sound, metadata: Mapping[str, str], kind: str = "wav") -> None:
    """Write sound; samples are made more or fewer a second where the format does not know their rate.

    Args:
        path: Where to.
        sound: What is heard.
        metadata: Keys that the formats have, such as title and comment.
        kind: Of `FORMATS`.
    """
    form = FORMATS[kind]
    with av.open(str(path), "w", format=form.container, options={"fflags": "+bitexact"}) as container:
        container.metadata.update(metadata)
        Track(container, form.coding, sound).end()


class Track:
    """A stream of sound in a container that is being written.

    Args:
        container: Of PyAV; nothing is written into it yet.
        coding: How.
        sound: What.
    """

    def __init__(self, container: Any, coding: Coding, sound: Sound) -> None:
        self._container = container
        self._sound = sound
        self._written = 0
        rate, layout = _rate(coding.rates, sound.rate), _LAYOUTS[len(sound.samples)]
        self._stream = container.add_stream(coding.encoder, rate=rate, layout=layout)
        if coding.bit_rate is not None:
            self._stream.bit_rate = coding.bit_rate

    def until(self, seconds: float) -> None:
        """Write what is heard until then, so that it lies in the file beside what is seen."""
        self._write(int(seconds * self._sound.rate))

    def end(self) -> None:
        """Write the rest."""
        self._write(self._sound.samples.shape[1])
        for packet in self._stream.encode():
            self._container.mux(packet)

    def _write(self, end: int) -> None:
        piece = self._sound.samples[:, self._written : end]
        if not piece.shape[1]:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout=_LAYOUTS[len(piece)])
        frame.sample_rate, frame.time_base, frame.pts = self._sound.rate, Fraction(1, self._sound.rate), self._written
        self._written += piece.shape[1]
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


def _rate(known: tuple[int, ...], rate: int) -> int:
    """The rate to write at: the sound's own, or the next above that the encoder knows."""
    return next((each for each in known if each >= rate), known[-1]) if known else rate
