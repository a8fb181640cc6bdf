"""Jobs as tables, bars and sentences: from a view to what rich prints, and to plain lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from carryon_core.actions import Action, Verdict
from carryon_core.ranges import IndexSet
from carryon_core.subject import counted
from carryon_jobs.analytics import Analytics
from carryon_jobs.timing import Eta
from carryon_jobs.view import JobView, StageView, UnitView, age, elapsed, moment, span
from carryon_standalone.cli.naming import as_typed

_COLOURS: Final = {
    "Succeeded": "green",
    "Failed": "red",
    "Retrying": "yellow",
    "Suspending": "yellow",
    "Suspended": "yellow",
    "Running": "cyan",
    "AwaitingApproval": "magenta",
    "Stalled": "red",
    "Cancelled": "yellow",
}
_TOLD_WHEN_FALSE: Final = ("Accepted", "Progressing", "Suspended", "Succeeded", "Failed", "Finished")
"""Conditions that are worth a line although they do not hold."""
_FOLDED: Final = ("MESSAGE", "ARTIFACTS", "REASON")
_BAR: Final = 36
_FAILURES_IN_PROGRESS: Final = 3


def columns(job: JobView, now: datetime) -> tuple[str, ...]:
    """A job as one row: name, phase, progress, failed, active, age, message."""
    return (job.name, job.phase, job.progress, str(job.failed), str(job.active), age(job, now), job.message)


def jobs_table(jobs: Sequence[JobView], now: datetime, *, with_namespace: bool = False) -> Table:
    """Jobs as kubectl shows them."""
    before = ("NAMESPACE",) if with_namespace else ()
    table = _plain_table(*before, "NAME", "PHASE", "PROGRESS", "FAILED", "ACTIVE", "AGE", "MESSAGE")
    for job in jobs:
        name, phase, *others = columns(job, now)
        place = (escape(job.namespace),) if with_namespace else ()
        table.add_row(*place, escape(name), Text(phase, _COLOURS.get(phase, "")), *map(escape, others))
    return table


def progress(job: JobView, now: datetime) -> RenderableType:
    """What `carryon run` shows while a job is at work: a bar for each stage, what is going on, what failed last."""
    bars = Table.grid(padding=(0, 1))
    for stage in job.stages:
        bars.add_row(
            stage.name,
            ProgressBar(total=max(stage.total, 1), completed=stage.done, width=_BAR),
            f"{stage.done}/{stage.total}",
            f"{len(stage.active)} active",
            Text(f"{stage.failures} failed", "red") if stage.failures else "",
        )
    heading = Text.assemble(
        (job.name, "bold"),
        "  ",
        (job.phase, _COLOURS.get(job.phase, "")),
        f"  {elapsed(job, now)}  {job.message}",
        (f"  {saved_by_resuming(job)}" if saved_by_resuming(job) else "", "green"),
    )
    failures = [Text(f"  {failure_line(each)}", "red") for each in job.failures[:_FAILURES_IN_PROGRESS]]
    return Group(heading, bars, *failures)


def news(before: JobView | None, job: JobView) -> Iterator[str]:
    """What changed, as lines for a log: phase, units that were done, attempts that failed; an end comes last."""
    known = {} if before is None else {stage.name: stage for stage in before.stages}
    turned = before is None or before.phase != job.phase
    phase = f"{job.name}: {job.phase}" + (f" ({job.message})" if job.message else "")
    if turned and not job.holds("Finished"):
        yield phase
    for stage in job.stages:
        if stage.done != (known[stage.name].done if stage.name in known else 0):
            yield f"{job.name}: {stage.name} {stage.done}/{stage.total} done"
    seen = [] if before is None else list(before.failures)
    for failure in reversed(job.failures):
        if failure not in seen:
            yield f"{job.name}: failed: {failure_line(failure)}"
    if turned and job.holds("Finished"):
        yield phase


def failure_line(failure: Mapping[str, Any]) -> str:
    """Why an attempt failed, in a line."""
    return (
        f"{failure.get('stage')}/{failure.get('unit')} (attempt {failure.get('attempt')}):"
        f" {failure.get('reason')}: {failure.get('message') or 'no message'}"
    )


def ending(job: JobView, now: datetime) -> tuple[str, ...]:
    """What there is to say about a job that rests: how it stands, and what to do next."""
    where = f"artifacts: {job.artifacts}" if job.artifacts else None
    if job.refused is not None:
        said = [f"{job.name} can't be carried out as written: {job.refused}"]
    elif job.holds("Succeeded"):
        saved = f", {saved_by_resuming(job)}" if saved_by_resuming(job) else ""
        said = [f"{job.name} succeeded: {job.message} in {elapsed(job, now)}{saved}"]
    elif job.holds("Cancelled"):
        said = [f"{job.name} was cancelled: {job.message}"]
    elif job.holds("Finished"):
        said = [f"{job.name} failed: {job.message}"]
    elif job.holds("Suspended"):
        until = f" until {job.suspend_until}" if job.suspend_until and not job.suspend else ""
        said = [f"{job.name} is suspended{until}: {job.message}"]
    elif job.holds("AwaitingApproval"):
        said = [f"{job.name} waits for approval: {job.condition('AwaitingApproval').get('message')}"]
        said.append(f"to carry on: carryon approve {job.name} STAGE [ITEM...], or --all")
    elif job.holds("Stalled"):
        said = [f"{job.name} is stalled: {job.condition('Stalled').get('message')}"]
    else:
        said = [f"{job.name} goes on: {job.message}" if job.message else f"{job.name} goes on"]
    if not job.holds("Succeeded") and job.refused is None and job.resume.get("possible"):
        said.append(f"to carry on: {job.resume.get('action')}")
    return tuple(map(as_typed, [*said, where] if where and job.refused is None else said))


def describe(job: JobView, pods: Sequence[Mapping[str, Any]], now: datetime, eta: Eta | None = None) -> RenderableType:
    """Everything that status knows about a job."""
    head = Table.grid(padding=(0, 2))
    facts = {
        "Name": f"{job.namespace}/{job.name}",
        "Phase": f"{job.phase}, {job.progress} units done" if job.progress else job.phase,
        "Message": job.message,
        "Age": age(job, now),
        "At work": elapsed(job, now),
        "Done in": "" if eta is None or job.holds("Finished") else until(eta),
        "Outcomes": _counted(job.outcomes),
        "Counters": _counted(job.counts),
        "GPU time": _gpu_time(job),
        "Artifacts": job.artifacts or "not known yet",
        "Resume": _resume_sentence(job),
    }
    for name, value in facts.items():
        if value:
            head.add_row(Text(name, "bold"), escape(value))
    parts: list[RenderableType] = [head, Text("\nConditions", "bold")]
    told = [each for each in job.conditions if each.get("status") != "False" or each.get("type") in _TOLD_WHEN_FALSE]
    parts += [Text(f"  {condition_sentence(each, now)}") for each in told] or [Text("  none yet")]
    parts += [Text("\nStages", "bold"), _stages_table(job.stages)]
    if job.failures:
        parts += [Text("\nRecent failures", "bold"), *(Text(f"  {failure_line(each)}") for each in job.failures)]
    if job.notifications:
        parts += [Text("\nWebhooks", "bold")]
        parts += [Text(f"  {notification_sentence(each, now)}") for each in job.notifications]
    parts += [Text("\nPods", "bold"), _pods_table(pods, now) if pods else Text("  none")]
    return Group(*parts)


def status(job: JobView, eta: Eta) -> RenderableType:
    """How far a job is, a line for each stage."""
    lines = [Text.assemble((job.name, "bold"), "  ", (job.phase, _COLOURS.get(job.phase, "")), f"  {job.message}")]
    table = _plain_table("STAGE", "DONE", "FAILED", "ACTIVE")
    for stage in job.stages:
        table.add_row(stage.name, f"{stage.done}/{stage.total}", str(stage.failures), str(len(stage.active)))
    return Group(*lines, table, *([] if job.holds("Finished") else [Text(f"done in: {until(eta)}")]))


def until(eta: Eta) -> str:
    """When a job will be through, as a phrase: "about 3m20s", or why nobody knows."""
    if eta.seconds is None:
        return f"nobody knows: {eta.reason}" if eta.reason else "nobody knows"
    return f"about {span(eta.seconds)}" + (f", {eta.reason}" if eta.reason else "")


def analytics(found: Analytics) -> RenderableType:
    """What came of all jobs."""
    jobs, units, retries, gpu = found.jobs, found.units, found.retries, found.gpu_seconds
    lines = [
        f"jobs      {jobs.total}: {jobs.succeeded} succeeded, {jobs.failed} failed, {jobs.cancelled} cancelled,"
        f" {jobs.active} not ended{_percent(jobs.success_rate)}",
        f"units     {units.total}: {units.succeeded} done, {units.failed} failed{_percent(units.success_rate)}",
        f"retries   {retries.failures} failures, {retries.stuck} stuck, {retries.disruptions} disruptions,"
        f" {retries.not_resumable} started over",
        f"GPU time  {span(gpu.total)} in all, {span(gpu.useful)} useful, {span(gpu.lost)} lost;"
        f" {span(gpu.saved)} saved by resuming",
    ]
    if retries.reasons:
        lines.insert(
            3, "reasons   " + ", ".join(f"{count} {reason}" for reason, count in sorted(retries.reasons.items()))
        )
    table = _plain_table("STAGE", "JOBS", "UNITS", "MEAN TIME", "PER UNIT")
    for stage in found.stages:
        each = "-" if stage.seconds_per_unit is None else f"{stage.seconds_per_unit:.1f} s"
        table.add_row(stage.stage, str(stage.jobs), str(stage.units), span(stage.mean_seconds), each)
    head = Text("\n".join(lines))
    return Group(head, Text(), table) if found.stages else head


def _percent(rate: float | None) -> str:
    return "" if rate is None else f" ({rate:.1%})"


def condition_sentence(condition: Mapping[str, Any], now: datetime) -> str:
    """A condition as a sentence: "not Suspended since 3m20s: NotSuspended, spec.suspend is false"."""
    since = moment(condition.get("lastTransitionTime"))
    prefix = {"True": "", "False": "not "}.get(condition.get("status", ""), "unknown whether ")
    when = f" since {span((now - since).total_seconds())}" if since else ""
    message = f", {condition['message']}" if condition.get("message") else ""
    return f"{prefix}{condition.get('type')}{when}: {condition.get('reason')}{message}"


def notification_sentence(told: Mapping[str, Any], now: datetime) -> str:
    """A notification as a sentence: "spec.notify[0]: Failed, to be told again in 40s: HTTP 503 (3 attempts)"."""
    attempts = told.get("attempts", 0)
    tried, again = moment(told.get("attempted")), moment(told.get("next"))
    match told.get("state", "Pending"):
        case "Delivered":
            how = "told"
        case "GivenUp":
            how = "not told, and will not be"
        case _ if again is not None and again > now:
            how = f"to be told again in {span((again - now).total_seconds())}"
        case _:
            how = "about to be told"
    when = f" {span((now - tried).total_seconds())} ago" if tried and told.get("state") == "Delivered" else ""
    result = f": {told['result']}" if told.get("result") else ""
    count = f" ({counted(attempts, 'attempt')})" if attempts else ""
    return f"spec.notify[{told.get('hook')}]: {told.get('condition')}, {how}{when}{result}{count}"


def _counted(counts: Mapping[str, int]) -> str:
    """Numbers with their names: "13 generated, 2 skipped", "1 failure, round 2"."""

    def said(name: str, count: int) -> str:
        if name == "round":
            return f"round {count}"
        if name == "notResumable":
            return f"{count} started over"
        return f"{count} {name.removesuffix('s') if count == 1 else name}"

    return ", ".join(said(name, count) for name, count in counts.items())


def saved_by_resuming(job: JobView) -> str:
    """What restarts did not have to repeat: "saved 12m by resuming"; "" where that is nothing."""
    saved = job.gpu_seconds.get("saved", 0)
    return f"saved {span(saved)} by resuming" if saved else ""


def _gpu_time(job: JobView) -> str:
    """Where GPU time went: "2h in all, 1h48m useful, 2m lost; saved 12m by resuming"."""
    words = {"total": "in all", "useful": "useful", "checkpointing": "waiting for checkpoints", "lost": "lost"}
    parts = [f"{span(job.gpu_seconds[name])} {word}" for name, word in words.items() if name in job.gpu_seconds]
    return "; ".join(part for part in (", ".join(parts), saved_by_resuming(job)) if part)


def _resume_sentence(job: JobView) -> str:
    if not job.resume:
        return ""
    possible = "possible" if job.resume.get("possible") else "no"
    return as_typed(f"{possible}: {job.resume.get('reason')}; {job.resume.get('action')}")


def _stages_table(stages: Sequence[StageView]) -> Table:
    some_skipped = any(stage.skipped for stage in stages)
    table = _plain_table("  NAME", "DONE", "FAILED", "ACTIVE", *(["SKIPPED"] if some_skipped else []))
    for stage in stages:
        table.add_row(
            f"  {stage.name}",
            f"{stage.done}/{stage.total}{_ranges(stage.succeeded)}",
            f"{stage.failures}{_ranges(stage.failed)}",
            f"{len(stage.active)}{_ranges(str(stage.active))}",
            *([f"{len(IndexSet.parse(stage.skipped))}{_ranges(stage.skipped)}"] if some_skipped else []),
        )
    return table


def _ranges(indexes: str, longest: int = 60) -> str:
    if not indexes:
        return ""
    return f" ({indexes})" if len(indexes) <= longest else f" ({indexes[:longest]}...)"


def _pods_table(pods: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    table = _plain_table("  NAME", "PHASE", "AGE")
    for pod in pods:
        created = moment(pod["metadata"].get("creationTimestamp"))
        stopping = " (stopping)" if pod["metadata"].get("deletionTimestamp") else ""
        table.add_row(
            f"  {pod['metadata']['name']}",
            f"{(pod.get('status') or {}).get('phase', 'Pending')}{stopping}",
            span((now - created).total_seconds()) if created else "-",
        )
    return table


def units_table(units: Sequence[UnitView]) -> Table:
    """Units with their artifacts, each on a line of its own."""
    table = _plain_table("UNIT", "STATE", "ARTIFACTS")
    for unit in units:
        state = f"{unit.state}: {unit.reason}" if unit.reason else unit.state
        table.add_row(escape(f"{unit.stage}/{unit.item}"), escape(state), escape("\n".join(unit.artifacts)))
    return table


def actions_table(verdicts: Mapping[Action, Verdict]) -> Table:
    """What can be done, and why or why not."""
    table = _plain_table("ACTION", "POSSIBLE", "REASON", "TO DO IT")
    for action, made in verdicts.items():
        possible = "yes" if made.possible else "already" if made.already else "no"
        table.add_row(action.value, possible, escape(made.reason), escape(as_typed(made.action)))
    return table


def _plain_table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading not in _FOLDED)
    return table
