"""Writes sound: WAV with 16 bits a sample, which everything plays."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from carryon_worker.failures import UnitFailure

_CHANNELS_MOST: Final = 8


def to_samples(sound: Any) -> npt.NDArray[np.int16]:
    """Sound as samples of shape (samples, channels).

    Args:
        sound: Array or tensor of shape (samples,), (channels, samples) or (samples, channels) with at most 8 channels,
            floats in [-1, 1] or 16-bit numbers.

    Raises:
        UnitFailure: It holds something that is not a number, or has no such shape.
    """
    if hasattr(sound, "detach"):
        sound = sound.detach().float().cpu().numpy()
    array = np.atleast_2d(np.asarray(sound))
    if array.ndim == 2 and array.shape[0] <= _CHANNELS_MOST:
        array = array.T
    if array.ndim != 2 or not 1 <= array.shape[1] <= _CHANNELS_MOST or not array.size:
        raise UnitFailure("NoSound", f"the pipeline returned an array of shape {np.shape(sound)}, which is no sound")
    if array.dtype != np.int16:
        if not np.isfinite(array).all():
            raise UnitFailure(
                "NotANumber", "the result holds values that are not numbers: try dtype bfloat16 or float32"
            )
        # Half precision has no room for what comes of it.
        array = (array.astype(np.float32).clip(-1.0, 1.0) * np.iinfo(np.int16).max).round().astype("<i2")
    return np.ascontiguousarray(array)


def write_wav(path: Path, sound: Any, rate: int) -> None:
    """Write sound as WAV.

    Args:
        path: Where to.
        sound: What `to_samples` takes.
        rate: Samples a second.
    """
    samples = to_samples(sound)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(samples.dtype.itemsize)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
