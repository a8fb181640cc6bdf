"""What kind of file a name promises: by a table of Python's own, the same on every machine."""

from __future__ import annotations

import mimetypes
from typing import Final

_types: Final = mimetypes.MimeTypes()
# Newer Pythons know these too.
for _suffix, _type in (
    (".mkv", "video/matroska"),
    (".flac", "audio/flac"),
    (".m4a", "audio/mp4"),
    (".wav", "audio/wav"),
    (".md", "text/markdown"),
):
    _types.add_type(_type, _suffix)
UNKNOWN: Final = "application/octet-stream"


def of(name: str) -> str:
    """MIME type of a file with this name."""
    return _types.guess_type(name, strict=False)[0] or UNKNOWN
