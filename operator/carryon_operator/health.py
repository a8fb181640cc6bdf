"""What /livez and /readyz are answered by: whether this process still hears the API server and gets through its work.

A check of /livez fails only where a restart may help. Nothing in it depends on what the API server or a bucket answers:
whoever follows them asks again and again while they are away, and that is what is looked at. A restart would lose what
is known, and bring neither of them back.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final, NoReturn

from carryon_kube.informer import Informer
from carryon_kube.observing import Exchange
from carryon_kube.resources import GENERATION_JOBS
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.metrics import Metrics

BEAT: Final = 1.0
"""Seconds between two signs of life of the event loop."""
LOOP_STANDS: Final = 30.0
"""Seconds that the event loop may stand still; the largest of jobs holds it up for one."""
NOBODY_TAKES: Final = 60.0
"""Seconds that a job may wait while no worker has anything to do."""
NOBODY_ENDS: Final = 900.0
"""Seconds that jobs may wait while no worker begins or ends anything.

Requests to an API server that hangs end after 4 tries of 30 s with up to 30 s between them, looks at a bucket that
hangs after 120 s: a look at a job holds a few of these.
"""
NOBODY_ASKS: Final = 300.0
"""Seconds in which the follower of pods neither hears the API server nor asks it anew.

A watch that is silent is given up after 70 s, a list after those four tries, and what failed is tried after 30 s.
"""
NO_BELL: Final = 900.0
"""Seconds in which kopf does not ask to watch jobs; it does every five minutes, and every half while that fails."""
LONGEST_SILENCE: Final = 120.0
"""Seconds without a word from the API server after which we are not ready: it sends a bookmark every minute."""
LONGEST_WAIT: Final = 120.0
"""Seconds that the next key may wait for a worker before we are not ready."""


class Bell:
    """When kopf last asked to watch jobs, whatever it was answered."""

    def __init__(self) -> None:
        """Inside the event loop."""
        self._loop = asyncio.get_running_loop()
        self._asked_at = self._loop.time()

    def observe(self, exchange: Exchange) -> None:
        """Take note of a request; nobody else watches jobs."""
        if exchange.verb == "watch" and exchange.resource == GENERATION_JOBS.plural:
            self._asked_at = self._loop.time()

    @property
    def silence(self) -> float:
        """Seconds since then."""
        return self._loop.time() - self._asked_at


class Health:
    """Judges one operator. Times are the event loop's, but for the beat, which is read from outside of it."""

    def __init__(
        self,
        *,
        pods: Informer[Any],
        queue: WorkQueue,
        bell: Bell,
        parts: Mapping[str, asyncio.Future[Any]],
        ready: asyncio.Event,
        metrics: Metrics,
        leading: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare, inside the event loop that is judged.

        Args:
            pods: Follows pods.
            queue: Of keys.
            bell: Of kopf.
            parts: Name -> task that should run as long as we do.
            ready: Set once pods and jobs are known.
            metrics: Told how late the beat is.
            leading: Whether this replica works; one that stands by has nobody take keys.
            monotonic: Seconds, for the beat.
        """
        self.metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._pods = pods
        self._queue = queue
        self._bell = bell
        self._parts = parts
        self._ready = ready
        self._leading = leading
        self._monotonic = monotonic
        self._beat_at = monotonic()
        self._working_since: float | None = None

    async def run(self) -> NoReturn:
        """Show that the event loop turns, for ever."""
        while True:
            due = self._loop.time() + BEAT
            await asyncio.sleep(BEAT)
            self.metrics.lagged(max(self._loop.time() - due, 0.0))
            self.beat()

    def beat(self) -> None:
        """The event loop turns; note since when there is work to be done."""
        self._beat_at = self._monotonic()
        if not (self._ready.is_set() and self._leading()):
            self._working_since = None
        elif self._working_since is None:
            self._working_since = self._loop.time()

    @property
    def stands_still(self) -> float:
        """Seconds since the last beat; from any thread."""
        return max(self._monotonic() - self._beat_at - BEAT, 0.0)

    def where(self) -> str:
        """What the event loop is at: file, line and function of the innermost frame of ours; from any thread."""
        frame: FrameType | None = sys._current_frames().get(self._thread)
        stack = traceback.extract_stack(frame) if frame is not None else []
        ours = [each for each in stack if "carryon_" in each.filename] or stack
        return f"{ours[-1].filename}:{ours[-1].lineno} ({ours[-1].name})" if ours else "nowhere"

    def live(self) -> Mapping[str, str]:
        """What is wrong in a way that a restart may cure, by part."""
        wrong = {name: "has ended" for name, part in self._parts.items() if part.done()}
        if self._pods.stuck > NOBODY_ASKS:
            wrong["informer"] = f"has neither heard the API server nor asked it for {self._pods.stuck:.0f} s"
        working = self._working
        if working is None:
            return wrong
        if (silent := min(self._bell.silence, working)) > NO_BELL:
            wrong["doorbell"] = f"kopf has not asked to watch jobs for {silent:.0f} s"
        queue, waited = self._queue, min(self._queue.head_age, self._queue.still, working)
        if waited > NOBODY_TAKES and not queue.busy:
            wrong["queue"] = f"{queue.depth} jobs wait, and no worker has taken one for {waited:.0f} s"
        elif waited > NOBODY_ENDS:
            wrong["queue"] = f"{queue.depth} jobs wait, and no worker has ended what it is at for {waited:.0f} s"
        return wrong

    def readiness(self) -> Mapping[str, str]:
        """Why no job would be reconciled by what is true now; a replica that stands by is ready to take over."""
        wrong = dict(self.live())
        if not self._ready.is_set():
            wrong["start"] = "pods and jobs are not listed yet"
        if self._pods.silence > LONGEST_SILENCE:
            wrong["pods"] = f"nothing heard from the API server for {self._pods.silence:.0f} s"
        waits = min(self._queue.head_age, self._working or 0.0)
        if waits > LONGEST_WAIT:
            wrong.setdefault("queue", f"{self._queue.depth} jobs wait for a worker, the first for {waits:.0f} s")
        return wrong

    def standing(self) -> str:
        """What a replica that is well does."""
        return "ok" if self._leading() else "ok: standing by, another replica leads"

    @property
    def _working(self) -> float | None:
        """Seconds since when workers should take keys, None while they should not."""
        return None if self._working_since is None else self._loop.time() - self._working_since
