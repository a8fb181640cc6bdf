"""Follows a pipeline that makes its clip section by section: counts its steps through, shows what is finished.

The pipeline is left as it is. It decodes each section by itself, so that what its decoder returns is what there is to
look at, and it calls back after each step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import torch

from carryon_core.pipelines import DiffusersOutput
from carryon_worker.generators import clips, extendable
from carryon_worker.generators.arguments import value_of
from carryon_worker.generators.history import History, Keeping
from carryon_worker.journal.copies import Copies
from carryon_worker.session import Session

_log = logging.getLogger(__name__)

_LONGEST_SIDE: Final = 384
"""Pixels of a preview, about."""

Count = Callable[[Any, Callable[[str], Any]], int | None]
"""Sections of a pipeline's call, given the pipeline and its arguments by name; None if it does not say beforehand."""


def framepack_window(latent_window_size: int, temporal: int) -> int:
    """Frames by which HunyuanVideoFramepackPipeline counts its sections.

    Args:
        latent_window_size: Latent frames of a section.
        temporal: Frames that the decoder makes of a latent frame.
    """
    return (latent_window_size - 1) * temporal + 1


def _framepack(pipeline: Any, argument: Callable[[str], Any]) -> int:
    window = framepack_window(argument("latent_window_size"), pipeline.vae_scale_factor_temporal)
    return max(1, -(-int(argument("num_frames")) // window))


SECTIONED: Final[Mapping[str, Count]] = {
    "HunyuanVideoFramepackPipeline": _framepack,
    "HeliosPipeline": lambda pipeline, argument: None,
    "HeliosPyramidPipeline": lambda pipeline, argument: None,
    "WanAnimatePipeline": lambda pipeline, argument: None,
}
"""Pipelines that decode each section when it is finished (diffusers 0.42)."""


def follow(
    pipeline: Any,
    params: Mapping[str, Any],
    output: DiffusersOutput,
    session: Session,
    fps: int | Fraction,
    before: History | None,
) -> Sections:
    """Follows the next call of a pipeline.

    Args:
        pipeline: That is called.
        params: Arguments of the call that are not the worker's own.
        output: What of it is to be shown and kept.
        session: Of the unit.
        fps: Frames per second of its clip.
        before: Sections that the pipeline finds made already.
    """

    def argument(name: str) -> Any:
        return value_of(type(pipeline).__call__, params, name)

    kind = type(pipeline).__name__
    keeps = output.history and kind == extendable.FRAMEPACK and argument("sampling_type") == extendable.VANILLA
    return Sections(
        pipeline,
        SECTIONED[kind](pipeline, argument) if kind in SECTIONED else None,
        kind in SECTIONED,
        session,
        fps=fps if output.previews else None,
        known=len(before.sections) if before else 0,
        keeping=Keeping(pipeline, before) if keeps else None,
    )


class Sections:
    """One call of a pipeline.

    Args:
        pipeline: That is called.
        count: Its sections, if it is sectioned and says so beforehand.
        sectioned: Whether it makes its clip section by section.
        session: Of the unit.
        fps: Frames per second of what is shown; None where nothing is.
        known: Sections that were there before: neither counted nor shown.
        keeping: Takes down what a later unit may go on from.
    """

    def __init__(
        self,
        pipeline: Any,
        count: int | None,
        sectioned: bool,
        session: Session,
        *,
        fps: int | Fraction | None,
        known: int,
        keeping: Keeping | None,
    ) -> None:
        self._pipeline = pipeline
        self._sectioned = sectioned
        self._count = None if count is None else count - known
        self._session = session
        self._fps = fps
        self._keeping = keeping
        self._decoded = -known
        self._before = 0
        self._last = -1

    def history(self) -> History | None:
        """What is to be kept of the clip that was made."""
        return self._keeping.history() if self._keeping else None

    def step_ended(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Called back after each step: of a section, where there are several."""
        if self._keeping is not None:
            self._keeping.step_ended(pipeline, step, tensors)
        of = getattr(pipeline, "num_timesteps", None)
        if step <= self._last:
            # A loop that begins anew.
            self._before += self._last + 1
        self._last = step
        self._session.step(self._before + step + 1, self._total(of))
        return tensors

    def _total(self, of_one: int | None) -> int | None:
        """Steps of all loops, where it is known how many there are."""
        if of_one is None:
            return None
        if self._count is not None:
            return self._count * of_one
        return None if self._sectioned or self._before else of_one

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block what the pipeline decodes is a section each."""
        vae = getattr(self._pipeline, "vae", None)
        if not self._sectioned or vae is None:
            yield
            return
        decode = vae.decode

        def decoded(*args: Any, **kwargs: Any) -> Any:
            made = decode(*args, **kwargs)
            self._finished(made)
            return made

        with ExitStack() as around:
            if self._keeping is not None:
                around.enter_context(self._keeping.watching())
            vae.decode = decoded
            around.callback(delattr, vae, "decode")
            self._session.section(0, self._count)
            yield

    def _finished(self, made: Any) -> None:
        number, self._decoded = self._decoded, self._decoded + 1
        if number < 0:
            return
        self._session.section(number + 1, self._count)
        # After the last one comes the clip itself.
        if self._fps is None or number + 1 == self._count:
            return
        frames = made[0] if isinstance(made, tuple) else made.sample
        try:
            show(self._session, number, frames, self._fps)
        except RuntimeError as error:
            _log.warning("section %d can't be shown: %s", number, error)


def show(session: Session, number: int, frames: torch.Tensor, fps: int | Fraction) -> None:
    """Show a section, in the background.

    Args:
        session: Of the unit.
        number: Of the section.
        frames: What a decoder made, shape (batch, 3, frames, height, width), in [-1, 1]; the first of a batch is shown.
        fps: Frames per second.
    """
    stride = -(-max(frames.shape[-2:]) // _LONGEST_SIDE)
    # Contiguous, or the copy's dimensions would come in the order in which they lie in memory.
    copies = Copies([frames[0, :, :, ::stride, ::stride].contiguous()])

    def write(path: Path) -> None:
        pictures = copies.tensors[0].permute(1, 2, 3, 0).float() / 2 + 0.5
        clips.write_clip(path, list(pictures.numpy()), fps, {})

    session.previews.show(number, copies.ready, write)
