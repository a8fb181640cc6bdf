"""What a pipeline returned, as files: pictures, clips with or without sound, and sound."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from carryon_core.done import Outcome
from carryon_core.pipelines import Diffusers
from carryon_worker.failures import BadRequest
from carryon_worker.generators import HISTORY, Made, Output, clips, media, sounds
from carryon_worker.generators import history as histories
from carryon_worker.generators.extending import Extension
from carryon_worker.generators.history import History
from carryon_worker.generators.sounds import Sound
from carryon_worker.session import Session

_log = logging.getLogger(__name__)

_VERDICTS: Final = ("nsfw_content_detected", "nsfw_detected")
"""Fields of a pipeline's result that hold its safety checker's verdict, picture by picture."""
SAFETY_CHECKER: Final = "SafetyChecker"
_BESIDE: Final = ("audio", "sound")
"""Fields of a pipeline's result with what is heard beside its frames."""
_APART: Final = 0.1
"""Share of a clip's length by which its sound may be longer or shorter before the log says so."""


def write(
    result: Any,
    wanted: Diffusers,
    session: Session,
    pipeline: Any,
    extension: Extension | None = None,
    history: History | None = None,
) -> Made:
    """Write what the safety checker passed into the session's outputs.

    Args:
        result: Of the pipeline's call: has `images`, `frames` or `audios`, arrays with values in [0, 1], or in [-1, 1]
            where they are heard.
        wanted: The unit's configuration.
        session: Of the unit.
        pipeline: That made it; says how many samples of sound a second has.
        extension: The clip that it made longer, if any.
        history: What a later unit may go on from, to be kept beside the clip.

    Raises:
        BadRequest: The pipeline makes none of these.
        UnitFailure: What it made is no picture, or no sound.
    """
    output = wanted.output
    # Kandinsky 5 alone says image.
    if (made := getattr(result, "images", getattr(result, "image", None))) is not None:
        kept = _passed(result, _paths(session.outputs, "image", media.IMAGES[output.image], len(made)), made)
        for path, image in kept:
            media.write_image(path, image, _fields(wanted, session), output.image, output.image_quality)
    elif (made := getattr(result, "frames", None)) is not None:
        heard = _heard(result, len(made), pipeline)
        suffix = clips.CODECS[output.codec].suffix
        kept = _passed(result, _paths(session.outputs, "clip", suffix, len(made)), list(zip(made, heard, strict=True)))
        for path, (frames, sound) in kept:
            if extension is None:
                _compare(frames, sound, output.fps)
                clips.write_clip(path, frames, output.fps, tags(wanted, session), output.codec, output.crf, sound)
            else:
                before, new = extension.clip.path, extension.new(frames)
                clips.write_longer(path, before, new, tags(wanted, session), output.codec, output.crf)
    elif (made := getattr(result, "audios", None)) is not None:
        rate = sounds.sampling_rate(pipeline)
        made = made if isinstance(made, list) or np.ndim(made) > 1 else [made]
        kept = _passed(result, _paths(session.outputs, "audio", sounds.FORMATS[output.audio].suffix, len(made)), made)
        for path, each in kept:
            sounds.write_sound(path, Sound(sounds.to_samples(each), rate), tags(wanted, session), output.audio)
    else:
        raise BadRequest(f"the pipeline makes neither images, frames nor audios, but {type(result).__name__}")
    if not kept and len(made):
        return Made(outcome=Outcome.FILTERED, reason=SAFETY_CHECKER)
    outputs = [Output(path.name, path) for path, _ in kept]
    if history is not None:
        outputs.append(Output(HISTORY, session.outputs / HISTORY))
        histories.save(history, outputs[-1].path)
    return Made(outputs)


def tags(wanted: Diffusers, session: Session) -> Mapping[str, str]:
    """What is written into clips and sound about how they came to be, under the names that players know."""
    fields = _fields(wanted, session)
    return {"title": fields["prompt"], "comment": f"seed {fields['seed']}, model {fields['model']}"}


def _fields(wanted: Diffusers, session: Session) -> dict[str, str]:
    return {"prompt": str(wanted.params.get("prompt", "")), "seed": str(session.seed), "model": wanted.model}


def _heard(result: Any, count: int, pipeline: Any) -> list[Sound | None]:
    """What is heard beside each clip."""
    for name in _BESIDE:
        heard = getattr(result, name, None)
        if heard is not None:
            rate = sounds.sampling_rate(pipeline)
            each = [heard] if count == 1 and np.ndim(heard) < 3 else heard
            if len(each) != count:
                raise BadRequest(f"the pipeline returned {count} clips, but sound for {len(each)}")
            return [Sound(sounds.to_samples(one), rate) for one in each]
    return [None] * count


def _compare(frames: Sequence[Any], sound: Sound | None, fps: int) -> None:
    if sound is None:
        return
    seen, heard = len(frames) / fps, sound.samples.shape[1] / sound.rate
    if abs(seen - heard) > _APART * seen:
        _log.warning(
            "the clip lasts %.1f s, its sound %.1f s: set output.fps to the frame rate that the pipeline was asked for",
            seen,
            heard,
        )


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
