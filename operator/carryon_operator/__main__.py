"""Wiring: configuration, client, caches, queue and workers, and kopf that rings for them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from typing import Final, NoReturn

import kopf

from carryon_core import names
from carryon_kube import connection
from carryon_kube.client import Client, Fence
from carryon_kube.errors import ApiError, NotFound
from carryon_kube.informer import Informer
from carryon_kube.observing import Exchange, Observe
from carryon_kube.ratelimit import Backoff
from carryon_kube.resources import PODS
from carryon_operator import config as configuration
from carryon_operator import handlers
from carryon_operator.apply import WRITE_INTERVAL
from carryon_operator.config import Config
from carryon_operator.definition import Definition
from carryon_operator.health import Bell, Health
from carryon_operator.jobs import JobCache
from carryon_operator.kube.elector import ApiLeases, Elector, LeaseLost
from carryon_operator.kube.events import EventRecorder
from carryon_operator.kube.expectations import Expectations
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.leading import guard_of, identity, look_anew
from carryon_operator.looks import Looks
from carryon_operator.metrics import Metrics
from carryon_operator.metrics.gauges import Parts, readings
from carryon_operator.notify.notifier import AT_ONCE, Notifier
from carryon_operator.notify.sending import Sender
from carryon_operator.plan.model import PodRecord
from carryon_operator.podstatus import owner_key, project
from carryon_operator.probes import ListenError, Probes, serve
from carryon_operator.reconcile import Reconciler
from carryon_operator.slots import Slots
from carryon_operator.steady import SteadyClock
from carryon_operator.workers import work

RESYNC_SECONDS: Final = 600.0
DRAIN_SECONDS: Final = 1.8
"""Time for jobs in the middle of a reconcile to end it, and `REST_SECONDS` for all else: together under 3 s."""
REST_SECONDS: Final = 1.0
_SELECTOR: Final = f"{names.MANAGED_BY}={names.MANAGED_BY_CARRYON}"

log = logging.getLogger("carryon_operator")


def main() -> None:
    """Run the operator until SIGTERM or SIGINT."""
    config = configuration.parse(sys.argv[1:], os.environ)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # To kopf, each ring of the bell is two lines.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        asyncio.run(run(config))
    except (connection.ConfigError, ListenError) as error:
        sys.exit(f"carryon-operator: {error}")


async def run(
    config: Config,
    *,
    clock: Callable[[], float] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Reconcile until told to stop.

    Args:
        config: Of this operator.
        clock: Seconds since the epoch; None: those of this machine, without their jumps.
        monotonic: Seconds, for intervals.

    Raises:
        ConfigError: There is no way to reach the API server.
        ListenError: Health cannot be served where it should.
        Exception: Whatever ended a part that should run for ever.
    """
    stop = asyncio.Event()
    _on_signals(stop)
    clock = clock or SteadyClock()
    metrics, bell = Metrics(), Bell()

    def observe(exchange: Exchange) -> None:
        metrics.exchanged(exchange)
        bell.observe(exchange)

    async with AsyncExitStack() as stack:
        elector = await _elector(config, stack, observe)
        fence = None if elector is None else elector.time_left
        client = await _client(config, stack, observe, fence)
        queue = WorkQueue(Backoff(0.2, 60.0))
        acting = asyncio.Event()

        def ring(key: str, wait: float = 0.0) -> None:
            # Who stands by keeps its caches warm and has nothing to do: all jobs are rung for when it begins to act.
            if acting.is_set():
                queue.add_after(key, wait)

        def leading() -> bool:
            return elector is None or elector.leading

        jobs = JobCache(on_change=ring)
        expectations = Expectations(asyncio.get_running_loop().time)
        recorder = EventRecorder(client, clock=clock)
        pods = Informer(
            client, PODS, project=project, owner=owner_key, namespaces=config.namespaces, label_selector=_SELECTOR
        )
        slots = Slots(config.caps, pods, expectations, ring=ring, clock=clock)
        pods.subscribe(partial(_pod_changed, jobs, expectations, ring, slots))
        looks = Looks(ring=ring)
        sender = Sender(
            client,
            allowed=config.notify_allow,
            proxy=config.notify_proxy,
            page_url=config.page_url,
            clock=clock,
            threads=AT_ONCE,
            fence=fence,
        )
        notifier = Notifier(sender, jobs, ring=ring, clock=clock)
        reconciler = Reconciler(
            config=config,
            client=client,
            jobs=jobs,
            pods=pods,
            expectations=expectations,
            recorder=recorder,
            looks=looks,
            notifier=notifier,
            slots=slots,
            clock=clock,
            monotonic=monotonic,
            metrics=metrics,
            guard=None if elector is None else guard_of(elector),
        )
        ready, hang_up, memory = asyncio.Event(), asyncio.Event(), handlers.KopfMemory()

        async def reconcile_jobs() -> None:
            await acting.wait()
            await work(queue, reconciler.reconcile, metrics.reconciled)

        async def take_turns(elector: Elector) -> NoReturn:
            # Make sure that nobody leads who could not list what there is.
            await ready.wait()
            await elector.run()

        async def begin() -> None:
            await ready.wait()
            if elector is not None:
                await elector.acquired.wait()
                await look_anew(client, jobs, pods, config.namespaces)
            slots.anticipate(job for key in jobs if (job := jobs.get(key)) is not None)
            acting.set()

        doorbell = asyncio.create_task(
            _listen(config, client, jobs, pods, memory, stop=stop, ready=ready, hang_up=hang_up)
        )
        parts = {
            "informer": pods.run(),
            "events": recorder.run(),
            "resync": _oversee(config, client, jobs, queue, begin, memory),
            **({} if elector is None else {"elector": take_turns(elector)}),
            **{f"worker-{number}": reconcile_jobs() for number in range(config.workers)},
        }
        running = {name: asyncio.create_task(part, name=name) for name, part in parts.items()}
        health = Health(
            pods=pods,
            queue=queue,
            bell=bell,
            parts={"doorbell": doorbell, **running},
            ready=ready,
            metrics=metrics,
            leading=leading,
        )
        tasks = [*running.values(), asyncio.create_task(health.run(), name="beat")]
        known = Parts(
            client=client,
            jobs=jobs,
            pods=pods,
            queue=queue,
            recorder=recorder,
            looks=looks,
            notifier=notifier,
            slots=slots,
            workers=config.workers,
            journal_bytes=reconciler.journal_bytes,
            leading=leading,
        )
        metrics.ask(partial(readings, known))
        told = asyncio.create_task(stop.wait())
        async with serve(config.health, Probes(health)) if config.health else nullcontext():
            ended, _ = await asyncio.wait([told, doorbell, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                if isinstance(lost := task.exception(), LeaseLost):
                    _leave(lost)
        log.info("stopping")
        queue.shut_down()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await queue.drained()
            drained = True
        except TimeoutError:
            drained = False
        await notifier.close()
        sender.close()
        # Not before: kopf waits for every task that began after it did, and workers start such.
        hang_up.set()
        for task in (told, *tasks):
            task.cancel()
        _, left = await asyncio.wait([told, doorbell, *tasks], timeout=REST_SECONDS)
        if elector is not None:
            await elector.release()
        if (left or not drained or looks.running or sender.busy) and not any(task.exception() for task in ended):
            # A thread that waits for a bucket or a name server can't be interrupted; nothing depends on its end.
            log.warning("leaving in the middle of something: the next start finds it again")
            logging.shutdown()
            os._exit(0)
        for task in ended:
            task.result()


async def _listen(
    config: Config,
    client: Client,
    jobs: JobCache,
    pods: Informer[PodRecord],
    memory: handlers.KopfMemory,
    *,
    stop: asyncio.Event,
    ready: asyncio.Event,
    hang_up: asyncio.Event,
) -> None:
    """Learn what there is, then have kopf ring for what changes.

    Args:
        config: Of this operator.
        client: Of the API server.
        jobs: To fill.
        pods: To wait for.
        memory: Of kopf.
        stop: Set by signals.
        ready: Set once everything is known.
        hang_up: Ends kopf.
    """
    backoff = Backoff(1.0, 10.0)
    while True:
        try:
            await jobs.resync(client, config.namespaces)
            break
        except NotFound:
            log.warning("the cluster does not know %s: install the CRD of crds/; waiting for it", names.CRD_NAME)
        except ApiError as error:
            log.warning("jobs cannot be listed: %s; trying again", error)
        await asyncio.sleep(backoff.next())
    await pods.synced.wait()
    log.info("%d jobs and %d pods are known", len(jobs), len(pods))
    ready.set()
    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=handlers.registry(client, jobs, memory),
        memories=memory.memories,
        settings=handlers.settings(),
        clusterwide=not config.namespaces,
        namespaces=config.namespaces,
        stop_flag=hang_up,
    )
    # Kopf has just taken them for itself; but workers end first.
    _on_signals(stop)
    await kopf.run_tasks(tasks, ignored=before)


async def _oversee(
    config: Config,
    client: Client,
    jobs: JobCache,
    queue: WorkQueue,
    begin: Callable[[], Awaitable[None]],
    memory: handlers.KopfMemory,
) -> NoReturn:
    """Begin to act when it is our turn; then look at every job now and then, whatever was or was not heard of it."""
    await begin()
    for key in jobs:
        queue.add(key)
    definition = Definition()
    while True:
        await definition.look(client)
        await asyncio.sleep(RESYNC_SECONDS)
        try:
            await jobs.resync(client, config.namespaces)
        except ApiError as error:
            log.warning("jobs cannot be listed: %s; again in %.0f s", error, RESYNC_SECONDS)
        await memory.prune(jobs)
        for key in jobs:
            queue.add(key)


def _pod_changed(
    jobs: JobCache,
    expectations: Expectations,
    ring: Callable[[str, float], None],
    slots: Slots,
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
            # One that frees no slot only changes what status shows, which is written no more often.
            ring(key, 0.0 if _at_work(old) and not _at_work(new) else WRITE_INTERVAL)


def _at_work(pod: PodRecord | None) -> bool:
    """Whether there is a pod that has not ended."""
    return pod is not None and not pod.terminal


async def _client(config: Config, stack: AsyncExitStack, observe: Observe, fence: Fence | None) -> Client:
    load = partial(connection.load, config.kubeconfig)
    made = Client(load(), reload=load, qps=config.qps, burst=config.burst, fence=fence, observe=observe)
    return await stack.enter_async_context(made)


async def _elector(config: Config, stack: AsyncExitStack, observe: Observe) -> Elector | None:
    if config.election is None:
        return None
    # Of its own: a Lease must not wait for the connections and the turn of ten thousand pods.
    client = await _client(config, stack, observe, None)
    where = (config.election.namespace, config.election.name)
    return Elector(ApiLeases(client, *where), where, identity(), config.election.terms, clock=time.time)


def _leave(lost: LeaseLost) -> NoReturn:
    """End at once: nothing may be written any more, and whatever is under way here is found again by who leads now."""
    log.error("%s: ending, to stand by after the next start", lost)
    logging.shutdown()
    os._exit(1)


def _on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


if __name__ == "__main__":
    main()
