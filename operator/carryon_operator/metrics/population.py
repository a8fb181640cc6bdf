"""How many jobs, units and pods there are, counted when somebody asks: from counts in status, never unit by unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from carryon_core.actions import UNREACHABLE
from carryon_core.status import ConditionType
from carryon_operator.jobs import Job
from carryon_operator.metrics import catalogue
from carryon_operator.plan.model import PodRecord


@dataclass(frozen=True)
class Population:
    """What there is.

    Attributes:
        phases: Phase -> jobs.
        units: State -> units of all jobs.
        unreachable: Jobs whose bucket gives no verdict.
    """

    phases: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)
    unreachable: int = 0


def population(jobs: Iterable[Job]) -> Population:
    """Count jobs and their units; what a damaged status does not tell counts as nothing."""
    phases: Counter[str] = Counter()
    units: Counter[str] = Counter()
    unreachable = 0
    for job in jobs:
        status = _mapping(job.get("status"))
        phases[catalogue.phase_of(status.get("phase"))] += 1
        counts = _mapping(status.get("units"))
        remaining, active = _number(counts.get("remaining")), _number(counts.get("active"))
        units["succeeded"] += _number(counts.get("succeeded"))
        units["failed"] += _number(counts.get("failed"))
        units["active"] += active
        units["waiting"] += max(remaining - active, 0)
        unreachable += _unreachable(status.get("conditions"))
    return Population(phases, units, unreachable)


def pods_by_phase(pods: Iterable[PodRecord]) -> Mapping[str, int]:
    """Phase -> pods."""
    known = catalogue.PODS.labels["phase"]
    return Counter(pod.phase if pod.phase in known else catalogue.OTHER for pod in pods)


def _unreachable(conditions: Any) -> bool:
    return isinstance(conditions, list) and any(
        isinstance(each, Mapping)
        and each.get("type") == ConditionType.PROGRESSING.value
        and each.get("reason") == UNREACHABLE
        for each in conditions
    )


def _mapping(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, Mapping) else {}


def _number(told: Any) -> int:
    return told if isinstance(told, int) and told > 0 else 0
