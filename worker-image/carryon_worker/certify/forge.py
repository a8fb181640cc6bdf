"""New processes in no time: forked from one that has done nothing but import.

A fresh interpreter spends many seconds on imports, and a certification takes half a dozen processes. A forked one has
loaded no model, opened no bucket and touched no GPU before it becomes a worker like any other. See `forging`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_MODULE: Final = "carryon_worker.certify.forging"


class ForgeFailed(Exception):
    """The process that others are forked from could not start or has ended; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Where a process waits to be killed.

    Attributes:
        at: Calls of a denoiser that it computes before.
        durable: Whether it first waits until all of them are in the bucket.
    """

    at: int
    durable: bool


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is started with.

    Attributes:
        environment: All its variables.
        log: File for its stdout and stderr.
        reports: File for what is seen of it.
        pause: Where it waits to be killed; None: nowhere.
        imports: Libraries and names in them that are imported before the fork: those of the model's parts.
    """

    environment: Mapping[str, str]
    log: Path
    reports: Path
    pause: Pause | None
    imports: Sequence[tuple[str, str]]


class Child:
    """A worker that was started."""

    def __init__(self, forge: Forge, pid: int) -> None:
        self._forge = forge
        self._pid = pid
        self.code: int | None = None

    def wait(self, seconds: float) -> int | None:
        """Wait for its end, at most so long: exit code, or minus the signal that killed it; None: it is at work."""
        if self.code is None and (answer := self._forge.answer(seconds)) is not None:
            self.code = int(answer["ended"])
        return self.code

    def kill(self, number: int) -> None:
        """Send it a signal."""
        # It is reaped by another process, which might just have done so.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)


class Forge:
    """The process that workers are forked from; one of them runs at a time.

    Args:
        folder: For its log.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "forge.log"
        self._unread = b""
        self._child: Child | None = None
        with self._log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                # To ask CUDA's driver would make it useless to the forked.
                env={**os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )

    def __enter__(self) -> Forge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def look(self, model: str, pipeline: str | None, folder: Path) -> dict[str, Any]:
        """What can be said about a model without its weights; see `looking.look`.

        Raises:
            ForgeFailed: It has ended.
        """
        path = folder / "looked.json"
        self._ask({"look": [model, pipeline, str(path)]})
        answer = self.answer(None)
        assert answer is not None
        if answer["ended"]:
            raise ForgeFailed(f"the model can't be looked at: {self._last()}")
        seen: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return seen

    def start(self, order: Order) -> Child:
        """Start a worker.

        Raises:
            ForgeFailed: It has ended.
        """
        self._ask({"work": {**asdict(order), "log": str(order.log), "reports": str(order.reports)}})
        answer = self.answer(None)
        assert answer is not None
        self._child = Child(self, int(answer["pid"]))
        return self._child

    def close(self) -> None:
        """End it, and what is at work."""
        if self._child is not None and self._child.code is None:
            self._child.kill(signal.SIGKILL)
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
        self._process.wait()

    def answer(self, seconds: float | None) -> dict[str, Any] | None:
        """The next line that it writes; None if that takes longer.

        Raises:
            ForgeFailed: It has ended.
        """
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._unread:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([descriptor], [], [], left)[0]:
                return None
            if not (read := os.read(descriptor, 65536)):
                raise ForgeFailed(f"the process that workers are started from has ended: {self._last()}")
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _ask(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ForgeFailed(f"the process that workers are started from has ended: {self._last()}") from None

    def _last(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it says nothing"
