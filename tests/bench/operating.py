"""What the operator costs: pods a second, writes a unit, reconciles, memory, and how soon it is back after a kill."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import measuring
from bench.fake_kubelet import FakeKubelet
from bench.operator_cluster import UNBOUND, Bench, Operator, eventually, job, serving

_FREE: Final = ("--qps", str(UNBOUND), "--burst", str(int(UNBOUND)))
"""No limit of our own: what is measured is what the parts can do."""

_UNITS: Final = 3
"""Units of a fleet's job for each pod that it has at a time."""
_KEPT: Final = 3
"""Pods of failed attempts that stay, to be looked at."""


@dataclass(frozen=True)
class Run:
    """One job from its creation to its end.

    Attributes:
        seconds: From its creation until it was finished.
        creating: Pods created a second, from the first to the last.
        writes: Creates, deletes and status writes of each unit.
        reconciles: Seconds of each.
        cpu: Seconds of each part.
        status: Bytes of the job's status at its end.
    """

    units: int
    parallelism: int
    seconds: float
    created: int
    creating: float
    writes: tuple[float, float, float]
    reconciles: Sequence[float]
    cpu: dict[str, float]
    rss: int
    status: int


@dataclass(frozen=True)
class Fleet:
    """Many jobs with many pods.

    Attributes:
        filling: Seconds until all pods were there.
        rss: Bytes of the operator then; `after` when a new one has taken over.
        idle: Share of a core that the operator used while nothing happened.
        churn: The same while `rate` pods a second ended and were replaced.
        first: Seconds from the start of a new operator to the first replacement of a pod that was lost meanwhile, and
            `last` to the last of `lost` replacements.
    """

    jobs: int
    units: int
    pods: int
    filling: float
    rss: int
    after: int
    idle: float
    churn: float
    rate: float
    reconciles: Sequence[float]
    lost: int
    first: float
    last: float


async def run(
    units: int, parallelism: int, *, seconds: float = 0.0, failing: float = 0.0, limited: bool = False
) -> Run:
    """One job on an otherwise empty cluster.

    Args:
        units: Of the job, one to a pod.
        parallelism: Of the job.
        seconds: That each pod works.
        failing: Share of units whose first attempt fails.
        limited: The operator keeps to its own limits (50 writes a second, 100 at once).
    """
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder)) as bench:
            operator = await bench.start_operator(*(() if limited else _FREE))
            await bench.ready(operator)
            kubelet = await bench.kubelet(seconds, failing)
            before, began = bench.cpu(operator), time.monotonic()
            await bench.create(job("reel", units, parallelism))
            longest = 120 + units * 0.2
            await eventually(lambda: "reel" in bench.followed.finished, "the job does not end", longest)
            ended = bench.followed.finished["reel"]
            used = bench.cpu(operator)
            # Deletes of the last pods follow the write that counts them.
            counted = kubelet.counted
            kept = _KEPT if failing else 0
            await eventually(lambda: len(counted.created) - counted.deleted <= kept, "pods stay", 60)
            status = bench.followed.jobs["reel"]["status"]
            assert status["units"]["succeeded"] == units, status["message"]
            moments = sorted(counted.created.values())
            return Run(
                units,
                parallelism,
                ended - began,
                len(moments),
                (len(moments) - 1) / (moments[-1] - moments[0]),
                (len(moments) / units, counted.deleted / units, bench.followed.writes / units),
                operator.reconciles(),
                {part: used[part] - before[part] for part in used},
                operator.rss,
                measuring.size(status),
            )


async def server() -> str:
    """What API server it is, in a few words."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder)) as bench:
            return f"{'standalone' if bench.server else 'given'} API server ({await bench.server_version()})"


async def fleet(jobs: int, each: int, *, rate: float, seconds: float, lost: int) -> Fleet:
    """Many jobs, each with pods that work until they are told to end.

    Args:
        jobs: How many.
        each: Pods of each at a time; it has more units, so that they are replaced.
        rate: Pods that end a second, while that is measured.
        seconds: How long each state is measured.
        lost: Pods that end while there is no operator.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder)) as bench:
            operator = await bench.start_operator(*_FREE)
            await bench.ready(operator)
            kubelet = await bench.kubelet(float("inf"))
            began = time.monotonic()
            for start in range(0, jobs, 50):
                batch = range(start, min(start + 50, jobs))
                await asyncio.gather(*(bench.create(job(f"reel-{n}", each * _UNITS, each)) for n in batch))
            await eventually(lambda: kubelet.working >= jobs * each, "pods are missing", 60 + jobs * each * 0.1)
            filling = time.monotonic() - began
            await _quiet(operator)
            rss, idle = operator.rss, await _share(bench, operator, seconds)
            seen = len(operator.reconciles())
            churn, _ = await asyncio.gather(_share(bench, operator, seconds), _churn(kubelet, rate, seconds))
            reconciles = operator.reconciles()[seen:]
            await eventually(lambda: kubelet.working >= jobs * each, "pods are not replaced", 120)
            operator.kill()
            await kubelet.lose(lost)
            known, started = set(kubelet.counted.created), time.monotonic()
            operator = await bench.start_operator(*_FREE)

            def replaced() -> list[float]:
                return sorted(at for uid, at in kubelet.counted.created.items() if uid not in known)

            await eventually(lambda: len(replaced()) >= lost, "lost pods are not replaced", 300)
            await _quiet(operator)
            moments = replaced()
            return Fleet(
                jobs,
                jobs * each * _UNITS,
                jobs * each,
                filling,
                rss,
                operator.rss,
                idle,
                churn,
                rate,
                reconciles,
                lost,
                moments[0] - started,
                moments[lost - 1] - started,
            )


async def _churn(kubelet: FakeKubelet, rate: float, seconds: float) -> None:
    """End so many pods a second."""
    began, ended = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        due = int((time.monotonic() - began) * rate)
        if due > ended:
            await kubelet.finish(due - ended)
            ended = due
        await asyncio.sleep(0.05)


async def _quiet(operator: Operator) -> None:
    """Wait until the operator has nothing to do."""
    before = -1
    while len(operator.reconciles()) != before:
        before = len(operator.reconciles())
        await asyncio.sleep(3.0)


async def _share(bench: Bench, operator: Operator, seconds: float) -> float:
    """Share of a core that the operator uses for a while."""
    before, began = bench.cpu(operator)["operator"], time.monotonic()
    await asyncio.sleep(seconds)
    return (bench.cpu(operator)["operator"] - before) / (time.monotonic() - began)


async def beside(units: int, *, limited: bool = True) -> tuple[float, float]:
    """Seconds that a job of three units takes alone, and begun beside one of `units` that is under way."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder)) as bench:
            operator = await bench.start_operator(*(() if limited else _FREE))
            await bench.ready(operator)
            kubelet = await bench.kubelet(1.0)
            alone = await _took(bench, "alone", 120)
            await bench.create(job("huge", units, 500))
            await eventually(lambda: kubelet.counted.ended > 100, "the huge job does not begin", 120)
            return alone, await _took(bench, "small", 600)


async def _took(bench: Bench, name: str, longest: float) -> float:
    began = time.monotonic()
    await bench.create(job(name, 3, 3))
    await eventually(lambda: name in bench.followed.finished, f"{name} does not end", longest, every=0.02)
    return bench.followed.finished[name] - began
