"""The last lines of attempts that failed: their pods go once they are counted, these stay in the bucket."""

from __future__ import annotations

from collections.abc import Iterator

from carryon_core import layout, names, requests
from carryon_core.ranges import IndexSet
from carryon_jobs import selecting
from carryon_jobs.errors import OutOfReach
from carryon_jobs.job import Job
from carryon_store import StoreError


def saved(job: Job, unit: str | None) -> Iterator[str]:
    """Last lines of the newest attempt that is kept, of one unit, or of every unit that failed for good.

    Raises:
        JobError: The bucket can't be read, or there is no such unit.
    """
    if job.store is None:
        return
    wanted = requests.failed_units(job.status) if unit is None else _units(job, unit)
    several = sum(map(len, wanted.values())) > 1
    for name, indexes in wanted.items():
        for index in indexes:
            lines = of_unit(job, name, index)
            if lines:
                stage = _stage(job, name)
                prefix = f"{name}/{job.standing.job.item_id(stage, index)} | " if several else ""
                yield from (prefix + line for line in lines)


def of_unit(job: Job, stage: str, index: int) -> list[str]:
    """Last lines of the newest attempt at one unit that are kept; none where there are none.

    Raises:
        OutOfReach: The bucket can't be read.
    """
    found = job.standing.job.unit(_stage(job, stage), index)
    if job.store is None or not found.fingerprint:
        return []
    try:
        there = job.store.list(layout.attempts_prefix(job.standing.job.prefix(found)))
        kept = [each for each in there if each.key.endswith(".log")]
        if not kept:
            return []
        newest = max(kept, key=lambda each: each.modified)
        return job.store.get(newest.key).decode(errors="replace").splitlines()
    except StoreError as error:
        raise OutOfReach(f"logs of {job.view.name} can't be read: {error}") from None


def _stage(job: Job, name: str) -> int:
    return next(each.index for each in job.standing.job.stages if each.name == name)


def _units(job: Job, unit: str) -> dict[str, IndexSet]:
    """A unit by stage/item, or by its item at every stage."""
    stage, slash, _ = unit.partition("/")
    if slash and any(each.name == stage for each in job.spec.stages):
        return selecting.units(job.spec, job.ids, [unit])
    index_of = {item: index for index, item in enumerate(job.ids)}
    item_wise = [each for each in job.spec.stages if each.each == "item" or unit == names.GATHERED]
    return {each.name: selecting.indexes(each, index_of, unit) for each in item_wise}
