"""The end of a clip as its denoiser left it: what a later unit goes on from without encoding anything again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from carryon_worker.failures import BadRequest

LOOKS_BACK: Final = 19
"""Latent frames that Framepack looks back on: 16, 2 and 1 (`history_sizes` in diffusers 0.42)."""
_FIRST: Final = "first"
_SECTION: Final = "section.{:03}"


@dataclass(frozen=True, slots=True)
class History:
    """Latents of a Framepack clip, as its scheduler left them.

    Attributes:
        first: Of the picture that it begins with, shape (1, channels, 1, height, width), float32.
        sections: The last ones in the order in which they are seen, each of shape (1, channels, window, height, width):
            as many as are looked back on, or all there are.
    """

    first: torch.Tensor
    sections: tuple[torch.Tensor, ...]

    @property
    def window(self) -> int:
        """Latent frames of a section."""
        return self.sections[0].shape[2]

    def followed_by(self, sections: tuple[torch.Tensor, ...]) -> History:
        """The history of the clip that goes on with these."""
        return History(self.first, last((*self.sections, *sections), self.window))


def last(sections: tuple[torch.Tensor, ...], window: int) -> tuple[torch.Tensor, ...]:
    """Those of a clip's sections that are looked back on."""
    return sections[-looked_back_on(window) :]


def looked_back_on(window: int) -> int:
    """Sections of so many latent frames that are looked back on."""
    return -(-LOOKS_BACK // window)


def save(history: History, path: Path) -> None:
    """Write a history as safetensors."""
    named = {_FIRST: history.first, **{_SECTION.format(n): each for n, each in enumerate(history.sections)}}
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, path)


def load(path: Path) -> History:
    """Read a history.

    Raises:
        BadRequest: The file holds none.
    """
    try:
        tensors = load_file(path)
        first = tensors.pop(_FIRST)
        sections = tuple(tensors[name] for name in sorted(tensors))
    except (SafetensorError, KeyError) as error:
        raise BadRequest(f"{path.name} is no history of a clip: {error}") from None
    if not sections or any(each.shape[:2] + each.shape[3:] != first.shape[:2] + first.shape[3:] for each in sections):
        raise BadRequest(f"{path.name} is no history of a clip: its latents are of several sizes")
    return History(first, sections)


class Keeping:
    """Takes down the history of a clip while it is made.

    Args:
        pipeline: Framepack, with vanilla sampling.
        before: What it goes on from.
    """

    def __init__(self, pipeline: Any, before: History | None) -> None:
        self._pipeline = pipeline
        self._before = before
        self._first: torch.Tensor | None = None
        self._sections: tuple[torch.Tensor, ...] = ()

    def step_ended(self, pipeline: Any, step: int, tensors: Mapping[str, Any]) -> None:
        """The latents after a section's last step are what it leaves."""
        if step + 1 == pipeline.num_timesteps:
            latents = tensors["latents"].detach().float().clone()
            self._sections = last((*self._sections, latents), latents.shape[2])

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block the picture that the clip begins with is seen too."""
        prepare: Callable[..., torch.Tensor] = self._pipeline.prepare_image_latents

        def prepared(*args: Any, **kwargs: Any) -> torch.Tensor:
            self._first = prepare(*args, **kwargs)
            return self._first

        self._pipeline.prepare_image_latents = prepared
        try:
            yield
        finally:
            del self._pipeline.prepare_image_latents

    def history(self) -> History | None:
        """What is to be kept; None for several clips at once, of which nobody could tell which is meant."""
        made = tuple(each.cpu() for each in self._sections)
        if self._first is None or not made or len(made[0]) != 1:
            return None
        if self._before is not None:
            return self._before.followed_by(made)
        return History(self._first.float().cpu(), made)
