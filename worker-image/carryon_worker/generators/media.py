"""Pictures and clips between memory and files: equal results of a pipeline become equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from carryon_worker.failures import UnitFailure

Pixels = NDArray[np.uint8]
"""One picture: (height, width, 3), 0 to 255."""

_THREADS: Final = 1
"""What x264 writes depends on the number of threads. Clips this short gain nothing from more."""
_X264: Final = "mbtree=0"
"""x264's macroblock tree reads memory that nobody wrote: the same frames came out in other bytes, for five clips of
nine with other fillings of fresh memory (MALLOC_PERTURB_), and for none without the tree. A unit that was resumed has
to come out the same to the byte."""
_BT709: Final = 1
_LIMITED_RANGE: Final = 1


def to_pixels(picture: Any) -> Pixels:
    """One picture as pixels.

    Args:
        picture: PIL image; or array or tensor of shape (H, W), (H, W, C) or (C, H, W) with C of 1, 3 or 4, floats in
            [0, 1] or bytes.

    Raises:
        UnitFailure: It holds something that is not a number, or has no such shape.
    """
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if hasattr(picture, "detach"):
        picture = picture.detach().float().cpu().numpy()
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise UnitFailure("NoPicture", f"the pipeline returned an array of shape {array.shape}, which is no picture")
    if array.dtype != np.uint8:
        if not np.isfinite(array).all():
            raise UnitFailure(
                "NotANumber", "the result holds values that are not numbers: try dtype bfloat16 or float32"
            )
        array = (array.clip(0.0, 1.0) * 255).round().astype(np.uint8)
    array = array[..., :3]
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def write_png(path: Path, picture: Any, metadata: Mapping[str, str]) -> None:
    """Write a picture as PNG; metadata become text chunks."""
    info = PngInfo()
    for name, value in metadata.items():
        info.add_itxt(name, value)
    Image.fromarray(to_pixels(picture)).save(path, format="PNG", pnginfo=info)


def write_mp4(path: Path, frames: Sequence[Any], fps: int, metadata: Mapping[str, str]) -> None:
    """Write frames of one size as H.264 in MP4 that plays everywhere: 4:2:0, even sides, index at the front.

    Args:
        path: Where to.
        frames: What `to_pixels` takes.
        fps: Frames per second.
        metadata: Keys that MP4 has, such as title and comment.
    """
    pictures = [_even(to_pixels(frame)) for frame in frames]
    # Bit-exact: no time, no version of the muxer in the file.
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "threads": str(_THREADS), "x264-params": _X264}
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            for packet in stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709", threads=_THREADS)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def read_image(path: Path) -> Image.Image:
    """A picture, wholly in memory; grey ones stay grey, because they may be masks."""
    with Image.open(path) as image:
        return image.convert("L" if image.mode in ("1", "L") else "RGB")


def read_frames(path: Path) -> list[Image.Image]:
    """All frames of a clip."""
    with av.open(str(path)) as container:
        return [Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def _even(picture: Pixels) -> Pixels:
    """4:2:0 halves both sides: odd ones get their last row or column twice."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
