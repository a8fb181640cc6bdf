"""Programs that draw a picture of two colours, without any library, for jobs that people look at."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import reels

WIDTH: Final = 96
PICTURE: Final = f"""python3 -c 'import os, pathlib, struct, zlib
wide, high, seed = {WIDTH}, 64, int(os.environ["CARRYON_SEED"])
one, two = ([seed >> shift & 255 for shift in shifts] for shifts in ((0, 8, 16), (24, 32, 40)))
mixed = lambda far: bytes(int(a + (b - a) * far) for a, b in zip(one, two))
rows = b"".join(b"\\0" + b"".join(mixed((x + y) / (wide + high)) for x in range(wide)) for y in range(high))
part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
made = b"\\x89PNG\\r\\n\\x1a\\n" + part(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0))
made += part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
pathlib.Path(os.environ["CARRYON_OUTPUT"], "clip.png").write_bytes(made)'"""


def held_from(index: int, gate: Path) -> str:
    """A program that draws the units before an index at once, and those from it on when the gate is there."""
    return reels.held_from(index, gate, PICTURE)
