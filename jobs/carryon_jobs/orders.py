"""What a person orders of a job: which patch it takes, and the sentence that says what came of it.

Command and page say the same about the same order, because both are told here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from carryon_core import names, requests
from carryon_core.actions import Action
from carryon_core.ranges import IndexSet
from carryon_core.subject import counted
from carryon_jobs import acting
from carryon_jobs.acting import Make, Patch
from carryon_jobs.job import Job
from carryon_jobs.view import JobView

Told: TypeAlias = Callable[[Job, Patch], str]
"""From the job as it was and the patch that was sent to a sentence."""
_SEEDS: Final = 2**32
_ANNOTATIONS: Final = (names.ANNOTATION_RESUME, names.ANNOTATION_RESTART, names.ANNOTATION_RETRY)


@dataclass(frozen=True, slots=True)
class Order:
    """One order.

    Attributes:
        action: Whose verdict decides.
        make: Makes the patch from the job as it is.
        told: Says what was done, once it was.
        reads_bucket: Whether `make` may ask the job's bucket, for the ids of its items or its input files.
    """

    action: Action
    make: Make
    told: Told
    reads_bucket: bool = False


def resume(*, check_artifacts: bool = False) -> Order:
    """Carry on; with `check_artifacts` also where every unit is done."""

    def told(job: Job, _: Patch) -> str:
        if check_artifacts and job.view.holds("Finished") and not _missing(job):
            return f"Resumed: what is gone of {counted(_kept(job), 'unit')} is made again"
        return f"Resumed: {_kept(job)} kept, {_missing(job)} to make"

    return Order(Action.RESUME, acting.resume(check_artifacts=check_artifacts), told)


def pause(until: str | None = None) -> Order:
    """Stop, until a time (or for a duration) where one is given.

    Raises:
        BadRequest: It is no time, or lies in the past.
    """
    moment = acting.until(until) if until is not None else None

    def told(job: Job, _: Patch) -> str:
        active, when = job.status.units.active, f" until {moment}" if moment else ""
        if not active:
            return f"Paused{when}: {_kept(job)} kept"
        return f"Pausing{when}: {counted(active, 'unit')} at work {'is' if active == 1 else 'are'} saved first"

    return Order(Action.PAUSE, acting.pause(moment), told)


def restart() -> Order:
    """Replace the pods at work."""

    def told(job: Job, _: Patch) -> str:
        active = job.status.units.active
        return f"Restarted: {counted(active, 'unit')} {'goes' if active == 1 else 'go'} on from where they were saved"

    return Order(Action.RESTART, acting.restart, told)


def cancel() -> Order:
    """Stop at once."""
    return Order(Action.CANCEL, acting.cancel, lambda job, _: f"Cancelled: {_kept(job)} kept, {_missing(job)} not made")


def retry(units: Sequence[str] = ()) -> Order:
    """Give units new attempts: those named, or all that failed."""

    def told(job: Job, patch: Patch) -> str:
        request = patch["metadata"]["annotations"][names.ANNOTATION_RETRY]
        failed = requests.failed_units(job.status)
        chosen = requests.named_units(request)
        count = sum(len(indexes & failed.get(stage, IndexSet())) for stage, indexes in chosen.items())
        return f"Retrying {counted(count, 'failed unit')}, {_kept(job)} kept"

    return Order(Action.RETRY, acting.retry(tuple(units)), told, reads_bucket=bool(units))


def redo(unit: str, params: Mapping[str, Any] | None = None, seed: int | None = None) -> Order:
    """Make one unit anew with other values; with a random seed where none is named."""
    given = dict(params or {})
    if seed is not None or not given:
        given["seed"] = secrets.randbelow(_SEEDS) if seed is None else seed
    how = ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in given.items())
    return Order(
        Action.REDO,
        acting.redo(unit, given),
        lambda *_: f"Redoing {unit} with {how}: the one before is kept",
        reads_bucket=True,
    )


def approve(stage: str, items: Sequence[str] = (), *, everything: bool = False) -> Order:
    """Let items enter a stage."""
    whom = "every item" if everything else counted(len(items), "item")
    return Order(
        Action.APPROVE,
        acting.approve(stage, tuple(items), everything=everything),
        lambda *_: f"Approved: {whom} may enter {stage}",
        reads_bucket=not everything,
    )


def deleted(job: JobView) -> str:
    """What is said of a job that somebody has deleted."""
    if job.deletes_artifacts:
        return f"Deleting {job.name} and its artifacts"
    return f"Deleting {job.name}: its artifacts are kept"


def echo(patch: Patch) -> str | None:
    """The value that `status.handled` echoes once the operator has acted on a patch; None where it has none."""
    annotations = patch.get("metadata", {}).get("annotations") or {}
    return next((annotations[name] for name in _ANNOTATIONS if annotations.get(name)), None)


def _kept(job: Job) -> int:
    return job.status.units.succeeded


def _missing(job: Job) -> int:
    return job.status.units.total - job.status.units.succeeded
