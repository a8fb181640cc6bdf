"""Pictures between memory and files, and clips from files: equal results of a pipeline become equal bytes."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from carryon_worker.failures import UnitFailure

Pixels = NDArray[np.uint8]
"""One picture: (height, width, 3), 0 to 255."""

IMAGES: Final[Mapping[str, str]] = {"png": "png", "jpeg": "jpg", "webp": "webp"}
"""Formats of pictures -> what their names end in."""
QUALITY: Final = 95
"""Of JPEG and WebP where nothing else is asked for."""
_EXIF_LONGEST: Final = 60_000
"""Bytes: a JPEG has room for 65,533."""


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


def write_image(
    path: Path, picture: Any, metadata: Mapping[str, str], kind: str = "png", quality: int | None = None
) -> None:
    """Write a picture.

    Args:
        path: Where to.
        picture: What `to_pixels` takes.
        metadata: Become text chunks of a PNG, else JSON in the EXIF field UserComment.
        kind: Of `IMAGES`.
        quality: 1 to 100, of JPEG and WebP.
    """
    image = Image.fromarray(to_pixels(picture))
    if kind == "png":
        info = PngInfo()
        for name, value in metadata.items():
            info.add_itxt(name, value)
        image.save(path, format="PNG", pnginfo=info)
        return
    image.save(path, format=kind.upper(), quality=QUALITY if quality is None else quality, exif=_exif(metadata))


def _exif(metadata: Mapping[str, str]) -> Image.Exif:
    """Metadata as readers of pictures find them; the longest text is cut where there is no room for it."""
    told = dict(metadata)
    while len(content := json.dumps(told)) > _EXIF_LONGEST:
        longest = max(told, key=lambda name: len(told[name]))
        told[longest] = told[longest][: len(told[longest]) // 2]
    exif = Image.Exif()
    # The field begins with its character set, 8 bytes; JSON writes what is not ASCII as escapes.
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"ASCII\0\0\0" + content.encode("ascii")
    return exif


def read_image(path: Path) -> Image.Image:
    """A picture, wholly in memory; grey ones stay grey, because they may be masks."""
    with Image.open(path) as image:
        return image.convert("L" if image.mode in ("1", "L") else "RGB")


def read_frames(path: Path) -> list[Image.Image]:
    """All frames of a clip."""
    with av.open(str(path)) as container:
        return [_picture(frame) for frame in container.decode(video=0)]


def read_ends(path: Path, last: int) -> tuple[int, Image.Image, Sequence[Image.Image]]:
    """How many frames a clip has, the first of them and the `last` last ones; never all of them in memory.

    Raises:
        UnitFailure: It has none.
    """
    count, first, end = 0, None, deque[Any](maxlen=last)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            first = frame if first is None else first
            end.append(frame)
            count += 1
    if first is None:
        raise UnitFailure("NoPicture", f"the clip {path.name} has no frames")
    return count, _picture(first), [_picture(frame) for frame in end]


def _picture(frame: Any) -> Image.Image:
    return Image.fromarray(frame.to_ndarray(format="rgb24"))
