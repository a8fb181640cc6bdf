"""Each unit of a job, how it stands, and its artifacts in the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from carryon_core.done import Done, Outcome
from carryon_core.requests import ALL
from carryon_core.resolved import Unit
from carryon_core.standing import Standing
from carryon_jobs.errors import OutOfReach
from carryon_jobs.job import READERS, Job
from carryon_jobs.view import UnitView
from carryon_store import Store, StoreError
from carryon_store.units import read_done

_MADE: Final = ("done", "skipped")


def of_job(job: Job) -> list[UnitView]:
    """All units of a job, stage by stage.

    Raises:
        JobError: The spec can't be resolved, or the bucket not read.
    """
    standing = job.standing
    states = [stage.states() for stage in job.view.stages]

    def view(unit: Unit) -> UnitView:
        stage = job.view.stages[unit.stage]
        item = standing.job.item_id(unit.stage, unit.item)
        state = states[unit.stage].get(unit.item, "waiting")
        if state == "waiting" and _needs_approval(job, standing, unit, item):
            state = "waiting for approval"
        done = _done(job.store, standing, unit) if state in _MADE else None
        if done is None:
            return UnitView(stage.name, item, state, ())
        if done.outcome is not Outcome.GENERATED:
            state = done.outcome.value
        assert job.store is not None
        prefix = standing.job.prefix(unit)
        artifacts = tuple(location(job.store, prefix + artifact.key) for artifact in done.artifacts)
        return UnitView(stage.name, item, state, artifacts, done.reason)

    try:
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(view, standing.job.units()))
    except StoreError as error:
        raise OutOfReach(f"the artifacts of {job.view.name} can't be looked up: {error}") from None


def location(store: Store, key: str) -> str:
    """Where an object lies: a path for file:// stores, else a uri."""
    if store.uri.startswith("file://"):
        return str(Path(unquote(urlsplit(store.uri).path)) / key)
    return f"{store.uri}/{key}"


def _needs_approval(job: Job, standing: Standing, unit: Unit, item: str) -> bool:
    """Whether a unit has all it needs but a person's word."""
    approved: Sequence[str] | None = job.view.stages[unit.stage].approved
    if approved is None or ALL in approved or item in approved:
        return False
    before = standing.job.stages[unit.stage].after
    if standing.job.stages[unit.stage].gathers:
        return all(job.view.stages[stage].complete for stage in before)
    if unit.previous and (unit.stage, unit.item - 1) not in standing.outcomes:
        return False
    return all(standing.job.upstream(stage, unit.item) in standing.outcomes for stage in before)


def _done(store: Store | None, standing: Standing, unit: Unit) -> Done | None:
    fingerprint = standing.job.unit(unit.stage, unit.item).fingerprint
    if store is None or not fingerprint:
        return None
    found = read_done(store, standing.job.prefix(unit))
    return found if isinstance(found, Done) else None
