"""Finished files of a job, with readable names: into a folder, or as one zip that is made while it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from carryon_core.done import Done
from carryon_core.ranges import IndexSet
from carryon_jobs.archive.readable import Finished, Readable, named
from carryon_jobs.archive.writing import ZipWriter
from carryon_jobs.errors import NotPossible, OutOfReach, Unknown
from carryon_jobs.job import READERS, Job
from carryon_store import Store, StoreError
from carryon_store.units import read_done

_AT_ONCE = 4


@dataclass(frozen=True)
class Download:
    """Finished files of a job.

    Attributes:
        files: In order of stages and items.
    """

    job: Job
    store: Store
    files: Sequence[Readable]

    @property
    def file_name(self) -> str:
        """What to call the zip."""
        return f"{self.job.view.name}.zip"

    def stream(self) -> Iterator[bytes]:
        """One zip of all files, piece by piece.

        Raises:
            OutOfReach: A file is gone or damaged; the zip then breaks off.
        """
        zipped = ZipWriter()
        try:
            for file in self.files:
                info = self.store.head(file.key)
                yield from zipped.stream(file.path, info.size, self.store.read(info), file.artifact.sha256)
        except (StoreError, ValueError) as error:
            raise OutOfReach(f"files of {self.job.view.name} can't be read: {error}") from error
        yield from zipped.end()

    def into(self, folder: Path, told: Callable[[Readable, bool], None] = lambda file, new: None) -> int:
        """Files below a folder; those that are there with the right content stay.

        Args:
            folder: Where to.
            told: Called with each file, and whether it was fetched.

        Returns:
            Files that were fetched.

        Raises:
            OutOfReach: A file is gone or damaged, or can't be written; what was fetched stays, and the same call goes
                on.
        """

        def fetch(file: Readable) -> bool:
            path = folder / file.path
            if _is_there(path, file):
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            self.store.download(file.key, path)
            if not _is_there(path, file):
                path.unlink()
                raise StoreError(
                    f"{self.store.uri}/{file.key} is not what its done.json says: delete it to have it made again"
                )
            return True

        fetched = 0
        try:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="download") as fetchers:
                for file, new in zip(self.files, fetchers.map(fetch, self.files), strict=True):
                    told(file, new)
                    fetched += new
        except StoreError as error:
            raise OutOfReach(f"files of {self.job.view.name} can't be fetched: {error}") from None
        except OSError as error:
            raise OutOfReach(f"{error.filename} can't be written: {error.strerror}") from None
        return fetched


def prepare(job: Job, stages: Collection[str] = (), units: Mapping[str, IndexSet] | None = None) -> Download:
    """Look up what is finished.

    Args:
        job: The job.
        stages: Names of the stages that are wanted; none: all.
        units: Stage name -> indexes of the units that are wanted; None: all.

    Raises:
        JobError: There is no such stage, the job has no bucket yet, or it can't be read.
    """
    known = [stage.name for stage in job.spec.stages]
    if unknown := sorted(set(stages) - set(known)):
        raise Unknown(f'there is no stage "{unknown[0]}": name one of {", ".join(known)}')
    store = job.store
    if store is None:
        raise NotPossible(f"{job.view.name} has no bucket yet: see `carryon describe {job.view.name}`")
    standing = job.standing
    wanted = [
        (stage, unit)
        for stage in standing.job.stages
        if not stages or stage.name in stages
        for unit in stage.units
        if unit.fingerprint and (stage.index, unit.item) in standing.outcomes
    ]

    def done(at: str) -> Done | None:
        found = read_done(store, at)
        return found if isinstance(found, Done) else None

    try:
        with ThreadPoolExecutor(READERS, thread_name_prefix="download") as readers:
            found = list(readers.map(lambda each: done(standing.job.prefix(each[1])), wanted))
    except StoreError as error:
        raise OutOfReach(f"the artifacts of {job.view.name} can't be looked up: {error}") from None
    finished = [
        Finished(
            stage.name,
            "" if stage.gathers else standing.job.item_id(stage.index, unit.item),
            standing.job.prefix(unit),
            tuple(each.artifacts),
        )
        for (stage, unit), each in zip(wanted, found, strict=True)
        if each is not None and each.artifacts
    ]
    files = named(finished, standing.job.ids)
    if units is not None:
        chosen = {standing.job.prefix(unit) for stage, unit in wanted if unit.item in units.get(stage.name, IndexSet())}
        files = [file for file in files if file.key.rpartition("/")[0] + "/" in chosen]
    return Download(job, store, files)


def _is_there(path: Path, file: Readable) -> bool:
    if not path.is_file() or path.stat().st_size != file.artifact.size:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.artifact.sha256
