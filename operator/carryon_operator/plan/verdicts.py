"""What the end of a pod means for its units: the table of exit codes in docs/reference/exit-codes.md."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from carryon_core.messages import ExitCode, Termination, UnitOutcome, UnitReport
from carryon_operator.plan.model import PodRecord

_OWN_DOING: Final = (
    ExitCode.SOME_FAILED,
    ExitCode.BAD_REQUEST,
    ExitCode.OUT_OF_MEMORY,
    ExitCode.STALLED,
    ExitCode.UNIT_TIMEOUT,
)
"""The worker said what went wrong: that stands, even if the pod was being evicted at the time."""

_REASONS: Final = {
    ExitCode.INTERRUPTED: ("Interrupted", "the worker was told to stop, by nobody the cluster knows of"),
    ExitCode.BAD_REQUEST: ("BadRequest", "what was asked for can't work"),
    ExitCode.OUT_OF_MEMORY: ("OutOfMemory", "the worker ran out of memory"),
    ExitCode.STALLED: ("Stalled", "nothing moved for timeouts.stall"),
    ExitCode.UNIT_TIMEOUT: ("UnitTimeout", "the unit took longer than timeouts.unit"),
}


@dataclass(frozen=True, slots=True)
class UnitFailure:
    """One attempt at one unit that failed."""

    item: str
    reason: str
    message: str
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the end of one pod comes to.

    Attributes:
        failures: Units whose attempt counts.
        disrupted: Work was lost through no fault of the pod's; costs no budget.
    """

    failures: tuple[UnitFailure, ...] = ()
    disrupted: bool = False


def judge(pod: PodRecord, done: Container[str]) -> Verdict:
    """The verdict on a pod that has ended.

    Args:
        pod: A terminal pod.
        done: Item ids that the bucket shows as done; whatever a pod says, these count as made.
    """
    missing = [item for item in pod.units if item not in done]
    if not missing:
        return Verdict()
    code = pod.exit_code
    # Make sure that what the cluster did to a pod is not held against its units.
    if (pod.disrupted or pod.gone_by is not None) and code not in _OWN_DOING:
        return Verdict(disrupted=True)
    termination = _termination(pod)
    reports = {pod.units[r.index]: r for r in termination.units if 0 <= r.index < len(pod.units)}
    if code == ExitCode.DONE:
        return Verdict(tuple(UnitFailure(item, "ArtifactsMissing", _VANISHED) for item in missing))
    if code in (ExitCode.SOME_FAILED, ExitCode.BAD_REQUEST):
        return Verdict(tuple(_reported(item, reports.get(item), pod, termination) for item in missing))
    return Verdict(_charged(missing, reports, pod, termination))


_REASON_LONGEST: Final = 100
_VANISHED: Final = "the worker reported the unit done, but the bucket does not show it"


def _reported(item: str, report: UnitReport | None, pod: PodRecord, termination: Termination) -> UnitFailure:
    """A worker that says which units failed: those without a report failed with the pod's own reason."""
    reason, message = _pod_reason(pod, termination)
    if report is None or report.outcome != UnitOutcome.FAILED:
        return UnitFailure(item, reason, message, permanent=pod.exit_code == ExitCode.BAD_REQUEST)
    return UnitFailure(item, report.reason or reason, report.message or message, permanent=report.permanent)


def _charged(
    missing: Sequence[str], reports: dict[str, UnitReport], pod: PodRecord, termination: Termination
) -> tuple[UnitFailure, ...]:
    """A worker that ended in the middle: the units it names are charged, or else the one at work; others are free."""
    named = [item for item in missing if item in reports and reports[item].outcome == UnitOutcome.FAILED]
    if named:
        return tuple(_reported(item, reports[item], pod, termination) for item in named)
    return (UnitFailure(missing[0], *_pod_reason(pod, termination)),)


def _pod_reason(pod: PodRecord, termination: Termination) -> tuple[str, str]:
    if termination.reason:
        return termination.reason, termination.message
    if pod.reason == "OOMKilled":
        return _REASONS[ExitCode.OUT_OF_MEMORY]
    if pod.exit_code is None:
        return pod.reason[:_REASON_LONGEST] or "PodFailed", pod.message or "the pod failed before its worker began"
    if pod.exit_code in _REASONS:
        return _REASONS[ExitCode(pod.exit_code)]
    ended = f"was killed by signal {pod.exit_code - 128}" if pod.exit_code > 128 else f"ended with {pod.exit_code}"
    return "Crash", f"the worker {ended}" + (f": {pod.message}" if pod.message else "")


def _termination(pod: PodRecord) -> Termination:
    """The worker's last words; whatever is not ours is no report (a program may write there what it likes)."""
    try:
        said = Termination.model_validate_json(pod.message)
    except ValidationError:
        return Termination(reason="")
    # Whoever writes a worker of his own may write at length.
    units = [report.model_copy(update={"reason": report.reason[:_REASON_LONGEST]}) for report in said.units]
    return said.model_copy(update={"reason": said.reason[:_REASON_LONGEST], "units": units})
