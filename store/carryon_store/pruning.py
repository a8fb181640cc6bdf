"""What may go from a job's bucket when it ends: earlier versions of units, and what those that are done left behind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from carryon_core import layout
from carryon_core.resolved import ResolvedJob, ResolvedStage
from carryon_store.deleting import delete_each
from carryon_store.protocol import ObjectInfo, Store

UNTOUCHED: Final = timedelta(hours=1)
"""A version without done.json that was written to since then may be one that a worker is still at."""
_LEFT: Final = (layout.CHECKPOINT, layout.JOURNAL, layout.PREVIEWS)
"""What a version that is done has no use for."""
_VERSION: Final = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class _Version:
    """A unit at one fingerprint.

    Attributes:
        prefix: Where it lies.
        keys: What lies there, done.json first: a version that is gone in part must not count as done.
        done: When its done.json was written, None if it has none.
        touched: When the last of its objects was written.
    """

    prefix: str
    keys: tuple[str, ...]
    done: datetime | None
    touched: datetime


def prune(store: Store, job: ResolvedJob, keep: int, now: datetime) -> int:
    """Delete what is outdated: of each unit the versions that are not today's, but for the newest.

    Checkpoints, journals and previews of a version that is done go too: a worker that died right after its work has
    left them.

    Items and stages that the job no longer has keep all they made, and so does a unit whose fingerprint is not known
    today.

    Args:
        store: The bucket.
        job: With the fingerprints of today, see `standing.Standing.job`.
        keep: Finished earlier versions that stay, of each unit.
        now: The time, UTC.

    Returns:
        Objects that were deleted.

    Raises:
        StoreError: Something could not be read or deleted; asking again goes on from there.
    """

    def delete(version: _Version) -> int:
        for key in version.keys:
            store.delete(key)
        return len(version.keys)

    return sum(delete_each(delete, _outdated(store, job, stage, keep, now)) for stage in job.stages)


def _outdated(store: Store, job: ResolvedJob, stage: ResolvedStage, keep: int, now: datetime) -> Iterator[_Version]:
    """The versions of a stage's units that may go, in whole or in part."""
    at = layout.stage_prefix(job.namespace, job.name, stage.name)
    today = {
        layout.encode_id(job.item_id(stage.index, unit.item)): job.prefix(unit)
        for unit in stage.units
        if unit.fingerprint
    }
    for item, objects in groupby(store.list(at), key=lambda info: info.key.removeprefix(at).partition("/")[0]):
        if item not in today:
            continue
        versions = list(_versions(f"{at}{item}/", objects))
        earlier = [each for each in versions if each.prefix != today[item]]
        finished = sorted((each for each in earlier if each.done), key=lambda each: each.done or now, reverse=True)
        yield from finished[keep:]
        current = [each for each in versions if each.prefix == today[item] and each.done]
        for each in (*current, *finished[:keep]):
            if left := tuple(key for key in each.keys if key.removeprefix(each.prefix).startswith(_LEFT)):
                yield replace(each, keys=left)
        yield from (each for each in earlier if each.done is None and each.touched < now - UNTOUCHED)


def _versions(prefix: str, objects: Iterable[ObjectInfo]) -> Iterator[_Version]:
    """The versions of one unit, whose objects are neighbours; what lies beside their folders is none."""
    for name, group in groupby(objects, key=lambda info: info.key.removeprefix(prefix).partition("/")[0]):
        if not _VERSION.fullmatch(name):
            continue
        at = f"{prefix}{name}/"
        found = sorted(group, key=lambda info: info.key != at + layout.DONE)
        done = found[0].modified if found[0].key == at + layout.DONE else None
        yield _Version(at, tuple(info.key for info in found), done, max(info.modified for info in found))
