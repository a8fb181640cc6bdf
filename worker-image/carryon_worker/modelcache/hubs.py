"""Models of a hub, at one commit, in the cache of the hub's own library.

`{entry}.json` names the commits that are there whole, and of what: a worker that finds its own needs no hub.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils._validators import validate_repo_id

from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.modelcache import entries
from carryon_worker.modelcache.entries import Cache, Entry, Hold
from carryon_worker.pins import COMMIT

_FORMS: Final = "write /folder, file:///folder, s3://bucket/prefix or org/name"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model of a hub in the cache, in use.

    Attributes:
        path: Of what was asked for: a folder or a file.
        commit: 40 hex digits.
        hold: Keeps it there.
    """

    path: Path
    commit: str
    hold: Hold


def check_id(model: str) -> None:
    """Look whether a text can be the id of a model.

    Raises:
        BadRequest: It can't.
    """
    try:
        validate_repo_id(model)
    except HFValidationError:
        raise BadRequest(f"model {model} is no folder here and can be no id on a hub: {_FORMS}") from None


def resolve(model: str, revision: str | None, cache: Cache) -> str:
    """The commit that a branch or tag names now; without the hub, the one it named when it was last asked.

    What is not a `pins.COMMIT` came from a hub without commits: its models can be loaded, but nobody knows which they
    are.

    Raises:
        UnitFailure: There is no such model or revision, it may not be had, or nobody can tell.
    """
    with told(model, revision):
        return HfApi().resolve_revision(model, revision=revision, cache_dir=folder(cache)).resolved


def files(model: str, commit: str) -> list[str]:
    """Paths of the files of a model at a commit.

    Raises:
        UnitFailure: As `resolve`.
    """
    with told(model, commit):
        return sorted(HfApi().list_repo_files(model, revision=commit))


def fetch(
    model: str,
    commit: str,
    what: str,
    cache: Cache,
    moved: Callable[[], None],
    download: Callable[[str, str, Path], str],
) -> Snapshot:
    """What of a model is wanted, at a commit.

    Args:
        model: Id on the hub.
        commit: Of the model.
        what: Names what of it is wanted: downloaded once for each name.
        cache: Knows who uses it.
        moved: Told of movement while another worker downloads; of its own the caller tells.
        download: From model, commit and the library's folder, the path of what is wanted; the hub's library, which
            fetches no file again that is there whole.

    Raises:
        UnitFailure: As `resolve`, or there is no room for it.
    """
    name, where = repo_folder_name(repo_id=model, repo_type="model"), folder(cache)
    entry = cache.entry(name, None if where == _own(cache) else where / name)
    hold = entry.use()
    try:
        path = _known(entry, commit, what)
        if path is None:
            with entry.downloading(moved):
                path = _known(entry, commit, what) or _download(model, commit, what, cache, entry, download)
        return Snapshot(path, commit, hold)
    except BaseException:
        hold.release()
        raise


def folder(cache: Cache) -> Path:
    """Where the hub's library is to keep its files: in the cache, unless its own variables say otherwise."""
    if os.environ.get("HF_HOME") or os.environ.get("HF_HUB_CACHE"):
        return Path(constants.HF_HUB_CACHE)
    return _own(cache)


def _own(cache: Cache) -> Path:
    return cache.folder / entries.HUB / "hub"


def _download(
    model: str, commit: str, what: str, cache: Cache, entry: Entry, download: Callable[[str, str, Path], str]
) -> Path:
    _log.info("downloading the model from the hub, commit %s", commit)
    if entry.elsewhere is None:
        # The library keeps whole files only. Whoever was at these is dead: we are the one that downloads.
        for left in (entry.folder / "blobs").glob("*.incomplete"):
            left.unlink(missing_ok=True)
    while True:
        try:
            with told(model, commit):
                path = Path(download(model, commit, folder(cache)))
            break
        except OSError as error:
            if not cache.evict_oldest(entry):
                raise entries.full(cache, model, None) from error
    if COMMIT.fullmatch(commit):
        content = json.dumps({**_record(entry), f"{commit}/{what}": str(path)}, indent=1)
        written = entry.record.with_suffix(".new")
        written.write_text(content, encoding="utf-8")
        os.replace(written, entry.record)
    # Its size is known only now.
    cache.make_room(0, entry)
    return path


def _record(entry: Entry) -> Mapping[str, str]:
    try:
        found = json.loads(entry.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _known(entry: Entry, commit: str, what: str) -> Path | None:
    """Where it is, if it is there whole: a link to a file that is gone is none."""
    found = _record(entry).get(f"{commit}/{what}")
    if found is None:
        return None
    path = Path(found)
    parts = [path, *path.rglob("*")] if path.is_dir() else [path]
    return path if all(part.exists() for part in parts) else None


@contextmanager
def told(model: str, revision: str | None) -> Iterator[None]:
    """Errors of the hub's library, as sentences; but a full disk comes out as the OSError it is."""
    try:
        yield
    except UnitFailure:
        raise
    except Exception as error:
        said = _said(error, f"model {model}", revision or "main")
        if said is error:
            raise
        raise said from error


def _said(error: Exception, model: str, revision: str) -> Exception:
    """What an error means; itself, if that is nothing about a hub."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in entries.FULL:
            return cause
        if failure := _refusal(cause, model, revision):
            return failure
    if isinstance(error, AssertionError):
        return UnitFailure("ModelUnavailable", f"{model}: {constants.ENDPOINT} does not name a commit, as hubs do")
    if isinstance(error, OSError | httpx2.HTTPError | RevisionResolutionError):
        return UnitFailure(
            "ModelUnavailable",
            f"{model} can't be had from {constants.ENDPOINT}, and it is not in the cache: {_first(error)}",
        )
    return error


def _refusal(cause: BaseException, model: str, revision: str) -> UnitFailure | None:
    """What a hub's answer means, where asking again would bring the same."""
    hub = constants.ENDPOINT
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
    if isinstance(cause, RevisionNotFoundError):
        return BadRequest(f"{model} has no revision {revision} at {hub}: name one that it has")
    if isinstance(cause, RemoteEntryNotFoundError):
        return BadRequest(f"{model} at {revision} lacks a file that it should have: {_first(cause)}")
    if isinstance(cause, GatedRepoError) or status == 403:
        return BadRequest(f"{model} is gated and {hub} refuses it: accept its terms there, and {_token()}")
    if isinstance(cause, RepositoryNotFoundError) or status == 401:
        return BadRequest(f"there is no {model} at {hub}, or it is private: correct the id, or {_token()}")
    return None


def _token() -> str:
    if os.environ.get("HF_TOKEN"):
        return "give a token that may read it: the one in spec.models.tokenSecret may not"
    return "give a token that may read it, by spec.models.tokenSecret"


def _first(error: BaseException) -> str:
    """The sentence of the first cause, without the lines around it."""
    *_, first = _causes(error)
    lines = [line.strip() for line in str(first).splitlines() if line.strip()]
    return f"{type(first).__name__}: {lines[0][:300]}" if lines else type(first).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
