"""Pictures and clips: ranges, shapes, and bytes that depend on nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carryon_worker.failures import UnitFailure
from carryon_worker.generators import media

RAMP = np.linspace(0.0, 1.0, 6 * 5 * 3, dtype=np.float32).reshape(6, 5, 3)
BYTES = (RAMP * 255).round().astype(np.uint8)


class Tensor:
    """As much of a tensor as matters here."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def detach(self) -> Tensor:
        return self

    float = cpu = detach

    def numpy(self) -> Any:
        return self.array


@pytest.mark.parametrize(
    "picture",
    [RAMP, RAMP.astype(np.float16), BYTES, Image.fromarray(BYTES), np.moveaxis(RAMP, -1, 0), Tensor(RAMP)],
    ids=["float", "half", "bytes", "pil", "channels first", "tensor"],
)
def test_every_kind_of_picture_is_the_same_pixels(picture: Any) -> None:
    pixels = media.to_pixels(picture)
    assert (pixels.shape, pixels.dtype) == ((6, 5, 3), np.uint8)
    assert np.abs(pixels.astype(int) - BYTES).max() <= (1 if getattr(picture, "dtype", None) == np.float16 else 0)


def test_what_lies_outside_the_range_is_clipped_and_grey_becomes_colour() -> None:
    grey = np.array([[-3.0, 0.5], [1.0, 7.0]])
    assert media.to_pixels(grey)[..., 1].tolist() == [[0, 128], [255, 255]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_is_no_picture(value: float) -> None:
    with pytest.raises(UnitFailure, match="not numbers") as caught:
        media.to_pixels(np.full((4, 4, 3), value))
    assert caught.value.reason == "NotANumber"


def test_an_array_of_another_shape_is_no_picture() -> None:
    with pytest.raises(UnitFailure, match=r"\(2, 3, 4, 5\)"):
        media.to_pixels(np.zeros((2, 3, 4, 5)))


ENCODE = """
import sys
from pathlib import Path
import numpy as np
from carryon_worker.generators import media

rows, columns = np.mgrid[0:96, 0:96]
frames = [np.stack([rows * 3 + 5 * n, columns * 2 + n * n, rows + columns], axis=-1) % 256 for n in range(17)]
media.write_mp4(Path(sys.argv[1]), [frame.astype(np.uint8) for frame in frames], 8, {})
"""


def test_a_clip_is_the_same_bytes_whatever_lay_in_memory_before(tmp_path: Path) -> None:
    for filling in (1, 200):
        environment = {**os.environ, "MALLOC_PERTURB_": str(filling)}
        subprocess.run([sys.executable, "-c", ENCODE, str(tmp_path / f"{filling}.mp4")], env=environment, check=True)
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "200.mp4").read_bytes()


def test_a_clip_of_odd_size_is_padded_reads_back_and_is_the_same_bytes_twice(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:33, 0:47]
    frames = [np.stack([rows * 7 % 256, columns * 5, rows + 10 * n], axis=-1).astype(np.uint8) for n in range(6)]
    for name in ("a.mp4", "b.mp4"):
        media.write_mp4(tmp_path / name, frames, 12, {"title": "wörds"})
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    read = media.read_frames(tmp_path / "a.mp4")
    assert [frame.size for frame in read] == [(48, 34)] * 6
    assert np.abs(np.asarray(read[5])[:33, :47].astype(int) - frames[5]).mean() < 12
    # The index stands before the frames, so that a browser can begin to play.
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_colours_survive_the_way_into_a_clip_and_back(tmp_path: Path) -> None:
    red = np.zeros((32, 32, 3), dtype=np.uint8)
    red[..., 0] = 200
    media.write_mp4(tmp_path / "red.mp4", [red] * 3, 8, {})
    (first, *_) = media.read_frames(tmp_path / "red.mp4")
    assert np.abs(np.asarray(first).astype(int) - red).max() <= 6
