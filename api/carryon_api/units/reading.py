"""What is shown of a job's units: status gives the states, the bucket the rest of those that are shown. Blocking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from carryon_api.live.progress import Reading, pace
from carryon_api.records import PodSummary
from carryon_api.units.shapes import (
    ArtifactLink,
    Attempt,
    DoneFacts,
    Item,
    ItemPage,
    Preview,
    Unit,
    UnitDetail,
    UnitPage,
    UnitStep,
)
from carryon_core.done import Done, Outcome
from carryon_jobs.errors import NotPossible, Unknown
from carryon_jobs.job import Job
from carryon_jobs.made import Kept, Made, Place, attempts, previews, segment
from carryon_jobs.states import Known, StageSets, UnitState, failure_reasons, page, stage_sets

READERS: Final = 16
"""Objects of a bucket that are read at the same time for one page."""
_AT_WORK: Final = ("Pending", "Running")
_MADE: Final = (UnitState.DONE, UnitState.SKIPPED)


@dataclass(frozen=True)
class Sight:
    """A job with all that is looked at for its units.

    Attributes:
        made: What is known of buckets.
        pods: Of the job.
        readings: Uid of a pod -> what it said last.
    """

    job: Job
    made: Made
    pods: Sequence[PodSummary] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Of the job, below the API's address."""
        view = self.job.view
        return f"/api/v1/namespaces/{view.namespace}/jobs/{view.name}"

    def url(self, stage: str, item: str, index: int) -> str:
        """Of a unit."""
        return f"{self.path}/units/{stage}/{segment(item, index)}"


def items(job: Job, offset: int, limit: int) -> ItemPage:
    """Some of a job's items; none as long as nobody knows them.

    Raises:
        JobError: The bucket that has them can't be read.
    """
    ids = _ids(job)
    shown = ids[offset : offset + limit]
    return ItemPage(total=len(ids), items=[Item(index=offset + at, id=item) for at, item in enumerate(shown)])


def units(sight: Sight, stage: str | None, state: UnitState | None, offset: int, limit: int) -> UnitPage:
    """Some of a job's units.

    Args:
        sight: Of the job.
        stage: Only of this stage.
        state: Only in this state.
        offset: Units to leave out.
        limit: Units to show.

    Raises:
        JobError: There is no such stage, or the bucket can't be read.
    """
    job = sight.job
    if stage is not None and all(each.name != stage for each in job.spec.stages):
        known = ", ".join(each.name for each in job.spec.stages)
        raise Unknown(f'{job.view.name} has no stage "{stage}": name one of {known}')
    ids, index_of, chained = _known_items(sight)
    active: dict[str, list[str]] = {}
    for pod in sight.pods:
        if pod.phase in _AT_WORK:
            active.setdefault(pod.stage, []).extend(pod.units)
    every = stage_sets(job.spec, job.status, Known(ids, index_of, active, chained))
    stages = [each for each in every if stage in (None, each.name)]
    found = list(page(stages, state, offset, limit))
    reasons = failure_reasons(job.status)

    def shown(entry: tuple[StageSets, int]) -> Unit:
        return _unit(sight, entry[0], entry[1], ids, reasons)

    asked = any(stage.state(index) in (*_MADE, UnitState.FAILED) for stage, index in found)
    if asked:
        with ThreadPoolExecutor(min(READERS, len(found))) as readers:
            listed = list(readers.map(shown, found))
    else:
        listed = list(map(shown, found))
    return UnitPage(total=sum(len(each.of(state)) for each in stages), items=listed)


def unit(sight: Sight, stage: str, item: str) -> UnitDetail:
    """All about one unit.

    Raises:
        JobError: There is none, or the bucket can't be read.
    """
    job, made = sight.job, sight.made
    place = made.named(job, stage, item)
    resolved = made.resolved(job)
    number = next(each.index for each in resolved.stages if each.name == stage)
    _, index_of, chained = _known_items(sight)
    at_it = [pod for pod in sight.pods if pod.stage == stage and place.item in pod.units]
    active = {stage: [place.item]} if any(pod.phase in _AT_WORK for pod in at_it) else {}
    sets = stage_sets(job.spec, job.status, Known(resolved.ids, index_of, active, chained))[number]
    short = _unit(sight, sets, place.index, resolved.ids, failure_reasons(job.status))
    store = job.store if place.prefix else None
    done = made.done(store, place.prefix) if store is not None else None
    if done is not None and short.state in (UnitState.ACTIVE, UnitState.WAITING):
        # It is there, and status will say so in a moment.
        short = short.model_copy(
            update={"state": _made_state(done), "reason": done.reason, "artifacts": _links(short.url, done)}
        )
    kept = attempts(store, place.prefix) if store is not None else []
    shown = previews(store, place.prefix) if store is not None and short.state is UnitState.ACTIVE else []
    params: dict[str, Any] = {} if resolved.stages[number].gathers else dict(resolved.params[place.index])
    for override in job.spec.overrides:
        if (override.stage, override.item) == (stage, place.item):
            params |= override.params
    return UnitDetail(
        **{name: getattr(short, name) for name in Unit.model_fields},
        fingerprint=place.fingerprint,
        seed=place.seed,
        params=params,
        previews=[Preview(name=name, url=f"{short.url}/previews/{quote(name)}") for name in shown],
        attempts=_attempts(short.url, at_it, kept, done),
        done=None if done is None else _facts(done),
    )


def _unit(
    sight: Sight, stage: StageSets, index: int, ids: Sequence[str], reasons: Mapping[tuple[str, str], str]
) -> Unit:
    job, made = sight.job, sight.made
    state = stage.state(index)
    gathers = job.spec.stages[stage.index].each == "job"
    item = "job" if gathers else ids[index]
    url = sight.url(stage.name, item, index)
    reason, links = _waiting(job, stage, index) if state is UnitState.WAITING else "", list[ArtifactLink]()
    if state is UnitState.WAITING_FOR_APPROVAL:
        reason = "waits for approval"
    if state is UnitState.FAILED:
        reason = reasons.get((stage.name, item), "")
    place = _place(sight, stage, index) if state in (*_MADE, UnitState.FAILED) else None
    if place is not None and place.prefix and job.store is not None:
        if state is UnitState.FAILED:
            reason = reason or made.reason(job.store, place.prefix)
        else:
            done = made.done(job.store, place.prefix)
            if done is not None:
                state = _made_state(done)
                reason, links = done.reason, _links(url, done)
    progress = _progress(sight, stage.name, item) if state is UnitState.ACTIVE else None
    return Unit(
        stage=stage.name,
        item=item,
        index=index,
        state=state,
        reason=reason,
        url=url,
        artifacts=links,
        progress=progress,
    )


def _made_state(done: Done) -> UnitState:
    return UnitState.DONE if done.outcome is Outcome.GENERATED else UnitState(done.outcome)


def _waiting(job: Job, stage: StageSets, index: int) -> str:
    if job.view.suspend:
        return "the job is suspended"
    if index in stage.upstream:
        return f"waits for {' and '.join(job.spec.stages[stage.index].after) or 'the one before'}"
    return "waits for a pod"


def _progress(sight: Sight, stage: str, item: str) -> UnitStep | None:
    for pod in sight.pods:
        reading = sight.readings.get(pod.uid)
        if reading is not None and (reading.stage, reading.item) == (stage, item) and reading.current is not None:
            current = reading.current
            return UnitStep(phase=current.phase, step=current.step, steps=current.steps, seconds_per_step=pace(reading))
    return None


def _place(sight: Sight, stage: StageSets, index: int) -> Place | None:
    """Where a unit lies; None while the spec can't be carried out: what was made before is not lost by that."""
    try:
        return sight.made.place(sight.job, stage.index, index)
    except NotPossible:
        return None


def _known_items(sight: Sight) -> tuple[Sequence[str], Mapping[str, int], frozenset[int]]:
    try:
        resolved = sight.made.resolved(sight.job)
    except NotPossible:
        ids = _ids(sight.job)
        return ids, {item: index for index, item in enumerate(ids)}, frozenset()
    return resolved.ids, resolved.index_of, frozenset(stage.index for stage in resolved.stages if stage.chained)


def _ids(job: Job) -> Sequence[str]:
    try:
        return job.ids
    except NotPossible:
        return ()


def _links(url: str, done: Done) -> list[ArtifactLink]:
    return [
        ArtifactLink(
            name=artifact.name,
            # The content's name makes a new address of new content: caches show neither the old one nor ask again.
            url=f"{url}/artifacts/{quote(artifact.name, safe='')}?v={artifact.sha256[:12]}",
            size=artifact.size,
            content_type=artifact.content_type,
            sha256=artifact.sha256,
        )
        for artifact in done.artifacts
    ]


def _attempts(url: str, pods: Sequence[PodSummary], kept: Sequence[Kept], done: Done | None) -> list[Attempt]:
    """Attempts that are known: pods that are there, what was kept of failed ones, and the one that made it."""
    found: dict[str, Attempt] = {}
    for pod in pods:
        found[pod.uid] = Attempt(
            pod_uid=pod.uid,
            pod=pod.name,
            attempt=pod.attempt,
            state="ended" if pod.phase not in _AT_WORK else "waiting" if pod.started is None else "running",
            reason="",
            message="",
            started=_moment(pod.started),
            finished=None,
            log=None if pod.started is None else f"{url}/log?attempt={pod.uid}",
        )
    for each in kept:
        account = each.account
        found[each.pod_uid] = Attempt(
            pod_uid=each.pod_uid,
            pod=account.pod if account else "",
            attempt=account.attempt if account else None,
            state="ended",
            reason=account.reason if account else "",
            message=account.message if account else "",
            started=account.started if account else None,
            finished=(account.finished if account else None) or _moment(each.written.timestamp()),
            log=f"{url}/log?attempt={each.pod_uid}" if each.log else None,
        )
    if done is not None and done.pod_uid not in found:
        found[done.pod_uid] = Attempt(
            pod_uid=done.pod_uid,
            pod=done.pod,
            attempt=done.attempt,
            state="ended",
            reason="",
            message="",
            started=None,
            finished=done.finished,
            log=None,
        )
    running = [each for each in found.values() if each.state != "ended"]
    ended = sorted((each for each in found.values() if each.state == "ended"), key=lambda each: each.finished or "")
    return [*running, *reversed(ended)]


def _facts(done: Done) -> DoneFacts:
    return DoneFacts(
        outcome=done.outcome,
        attempt=done.attempt,
        pod=done.pod,
        finished=done.finished,
        device=done.device,
        timings=done.timings,
        resume=done.resume,
        overrides=done.overrides,
        models=done.models,
        versions=done.versions,
    )


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
