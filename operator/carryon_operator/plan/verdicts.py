"""What the end of a pod means for its units: whose fault it was, and which of them used an attempt."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from carryon_core.compatibility import WORKER_TOO_OLD
from carryon_core.messages import ExitCode, Termination, UnitOutcome, UnitReport
from carryon_operator.plan.model import PodRecord

DELETED: Final = "Deleted"
"""Disruption: somebody deleted the pod, and the cluster does not say why."""
OOM_KILLED: Final = "OOMKilled"
UNRESPONSIVE: Final = "Unresponsive"
"""Reason of a pod that the kubelet killed because its liveness probe failed."""
STATED_BY_CLUSTER: Final = frozenset({"Evicted", "DeadlineExceeded"})
"""Reasons of a pod's own status that say more about its end than its container's exit code does."""

_OWN_DOING: Final = (
    ExitCode.SOME_FAILED,
    ExitCode.BAD_REQUEST,
    ExitCode.OUT_OF_MEMORY,
    ExitCode.STALLED,
    ExitCode.UNIT_TIMEOUT,
)
"""The worker said what went wrong: that stands, even if the pod was being evicted at the time."""

_STUCK: Final = (ExitCode.INTERRUPTED, ExitCode.STALLED)
"""Without a cause that the cluster names, being told to stop is a liveness probe that failed."""

_NODE_RESTARTED: Final = ((137, "ContainerStatusUnknown"), (255, "Unknown"))
"""How kubelet and containerd show a container that was gone, or unknown, when they came back: the node restarted."""

_NOT_STARTED: Final = ("StartError", "ContainerCannotRun")
"""The image is there, but no worker can be started in it."""

_REASONS: Final = {
    ExitCode.INTERRUPTED: ("Interrupted", "the worker was told to stop, by nobody the cluster knows of"),
    ExitCode.BAD_REQUEST: ("BadRequest", "what was asked for can't work"),
    ExitCode.OUT_OF_MEMORY: ("OutOfMemory", "the worker ran out of memory"),
    ExitCode.STALLED: ("Stalled", "nothing moved for timeouts.stall"),
    ExitCode.UNIT_TIMEOUT: ("UnitTimeout", "the unit took longer than timeouts.unit"),
}


@dataclass(frozen=True, slots=True)
class UnitFailure:
    """One attempt at one unit that failed.

    Attributes:
        permanent: Another attempt would end the same.
        stuck: It ended for lack of movement.
    """

    item: str
    reason: str
    message: str
    permanent: bool = False
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the end of one pod comes to.

    Attributes:
        failures: Units whose attempt counts.
        disruption: Why work was lost through no fault of the pod's, which costs no budget: CamelCase; "" if it was not.
        durable: Units this attempt did not finish, but left something of that a later one goes on from.
    """

    failures: tuple[UnitFailure, ...] = ()
    disruption: str = ""
    durable: frozenset[str] = frozenset()


def judge(pod: PodRecord, done: Container[str]) -> Verdict:
    """The verdict on a pod that has ended.

    Args:
        pod: A terminal pod.
        done: Item ids that the bucket shows as done; whatever a pod says, these count as made.
    """
    missing = [item for item in pod.units if item not in done]
    if not missing:
        return Verdict()
    termination = termination_of(pod)
    reports = {pod.units[r.index]: r for r in termination.units if 0 <= r.index < len(pod.units)}
    durable = frozenset(item for item in missing if item in reports and reports[item].durable)
    disruption = _disruption(pod)
    if disruption:
        # Make sure that what the cluster did to a pod is held against none of its units but those it had failed before.
        failed = tuple(_reported(item, reports[item], pod, termination) for item in _failed(missing, reports))
        return Verdict(failed, disruption, durable)
    return Verdict(_failures(missing, reports, pod, termination), durable=durable)


def termination_of(pod: PodRecord) -> Termination:
    """The worker's last words; whatever is not ours is no report (a program may write there what it likes)."""
    try:
        said = Termination.model_validate_json(pod.message)
    except ValidationError:
        return Termination(reason="")
    # Whoever writes a worker of his own may write at length.
    units = [
        report.model_copy(
            update={
                "reason": report.reason[:_REASON_LONGEST],
                **{name: _seconds(getattr(report, name)) for name in ("lost", "saved", "waited")},
            }
        )
        for report in said.units
        if report.index >= 0
    ]
    return said.model_copy(update={"reason": said.reason[:_REASON_LONGEST], "units": units})


_SECONDS_MOST: Final = 1e9
_REASON_LONGEST: Final = 100
_VANISHED: Final = "the worker reported the unit done, but the bucket does not show it"


def outdated(pod: PodRecord) -> bool:
    """Whether the worker that began a unit is too old to go on with it, as it says itself."""
    return pod.pinned and pod.exit_code == ExitCode.BAD_REQUEST and termination_of(pod).reason == WORKER_TOO_OLD


def _disruption(pod: PodRecord) -> str:
    """Why the pod's end is not its own doing, "" if it is."""
    # Make sure that a unit which only we gave to an old worker gets today's for nothing.
    if outdated(pod):
        return WORKER_TOO_OLD
    # Make sure that a worker's own word stands, and that of the kernel about its memory.
    if pod.exit_code in _OWN_DOING or pod.reason == OOM_KILLED:
        return ""
    # Make sure that what the cluster says it did is believed: evictions, preemptions, drains, lost nodes, Kueue.
    if pod.disruption:
        return pod.disruption
    # Make sure that a pod which went over its own limits did so, whoever deleted what was left of it.
    if pod.reason in STATED_BY_CLUSTER and pod.started is not None:
        return ""
    # Make sure that a pod which somebody deleted is no failure.
    if pod.gone_by is not None:
        return DELETED
    # Make sure that a node which restarted under its pods is blamed for it.
    if (pod.exit_code, pod.reason) in _NODE_RESTARTED:
        return "NodeRestarted"
    # Make sure that a pod which the kubelet would not take in (OutOfcpu, NodeAffinity, UnexpectedAdmissionError, or
    # Evicted by a node under pressure) is tried elsewhere: none of it ran.
    if pod.exit_code is None and pod.started is None and pod.reason:
        return pod.reason[:_REASON_LONGEST]
    return ""


def _failures(
    missing: Sequence[str], reports: Mapping[str, UnitReport], pod: PodRecord, termination: Termination
) -> tuple[UnitFailure, ...]:
    """The attempts that a pod used by its own fault."""
    if pod.reason in STATED_BY_CLUSTER:
        return _charged(missing, reports, pod, termination)
    if pod.exit_code == ExitCode.DONE:
        return tuple(UnitFailure(item, "ArtifactsMissing", _VANISHED) for item in missing)
    if pod.exit_code in (ExitCode.SOME_FAILED, ExitCode.BAD_REQUEST):
        return tuple(_reported(item, reports.get(item), pod, termination) for item in missing)
    return _charged(missing, reports, pod, termination)


def _reported(item: str, report: UnitReport | None, pod: PodRecord, termination: Termination) -> UnitFailure:
    """A worker that says which units failed: those without a report failed with the pod's own reason."""
    reason, message = _pod_reason(pod, termination)
    permanent = pod.exit_code == ExitCode.BAD_REQUEST
    stuck = pod.exit_code in _STUCK or pod.reason == UNRESPONSIVE
    if report is None or report.outcome != UnitOutcome.FAILED:
        return UnitFailure(item, reason, message, permanent, stuck)
    # Of several units in a pod that stuck, the one at work did; those before it failed in their own ways.
    stuck = stuck and report.reason in ("", reason)
    return UnitFailure(item, report.reason or reason, report.message or message, permanent or report.permanent, stuck)


def _charged(
    missing: Sequence[str], reports: Mapping[str, UnitReport], pod: PodRecord, termination: Termination
) -> tuple[UnitFailure, ...]:
    """A worker that ended in the middle: units that failed before are charged, and the one at work; others are free.

    A worker that ended itself names the one at work as failed. One that was ended from outside names it as interrupted,
    or can't say: then it is the first that is missing and did not fail before.
    """
    failed = _failed(missing, reports)
    charged = [_reported(item, reports[item], pod, termination) for item in failed]
    by_itself = pod.exit_code not in (None, ExitCode.INTERRUPTED) and pod.reason not in STATED_BY_CLUSTER
    if charged and by_itself:
        return tuple(charged)
    left = [item for item in missing if item not in failed]
    interrupted = [item for item in left if item in reports and reports[item].outcome == UnitOutcome.INTERRUPTED]
    return (*charged, *(_reported(item, None, pod, termination) for item in (interrupted or left)[:1]))


def _failed(missing: Sequence[str], reports: Mapping[str, UnitReport]) -> list[str]:
    return [item for item in missing if item in reports and reports[item].outcome == UnitOutcome.FAILED]


def _pod_reason(pod: PodRecord, termination: Termination) -> tuple[str, str]:
    if pod.reason in STATED_BY_CLUSTER:
        return pod.reason, pod.message or "the kubelet ended the pod"
    if termination.reason:
        return termination.reason, termination.message
    if pod.reason == OOM_KILLED:
        return _REASONS[ExitCode.OUT_OF_MEMORY]
    if pod.reason == UNRESPONSIVE:
        return pod.reason, "the worker answered its liveness probe no more and was killed"
    if pod.exit_code is None:
        return pod.reason[:_REASON_LONGEST] or "PodFailed", pod.message or "the pod failed before its worker began"
    if pod.reason in _NOT_STARTED:
        return pod.reason, f"the worker can't be started in its image: {pod.message}"
    if pod.exit_code in _REASONS:
        return _REASONS[ExitCode(pod.exit_code)]
    ended = f"was killed by signal {pod.exit_code - 128}" if pod.exit_code > 128 else f"ended with {pod.exit_code}"
    return "Crash", f"the worker {ended}" + (f": {pod.message}" if pod.message else "")


def _seconds(told: float) -> float:
    """Seconds as somebody may have written them: at least none, and no more than there can be."""
    return min(max(told, 0.0), _SECONDS_MOST) if math.isfinite(told) else 0.0
