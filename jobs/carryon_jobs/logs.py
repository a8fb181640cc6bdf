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
    store, standing = job.store, job.standing
    if store is None:
        return
    wanted = requests.failed_units(job.status) if unit is None else _units(job, unit)
    by_name = {stage.name: stage for stage in standing.job.stages}
    several = sum(map(len, wanted.values())) > 1
    for name, indexes in wanted.items():
        for index in indexes:
            found = standing.job.unit(by_name[name].index, index)
            if not found.fingerprint:
                continue
            prefix = f"{name}/{standing.job.item_id(found.stage, index)} | " if several else ""
            try:
                found_there = store.list(layout.attempts_prefix(standing.job.prefix(found)))
                kept = [each for each in found_there if each.key.endswith(".log")]
                if kept:
                    newest = max(kept, key=lambda each: each.modified)
                    text = store.get(newest.key).decode(errors="replace")
                    yield from (prefix + line for line in text.splitlines())
            except StoreError as error:
                raise OutOfReach(f"logs of {job.view.name} can't be read: {error}") from None


def _units(job: Job, unit: str) -> dict[str, IndexSet]:
    """A unit by stage/item, or by its item at every stage."""
    stage, slash, _ = unit.partition("/")
    if slash and any(each.name == stage for each in job.spec.stages):
        return selecting.units(job.spec, job.ids, [unit])
    index_of = {item: index for index, item in enumerate(job.ids)}
    item_wise = [each for each in job.spec.stages if each.each == "item" or unit == names.GATHERED]
    return {each.name: selecting.indexes(each, index_of, unit) for each in item_wise}
