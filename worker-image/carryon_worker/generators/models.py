"""Where a model's files are: on this machine, in a bucket, or on a hub; what is not here is fetched into the cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from carryon_core.done import UsedModel
from carryon_core.fingerprint import digest
from carryon_store import Store
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.generators.bytes_moved import moving_while_bytes_move
from carryon_worker.journal.fingerprint import Fields
from carryon_worker.modelcache import buckets, digests, hubs
from carryon_worker.modelcache.entries import Cache, Hold
from carryon_worker.pins import COMMIT

Download: TypeAlias = Callable[[str, str, Path], str]
"""From a model's id, a commit and the folder of the hub's library, the folder or file that was downloaded."""

_SAFETENSORS: Final = ".safetensors"
_LORA: Final = "pytorch_lora_weights.safetensors"
"""What diffusers and peft call the file of an adapter."""
_SHORT: Final = 16

_log = logging.getLogger(__name__)


class Caller(Protocol):
    """As much of a session as a model needs."""

    @property
    def models(self) -> Path:
        """The cache's folder."""
        ...

    @property
    def models_limit(self) -> int | None:
        """Bytes it may have."""
        ...

    @property
    def open_bucket(self) -> Callable[[str], Store]:
        """Opens the bucket of a uri."""
        ...

    @property
    def pin(self) -> Callable[[str, str | None, Callable[[], str]], str]:
        """The commit that a revision stands for in the whole job."""
        ...

    def moved(self) -> None:
        """Bytes moved."""
        ...


@dataclass(frozen=True, slots=True)
class Located:
    """A model, or a file of one, on this machine.

    Attributes:
        path: Its folder; of a file, the file.
        used: For done.json.
        fields: Say for a worker fingerprint which weights these are; None where nobody can tell whether another worker
            would get the same.
        hold: Keeps it in the cache until it is released; None where it is not ours to delete.
    """

    path: Path
    used: UsedModel
    fields: Fields | None
    hold: Hold | None = None
    _cached: buckets.Found | None = None

    def release(self) -> None:
        """It is no longer used."""
        if self.hold is not None:
            self.hold.release()

    def damaged(self, moved: Callable[[], None]) -> list[str]:
        """Files that are not what was downloaded, as far as that is known; they are fetched again the next time."""
        return self._cached.damaged(moved) if self._cached is not None else []


def locate(model: str, revision: str | None, caller: Caller, what: str, download: Download) -> Located:
    """The folder that `from_pretrained` is to be given for a model.

    What is downloaded lies in the worker's cache, which workers may share, and is downloaded once. Tells the caller of
    movement as bytes come.

    Args:
        model: Folder, file:// or s3:// uri, or id on a hub.
        revision: Commit, tag or branch on the hub; a commit is taken as it is.
        caller: Knows the cache and opens buckets.
        what: Names what of a hub's model is wanted, such as the class that it is for: files are chosen by it.
        download: Fetches that from a hub.

    Raises:
        UnitFailure: There is no such model, or it can't be had.
        StoreError: The bucket does not give it.
    """
    if model.startswith("s3://"):
        _no_revision(model, revision)
        found = buckets.fetch(model, caller.open_bucket(model), _cache(caller), caller.moved, None)
        sha256 = found.record.digest()
        used = UsedModel(model=model, sha256=sha256)
        return Located(found.folder, used, {"model": model, "sha256": sha256}, found.hold, found)
    if folder := here(model):
        _no_revision(model, revision)
        return Located(folder, UsedModel(model=model), {"model": model, "files": _files(folder)})
    _no_path(model)
    snapshot = _fetch(model, revision, caller, what, download)
    fields = {"model": model, "revision": snapshot.commit} if COMMIT.fullmatch(snapshot.commit) else None
    return Located(snapshot.path, UsedModel(model=model, revision=snapshot.commit), fields, snapshot.hold)


def locate_file(model: str, weight_name: str | None, revision: str | None, caller: Caller) -> Located:
    """One .safetensors file of a model: the one that is named, or the only one there is.

    Args:
        model: File or folder, as path, file:// or s3:// uri, or id on a hub.
        weight_name: Path of the file below it.
        revision: Commit, tag or branch on the hub.
        caller: Knows the cache and opens buckets.

    Raises:
        UnitFailure: There is no such file, or it can't be had.
        StoreError: The bucket does not give it.
    """

    def choose(names: Sequence[str]) -> str:
        return _choose(model, weight_name, names)

    if model.startswith("s3://"):
        _no_revision(model, revision)
        uri, _, name = model.rpartition("/") if model.endswith(_SAFETENSORS) else (model, "", "")
        found = buckets.fetch(
            uri,
            caller.open_bucket(uri),
            _cache(caller),
            caller.moved,
            lambda names: _choose(model, name, [each for each in names if each == name]) if name else choose(names),
        )
        ((key, file),) = found.record.files.items()
        return Located(found.folder / key, UsedModel(model=model, sha256=file.sha256), {}, found.hold, found)
    path = _path(model)
    if path.is_file():
        _no_revision(model, revision)
        _choose(model, None, [path.name])
        return _hashed(path, UsedModel(model=model), caller)
    if path.is_dir():
        _no_revision(model, revision)
        names = [str(each.relative_to(path)) for each in sorted(path.rglob(f"*{_SAFETENSORS}"))]
        return _hashed(path / choose(names), UsedModel(model=model), caller)
    _no_path(model)
    return _file_of_hub(model, weight_name, revision, caller, choose)


def here(model: str) -> Path | None:
    """The folder of this machine that a model is, if it is one."""
    path = _path(model)
    return path if path.is_dir() else None


def _path(model: str) -> Path:
    return Path(unquote(urlsplit(model).path) if model.startswith("file://") else model).expanduser()


def _cache(caller: Caller) -> Cache:
    return Cache(caller.models, caller.models_limit)


def _no_path(model: str) -> None:
    if model.startswith(("/", "file:", ".", "~")):
        raise BadRequest(f"model {model}: there is no such folder on this worker; is its volume mounted?")


def _no_revision(model: str, revision: str | None) -> None:
    if revision is not None:
        raise BadRequest(f"model {model} has no revision: only models of a hub have; leave it out")


def _fetch(model: str, revision: str | None, caller: Caller, what: str, download: Download) -> hubs.Snapshot:
    """What of a hub's model is wanted, at the commit that the whole job uses."""
    hubs.check_id(model)
    cache = _cache(caller)
    with moving_while_bytes_move(caller):
        commit = _commit(model, revision, caller, cache)
        return hubs.fetch(model, commit, what, cache, caller.moved, download)


def _commit(model: str, revision: str | None, caller: Caller, cache: Cache) -> str:
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    return caller.pin(model, revision, lambda: hubs.resolve(model, revision, cache))


def _file_of_hub(
    model: str, weight_name: str | None, revision: str | None, caller: Caller, choose: Callable[[Sequence[str]], str]
) -> Located:
    def download(name: str, commit: str, folder: Path) -> str:
        from huggingface_hub import hf_hub_download

        return hf_hub_download(name, choose(hubs.files(name, commit)), revision=commit, cache_dir=folder)

    snapshot = _fetch(model, revision, caller, weight_name or "adapter", download)
    located = _hashed(snapshot.path, UsedModel(model=model, revision=snapshot.commit), caller)
    return Located(located.path, located.used, located.fields, snapshot.hold)


def _hashed(path: Path, used: UsedModel, caller: Caller) -> Located:
    sha256 = digests.of_file(path, caller.moved).sha256
    return Located(path, used.model_copy(update={"sha256": sha256}), {})


def _choose(model: str, weight_name: str | None, names: Sequence[str]) -> str:
    """The file that is wanted among those there are."""
    found = [name for name in names if name.endswith(_SAFETENSORS)]
    if weight_name is not None and weight_name in found:
        return weight_name
    if weight_name is None and _LORA in found:
        return _LORA
    if weight_name is None and len(found) == 1:
        return found[0]
    there = ", ".join(found[:10]) or "none: nothing else is read, because nothing is unpickled"
    if weight_name is None and len(found) > 1:
        raise BadRequest(f"{model} has several .safetensors files: name one in weightName; there are {there}")
    raise BadRequest(f"{model} has no file {weight_name or 'that ends in .safetensors'}; of these there are {there}")


def _files(folder: Path) -> str:
    """Names, sizes and times of a folder's files: to read them all for a digest would take as long as to load them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    states = [(str(path.relative_to(folder)), path.stat()) for path in files]
    return digest([[path, seen.st_size, seen.st_mtime_ns] for path, seen in states])[:_SHORT]


def damaged(model: str, files: Sequence[str]) -> UnitFailure:
    """What is said of a model whose files in the cache are no longer what was downloaded."""
    return UnitFailure("ModelDamaged", f"model {model}: {files[0]} was damaged in the cache; it is fetched again")
