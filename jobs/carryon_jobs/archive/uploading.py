"""Files that people put beside a job, for its parameters to name."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from carryon_core import layout
from carryon_core.messages import StoreConfig
from carryon_core.recipe import check_uri
from carryon_jobs.errors import BadRequest, OutOfReach
from carryon_store import Slice, Store, StoreError
from carryon_store.local import open_body

LONGEST: Final = 512
"""Bytes of a path below the folder for such files."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file in the bucket.

    Attributes:
        uri: As a parameter names it: `{file: uri}`.
    """

    uri: str
    sha256: str
    size: int


def put(store: Store, config: StoreConfig, namespace: str, job: str, path: str, body: Path | Slice) -> Uploaded:
    """Put a file beside a job; one that is there under this path is replaced.

    Args:
        store: The job's bucket.
        config: Where that is, as the job's spec names it.
        namespace: Of the job.
        job: Its name.
        path: Where to, below the folder for such files, such as "photos/dunes.png".
        body: The file.

    Raises:
        BadRequest: No file can have that path.
        OutOfReach: The bucket does not take it.
    """
    key = layout.inputs_prefix(namespace, job) + checked(path)
    uri = _uri(config, key)
    digest = _digest(body)
    try:
        made = store.put(key, body, content_type=mimetypes.guess_type(path)[0] or "application/octet-stream")
    except StoreError as error:
        raise OutOfReach(f"{path} can't be put into the bucket: {error}") from None
    return Uploaded(uri, digest, made.size)


def checked(path: str) -> str:
    """A path that an input file may have.

    Raises:
        BadRequest: It may not.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or _CONTROL.search(path):
        raise BadRequest(f"{path[:100]!r} is no path for a file: write one such as photos/dunes.png, without ..")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise BadRequest(f"{path[:100]!r} is no path for a file: it holds half a character") from None
    if size > LONGEST:
        raise BadRequest(f"the path has {size} bytes: at most {LONGEST}")
    return path


def _uri(config: StoreConfig, key: str) -> str:
    """The uri of an object: in a bucket as it is, of a folder percent-encoded where that is needed."""
    written = quote(key) if config.uri.startswith("file:") else key
    try:
        return check_uri(f"{config.uri.rstrip('/')}/{written}")
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _digest(body: Path | Slice) -> str:
    with open_body(body) as content:
        digest = hashlib.sha256()
        while piece := content.read(1 << 20):
            digest.update(piece)
        return digest.hexdigest()
