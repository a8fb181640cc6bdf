"""Where a model's files are: on this machine, in a bucket, or on a hub."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from carryon_store import ObjectInfo, Store
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.session import Session

_log = logging.getLogger(__name__)


def locate(model: str, session: Session) -> tuple[str, bool]:
    """What `from_pretrained` is to be given for a model, and whether that is a folder of this machine.

    A model in a bucket is downloaded once into the worker's cache folder, which workers may share.

    Args:
        model: Folder, file:// or s3:// uri, or id on a hub.
        session: Knows the cache folder and opens buckets.

    Raises:
        UnitFailure: There is no such model.
        StoreError: The bucket does not give it.
    """
    if model.startswith("s3://"):
        return str(_download(model, session)), True
    if folder := here(model):
        return str(folder), True
    if model.startswith(("/", "file:", ".", "~")):
        raise BadRequest(f"model {model}: there is no such folder on this worker; is its volume mounted?")
    return model, False


def here(model: str) -> Path | None:
    """The folder of this machine that a model is, if it is one."""
    path = Path(unquote(urlsplit(model).path) if model.startswith("file://") else model).expanduser()
    return path if path.is_dir() else None


def _download(uri: str, session: Session) -> Path:
    bucket = session.open_bucket(uri)
    # A download tells of no movement; the store gives up by itself on a bucket that does not answer.
    session.watch(False)
    try:
        objects = list(bucket.list())
        if not objects:
            raise BadRequest(f"model {uri}: there is nothing in the bucket under this uri")
        folder = session.models / _name(uri, objects)
        session.models.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _fetch(bucket, objects, folder)
    finally:
        session.watch(True)
    return folder


def _fetch(bucket: Store, objects: Sequence[ObjectInfo], folder: Path) -> None:
    for left in folder.parent.glob(f"{folder.name}.*.part"):
        # We hold the lock: whoever began this is dead.
        shutil.rmtree(left)
    partial = folder.with_suffix(f".{uuid.uuid4().hex}.part")
    _log.info("downloading the model: %d files, %.1f MB", len(objects), sum(each.size for each in objects) / 1e6)
    for each in objects:
        path = partial / each.key
        path.parent.mkdir(parents=True, exist_ok=True)
        bucket.download(each.key, path)
        if path.stat().st_size != each.size:
            raise UnitFailure("ModelChanged", f"{bucket.uri}/{each.key} changed while it was downloaded; try again")
    os.rename(partial, folder)


def _name(uri: str, objects: Sequence[ObjectInfo]) -> str:
    """Another name for every state of the model in the bucket."""
    state = json.dumps([uri, *([each.key, each.size, each.etag] for each in objects)])
    return hashlib.sha256(state.encode()).hexdigest()[:32]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
