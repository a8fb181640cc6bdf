"""What a pipeline returned, as files: pictures become PNG, clips become MP4."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from carryon_core.done import Outcome
from carryon_core.spec import Diffusers
from carryon_worker.failures import BadRequest
from carryon_worker.generators import Made, Output, media
from carryon_worker.session import Session

_log = logging.getLogger(__name__)

_VERDICTS: Final = ("nsfw_content_detected", "nsfw_detected")
"""Fields of a pipeline's result that hold its safety checker's verdict, picture by picture."""
SAFETY_CHECKER: Final = "SafetyChecker"


def write(result: Any, wanted: Diffusers, session: Session) -> Made:
    """Write what the safety checker passed into the session's outputs.

    Args:
        result: Of the pipeline's call: has `images` or `frames`, arrays with values in [0, 1].
        wanted: The unit's configuration.
        session: Of the unit.

    Raises:
        BadRequest: The pipeline makes neither.
        UnitFailure: What it made is no picture.
    """
    prompt = str(wanted.params.get("prompt", ""))
    images: Any = getattr(result, "images", None)
    clips: Any = getattr(result, "frames", None)
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
    else:
        raise BadRequest(f"the pipeline makes neither images nor frames, but {type(result).__name__}")
    if not kept and len(images if images is not None else clips):
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
