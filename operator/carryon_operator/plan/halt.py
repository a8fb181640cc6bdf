"""Whether all pods of a job are to stop: somebody wants it, its time is over, or its budget is used up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carryon_core.spec import JobSpec
from carryon_core.status import ConditionType, JobStatus
from carryon_operator.plan import clock, conditions, stalls
from carryon_operator.plan.counting import Tally
from carryon_operator.plan.model import Observation, PodRecord
from carryon_operator.plan.spending import cost
from carryon_operator.plan.summary import Ending


@dataclass(frozen=True)
class Halt:
    """Whether all pods are to stop, and why.

    Attributes:
        everything: No pod goes on and none is launched.
        held: It is a suspension.
        cancelled: It is for good.
        timed_out: Likewise, because `timeouts.job` is over.
        why: A sentence, where it is no suspension.
        spent: GPU seconds so far.
    """

    everything: bool = False
    held: bool = False
    cancelled: bool = False
    timed_out: bool = False
    why: str = ""
    spent: float = 0.0


def halt(seen: Observation, spec: JobSpec, tally: Tally, *, anew: bool) -> Halt:
    """A chain: the first reason that fits stands.

    Args:
        seen: The job.
        spec: Of the job.
        tally: What was counted so far.
        anew: Its clock starts from zero now.
    """
    running = sum(cost(seen, pod) for pod in seen.pods if pod.uid not in tally.recorded)
    spent = seen.status.gpu_seconds.spent + tally.account.total + running
    if spec.cancel:
        return Halt(everything=True, cancelled=True, why="spec.cancel is true; pods are stopping", spent=spent)
    if clock.on_hold(spec, seen.now):
        return Halt(everything=True, held=True, spent=spent)
    if clock.exhausted(spec, seen.status.time, seen.now) and not anew:
        return Halt(everything=True, timed_out=True, why="spec.timeouts.job is over; pods are stopping", spent=spent)
    if stalls.over_budget(seen, spent):
        return Halt(everything=True, why="spec.limits.gpuSeconds is reached; pods are stopping", spent=spent)
    return Halt(spent=spent)


def starts_anew(seen: Observation, spec: JobSpec, *, asked: bool) -> bool:
    """Whether the clock of a job that has not ended now starts from zero.

    Args:
        seen: The job.
        spec: Of the job.
        asked: Somebody wants more of it.
    """
    if ended_in_time(seen):
        return True
    timed_out = conditions.holds(seen.status, ConditionType.FINISHED)
    return asked and (timed_out or clock.exhausted(spec, seen.status.time, seen.now))


def ended_in_time(seen: Observation) -> bool:
    """Whether the job, as status left it, had ended, and not because its time was over."""
    failed = conditions.find(seen.status, ConditionType.FAILED)
    timed_out = failed is not None and failed.status == "True" and failed.reason == Ending.TIMED_OUT
    return conditions.holds(seen.status, ConditionType.FINISHED) and not timed_out


def moments(
    seen: Observation, spec: JobSpec, status: JobStatus, active: Sequence[PodRecord], spent: float
) -> list[float | None]:
    """When a job that has not ended would reach one of its limits, or may go on.

    Args:
        seen: The job.
        spec: Of the job.
        status: As it will be.
        active: Pods at work.
        spent: GPU seconds so far.
    """
    made = [clock.deadline(spec, status.time, seen.now), clock.suspended_until(spec, seen.now)]
    rate = sum(max(pod.gpus, 1) for pod in active if pod.started is not None)
    if spec.limits.gpu_seconds is not None and rate:
        made.append(seen.now + (spec.limits.gpu_seconds - spent) / rate)
    return made
