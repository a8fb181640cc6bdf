"""Who may launch how many pods now: the operator's own caps, priorities, and fair shares between jobs.

Jobs of a higher `spec.priority` come first, and may take all there is. Jobs of one priority share by max-min fairness:
each free slot goes to the job that holds the fewest pods, of those to the one that has waited longest. So a job of
10,000 units never starves one of three: it gets what the others leave, and as its pods end theirs follow. Nothing that
runs is ended for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from carryon_core.actions import counted

UNLIMITED: Final = 1 << 30
"""More pods than there can be."""


@dataclass(frozen=True, slots=True)
class Caps:
    """Pods at work at the same time, of all jobs and of each; None: as many as the jobs want."""

    pods: int | None = None
    pods_per_job: int | None = None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return (self.pods, self.pods_per_job) != (None, None)

    def of_a_job(self) -> int:
        """Pods that one job may have at most."""
        return min(UNLIMITED if cap is None else cap for cap in (self.pods, self.pods_per_job))


@dataclass(frozen=True, slots=True)
class Claim:
    """What one job has, and what it wants.

    Attributes:
        job: Key of the job.
        priority: Higher comes first.
        holds: Pods that it has, or that are promised to it.
        wants: Pods that it would launch besides.
        since: When it began to wait: the smaller, the longer ago.
    """

    job: str
    priority: int
    holds: int
    wants: int
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """What the caps leave a job.

    Attributes:
        pods: That it may launch now.
        full: Why no more, for people.
    """

    pods: int = UNLIMITED
    full: str = ""


def shares(claims: Iterable[Claim], caps: Caps, taken: int) -> dict[str, int]:
    """How many pods each job may launch now.

    Never more than the caps leave, and never fewer than are wanted while they leave some. What a job gets depends on
    how much it wants only where it wants less than it could get: `min(wants, what it would get if it wanted more)`.

    Args:
        claims: Of all jobs that want pods.
        caps: Of the operator.
        taken: Pods that all jobs have, or that are promised to them.
    """
    most = caps.of_a_job()
    left = max((UNLIMITED if caps.pods is None else caps.pods) - taken, 0)
    given: dict[str, int] = {}
    ordered = sorted(claims, key=lambda claim: -claim.priority)
    for _, peers in groupby(ordered, key=lambda claim: claim.priority):
        for job, pods in _fill([_within(claim, most) for claim in peers], left):
            given[job] = pods
            left -= pods
    return given


def why_full(caps: Caps, holds: int) -> str:
    """Why a job that holds so many pods gets no more, for people."""
    if caps.pods_per_job is not None and holds >= caps.pods_per_job:
        return f"the operator runs at most {counted(caps.pods_per_job, 'pod')} of one job"
    return f"the operator runs at most {counted(caps.pods or 0, 'pod')}, and other jobs have taken the rest"


def _within(claim: Claim, most: int) -> tuple[Claim, int]:
    """A claim, and what of it one job may get at most."""
    return claim, max(min(claim.wants, most - claim.holds), 0)


def _fill(claims: Sequence[tuple[Claim, int]], left: int) -> Iterator[tuple[str, int]]:
    """Share what is left between jobs of one priority: as water fills vessels whose floors are what they hold."""
    if sum(wants for _, wants in claims) <= left:
        yield from ((claim.job, wants) for claim, wants in claims)
        return
    level = _level(claims, left)
    given = {claim.job: _up_to(level, claim, wants) for claim, wants in claims}
    # Less than one for each is left: those who have waited longest, of those who stand at the level and want more.
    rest = left - sum(given.values())
    waiting = [claim for claim, wants in claims if claim.holds + given[claim.job] == level and given[claim.job] < wants]
    for claim in sorted(waiting, key=lambda claim: (claim.since, claim.job))[:rest]:
        given[claim.job] += 1
    yield from given.items()


def _level(claims: Sequence[tuple[Claim, int]], left: int) -> int:
    """The highest number of pods to which all these jobs can be raised, as far as they want to."""
    low, high = min(claim.holds for claim, _ in claims), max(claim.holds for claim, _ in claims) + left
    while low < high:
        middle = (low + high + 1) // 2
        if sum(_up_to(middle, claim, wants) for claim, wants in claims) <= left:
            low = middle
        else:
            high = middle - 1
    return low


def _up_to(level: int, claim: Claim, wants: int) -> int:
    return min(max(level - claim.holds, 0), wants)
