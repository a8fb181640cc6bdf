"""What a pipeline returned, as files: pictures become PNG, clips become MP4, sound becomes WAV."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from carryon_core.done import Outcome
from carryon_core.spec import Diffusers
from carryon_worker.failures import BadRequest
from carryon_worker.generators import Made, Output, media, sound_files
from carryon_worker.session import Session

_log = logging.getLogger(__name__)

_VERDICTS: Final = ("nsfw_content_detected", "nsfw_detected")
"""Fields of a pipeline's result that hold its safety checker's verdict, picture by picture."""
SAFETY_CHECKER: Final = "SafetyChecker"


_SAMPLES: Final = ("vocoder", "vae", "audio_vae", "unet", "transformer")
"""Parts of pipelines whose configuration says how many samples of sound a second has; the first that does counts."""
_RATES: Final = ("output_sampling_rate", "sampling_rate", "sample_rate")


def sampling_rate(pipeline: Any) -> int | None:
    """Samples a second of the sound that a pipeline makes; None where it says nothing about it."""
    parts = (pipeline.components.get(name) for name in _SAMPLES)
    for part in (*(getattr(part, "config", None) for part in parts if part is not None), pipeline):
        for name in _RATES:
            rate = getattr(part, name, None)
            if isinstance(rate, int | float) and rate > 0:
                return int(rate)
    return None


def write(result: Any, wanted: Diffusers, session: Session, rate: int | None = None) -> Made:
    """Write what the safety checker passed into the session's outputs.

    Args:
        result: Of the pipeline's call: has `images` or `frames`, arrays with values in [0, 1], or `audios`, arrays
            of shape (samples,) or (channels, samples) with values in [-1, 1].
        wanted: The unit's configuration.
        session: Of the unit.
        rate: Samples of sound a second.

    Raises:
        BadRequest: The pipeline makes none of them.
        UnitFailure: What it made is no picture, or no sound.
    """
    prompt = str(wanted.params.get("prompt", ""))
    images: Any = getattr(result, "images", None)
    clips: Any = getattr(result, "frames", None)
    sounds: Any = getattr(result, "audios", None)
    if images is not None:
        metadata = {"prompt": prompt, "seed": str(session.seed), "model": wanted.model}
        kept = _passed(result, _paths(session.outputs, "image", "png", len(images)), images)
        for path, image in kept:
            media.write_png(path, image, metadata)
    elif clips is not None:
        metadata = {"title": prompt, "comment": f"seed {session.seed}, model {wanted.model}"}
        kept = _passed(result, _paths(session.outputs, "clip", "mp4", len(clips)), clips)
        for path, frames in kept:
            media.write_mp4(path, frames, wanted.output.fps, metadata)
    elif sounds is not None:
        if rate is None:
            raise BadRequest("the pipeline makes sound, but says nowhere how many samples a second has")
        kept = _passed(result, _paths(session.outputs, "audio", "wav", len(sounds)), sounds)
        for path, sound in kept:
            sound_files.write_wav(path, sound, rate)
    else:
        raise BadRequest(f"the pipeline makes neither images, frames nor audios, but {type(result).__name__}")
    made = next(each for each in (images, clips, sounds) if each is not None)
    if not kept and len(made):
        return Made(outcome=Outcome.FILTERED, reason=SAFETY_CHECKER)
    return Made([Output(path.name, path) for path, _ in kept])


def _passed(result: Any, paths: Sequence[Path], results: Sequence[Any]) -> list[tuple[Path, Any]]:
    """The results that the safety checker has nothing against, each with where it goes."""
    refused = [False] * len(paths)
    for name in _VERDICTS:
        verdict = getattr(result, name, None)
        if verdict is None:
            continue
        # One word for all, or a word for each.
        words = list(verdict) if isinstance(verdict, Sequence | np.ndarray) else [verdict] * len(paths)
        if len(words) != len(paths):
            words = [any(words)] * len(paths)
        refused = [bool(before or word) for before, word in zip(refused, words, strict=True)]
    if any(refused):
        _log.warning("the safety checker refuses %d of %d results", sum(refused), len(paths))
    return [(path, made) for path, made, no in zip(paths, results, refused, strict=True) if not no]


def _paths(folder: Path, stem: str, suffix: str, count: int) -> list[Path]:
    if count == 1:
        return [folder / f"{stem}.{suffix}"]
    return [folder / f"{stem}-{number}.{suffix}" for number in range(count)]
