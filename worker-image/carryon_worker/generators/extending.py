"""Makes a clip longer: finds it among the inputs, asks a pipeline to go on from it, and tells what is new.

Framepack with vanilla sampling goes on from the latents of the clip's last sections, kept beside it or encoded from its
frames: what it adds is what it would have made had it been asked for the longer clip at once, given the same noise.
All others go on from the clip's last picture or frames.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import torch
from diffusers import HunyuanVideoFramepackPipeline
from PIL import Image

from carryon_core.pipelines import Diffusers, DiffusersOutput, Extend
from carryon_worker import content_types, file_digest
from carryon_worker.failures import BadRequest
from carryon_worker.generators import HISTORY, extendable, history, media
from carryon_worker.generators.arguments import accepted, value_of
from carryon_worker.generators.extendable import FRAMES
from carryon_worker.generators.history import History
from carryon_worker.generators.sections import framepack_window
from carryon_worker.session import Session

_log = logging.getLogger(__name__)

_FPS: Final = DiffusersOutput().fps
_SIZE: Final = ("height", "width")
_FADING: Final = 8
"""New frames over which what is left of a difference at the seam fades out."""


_Framepack: Any = HunyuanVideoFramepackPipeline


class FramepackExtension(_Framepack):  # type: ignore[misc]
    """Framepack that finds sections made already.

    The call is diffusers' own (pipelines/hunyuan_video/pipeline_hunyuan_video_framepack.py, 0.42.1). It asks
    `prepare_latents` for the noise of each section, and passes all steps of a section over while `interrupt` says so:
    a known section's latents take the noise's place, and come out as they went in. What follows looks back on them as
    if they had just been made.
    """

    _carryon_known: tuple[torch.Tensor, ...]
    _carryon_first: torch.Tensor
    _carryon_at: int

    @property
    def interrupt(self) -> bool:
        """Whether the section at work is known."""
        return self._carryon_at <= len(self._carryon_known)

    def prepare_image_latents(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Those of the picture that the clip begins with."""
        return self._carryon_first.to(device=self._execution_device, dtype=torch.float32)

    def prepare_latents(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """What a section begins with: noise, or what is known."""
        number = self._carryon_at
        self._carryon_at += 1
        if number < len(self._carryon_known):
            return self._carryon_known[number].to(device=self._execution_device, dtype=torch.float32)
        made: torch.Tensor = super().prepare_latents(*args, **kwargs)
        return made


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that is made longer.

    Attributes:
        rate: Frames per second.
        count: Its frames.
        first: The first of them.
        end: The last ones, as many as anything looks back on.
    """

    path: Path
    rate: Fraction
    count: int
    first: Image.Image
    end: Sequence[Image.Image]


@dataclass(frozen=True, slots=True)
class Extension:
    """One clip that is made longer.

    Attributes:
        clip: As it was.
        params: Of the pipeline's call.
        drop: Frames at the beginning of what the pipeline returns that are the clip's own.
        history: What the pipeline looks back on; None where it goes on from pictures.
        fields: Of the worker fingerprint.
    """

    clip: Clip
    params: Mapping[str, Any]
    drop: int
    history: History | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> int:
        """Sections that the pipeline finds made already."""
        return len(self.history.sections) if self.history else 0

    @contextmanager
    def applied(self, pipeline: Any) -> Iterator[None]:
        """Within the block the pipeline finds what was made."""
        if self.history is None:
            yield
            return
        kind = type(pipeline)
        pipeline.__class__ = FramepackExtension
        pipeline._carryon_first, pipeline._carryon_known = self.history.first, self.history.sections
        pipeline._carryon_at = 0
        try:
            yield
        finally:
            pipeline.__class__ = kind
            del pipeline._carryon_first, pipeline._carryon_known, pipeline._carryon_at

    def new(self, frames: Any) -> Any:
        """What comes after the clip, of the frames that the pipeline returned.

        The clip's last picture is among them too, somewhat changed: decoded from another beginning, not from a file.
        That difference fades out over the first new frames, so that no step is seen where they begin.

        Args:
            frames: Shape (frames, height, width, 3), in [0, 1].
        """
        own = np.asarray(self.clip.end[-1].convert("RGB"), dtype=np.float32) / 255
        difference = own - frames[self.drop - 1]
        _log.info(
            "going on from frame %d; its picture came back %.1f of 255 apart",
            self.clip.count,
            255 * float(np.abs(difference).mean()),
        )
        new = np.array(frames[self.drop :], dtype=np.float32)
        for number, frame in enumerate(new[:_FADING], start=1):
            frame += difference * (1 - number / (_FADING + 1))
        return new.clip(0.0, 1.0)


def plan(pipeline: Any, wanted: Diffusers, extend: Extend, session: Session) -> Extension:
    """How a pipeline is to go on from a clip.

    Args:
        pipeline: Loaded.
        wanted: The unit's configuration.
        extend: What of it is about the clip.
        session: Of the unit; its inputs hold the clip.

    Raises:
        BadRequest: There is not exactly one clip, or the pipeline can't go on from it as asked.
    """
    kind = type(pipeline).__name__
    extendable.check(kind, wanted.params)
    folder = session.inputs / extend.from_
    clip = _find(folder, extend.from_, _looked_back_on(pipeline, wanted.params))
    if wanted.output.fps not in (_FPS, clip.rate):
        raise BadRequest(
            f"output.fps is {wanted.output.fps}, but the clip of stage {extend.from_} has {float(clip.rate):g} frames a"
            " second, which hold for all of it: leave it out"
        )
    new = max(1, round(extendable.seconds(extend.seconds) * clip.rate))
    params = {**_size(pipeline, wanted.params, clip), **wanted.params}
    if kind != extendable.FRAMEPACK:
        way = extendable.WAYS[kind]
        overlap = extendable.overlap(way, clip.count)
        end = [*clip.end][-overlap:]
        given = {way.argument: end[-1] if way.argument == "image" else [end]}
        return Extension(clip, {**params, **given, FRAMES: extendable.frames_asked(way, overlap, new)}, overlap)
    return _framepack(pipeline, params, clip, folder, new)


def _framepack(pipeline: Any, params: Mapping[str, Any], clip: Clip, folder: Path, new: int) -> Extension:
    temporal = pipeline.vae_scale_factor_temporal
    window = int(value_of(type(pipeline).__call__, params, "latent_window_size"))
    sections = extendable.sections_asked(window, temporal, new)
    asked = framepack_window(window, temporal)
    if value_of(type(pipeline).__call__, params, "sampling_type") != extendable.VANILLA:
        if "image" in params:
            raise BadRequest("params.image is set by `extend` unless sampling_type is vanilla: leave it out")
        # Made from the end to the beginning: what there was counts by its last picture.
        return Extension(clip, {**params, "image": clip.end[-1], FRAMES: sections * asked}, drop=1)
    if isinstance(params.get("prompt"), list) or params.get("num_videos_per_prompt", 1) != 1:
        raise BadRequest("extend makes one clip longer: give one prompt, and leave num_videos_per_prompt out")
    kept = folder / HISTORY
    known = history.load(kept) if kept.is_file() else _encode(pipeline, clip, window)
    if known.window != window:
        raise BadRequest(
            f"params.latent_window_size is {window}, but the clip was made with {known.window}: take the same"
        )
    known = History(known.first, history.last(known.sections, window))
    return Extension(
        clip,
        {"image": clip.first, **params, FRAMES: (len(known.sections) + sections) * asked},
        drop=1 + len(known.sections) * window * temporal,
        history=known,
        fields={"extend.history": file_digest.sha256(kept if kept.is_file() else clip.path)},
    )


def _looked_back_on(pipeline: Any, params: Mapping[str, Any]) -> int:
    """Frames of a clip's end that a pipeline may go on from."""
    kind = type(pipeline).__name__
    if kind != extendable.FRAMEPACK:
        return max(extendable.WAYS[kind].overlaps)
    window = int(value_of(type(pipeline).__call__, params, "latent_window_size"))
    return history.looked_back_on(window) * window * int(pipeline.vae_scale_factor_temporal) + 1


def _find(folder: Path, stage: str, last: int) -> Clip:
    """The only clip among what a stage has made for this item, with so many of its last frames."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [path for path in paths if content_types.of(path.name).startswith("video/")]
    if len(found) != 1:
        there = ", ".join(str(path.relative_to(folder)) for path in paths) or "nothing"
        raise BadRequest(
            f"extend needs exactly one clip from stage {stage}, which made {len(found)} ({there}): let it make one"
        )
    with av.open(str(found[0])) as container:
        if container.streams.audio:
            raise BadRequest(
                f"the clip of stage {stage} has sound, which would end before the new frames: extend can't"
            )
        rate = container.streams.video[0].average_rate
    if rate is None:
        raise BadRequest(f"the clip of stage {stage} does not say how many frames a second has")
    count, first, end = media.read_ends(found[0], last)
    return Clip(found[0], rate, count, first, end)


def _size(pipeline: Any, params: Mapping[str, Any], clip: Clip) -> dict[str, int]:
    """The clip's size, where the pipeline wants to be told."""
    width, height = clip.first.size
    own = dict(zip(_SIZE, (height, width), strict=True))
    for name, value in own.items():
        if params.get(name, value) != value:
            raise BadRequest(f"params.{name} is {params[name]}, but the clip's is {value}: leave it out")
    takes = accepted(type(pipeline).__call__)
    return {name: value for name, value in own.items() if name in takes}


@torch.no_grad()
def _encode(pipeline: Any, clip: Clip, window: int) -> History:
    """A clip's history, from its frames: nearly what it was made from, as far as the encoder and the file go."""
    step = window * pipeline.vae_scale_factor_temporal
    sections = min(history.looked_back_on(window), (clip.count - 1) // step)
    if not sections:
        raise BadRequest(
            f"the clip has {clip.count} frames, which is too short to go on from: with latent_window_size"
            f" {window} it takes {step + 1}"
        )
    width, height = clip.first.size

    def encode(frames: list[Image.Image]) -> torch.Tensor:
        video = pipeline.video_processor.preprocess_video(frames, height, width)
        vae = pipeline.vae
        latents = vae.encode(video.to(device=pipeline._execution_device, dtype=vae.dtype)).latent_dist.mode()
        made: torch.Tensor = (latents * vae.config.scaling_factor).float().cpu()
        return made

    # The first latent frame is of one frame only, as at the beginning of every clip.
    end = encode([*clip.end][-(sections * step + 1) :])[:, :, 1:]
    return History(encode([clip.first]), torch.split(end, window, dim=2))
