"""Times that a job is held to: when it is suspended until, how long it may take, and when it may be deleted."""

from __future__ import annotations

from collections.abc import Iterable

from carryon_core import durations
from carryon_core.durations import moment
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus, Times
from carryon_operator.plan.conditions import rfc3339


def suspended_until(spec: JobSpec, now: float) -> float | None:
    """The time a job is suspended until, None where that is not ahead."""
    until = moment(spec.suspend_until)
    return until if until is not None and until > now else None


def on_hold(spec: JobSpec, now: float) -> bool:
    """Whether a job is to be suspended now."""
    return spec.suspend or suspended_until(spec, now) is not None


def elapsed(times: Times, now: float) -> float:
    """Seconds on the clock of `timeouts.job`: since the job began, without those that it was suspended."""
    since = moment(times.active_since)
    return times.active_seconds + (max(now - since, 0.0) if since is not None else 0.0)


def deadline(spec: JobSpec, times: Times, now: float) -> float | None:
    """When a running job's time is over, None where it has no limit."""
    if spec.timeouts.job is None:
        return None
    return now + durations.seconds(spec.timeouts.job) - elapsed(times, now)


def exhausted(spec: JobSpec, times: Times, now: float) -> bool:
    """Whether the job's time is over."""
    limit = deadline(spec, times, now)
    return limit is not None and now >= limit


def tick(times: Times, now: float, *, running: bool, anew: bool) -> Times:
    """The clock after this moment.

    Args:
        times: Before.
        now: Seconds since the epoch.
        running: Whether it runs from now on.
        anew: It starts from zero.
    """
    if anew:
        times = times.model_copy(update={"active_seconds": 0, "active_since": None})
    if running and times.active_since is None:
        return times.model_copy(update={"active_since": rfc3339(now)})
    if not running and times.active_since is not None:
        return times.model_copy(update={"active_seconds": int(elapsed(times, now)), "active_since": None})
    return times


def with_clock(status: JobStatus, now: float, *, running: bool, anew: bool, finished: str | None = None) -> JobStatus:
    """The status with its times after this moment.

    Args:
        status: Before.
        now: Seconds since the epoch.
        running: Whether the clock of `timeouts.job` runs from now on.
        anew: It starts from zero.
        finished: When the job ended, None while it has not.
    """
    times = tick(status.time, now, running=running, anew=anew)
    return status.model_copy(update={"time": times.model_copy(update={"finished": finished})})


def next_of(moments: Iterable[float | None], now: float) -> float | None:
    """The first of these that lies ahead."""
    return min((at for at in moments if at is not None and at > now), default=None)
