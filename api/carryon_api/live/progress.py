"""How far units at work are, asked of their workers directly: steps go by too fast for etcd.

Only pods of jobs that somebody looks at are asked, about once a second, each with a second to answer; where there are
very many, less often. An answer is told as soon as it is there, so that a worker that hangs delays nobody else's.
Addresses come from pods that the kubelet reports and nowhere else, what comes back is small and of one form, and
redirects are not followed: nobody makes us fetch something of theirs.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, NoReturn, Self

import aiohttp

from carryon_api.records import PodSummary
from carryon_core import names
from carryon_core.messages import Progress, UnitProgress

EVERY: Final = 0.8
"""Seconds between two questions to one pod."""
ANSWER_SECONDS: Final = 1.0
PATIENCE: Final = 2
"""Questions in a row without answer until the step that was known is no longer shown."""
AT_ONCE: Final = 64
RATE: Final = 400.0
"""Questions a second, of all pods together: beyond that each is asked less often."""
ANSWER_LONGEST: Final = 64 * 1024
_COUNT_MOST: Final = 2**53 - 1
LOOK_AROUND: Final = 0.1
"""Seconds after which an answer is passed on, and a job is found that somebody began to look at."""
TELL_SECONDS_A_UNIT: Final = 0.004
TELL_LONGEST: Final = 0.7
"""Seconds between two events of a job with so many units at work: each event names them all."""

JobKey = tuple[str, str]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a pod said last.

    Attributes:
        stage: Name of the stage it works at.
        item: Of the unit that it was at when it answered last, "" where nobody knows.
        index: Of that item; None where nobody knows.
        current: The unit at work; None between two units, and where the pod does not answer.
        asked: Whether it was, and had its time to answer.
        answered: Whether it did, when it was asked last; once in between it may fail to.
        missed: Questions since then.
        since: (step, seconds of the unit) of its first answer about this unit, for the pace.
    """

    stage: str
    item: str = ""
    index: int | None = None
    current: UnitProgress | None = None
    asked: bool = False
    answered: bool = False
    missed: int = 0
    since: tuple[int, float] | None = None


def first_reading(pod: PodSummary) -> Reading:
    """Before a pod was asked: with a single unit, it can only be at that one."""
    return Reading(pod.stage, pod.units[0] if len(pod.units) == 1 else "")


def reading(before: Reading, told: Progress | None) -> Reading:
    """What to make of an answer after what is known from before; None: there was no answer."""
    if told is None:
        missed = before.missed + 1
        if missed < PATIENCE and before.current is not None:
            return replace(before, missed=missed)
        return replace(before, current=None, asked=True, answered=False, missed=missed)
    current = told.current
    if current is None:
        return Reading(before.stage, asked=True, answered=True)
    since = before.since if current.item == before.item else None
    if current.step is None:
        since = None
    elif since is None or current.step < since[0]:
        since = (current.step, current.seconds)
    return Reading(before.stage, current.item, current.index, current, asked=True, answered=True, since=since)


def pace(found: Reading) -> float | None:
    """Seconds a step takes, measured by the worker's own clock; None before two answers tell."""
    current, since = found.current, found.since
    if current is None or current.step is None or since is None or current.step <= since[0]:
        return None
    return round((current.seconds - since[1]) / (current.step - since[0]), 4)


def as_json(found: Reading) -> dict[str, Any] | None:
    """One unit of a `progress` event; None where nobody knows which one is at work, or none is."""
    if not found.item or not found.asked:
        return None
    told: dict[str, Any] = {"stage": found.stage, "item": found.item, "index": found.index}
    current = found.current
    if current is None:
        return {**told, "phase": "running", "step": None, "steps": None, "secondsPerStep": None}
    told |= {"phase": current.phase, "step": current.step, "steps": current.steps, "secondsPerStep": pace(found)}
    told["seconds"] = current.seconds
    if current.section is not None or current.sections is not None:
        told |= {"section": current.section, "sections": current.sections}
    if current.previews:
        told["previews"] = [key.rpartition("/")[2] for key in current.previews]
    return told


def parsed(body: bytes) -> Progress:
    """A worker's answer; whoever runs in the pod may have written it.

    Raises:
        ValueError: It is none, or holds numbers that no worker counts to and JSON or arithmetic may not survive.
    """
    told = Progress.model_validate_json(body)
    current = told.current
    if current is not None:
        counts = (current.index, current.step, current.steps, current.section, current.sections)
        if not all(count is None or 0 <= count <= _COUNT_MOST for count in counts):
            raise ValueError(f"a count is none between 0 and {_COUNT_MOST}")
        if not math.isfinite(current.seconds):
            raise ValueError("its seconds are no number")
    return told


class Asker:
    """Asks single pods. Use as an async context manager."""

    def __init__(self, *, port: int = names.WORKER_PORT, loopback: bool = False) -> None:
        """Prepare.

        Args:
            port: That workers listen on.
            loopback: Pods have addresses of this machine, as in standalone; else those are refused.
        """
        self._port = port
        self._loopback = loopback
        self._few = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            headers={"Accept-Encoding": "identity", "User-Agent": "carryon-api"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(self, pod: PodSummary) -> Progress | None:
        """What a pod's worker says; None where it says nothing in time, or nothing that makes sense."""
        assert self._session is not None
        address = self.address(pod)
        if address is None:
            return None
        try:
            async with self._few, self._session.get(address, allow_redirects=False) as response:
                if response.status != HTTPStatus.OK:
                    return None
                body = b""
                async for piece in response.content.iter_chunked(ANSWER_LONGEST):
                    body += piece
                    if len(body) > ANSWER_LONGEST:
                        return None
            return parsed(body)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.debug("pod %s says nothing about its progress: %s", pod.uid, error)
            return None

    def address(self, pod: PodSummary) -> str | None:
        """Where a pod's worker answers; None where it can't, or where we do not ask."""
        if pod.phase != "Running":
            return None
        try:
            ip = ipaddress.ip_address(pod.ip)
        except ValueError:
            return None
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip
        odd = ip.is_link_local or ip.is_multicast or ip.is_unspecified
        if odd or ip.is_loopback != self._loopback:
            return None
        host = f"[{ip}]" if ip.version == 6 else str(ip)
        return f"http://{host}:{self._port}/progress"


@dataclass(eq=False)
class _Asked:
    """A pod that is asked again and again."""

    job: JobKey
    reading: Reading
    next: float = 0.0
    task: asyncio.Task[None] | None = None


class Poller:
    """Asks the pods of all jobs that somebody looks at."""

    def __init__(
        self,
        asker: Asker,
        watched: Callable[[], Mapping[JobKey, int]],
        pods_of: Callable[[JobKey], Iterable[PodSummary]],
        tell: Callable[[JobKey, dict[str, Any]], None],
        *,
        index_of: Callable[[JobKey, PodSummary], int | None] = lambda job, pod: None,
        clock: Callable[[], float],
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            asker: Asks one.
            watched: Jobs that somebody looks at, each with a number that is new when somebody begins to.
            pods_of: The pods of a job.
            tell: Takes the content of a `progress` event of a job when it has changed.
            index_of: Index of the item of a pod with a single unit, as far as that is known.
            clock: Monotonic, seconds.
        """
        self._asker = asker
        self._watched = watched
        self._pods_of = pods_of
        self._tell = tell
        self._index_of = index_of
        self._clock = clock
        self._asked: dict[str, _Asked] = {}
        self._told: dict[tuple[JobKey, int], tuple[float, dict[str, Any]]] = {}

    async def run(self) -> NoReturn:
        """Ask for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                pods = {pod.uid: (job, pod) for job in self._watched() for pod in self._pods_of(job)}
                self._forget(pods.keys())
                now = self._clock()
                every = max(EVERY, len(pods) / RATE)
                for uid, (job, pod) in pods.items():
                    if self._asker.address(pod) is None:
                        continue
                    asked = self._asked.setdefault(uid, _Asked(job, first_reading(pod)))
                    if asked.reading.index is None and len(pod.units) == 1:
                        asked.reading = replace(asked.reading, index=self._index_of(job, pod))
                    if asked.task is None and asked.next <= now:
                        asked.next = now + every
                        asked.task = group.create_task(self._ask(pod, asked))
                self._tell_all(now)
                await asyncio.sleep(LOOK_AROUND)

    def known(self, uid: str) -> Reading | None:
        """What a pod said last, if it is asked."""
        asked = self._asked.get(uid)
        return asked.reading if asked is not None and asked.reading.answered else None

    async def _ask(self, pod: PodSummary, asked: _Asked) -> None:
        told = await self._asker.ask(pod)
        asked.reading, asked.task = reading(asked.reading, told), None

    def _forget(self, present: Collection[str]) -> None:
        for uid in [uid for uid in self._asked if uid not in present]:
            del self._asked[uid]

    def _tell_all(self, now: float) -> None:
        """Tell what has changed, of jobs with many units at work less often."""
        watched = self._watched()
        units: dict[JobKey, list[dict[str, Any]]] = {job: [] for job in watched}
        for asked in self._asked.values():
            told = as_json(asked.reading)
            if told is not None and asked.job in units:
                units[asked.job].append(told)
        self._told = {key: told for key, told in self._told.items() if watched.get(key[0]) == key[1]}
        for job, number in watched.items():
            at_work = units[job]
            last, known = self._told.get((job, number), (0.0, None))
            told = {"namespace": job[0], "name": job[1], "units": at_work}
            wait = min(TELL_LONGEST, len(at_work) * TELL_SECONDS_A_UNIT)
            if told != known and (known is not None or at_work) and now - last >= wait:
                self._told[job, number] = (now, told)
                self._tell(job, told)
