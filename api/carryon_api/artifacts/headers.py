"""How a file that somebody's generator made is answered from our origin: as what it is, and harmless. Pure.

The page's cookie is of the same origin, so a picture or page that holds a script must not run it: content is never
guessed, and what a browser opens by itself stands in a sandbox without scripts, forms and an origin of its own.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

UNKNOWN: Final = "application/octet-stream"
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}", re.IGNORECASE)
_TEXT: Final = ("text/", "application/json", "application/jsonl")
SANDBOX: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src 'self'"
_PREVIEWS: Final = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
}
_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]')
"""What no file name may hold, on one system or another."""
_LONGEST: Final = 180


def content_type(told: str) -> str:
    """A MIME type as a header: one that is not well-formed counts as unknown; text is UTF-8."""
    kind = told.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(kind):
        return UNKNOWN
    return f"{kind}; charset=utf-8" if kind.startswith(_TEXT) else kind


def kind_of(name: str) -> str:
    """The MIME type that a preview's name promises."""
    return _PREVIEWS.get(name.rpartition(".")[2].lower(), UNKNOWN)


def guarded(kind: str, *, immutable: bool) -> dict[str, str]:
    """The headers of every file.

    Args:
        kind: See `content_type`.
        immutable: The address names this content and no other.
    """
    cached = "private, max-age=31536000, immutable" if immutable else "private, no-cache"
    return {
        "Content-Type": kind,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": SANDBOX,
        "Cross-Origin-Resource-Policy": "same-site",
        "Cache-Control": cached,
    }


def readable_name(job: str, stage: str, item: str, name: str) -> str:
    """The name of a downloaded file: `reel-42_clip_dunes.mp4`, with the file's own name where it says more.

    Args:
        job: Name of the job.
        stage: Name of the stage.
        item: Id of the item.
        name: The artifact's own; what stands before its dot is left out where it is the stage's.
    """
    stem, dot, suffix = name.rpartition(".")
    own = (stem if dot and stem else name) if (stem or name) != stage else ""
    parts = [part for part in (job, stage, item, own) if part]
    told = _FORBIDDEN.sub("-", "_".join(parts))[:_LONGEST].strip(". ")
    return f"{told}.{_FORBIDDEN.sub('-', suffix)[:20]}" if dot and stem and suffix else told


def disposition(name: str, *, download: bool) -> str:
    """Content-Disposition (RFC 6266): under which name a file is kept, and whether it is shown before."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    return f'{"attachment" if download else "inline"}; filename="{plain}"{extended}'
