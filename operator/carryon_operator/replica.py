"""One replica: its parts, and the order in which they begin and end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, Final, NoReturn

import kopf

from carryon_core import names
from carryon_kube.client import Client
from carryon_kube.errors import ApiError
from carryon_kube.informer import Informer
from carryon_kube.ratelimit import Backoff
from carryon_kube.resources import PODS
from carryon_operator import handlers
from carryon_operator.apply import WRITE_INTERVAL
from carryon_operator.config import Config
from carryon_operator.definition import Definition
from carryon_operator.health import Bell, Health
from carryon_operator.jobs import JobCache
from carryon_operator.kube.elector import Elector, LeaseLost
from carryon_operator.kube.events import EventRecorder
from carryon_operator.kube.expectations import Expectations
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.leading import guard_of
from carryon_operator.looks import Looks
from carryon_operator.metrics import Metrics
from carryon_operator.metrics.gauges import Parts, readings
from carryon_operator.notify.notifier import AT_ONCE, Notifier
from carryon_operator.notify.sending import Sender
from carryon_operator.plan.model import PodRecord
from carryon_operator.podstatus import owner_key, project
from carryon_operator.probes import Probes, serve
from carryon_operator.reconcile import Reconciler
from carryon_operator.slots import Slots
from carryon_operator.workers import work

RESYNC_SECONDS: Final = 600.0
DRAIN_SECONDS: Final = 1.8
"""Time for jobs in the middle of a reconcile to end it, and `REST_SECONDS` for all else: together under 3 s."""
REST_SECONDS: Final = 1.0
_SELECTOR: Final = f"{names.MANAGED_BY}={names.MANAGED_BY_CARRYON}"

log = logging.getLogger(__name__)


class Replica:
    """One process of the operator: it acts while it leads, and keeps its caches warm while another does."""

    def __init__(
        self,
        config: Config,
        client: Client,
        elector: Elector | None,
        *,
        stop: asyncio.Event,
        metrics: Metrics,
        bell: Bell,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """Put the parts together, inside a running event loop; nothing begins yet.

        Args:
            config: Of this operator.
            client: Of the API server, behind the elector's fence.
            elector: Decides who acts; None: this is the only replica.
            stop: Set by signals.
            metrics: To count in.
            bell: Told of every request of the client.
            clock: Seconds since the epoch.
            monotonic: Seconds, for intervals.
        """
        self._config = config
        self._client = client
        self._elector = elector
        self._stop = stop
        self._metrics = metrics
        self._bell = bell
        self._listed, self._acting, self._hang_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._memory = handlers.KopfMemory()
        self._queue = WorkQueue(Backoff(0.2, 60.0))
        self._jobs = JobCache(on_change=self._ring)
        self._recorder = EventRecorder(client, clock=clock)
        expectations = Expectations(asyncio.get_running_loop().time)
        self._pods = Informer(
            client, PODS, project=project, owner=owner_key, namespaces=config.namespaces, label_selector=_SELECTOR
        )
        self._slots = Slots(config.caps, self._pods, expectations, ring=self._ring, clock=clock)
        self._looks = Looks(ring=self._ring)
        self._sender = Sender(
            client,
            allowed=config.notify_allow,
            proxy=config.notify_proxy,
            page_url=config.page_url,
            clock=clock,
            threads=AT_ONCE,
            fence=None if elector is None else elector.time_left,
        )
        self._notifier = Notifier(self._sender, self._jobs, ring=self._ring, clock=clock)
        self._reconciler = Reconciler(
            config=config,
            client=client,
            jobs=self._jobs,
            pods=self._pods,
            expectations=expectations,
            recorder=self._recorder,
            looks=self._looks,
            notifier=self._notifier,
            slots=self._slots,
            clock=clock,
            monotonic=monotonic,
            metrics=metrics,
            guard=None if elector is None else guard_of(elector),
        )
        watched = partial(pod_changed, self._jobs, expectations, self._ring, self._slots, self._reconciler.pod_gone)
        self._pods.subscribe(watched)

    async def run(self) -> None:
        """Carry out jobs until told to stop.

        Raises:
            ListenError: Health cannot be served where it should.
            Exception: Whatever ended a part that should run for ever.
        """
        doorbell = asyncio.create_task(self._listen(), name="doorbell")
        running = {name: asyncio.create_task(part, name=name) for name, part in self._loops().items()}
        health = Health(
            pods=self._pods,
            queue=self._queue,
            bell=self._bell,
            parts={"doorbell": doorbell, **running},
            ready=self._listed,
            metrics=self._metrics,
            leading=self._leading,
        )
        self._metrics.ask(partial(readings, self._measured()))
        tasks = [
            *running.values(),
            asyncio.create_task(health.run(), name="beat"),
            asyncio.create_task(self._stop.wait(), name="stop"),
        ]
        async with serve(self._config.health, Probes(health)) if self._config.health else nullcontext():
            ended, _ = await asyncio.wait([doorbell, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                if isinstance(lost := task.exception(), LeaseLost):
                    _leave(lost)
        log.info("stopping")
        failure = next((error for task in ended if (error := task.exception()) is not None), None)
        if await self._end(doorbell, tasks):
            # A thread that waits for a bucket or a name server can't be interrupted, and the interpreter would wait for
            # it; nothing depends on its end.
            if failure is None:
                log.warning("leaving in the middle of something: the next start finds it again")
            else:
                log.error("a part of the operator has failed", exc_info=failure)
            logging.shutdown()
            os._exit(0 if failure is None else 1)
        if failure is not None:
            raise failure

    def _loops(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """Name -> what should run for ever, besides the doorbell."""
        return {
            "informer": self._pods.run(),
            "events": self._recorder.run(),
            "resync": self._oversee(),
            **({} if self._elector is None else {"elector": self._take_turns(self._elector)}),
            **{f"worker-{number}": self._reconcile_jobs() for number in range(self._config.workers)},
        }

    def _measured(self) -> Parts:
        """What is asked at each scrape."""
        return Parts(
            client=self._client,
            jobs=self._jobs,
            pods=self._pods,
            queue=self._queue,
            recorder=self._recorder,
            looks=self._looks,
            notifier=self._notifier,
            slots=self._slots,
            workers=self._config.workers,
            journal_bytes=self._reconciler.journal_bytes,
            leading=self._leading,
        )

    def _leading(self) -> bool:
        return self._elector is None or self._elector.leading

    def _ring(self, key: str, wait: float = 0.0) -> None:
        # Who stands by keeps its caches warm and has nothing to do: all jobs are rung for when it begins to act.
        if self._acting.is_set():
            self._queue.add_after(key, wait)

    async def _listen(self) -> None:
        """Learn what there is, then have kopf ring for what changes."""
        await self._jobs.refresh(self._client, self._config.namespaces)
        await self._pods.synced.wait()
        log.info("%d jobs and %d pods are known", len(self._jobs), len(self._pods))
        self._listed.set()
        before = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=handlers.registry(self._client, self._jobs, self._memory),
            memories=self._memory.memories,
            settings=handlers.settings(),
            clusterwide=not self._config.namespaces,
            namespaces=self._config.namespaces,
            stop_flag=self._hang_up,
        )
        # Kopf has just taken them for itself; but workers end first.
        on_signals(self._stop)
        await kopf.run_tasks(tasks, ignored=before)

    async def _take_turns(self, elector: Elector) -> NoReturn:
        # Make sure that nobody leads who could not list what there is.
        await self._listed.wait()
        await elector.run()

    async def _reconcile_jobs(self) -> None:
        await self._acting.wait()
        await work(self._queue, self._reconciler.reconcile, self._metrics.reconciled)

    async def _begin(self) -> None:
        """Wait until it is our turn to act."""
        await self._listed.wait()
        if self._elector is not None:
            await self._elector.acquired.wait()
            # Who led before has written until a moment ago, and our watches may lag behind: what is decided first must
            # not be decided by what was.
            await self._pods.refresh()
            await self._jobs.refresh(self._client, self._config.namespaces)
        self._slots.anticipate(job for key in self._jobs if (job := self._jobs.get(key)) is not None)
        self._acting.set()

    async def _oversee(self) -> NoReturn:
        """Begin when it is our turn; then look at every job now and then, whatever was or was not heard of it."""
        await self._begin()
        self._ring_for_all()
        definition = Definition()
        while True:
            await definition.look(self._client)
            await asyncio.sleep(RESYNC_SECONDS)
            try:
                await self._jobs.resync(self._client, self._config.namespaces)
            except ApiError as error:
                log.warning("jobs cannot be listed: %s; again in %.0f s", error, RESYNC_SECONDS)
            await self._memory.prune(self._jobs)
            self._ring_for_all()

    def _ring_for_all(self) -> None:
        for key in self._jobs:
            self._queue.add(key)

    async def _end(self, doorbell: asyncio.Task[None], tasks: Iterable[asyncio.Task[Any]]) -> bool:
        """End all parts, and give the Lease back.

        Args:
            doorbell: Ends by itself, once kopf is at work.
            tasks: All others.

        Returns:
            Whether something goes on that nothing ends.
        """
        self._queue.shut_down()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._queue.drained()
            drained = True
        except TimeoutError:
            drained = False
        await self._notifier.close()
        self._sender.close()
        # Not before: kopf waits for every task that began after it did, and workers start such.
        self._hang_up.set()
        for task in tasks if self._listed.is_set() else (doorbell, *tasks):
            task.cancel()
        _, left = await asyncio.wait([doorbell, *tasks], timeout=REST_SECONDS)
        if self._elector is not None:
            await self._elector.release()
        return bool(left) or not drained or self._looks.running > 0 or self._sender.busy


def pod_changed(
    jobs: JobCache,
    expectations: Expectations,
    ring: Callable[[str, float], None],
    slots: Slots,
    gone: Callable[[str, PodRecord], None],
    old: PodRecord | None,
    new: PodRecord | None,
) -> None:
    """What was expected is seen, and the pod's job has something to look at."""
    pod = new or old
    assert pod is not None
    if new is not None:
        expectations.observed_create(pod.job_uid, pod.name)
    if new is None or new.gone_by is not None:
        expectations.observed_delete(pod.job_uid, pod.uid)
    slots.changed()
    # Two, if somebody changed whose it is.
    for owner in {each.job_uid for each in (old, new) if each is not None}:
        key = jobs.key_of_uid(owner)
        if key is not None:
            if new is None:
                gone(key, pod)
            # One that frees no slot only changes what status shows, which is written no more often.
            ring(key, 0.0 if _at_work(old) and not _at_work(new) else WRITE_INTERVAL)


def _at_work(pod: PodRecord | None) -> bool:
    """Whether there is a pod that has not ended."""
    return pod is not None and not pod.terminal


def on_signals(stop: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set an event, whoever had them before."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _leave(lost: LeaseLost) -> NoReturn:
    """End at once: nothing may be written any more, and whatever is under way here is found again by who leads now."""
    log.error("%s: ending, to stand by after the next start", lost)
    logging.shutdown()
    os._exit(1)
