"""What the zoo keeps of a pipeline: how it is built, what it is called with, and the samplers it is used with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers
import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Sampler:
    """A scheduler as people set it up.

    Attributes:
        kind: Its class in diffusers.
        config: Arguments that its class takes no default for, or another than the default.
    """

    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Any:
        return getattr(diffusers, self.kind)(**self.config)


@dataclass(frozen=True)
class Picture:
    """Stands in a call's parameters for a picture.

    Attributes:
        side: Pixels of each side.
        mode: As PIL has it; a picture of mode L is a mask, black on the left, white on the right.
    """

    side: int = 16
    mode: str = "RGB"

    def paint(self) -> Image.Image:
        if self.mode == "L":
            return Image.fromarray(np.repeat([[0, 255]], self.side, 0).repeat(self.side // 2, 1).astype(np.uint8))
        steps = np.arange(self.side * self.side * 3, dtype=np.uint32).reshape(self.side, self.side, 3)
        return Image.fromarray((steps * 2654435761 >> 13).astype(np.uint8))


@dataclass(frozen=True)
class Entry:
    """One pipeline class of the zoo.

    Attributes:
        pipeline: Its class in diffusers.
        parts: Builds its components, the scheduler aside.
        params: What it is called with, the number of steps aside; a `Picture`, or a list of them, stands for itself.
        samplers: Name -> sampler; the first is what its authors ship it with.
        note: What tells it from another entry of the same class.
    """

    pipeline: str
    parts: Callable[[], Mapping[str, Any]]
    params: Mapping[str, Any]
    samplers: Mapping[str, Sampler]
    note: str = ""

    @property
    def default(self) -> str:
        """Name of the sampler it is shipped with."""
        return next(iter(self.samplers))

    def painted(self) -> dict[str, Any]:
        """What it is called with, the number of steps aside, with pictures in it."""
        return {name: _painted(value) for name, value in self.params.items()}

    def build(self, sampler: str) -> Any:
        """The pipeline, with random weights."""
        return getattr(diffusers, self.pipeline)(**self.parts(), scheduler=self.samplers[sampler].build())


def _painted(value: Any) -> Any:
    if isinstance(value, list):
        return [_painted(each) for each in value]
    return value.paint() if isinstance(value, Picture) else value
