"""Jobs that share the operator's pods: on a clock that skips, with pods that come late and end when they like."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from carryon_operator.kube.expectations import Expectations
from carryon_operator.plan.model import PodRecord
from carryon_operator.plan.shares import Caps
from carryon_operator.slots import ANTICIPATED_SECONDS, OFFERED_SECONDS, Slots
from skipping_clock import SkippingLoop


class Cluster:
    """Jobs that want pods, and pods. Each job decides when it is woken, one at a time, and its pods end by themselves.

    Attributes:
        left: Job -> pods that it still wants to launch.
        hung: Jobs whose buckets hang: woken, they do nothing.
        turns: Job of each pod, in the order they were launched.
        most: Pods there ever were at a time.
    """

    def __init__(self, caps: Caps, seed: int = 0) -> None:
        self.draw = random.Random(seed)
        self.pods: dict[str, PodRecord] = {}
        self.expectations = Expectations(asyncio.get_running_loop().time)
        self.slots = Slots(
            caps, _Values(self.pods), self.expectations, ring=self.wake, clock=asyncio.get_running_loop().time
        )
        self.left: dict[str, int] = {}
        self.priorities: dict[str, int] = {}
        self.hung: set[str] = set()
        self.refused: set[str] = set()
        self.turns: list[str] = []
        self.most = 0
        self.seconds: Callable[[], float] = lambda: self.draw.uniform(1, 10)
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._names = 0

    def add(self, job: str, wants: int, priority: int = 0) -> None:
        self.left[job], self.priorities[job] = wants, priority
        self.wake(job)

    def wake(self, job: str) -> None:
        if job in self._busy:
            self._again.add(job)
            return
        self._busy.add(job)
        self._start(self._reconcile(job))

    def of(self, job: str) -> int:
        return sum(pod.job_uid == job and not pod.terminal for pod in self.pods.values())

    @property
    def at_work(self) -> int:
        return sum(not pod.terminal for pod in self.pods.values())

    def end(self, pod: PodRecord) -> None:
        self.pods[pod.uid] = replace(pod, phase="Succeeded")
        self.slots.changed()
        self.wake(pod.job_uid)

    async def _reconcile(self, job: str) -> None:
        if job in self.hung:
            await asyncio.sleep(3600)
        await asyncio.sleep(self.draw.uniform(0, 0.1))
        if self.expectations.satisfied(job):
            room = self.slots.enter(job, job, self.priorities[job])
            await asyncio.sleep(self.draw.uniform(0, 0.05))
            takes = min(self.left[job], room.pods)
            self.slots.take(job, job, takes, self.left[job] - takes)
            if job not in self.refused:
                for _ in range(takes):
                    await self._launch(job)
            self.slots.leave(job, job, failed=job in self.refused)
        self._busy.discard(job)
        if job in self._again:
            self._again.discard(job)
            self.wake(job)

    async def _launch(self, job: str) -> None:
        self._names += 1
        self.left[job] -= 1
        self.turns.append(job)
        pod = PodRecord("default", f"pod-{self._names}", f"uid-{self._names}", job, "clip", (), (), 1, "Running", 0.0)
        self.expectations.expect_create(job, pod.name)
        await asyncio.sleep(self.draw.uniform(0, 0.02))
        self._start(self._live(pod))

    async def _live(self, pod: PodRecord) -> None:
        await asyncio.sleep(self.draw.uniform(0, 0.3))
        self.pods[pod.uid] = pod
        self.most = max(self.most, self.at_work)
        self.expectations.observed_create(pod.job_uid, pod.name)
        self.slots.changed()
        self.wake(pod.job_uid)
        await asyncio.sleep(self.seconds())
        self.end(self.pods[pod.uid])

    def _start(self, what: Any) -> None:
        task = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Values:
    def __init__(self, pods: dict[str, PodRecord]) -> None:
        self._pods = pods

    def __iter__(self) -> Any:
        return iter(list(self._pods.values()))


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(run())


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=5),
    st.none() | st.integers(1, 8),
    st.none() | st.integers(1, 4),
    st.integers(0, 1000),
)
def test_everything_is_launched_and_never_more_at_a_time_than_the_caps(
    jobs: list[tuple[int, int]], pods: int | None, per_job: int | None, seed: int
) -> None:
    async def scenario() -> None:
        cluster = Cluster(Caps(pods, per_job), seed)
        for number, (wants, priority) in enumerate(jobs):
            cluster.add(f"job-{number}", wants, priority)
            await asyncio.sleep(cluster.draw.uniform(0, 2))
        for _ in range(600):
            await asyncio.sleep(5)
            assert cluster.most <= (pods or 10**6)
            assert all(cluster.of(job) <= (per_job or 10**6) for job in cluster.left)
            if not any(cluster.left.values()):
                return
        raise AssertionError(f"still waiting: {cluster.left}")

    play(scenario)


def test_no_slot_stays_free_while_somebody_wants_it() -> None:
    async def scenario() -> None:
        cluster = Cluster(Caps(6))
        cluster.add("a", 300)
        cluster.add("b", 300)
        await asyncio.sleep(3)
        free = 0
        for _ in range(400):
            await asyncio.sleep(0.5)
            free += 6 - cluster.at_work
        # A slot takes some 0.35 s to be filled here, of the 5.5 s that a pod has it.
        assert free / 400 < 6 * 0.15

    play(scenario)


def test_a_job_of_ten_thousand_never_starves_one_of_three() -> None:
    async def scenario() -> None:
        cluster = Cluster(Caps(20))
        cluster.seconds = lambda: cluster.draw.uniform(50, 70)
        cluster.add("huge", 10_000)
        await asyncio.sleep(100)
        assert cluster.of("huge") == 20
        before = len(cluster.turns)
        cluster.add("small", 3)
        while cluster.left["small"]:
            await asyncio.sleep(1)
        since = cluster.turns[before:]
        assert len(since) <= 8, "the first slots that were freed were its"
        assert cluster.of("huge") + cluster.of("small") <= 20

    play(scenario)


def test_what_comes_first_goes_first_and_nothing_that_runs_is_ended_for_it() -> None:
    async def scenario() -> None:
        cluster = Cluster(Caps(4))
        cluster.seconds = lambda: 100.0
        cluster.add("low", 8)
        await asyncio.sleep(10)
        cluster.add("high", 6, priority=5)
        await asyncio.sleep(10)
        assert (cluster.of("low"), cluster.of("high")) == (4, 0)
        await asyncio.sleep(100)
        assert (cluster.of("low"), cluster.of("high")) == (0, 4)
        await asyncio.sleep(300)
        assert cluster.turns[:8] == ["low"] * 4 + ["high"] * 4
        assert sorted(cluster.turns[8:12]) == ["high"] * 2 + ["low"] * 2

    play(scenario)


def test_a_job_that_does_nothing_with_its_turn_loses_it() -> None:
    async def scenario() -> None:
        cluster = Cluster(Caps(1))
        cluster.seconds = lambda: 20.0
        cluster.add("first", 1)
        await asyncio.sleep(1)
        cluster.add("hangs", 1)
        await asyncio.sleep(1)
        cluster.add("waits", 1)
        await asyncio.sleep(1)
        cluster.hung.add("hangs")
        await asyncio.sleep(19)
        assert cluster.of("first") == 0
        assert cluster.turns == ["first"]
        await asyncio.sleep(OFFERED_SECONDS)
        assert cluster.turns == ["first", "waits"]

    play(scenario)


def test_a_job_whose_pods_are_refused_keeps_no_slot_from_others() -> None:
    async def scenario() -> None:
        cluster = Cluster(Caps(2))
        cluster.refused.add("refused")
        cluster.add("refused", 2)
        cluster.add("other", 2)
        await asyncio.sleep(2)
        assert cluster.of("other") == 2

    play(scenario)


def job(name: str, priority: int, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "uid": f"default/{name}"}
    return {"metadata": metadata, "spec": {"priority": priority, "parallelism": 2}, "status": status}


def test_after_a_restart_slots_are_kept_for_jobs_that_come_first_though_not_for_ever() -> None:
    async def scenario() -> None:
        cluster = Cluster(Caps(2))
        ended = {"conditions": [{"type": "Finished", "status": "True"}]}
        cluster.slots.anticipate([job("low", 0), job("high", 1), job("over", 9, **ended)])
        cluster.add("default/low", 2)
        await asyncio.sleep(1)
        assert cluster.turns == []
        await asyncio.sleep(ANTICIPATED_SECONDS)
        assert cluster.turns == ["default/low"] * 2

    play(scenario)


def test_without_caps_nothing_is_counted_and_nobody_waits() -> None:
    async def scenario() -> None:
        cluster = Cluster(Caps())
        cluster.add("a", 50)
        await asyncio.sleep(5)
        assert cluster.left == {"a": 0}
        assert cluster.slots.waiting == 0

    play(scenario)


def test_a_pod_whose_node_is_lost_holds_no_slot() -> None:
    async def scenario() -> None:
        cluster = Cluster(Caps(1))
        lost = PodRecord("default", "p", "uid-p", "gone", "clip", (), (), 1, "Running", 0.0, gone_by=10.0)
        cluster.pods["uid-p"] = lost
        cluster.slots.changed()
        cluster.add("a", 1)
        await asyncio.sleep(60)
        assert cluster.turns == []
        await asyncio.sleep(20)
        cluster.wake("gone")  # As its own job is woken when the pod is given up.
        cluster.left["gone"], cluster.priorities["gone"] = 0, 0
        await asyncio.sleep(2)
        assert cluster.turns == ["a"]

    play(scenario)
