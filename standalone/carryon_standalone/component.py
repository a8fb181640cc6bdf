"""One program of the control plane, kept alive: started, watched, started again when it crashes, stopped with grace."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from carryon_standalone.home import StartFailed

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)
_STABLE: Final = 60.0
"""Seconds after which a program counts as well again, and its next crash as the first."""
_LONGEST_DELAY: Final = 30.0
_LOG_LONGEST: Final = 16 * 1024 * 1024
_TAIL: Final = 2000
_READY_POLL: Final = 0.05


@dataclass(frozen=True, slots=True)
class Component:
    """What to run, and what to expect of it.

    Attributes:
        name: As people know it, such as "API server".
        command: Program and arguments.
        log: File for its output; appended to.
        ready: Asks whether it does its work.
        environment: Added to our own.
        start_seconds: Longest time until it is ready.
        stop_seconds: Longest time it has to end after SIGTERM.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], Awaitable[bool]]
    environment: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 60.0
    stop_seconds: float = 5.0


def restart_delay(crashes: int) -> float:
    """Seconds before the next start after so many crashes in a row: 0.5, 1, 2, 4 ... 30."""
    return float(min(0.5 * 2 ** (crashes - 1), _LONGEST_DELAY))


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"


class Kept:
    """A component at work."""

    def __init__(self, component: Component, tell: Callable[[str], None], lock: int) -> None:
        """Nothing is started yet.

        Args:
            component: What to run.
            tell: Takes a sentence for whoever watches.
            lock: File descriptor that the program inherits, see `home.hold`.
        """
        self.component = component
        self._tell = tell
        self._lock = lock
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the program, and return when it is ready; from then on it is kept alive.

        Raises:
            StartFailed: It ended, or took too long; with the end of its log.
        """
        process = await self._spawn()
        ended = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(self.component.start_seconds):
                while not ended.done() and not await self.component.ready():
                    await asyncio.wait([ended], timeout=_READY_POLL)
        except TimeoutError:
            raise StartFailed(
                self._failure(f"was not ready within {self.component.start_seconds:.0f} seconds")
            ) from None
        finally:
            ended.cancel()
        if process.returncode is not None:
            raise StartFailed(self._failure(how_it_ended(process.returncode)))
        self._watch = asyncio.create_task(self._keep(process))

    async def stop(self) -> None:
        """Ask the program to end, and kill it when its time is over."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(self.component.stop_seconds):
                await self._process.wait()
        except TimeoutError:
            self._tell(
                f"the {self.component.name} did not end within {self.component.stop_seconds:.0f} seconds: killed"
            )
            self._process.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End the program at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        crashes = 0
        while True:
            started = time.monotonic()
            code = await process.wait()
            crashes = 1 if time.monotonic() - started > _STABLE else crashes + 1
            delay = restart_delay(crashes)
            self._tell(
                f"the {self.component.name} {how_it_ended(code)}: starting it again in {delay:g} s"
                f" (log: {self.component.log})"
            )
            await asyncio.sleep(delay)
            process = await self._spawn()

    async def _spawn(self) -> asyncio.subprocess.Process:
        log = self.component.log
        if log.exists() and log.stat().st_size > _LOG_LONGEST:
            log.rename(log.with_suffix(".log.1"))
        parent = os.getpid()

        def die_with_parent() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above took effect
                os._exit(1)

        with log.open("ab") as output:
            # From the main thread only: the kernel sends the signal when the thread ends that started the process.
            self._process = await asyncio.create_subprocess_exec(
                *self.component.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.component.environment},
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, who stops things in order
                pass_fds=(self._lock,),
                preexec_fn=die_with_parent,
            )
        return self._process

    def _failure(self, what: str) -> str:
        with self.component.log.open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - _TAIL, 0))
            tail = log.read().decode(errors="replace").strip()
        lines = "\n".join(f"  | {line}" for line in tail.splitlines()[-15:])
        return f"the {self.component.name} {what}; its log {self.component.log} ends with:\n{lines}"
