"""Pictures that are drawn in code, and arguments as files that a unit may name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from carryon_worker import file_digest
from carryon_worker.certify.calling import Drawing


def draw(wanted: Drawing) -> Image.Image:
    """A disc and a bar on a gradient; of a mask, the disc alone, white on black."""
    y, x = np.mgrid[0 : wanted.height, 0 : wanted.width].astype(np.float32)
    side = min(wanted.width, wanted.height)
    moved = wanted.frame * side / 32
    disc = (x - wanted.width * 0.4 - moved) ** 2 + (y - wanted.height * 0.5) ** 2 < (side * 0.25) ** 2
    if wanted.mask:
        return Image.fromarray((disc * 255).astype(np.uint8))
    pixels = np.stack([x / wanted.width, y / wanted.height, 1.0 - x / wanted.width], axis=-1) * 255
    pixels[disc] = (230, 60, 40)
    pixels[(np.abs(y - wanted.height * 0.8) < side * 0.06)] = (30, 90, 200)
    return Image.fromarray(pixels.astype(np.uint8))


def as_files(params: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Arguments as a unit's configuration has them: pictures and paths are references to files.

    Args:
        params: Values as JSON, with `Drawing`, PIL images and paths among them, at any depth.
        folder: Where pictures are written.

    Raises:
        OSError: A path can't be read.
    """
    written: dict[str, Any] = {}

    def reference(path: Path) -> dict[str, Any]:
        return {"$file": {"uri": path.absolute().as_uri(), "sha256": file_digest.sha256(path)}}

    def save(picture: Image.Image) -> dict[str, Any]:
        content = f"{picture.mode}{picture.size}".encode() + picture.tobytes()
        path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.png"
        picture.save(path)
        return reference(path)

    def replaced(value: Any) -> Any:
        match value:
            case Drawing():
                return save(draw(value))
            case Image.Image():
                return save(value)
            case Path():
                return reference(value)
            case Mapping():
                return {key: replaced(inner) for key, inner in value.items()}
            case list() | tuple():
                return [replaced(inner) for inner in value]
        return value

    for name, value in params.items():
        written[name] = replaced(value)
    return written
