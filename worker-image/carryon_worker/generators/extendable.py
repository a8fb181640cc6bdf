"""Which pipelines can go on from a clip, and how. Pure: nothing is loaded.

A pipeline goes on from what it was given as its beginning: the last picture of a clip, or its last frames. What it
makes begins with these, which are left out again. Framepack also has a memory of what it made, see `extending`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from carryon_worker.failures import BadRequest

FRAMEPACK: Final = "HunyuanVideoFramepackPipeline"
FRAMES: Final = "num_frames"
"""Argument by which all of them are told how much to make."""
VANILLA: Final = "vanilla"
"""Framepack's sampling that makes sections in the order in which they are seen."""
LONGEST: Final = 600
"""Seconds that one unit may add."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a pipeline is told how its clip begins.

    Attributes:
        argument: Of its call: `image` takes a picture, `video` a list of clips.
        stride: Its clips have a multiple of so many frames, and one more.
        overlaps: Frames that go in, the most first; as many as the clip has. Each is a multiple of the stride, and one
            more.
    """

    argument: str
    stride: int
    overlaps: tuple[int, ...] = (1,)


WAYS: Final[Mapping[str, Way]] = {
    "CogVideoXImageToVideoPipeline": Way("image", 4),
    "LTXConditionPipeline": Way("video", 8, (17, 9, 1)),
    "LTXImageToVideoPipeline": Way("image", 8),
    "SkyReelsV2ImageToVideoPipeline": Way("image", 4),
    "StableVideoDiffusionPipeline": Way("image", 1),
    "WanImageToVideoPipeline": Way("image", 4),
}
"""Pipelines whose clips begin with the frames that they were given (diffusers 0.42).

HunyuanVideoImageToVideoPipeline cuts them off, or not, by the kind of its weights, so it is left out.
"""


def names() -> list[str]:
    """Pipelines that can go on from a clip."""
    return sorted([FRAMEPACK, *WAYS])


def check(pipeline: str, params: Mapping[str, Any], given: tuple[str, ...] = (FRAMES,)) -> None:
    """Make sure that a pipeline can go on from a clip with these parameters.

    Args:
        pipeline: Its class.
        params: The user's.
        given: Arguments that are the worker's.

    Raises:
        BadRequest: It can't.
    """
    if pipeline != FRAMEPACK and pipeline not in WAYS:
        raise BadRequest(
            f"{pipeline} can't go on from a clip: set `pipeline` to one that can and that the model has:"
            f" {', '.join(names())}"
        )
    for name in (*given, *((WAYS[pipeline].argument,) if pipeline in WAYS else ())):
        if name in params:
            raise BadRequest(f"params.{name} is set by `extend`: leave it out")


def arguments_of(pipeline: str) -> tuple[str, ...]:
    """Arguments that a user need not give where a pipeline goes on from a clip; the worker does."""
    return ("image", FRAMES) if pipeline == FRAMEPACK else (WAYS[pipeline].argument, FRAMES)


def seconds(value: Any) -> float:
    """By how many seconds a clip is to become longer.

    Raises:
        BadRequest: It is no such number.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number <= LONGEST:
        raise BadRequest(f"extend.seconds must be a number above 0 and at most {LONGEST}, not {value!r}")
    return number


def overlap(way: Way, frames: int) -> int:
    """How many of a clip's last frames go in."""
    return next(each for each in way.overlaps if each <= frames)


def frames_asked(way: Way, overlap: int, new: int) -> int:
    """Frames to ask a pipeline for, so that at least `new` of them come after the overlap."""
    return math.ceil((overlap - 1 + new) / way.stride) * way.stride + 1


def sections_asked(window: int, temporal: int, new: int) -> int:
    """Sections to ask Framepack for, so that they have at least `new` frames.

    Args:
        window: Latent frames of a section.
        temporal: Frames that the decoder makes of a latent frame.
        new: Frames.
    """
    return math.ceil(new / (window * temporal))
