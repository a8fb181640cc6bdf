"""Bytes of the largest statuses there are: by the decision itself, on units that are done and failed in turn."""

from __future__ import annotations

from dataclasses import replace

from bench import measuring
from carryon_core.ranges import IndexSet
from carryon_core.status import JobStatus
from carryon_operator.plan.decide import decide
from worlds import World, job_spec


def sizes(units: int) -> dict[str, int]:
    """What status comes to, as JSON, by what became of the units."""
    world = World(job_spec(items={"count": units}, parallelism=0, retry={"perUnit": 2}))
    fresh = world.observe()
    every = [unit.fingerprint for unit in world.job.units()]
    world.done = set(every)
    whole = decide(world.observe()).status
    world.done = set(every[::2])
    half = decide(replace(world.observe(), status=decide(fresh).status)).status
    # Every other one has failed once: the status of an earlier moment says so.
    stage = half.stages[0]
    marked = stage.model_copy(update={"failures": {"1": str(IndexSet(range(1, units, 2)))}})
    failed = decide(replace(world.observe(), status=half.model_copy(update={"stages": [marked]}))).status
    return {
        "all are done": _bytes(whole),
        "every other one is done": _bytes(half),
        "every other one is done, the others have failed once": _bytes(failed),
    }


def _bytes(status: JobStatus) -> int:
    return measuring.size(status.model_dump(by_alias=True, mode="json", exclude_none=True))
