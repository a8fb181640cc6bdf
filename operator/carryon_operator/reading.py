"""From a raw resource to its spec and status, whatever somebody has written into them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from carryon_core.phases import Phase
from carryon_core.ranges import IndexSet
from carryon_core.resolve import ITEMS_MOST
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus, StageStatus

_LONG_STATUS: Final = 20_000
"""Characters of the stages in a status from which on reading it takes milliseconds."""
_PHASES: Final = frozenset(map(str, Phase))
_UNKNOWN: Final = (
    "this operator does not know it, and the CRD does, which is of a later release: upgrade the operator, or leave it"
    " out"
)
_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,5}")


def read_spec(raw: Mapping[str, Any]) -> tuple[JobSpec | None, tuple[str, str] | None]:
    """The spec, or reason and message of what is wrong with it."""
    try:
        return JobSpec.model_validate(raw.get("spec") or {}), None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("spec", *map(str, first["loc"])))
        said = _UNKNOWN if first["type"] == "extra_forbidden" else first["msg"]
        return None, ("InvalidSpec", f"{where}: {said}")


async def read_status(raw: Mapping[str, Any]) -> JobStatus:
    """Status as we left it, read off the event loop where it is long; one that somebody damaged counts as lost."""
    told = raw.get("status") or {}
    stages = told.get("stages") if isinstance(told, Mapping) else None
    long = isinstance(stages, list) and sum(len(str(stage)) for stage in stages) > _LONG_STATUS
    return await asyncio.to_thread(_sound_status, told) if long else _sound_status(told)


def _sound_status(told: Any) -> JobStatus:
    """A status, or where it is damaged an empty one: all of it is found again from the bucket."""
    try:
        # Nothing depends on the phase: one of another version is no damage.
        phase = told.get("phase")
        status = JobStatus.model_validate({**told, "phase": phase if phase in _PHASES else None})
    except (AttributeError, TypeError, ValueError):
        return JobStatus()
    sound = status.items.count <= ITEMS_MOST and all(_sound(stage, status.items.count) for stage in status.stages)
    sound = sound and min((*status.counters.model_dump().values(), *status.gpu_seconds.model_dump().values())) >= 0
    return status if sound else JobStatus()


def _sound(stage: StageStatus, items: int) -> bool:
    """Whether a stage's index sets are some, and name no units that there are not."""
    counted = (*stage.failures.values(), *stage.fruitless.values())
    active = (pod.units for pod in stage.active)
    sets = (stage.succeeded, stage.failed, stage.skipped, stage.permanent, *stage.images.values())
    for indexes in (*sets, *counted, *active):
        try:
            IndexSet.parse(indexes)
        except ValueError:
            return False
        # They ascend: the last is the largest.
        if indexes and int(indexes.rpartition(",")[2].rpartition("-")[2]) >= max(items, 1):
            return False
    return all(map(_COUNT.fullmatch, (*stage.failures, *stage.fruitless)))
