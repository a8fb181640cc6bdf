"""What each action sends: one JSON merge patch, with the request and the fields of spec that belong to it. Pure.

Patches that take the place of a list (overrides, approvals, units to retry) are made from the job as it was read: send
them with its resourceVersion, so that what somebody else changed meanwhile is not lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

from carryon_core import names
from carryon_core.ranges import IndexSet
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus
from carryon_core.subject import REQUEST_LONGEST

Patch: TypeAlias = dict[str, Any]
Units: TypeAlias = Mapping[str, IndexSet]
"""Stage name -> indexes of units."""

ALL: Final = "*"


def resume(spec: JobSpec, at: str) -> Patch:
    """Carry on: neither suspended nor cancelled, with a new budget for what failed."""
    given = {"suspend": False, "cancel": False, **({"suspendUntil": None} if spec.suspend_until is not None else {})}
    return _request(names.ANNOTATION_RESUME, at, given)


def pause(spec: JobSpec, until: str | None = None) -> Patch:
    """Stop, until a time where one is given, else until somebody resumes."""
    if until is not None:
        return {"spec": {"suspend": False, "suspendUntil": until}}
    return {"spec": {"suspend": True, **({"suspendUntil": None} if spec.suspend_until is not None else {})}}


def restart(at: str) -> Patch:
    """Replace the pods at work."""
    return _request(names.ANNOTATION_RESTART, at)


def cancel() -> Patch:
    """Stop at once, for good."""
    return {"spec": {"cancel": True}}


def retry(units: Units, at: str) -> Patch:
    """Give units a new budget.

    Raises:
        ValueError: They can't be named in the room that a request has.
    """
    named = name_units(units)
    if len(named) + 1 + len(at) > REQUEST_LONGEST:
        raise ValueError(
            "these units are too many to name in one request: name whole ranges such as clip/0-99, or retry all"
        )
    return _request(names.ANNOTATION_RETRY, f"{named}@{at}")


def redo(spec: JobSpec, stage: str, item: str, params: Mapping[str, Any]) -> Patch:
    """Make one unit with other values; those that were given to it before stay where no new ones take their place."""
    present = [each.model_dump(by_alias=True, mode="json") for each in spec.overrides]
    for override in present:
        if (override["stage"], override["item"]) == (stage, item):
            override["params"] = {**override["params"], **params}
            return {"spec": {"overrides": present}}
    return {"spec": {"overrides": [*present, {"stage": stage, "item": item, "params": dict(params)}]}}


def approve(spec: JobSpec, stage: str, items: Collection[str]) -> Patch:
    """Let items enter a stage, besides those that may already; "*" means all."""
    if ALL in items:
        return {"spec": {"approved": {stage: [ALL]}}}
    present = spec.approved.get(stage, [])
    return {"spec": {"approved": {stage: [*present, *(item for item in dict.fromkeys(items) if item not in present)]}}}


def name_units(units: Units) -> str:
    """Units as a request names them: "clip/7,clip/9-11"."""
    return ",".join(
        f"{stage}/{part}" for stage, indexes in units.items() if indexes for part in str(indexes).split(",")
    )


def named_units(request: str) -> dict[str, IndexSet]:
    """The units that a request names.

    Raises:
        ValueError: It names none, or in another form.
    """
    made: dict[str, IndexSet] = {}
    for part in request.partition("@")[0].split(","):
        stage, slash, indexes = part.strip().partition("/")
        if not slash:
            raise ValueError(f'"{part}" names no unit: write stage/indexes, such as clip/7 or clip/9-11')
        found = IndexSet([0]) if indexes == names.GATHERED else IndexSet.parse(indexes)
        made[stage] = made.get(stage, IndexSet()) | found
    return made


def failed_units(status: JobStatus) -> dict[str, IndexSet]:
    """Units that failed for good."""
    return {stage.name: found for stage in status.stages if (found := IndexSet.parse(stage.failed))}


def with_upstream(spec: JobSpec, failed: Units, chosen: Units) -> dict[str, IndexSet]:
    """Units, and those upstream of them that failed too: without these, a new budget would not help them."""
    made = dict(chosen)
    gathers = {stage.name: stage.each == "job" for stage in spec.stages}
    after = {stage.name: stage.after for stage in spec.stages}
    waiting = list(chosen)
    while waiting:
        stage = waiting.pop()
        for before in after.get(stage, ()):
            there = failed.get(before, IndexSet())
            # A unit that gathers needs them all; one below it needs its only unit.
            needed = there if gathers[stage] or gathers[before] else there & made[stage]
            grown = made.get(before, IndexSet()) | needed
            if needed and grown != made.get(before):
                made[before] = grown
                waiting.append(before)
    return {stage.name: made[stage.name] for stage in spec.stages if stage.name in made}


def all_failed(status: JobStatus, at: str) -> Patch:
    """Give every unit that failed for good a new budget.

    Where they are too scattered to be named, whole stages are: units that are done take no notice of a budget.
    """
    failed = failed_units(status)
    try:
        return retry(failed, at)
    except ValueError:
        return retry({stage: _hull(indexes) for stage, indexes in failed.items()}, at)


def _hull(indexes: Iterable[int]) -> IndexSet:
    listed = list(indexes)
    return IndexSet(range(listed[0], listed[-1] + 1))


def _request(annotation: str, value: str, spec: Patch | None = None) -> Patch:
    made: Patch = {"metadata": {"annotations": {annotation: value}}}
    return {**made, "spec": spec} if spec else made
