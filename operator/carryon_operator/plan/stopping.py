"""Which pods are at work, which of them have to stop, and which may be deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from carryon_core.actions import counted
from carryon_core.status import JobStatus
from carryon_operator.plan import stalls
from carryon_operator.plan.case import Case
from carryon_operator.plan.counting import DEAD_AFTER, Tally, is_dead
from carryon_operator.plan.model import Event, Observation, PodDelete, PodRecord

KEPT_FAILED: Final = 3
"""Pods of failed attempts that stay for `kubectl logs`; what they logged last lies in the bucket too."""
CANCEL_GRACE: Final = 1
"""Seconds that pods of a cancelled job have; 0 would take them off the API server before they ended."""
_GRACE_SLACK: Final = 2.0
"""Seconds by which a pod's end may be later than asked for before it is asked again."""


def at_work(seen: Observation) -> list[PodRecord]:
    """Pods that have not ended, and whose nodes were not given up."""
    return [pod for pod in seen.pods if not pod.terminal and not is_dead(pod, seen.now)]


def is_outdated(case: Case, pod: PodRecord) -> bool:
    """Whether a pod has nothing left to make, something that is wanted otherwise now, or waits in vain for the past."""
    wanted = case.wanted(pod)
    if len(wanted) < len(pod.units) or all(unit in case.standing.outcomes for unit in wanted):
        return True
    today = case.seen.templates.get(pod.stage)
    return stalls.in_vain(pod) and today is not None and pod.template not in today


def restart(seen: Observation, active: Collection[PodRecord], tally: Tally) -> None:
    """Replace the active pods if somebody asked for it."""
    if seen.restart_request is None:
        return
    running = [pod for pod in active if pod.uid not in tally.recorded]
    if not running:
        tally.events.append(Event("Normal", "NothingToRestart", "no pod is at work"))
        return
    for pod in running:
        tally.stop(seen, pod)
    told = f"{counted(len(running), 'pod')} replaced on request; their units carry on"
    tally.counters["restarts"] += 1
    tally.events.append(Event("Normal", "Restarted", told))


def deletes(seen: Observation, status: JobStatus) -> tuple[PodDelete, ...]:
    """Pods that are counted, or whose end is not to be counted; the last few that failed stay to be looked at."""
    grace = CANCEL_GRACE if seen.spec is not None and seen.spec.cancel else None
    recorded = set(status.recorded)

    def is_late(pod: PodRecord) -> bool:
        """Whether a pod is not being deleted, or will take much longer than it has to now."""
        return pod.gone_by is None or (grace is not None and pod.gone_by > seen.now + grace + _GRACE_SLACK)

    going = [pod for pod in seen.pods if pod.uid in recorded and is_late(pod)]
    failed = sorted((pod for pod in going if _to_look_at(pod)), key=lambda pod: (pod.finished or 0.0, pod.uid))
    kept = {pod.uid for pod in failed[-KEPT_FAILED:]}
    return tuple(PodDelete(pod.name, pod.uid, grace) for pod in going if pod.uid not in kept)


def dying(seen: Observation) -> Iterable[float]:
    """When pods that are being deleted would be taken for dead."""
    return (pod.gone_by + DEAD_AFTER for pod in seen.pods if pod.gone_by is not None and not pod.terminal)


def _to_look_at(pod: PodRecord) -> bool:
    return pod.phase == "Failed" and not pod.disrupted and pod.exit_code is not None
