"""Pods that are gone before status could record them: status is written once a second at most, and a drain is faster.

What was seen of them last is shown to the decision once more, so that their end is counted like any other. After a
restart of the operator only those are missed that status has active (plan/counting.py counts them too).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from carryon_operator.plan.model import PodRecord


def with_vanished(
    before: Sequence[PodRecord], pods: Sequence[PodRecord], recorded: Collection[str], now: float
) -> tuple[PodRecord, ...]:
    """The pods of a job, and those of a moment ago that are neither here nor recorded, as having ended.

    Args:
        before: What this returned the last time, then what was seen of pods that went since: the later counts.
        pods: Those there are.
        recorded: UIDs in status.
        now: Seconds since the epoch.
    """
    present = {pod.uid for pod in pods}
    last = {pod.uid: pod for pod in before}
    gone = [_ended(pod, now) for uid, pod in last.items() if uid not in present and uid not in recorded]
    return (*pods, *gone)


def _ended(pod: PodRecord, now: float) -> PodRecord:
    """A pod that nobody saw end: deleted, as far as can be known."""
    ended = replace(pod, gone_by=pod.gone_by or now)
    return ended if pod.terminal else replace(ended, phase="Failed", finished=now, waiting=None)
