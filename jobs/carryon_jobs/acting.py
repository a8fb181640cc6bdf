"""What each action sends for a job as it is now: ask the verdict, make one patch, and never the same twice. Pure.

Send a patch with the resourceVersion of the job that it was made from: of two people at once one is refused then, reads
again and finds that the other has asked already.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeAlias

from carryon_core import durations, names, requests
from carryon_core.actions import Action, Verdict, verdicts
from carryon_core.ranges import IndexSet
from carryon_core.spec import JobSpec
from carryon_jobs import selecting
from carryon_jobs.errors import BadRequest, NotPossible
from carryon_jobs.job import Job

Patch: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Already:
    """There is nothing to send, and why."""

    reason: str


Make: TypeAlias = Callable[[Job, Verdict], Patch | Already]


def verdict_on(job: Job, action: Action) -> Verdict:
    """The verdict on one action."""
    return verdicts_on(job)[action]


def verdicts_on(job: Job) -> dict[Action, Verdict]:
    """The verdicts on all actions."""
    metadata = job.raw["metadata"]
    return verdicts(
        job.spec,
        job.status,
        job.annotations,
        name=job.view.name,
        generation=metadata.get("generation"),
        now=time.time(),
        deleting="deletionTimestamp" in metadata,
    )


def resume(*, check_artifacts: bool) -> Make:
    """Carry on; with `check_artifacts` also where every unit is done."""

    def make(job: Job, found: Verdict) -> Patch | Already:
        patch = requests.resume(job.spec, now())
        if check_artifacts and job.view.holds("Finished") and not found.already:
            return patch
        return _unless(job, found, patch)

    return make


def pause(until: str | None) -> Make:
    """Stop, until a time where one is given."""

    def make(job: Job, found: Verdict) -> Patch | Already:
        if until is not None and job.spec.suspend and found.already:
            return requests.pause(job.spec, until)
        return _unless(job, found, requests.pause(job.spec, until))

    return make


def restart(job: Job, found: Verdict) -> Patch | Already:
    """Replace the pods at work."""
    return _unless(job, found, requests.restart(now()))


def cancel(job: Job, found: Verdict) -> Patch | Already:
    """Stop at once."""
    return _unless(job, found, requests.cancel())


def retry(texts: Sequence[str]) -> Make:
    """Give units new attempts: those named, or all that failed."""

    def make(job: Job, found: Verdict) -> Patch | Already:
        if not texts or not (found.possible or found.already):
            return _unless(job, found, requests.all_failed(job.status, now()) if found.possible else {})
        failed = requests.failed_units(job.status)
        chosen = _failed_ones(job, failed, texts)
        pending = _pending_units(job)
        if all(not (indexes - pending.get(stage, IndexSet())) for stage, indexes in chosen.items()):
            return Already(found.reason)
        wanted = requests.with_upstream(job.spec, failed, chosen)
        both = {stage: wanted.get(stage, IndexSet()) | pending.get(stage, IndexSet()) for stage in {*wanted, *pending}}
        try:
            return requests.retry({stage: both[stage] for stage in sorted(both)}, now())
        except ValueError as error:
            raise BadRequest(str(error)) from None

    return make


def redo(text: str, params: Mapping[str, Any]) -> Make:
    """Make one unit with other values."""

    def make(job: Job, found: Verdict) -> Patch | Already:
        stage, item = selecting.one(job.spec, job.ids, text)
        patch = _unless(job, found, requests.redo(job.spec, stage.name, item, params))
        if isinstance(patch, Already):
            return patch
        edited = job.spec.model_dump(by_alias=True, mode="json", exclude_unset=True)
        after = job.resolved(JobSpec.model_validate({**edited, **patch["spec"]}))
        before = job.resolved()
        index = next(each.index for each in before.stages if each.name == stage.name)
        at = before.item_index(index, item)
        assert at is not None
        # A unit that gathers may have no fingerprint before it starts; its override is then all that can be compared.
        same = before.unit(index, at).fingerprint == after.unit(index, at).fingerprint
        if before.unit(index, at).fingerprint and same:
            given = ", ".join(params)
            raise NotPossible(
                f'this would change nothing: no template of stage "{stage.name}" uses {given} of the item, or it is so'
                " already"
            )
        if patch["spec"]["overrides"] == edited.get("overrides"):
            return Already("it is so already")
        return patch

    return make


def approve(stage_name: str, texts: Sequence[str], *, everything: bool) -> Make:
    """Let items enter a stage."""

    def make(job: Job, found: Verdict) -> Patch | Already:
        stage = selecting.stage_of(job.spec, stage_name)
        if stage.approval is None:
            raise NotPossible(f'stage "{stage_name}" asks for no approval: its units start by themselves')
        items = [requests.ALL] if everything else selecting.item_ids(stage, job.ids, texts)
        patch = _unless(job, found, requests.approve(job.spec, stage_name, items))
        present = job.spec.approved.get(stage_name, [])
        if requests.ALL in present or patch == {"spec": {"approved": {stage_name: present}}}:
            return Already("approved already")
        return patch

    return make


def now() -> str:
    """The time, as requests carry it: RFC 3339, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def until(text: str) -> str:
    """A time that lies ahead, RFC 3339 in UTC: from a time with or without zone, or a duration from now.

    Raises:
        BadRequest: It is neither, or lies in the past.
    """
    today = datetime.now(UTC)
    try:
        moment = today + timedelta(seconds=durations.seconds(text))
    except ValueError:
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC)
        except ValueError:
            raise BadRequest(
                f'"{text}" is no time: write one such as 2026-12-01T06:00 or 2026-12-01T06:00:00Z, or a duration such'
                " as 8h"
            ) from None
    if moment <= today:
        raise BadRequest(f"{text} lies in the past: name a time ahead")
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def params_of(given: Sequence[str]) -> dict[str, Any]:
    """Params as they are typed, NAME=VALUE: values are JSON where they can be, else text.

    Raises:
        BadRequest: One has another form.
    """
    made: dict[str, Any] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise BadRequest(f'"{each}" is no param: write NAME=VALUE, such as prompt="rain over dunes"')
        try:
            # NaN and 1e999 are no numbers of JSON: an API server would refuse the patch.
            made[name] = json.loads(value, parse_constant=_no_number, parse_float=_number)
        except ValueError:
            made[name] = value
    return made


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _number(text: str) -> float:
    made = float(text)
    return made if math.isfinite(made) else _no_number(text)


def _unless(job: Job, found: Verdict, patch: Patch) -> Patch | Already:
    """The patch, if the verdict allows it.

    Raises:
        NotPossible: It does not.
    """
    if found.possible:
        return patch
    if found.already:
        return Already(found.reason)
    raise NotPossible(f"{job.view.name}: {found.reason}")


def _failed_ones(job: Job, failed: requests.Units, texts: Sequence[str]) -> dict[str, IndexSet]:
    """The failed units that were typed.

    Raises:
        NotPossible: One of them did not fail.
    """
    made: dict[str, IndexSet] = {}
    for text in texts:
        for stage, indexes in selecting.units(job.spec, job.ids, [text]).items():
            there = failed.get(stage, IndexSet())
            if "/" not in text:  # a whole stage: those of it that failed
                indexes = indexes & there
            if not indexes or indexes - there:
                view = next(each for each in job.view.stages if each.name == stage)
                states = sorted({view.state(index) for index in indexes - there})
                how = f" ({', '.join(states)})" if states else ""
                raise NotPossible(
                    f"{text} has not failed for good{how}: there is nothing to retry; carryon redo makes a unit anew"
                )
            made[stage] = made.get(stage, IndexSet()) | indexes
    return made


def _pending_units(job: Job) -> dict[str, IndexSet]:
    """Units of a request that the operator has not acted on: a new one takes its place, so it must name them too."""
    request = job.annotations.get(names.ANNOTATION_RETRY, "")
    if not request or request == job.status.handled.retry:
        return {}
    try:
        return requests.named_units(request)
    except ValueError:
        return {}
