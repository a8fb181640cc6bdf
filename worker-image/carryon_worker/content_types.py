"""What kind of file a name promises: by a table of Python's own, the same on every machine."""

from __future__ import annotations

import mimetypes
from typing import Final

_types: Final = mimetypes.MimeTypes()
UNKNOWN: Final = "application/octet-stream"


def of(name: str) -> str:
    """MIME type of a file with this name."""
    return _types.guess_type(name, strict=False)[0] or UNKNOWN
