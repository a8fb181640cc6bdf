"""Health tells the truth: deaf and stuck are not ready, and only what a restart may cure is not alive."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_kube.informer import Informer
from carryon_kube.observing import Exchange
from carryon_kube.ratelimit import Backoff
from carryon_kube.resources import PODS
from carryon_operator.config import Address
from carryon_operator.health import Bell, Health
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.metrics import Metrics
from carryon_operator.probes import ListenError, Probes, serve
from fake_apiserver import FakeApiServer, Fault, eventually
from patient_clock import PatientLoop
from skipping_clock import SkippingLoop

NOWHERE = "http://127.0.0.1:1"
BELL = Exchange("watch", "generationjobs", False, 200, 0.1)


@dataclass
class Operator:
    """The parts that health is judged by; its follower of pods hears nothing, and asks again when told to."""

    pods: Informer[Any]
    queue: WorkQueue
    bell: Bell
    doorbell: asyncio.Future[None]
    worker: asyncio.Future[None]
    ready: asyncio.Event
    health: Health
    leads: list[bool] = field(default_factory=lambda: [True])

    async def lives(self, seconds: float, *, asks: bool = True, rings: bool = True) -> None:
        """Pass time, with a follower that asks now and then and a kopf that does, unless they hang."""
        for _ in range(round(seconds / 10)):
            await asyncio.sleep(10)
            for scope in self.pods._scopes if asks else ():
                scope.tried = asyncio.get_running_loop().time()
            if rings:
                self.bell.observe(BELL)
            self.health.beat()

    async def hears(self, seconds: float) -> None:
        """Likewise, and the API server has something to say."""
        for _ in range(round(seconds / 10)):
            await self.lives(10)
            for scope in self.pods._scopes:
                scope.heard = asyncio.get_running_loop().time()


@asynccontextmanager
async def operator(server: str = NOWHERE) -> AsyncIterator[Operator]:
    async with Client(Connection(server)) as client:
        loop = asyncio.get_running_loop()
        pods = Informer(client, PODS, project=dict, owner=str)
        queue, bell, ready = WorkQueue(Backoff(1, 1)), Bell(), asyncio.Event()
        doorbell: asyncio.Future[None] = loop.create_future()
        worker: asyncio.Future[None] = loop.create_future()
        ready.set()
        leads = [True]
        health = Health(
            pods=pods,
            queue=queue,
            bell=bell,
            parts={"doorbell": doorbell, "worker-3": worker},
            ready=ready,
            metrics=Metrics(),
            leading=lambda: leads[0],
        )
        health.beat()
        yield Operator(pods, queue, bell, doorbell, worker, ready, health, leads)


Scenario = Callable[[Operator], Coroutine[Any, Any, None]]


def judged(scenario: Scenario) -> tuple[set[str], set[str]]:
    """Parts that are not alive, and that are not ready, after something has happened."""

    async def run() -> tuple[set[str], set[str]]:
        async with operator() as one:
            assert one.health.live() == one.health.readiness() == {}
            await scenario(one)
            return set(one.health.live()), set(one.health.readiness())

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(run())


async def quiet_but_well(one: Operator) -> None:
    await one.hears(86_400)


async def api_away(one: Operator) -> None:
    await one.lives(7_200)


async def away_with_jobs_waiting_for_its_answers(one: Operator) -> None:
    """Workers hang in requests; each ends after four tries of 30 s, and takes the next key."""
    for number in range(100):
        one.queue.add(f"studio/{number}")
    for _ in range(20):
        key = await one.queue.get()
        await one.lives(210)
        one.queue.done(key)


async def hung_follower(one: Operator) -> None:
    await one.lives(310, asks=False)


async def kopf_hangs(one: Operator) -> None:
    await one.lives(910, rings=False)


async def kopf_ended(one: Operator) -> None:
    one.doorbell.set_result(None)


async def worker_died(one: Operator) -> None:
    one.worker.set_exception(KeyError("oops"))
    one.worker.exception()


async def nobody_takes(one: Operator) -> None:
    one.queue.add("studio/reel")
    await one.hears(70)


async def nobody_ends(one: Operator) -> None:
    one.queue.add("studio/reel")
    one.queue.add("studio/other")
    await one.queue.get()
    await one.hears(910)


async def one_takes_long(one: Operator) -> None:
    """One job hangs in its bucket while others are looked at."""
    one.queue.add("studio/reel")
    await one.queue.get()
    for number in range(200):
        one.queue.add(f"studio/{number}")
        one.queue.done(await one.queue.get())
        await one.hears(10)


async def too_much_to_do(one: Operator) -> None:
    for number in range(1000):
        one.queue.add(f"studio/{number}")
    for _ in range(20):
        key = await one.queue.get()
        await one.hears(10)
        one.queue.done(key)


async def starts_slowly(one: Operator) -> None:
    one.ready.clear()
    one.queue.add("studio/reel")
    await one.lives(7_200, rings=False)


async def stands_by(one: Operator) -> None:
    """Keys pile up that nobody may take, and kopf does not run."""
    one.leads[0] = False
    one.queue.add("studio/reel")
    for _ in range(720):
        await one.hears(10)
        one.bell._asked_at = 0.0


async def took_over_just_now(one: Operator) -> None:
    await stands_by(one)
    one.leads[0] = True
    await one.hears(50)


@pytest.mark.parametrize(
    ("scenario", "dead", "not_ready"),
    [
        (quiet_but_well, set(), set()),
        (api_away, set(), {"pods"}),
        (away_with_jobs_waiting_for_its_answers, set(), {"pods", "queue"}),
        (hung_follower, {"informer"}, {"informer", "pods"}),
        (kopf_hangs, {"doorbell"}, {"doorbell", "pods"}),
        (kopf_ended, {"doorbell"}, {"doorbell"}),
        (worker_died, {"worker-3"}, {"worker-3"}),
        (nobody_takes, {"queue"}, {"queue"}),
        (nobody_ends, {"queue"}, {"queue"}),
        (one_takes_long, set(), set()),
        (too_much_to_do, set(), {"queue"}),
        (starts_slowly, set(), {"start", "pods"}),
        (stands_by, set(), set()),
        (took_over_just_now, set(), set()),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_what_a_restart_may_cure_is_not_alive_and_an_outage_is_only_not_ready(
    scenario: Scenario, dead: set[str], not_ready: set[str]
) -> None:
    assert judged(scenario) == (dead, not_ready)


def test_a_real_follower_asks_on_through_an_outage_of_hours_and_stays_alive() -> None:
    async def scenario() -> None:
        async with operator() as one:
            following = asyncio.create_task(one.pods.run())
            for _ in range(730):
                await one.lives(10, asks=False)
                assert "informer" not in one.health.live()
            assert one.pods.silence > 7_200
            assert "pods" in one.health.readiness()
            following.cancel()
            await asyncio.wait([following])

    # Nobody listens at that port: each request is refused at once, and only the waits between them pass.
    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        runner.run(scenario())


async def test_a_follower_that_may_not_list_is_alive_and_hears() -> None:
    async with FakeApiServer().serving() as server, operator(server.url) as one:
        server.faults.extend(Fault(403, path="pods") for _ in range(2))
        following = asyncio.create_task(one.pods.run())
        await eventually(lambda: not server.faults and server.watchers > 0)
        assert one.health.live() == one.health.readiness() == {}
        following.cancel()
        await asyncio.wait([following])


async def told(at: Address, path: str) -> tuple[int, list[str]]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{at.host}:{at.port}/{path}") as answer:
        return answer.status, (await answer.text()).splitlines()


async def test_probes_are_answered_with_a_line_for_each_check_that_fails() -> None:
    async with operator() as one, serve(Address("127.0.0.1", 0), Probes(one.health, patience=10)) as at:
        assert await told(at, "livez") == (200, ["ok"])
        assert await told(at, "readyz") == (200, ["ok"])
        status, lines = await told(at, "metrics")
        assert status == 200
        assert "carryon_gpu_seconds_total 0.0" in lines
        one.ready.clear()
        one.doorbell.set_result(None)
        assert await told(at, "livez") == (503, ["doorbell: has ended"])
        assert await told(at, "readyz") == (503, ["doorbell: has ended", "start: pods and jobs are not listed yet"])


async def test_a_replica_that_stands_by_is_ready_and_says_so() -> None:
    async with operator() as one, serve(Address("127.0.0.1", 0), Probes(one.health, patience=10)) as at:
        one.leads[0] = False
        assert await told(at, "livez") == (200, ["ok"])
        assert await told(at, "readyz") == (200, ["ok: standing by, another replica leads"])


async def test_while_the_event_loop_stands_still_probes_say_so_and_where() -> None:
    """As a whole: the loop of the operator is held up, and whoever asks is somebody else."""
    answers: dict[str, Any] = {}

    async def ask(at: Address, path: str) -> tuple[int, list[str]]:
        return await told(at, path)

    def outside(at: Address, one: Operator, held: threading.Event, go_on: threading.Event) -> None:
        held.wait(10)
        answers["busy"] = asyncio.run(ask(at, "livez"))
        answers["busy, ready"] = asyncio.run(ask(at, "readyz"))
        answers["metrics"] = asyncio.run(ask(at, "metrics"))
        one.health._beat_at -= 3600  # As if it had been an hour.
        answers["dead"] = asyncio.run(ask(at, "livez"))
        go_on.set()

    async with operator() as one, serve(Address("127.0.0.1", 0), Probes(one.health, patience=0.2, scrape=0.2)) as at:
        held, go_on = threading.Event(), threading.Event()
        asker = threading.Thread(target=outside, args=(at, one, held, go_on))
        asker.start()
        one.health.beat()
        held.set()
        hold_up(go_on)
        await asyncio.to_thread(asker.join)
        assert await told(at, "livez") == (200, ["ok"])  # It turns again, whatever the last beat was.

    status, (line,) = answers["busy"]
    assert status == 200
    assert line.startswith("ok: the event loop is busy")
    assert answers["busy, ready"][0] == answers["metrics"][0] == 503
    status, (line,) = answers["dead"]
    assert status == 503
    assert line.startswith("loop: has stood still for 3")
    assert "hold_up" in line or "wait" in line


def hold_up(until: threading.Event) -> None:
    """Stop the event loop."""
    until.wait(30)


async def test_an_address_that_is_taken_is_a_sentence() -> None:
    async with operator() as one, serve(Address("127.0.0.1", 0), Probes(one.health)) as at:
        with pytest.raises(ListenError, match=r"cannot be served at 127.*choose another --health"):
            async with serve(at, Probes(one.health)):
                pass


async def test_the_beat_goes_on_and_tells_how_late_it_is() -> None:
    async with operator() as one:
        beating = asyncio.create_task(one.health.run())
        deadline = time.monotonic() + 20
        while "carryon_event_loop_lag_seconds_count 1.0" not in one.health.metrics.text().decode():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert one.health.stands_still < 15
        beating.cancel()
        await asyncio.wait([beating])
