"""Container logs: every line with the time it came, stdout and stderr in their own order, bounded in size.

A line reads `2026-01-02T03:04:05.123456789Z text`. A log that reaches its limit is replaced by a new file that holds
its newest half: whoever follows a log opens it again when the file's inode changes.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final

LIMIT: Final = 10 * 1024 * 1024
"""Bytes of one log file."""
_LONGEST_LINE: Final = 256 * 1024
_TAIL_BYTES: Final = 2048
_TAIL_LINES: Final = 80


def _now() -> bytes:
    nanoseconds = time.time_ns()
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z ".encode()


class LogFile:
    """Turns what a container writes into lines of a log file."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size
        self._partial = b""

    def feed(self, data: bytes) -> None:
        """Add output; a line is written when it is complete, or too long to wait for its end."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        while len(self._partial) > _LONGEST_LINE:
            lines.append(self._partial[:_LONGEST_LINE])
            self._partial = self._partial[_LONGEST_LINE:]
        if lines:
            self._write(lines)

    def close(self) -> None:
        """Write the line that never ended, and close."""
        if self._partial:
            self._write([self._partial])
            self._partial = b""
        self._file.close()

    def _write(self, lines: list[bytes]) -> None:
        now = _now()
        block = b"".join(now + line + b"\n" for line in lines)
        if self._size + len(block) > self._limit:
            self._rotate()
        self._file.write(block)
        self._size += len(block)

    def _rotate(self) -> None:
        kept = self._path.read_bytes()[-self._limit // 2 :]
        kept = kept[kept.find(b"\n") + 1 :]
        replacement = self._path.with_name(self._path.name + ".new")
        self._file.close()
        self._file = replacement.open("wb", buffering=0)
        self._file.write(kept)
        replacement.replace(self._path)
        self._size = len(kept)


class LogPipe:
    """A pipe whose writing end is a container's stdout and stderr, and whose reading end feeds a log file."""

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._reader, self._read)

    def started(self) -> None:
        """The process holds its own copy of the writing end: close ours, so that the pipe ends with the process."""
        os.close(self.writer)

    def _read(self) -> None:
        data = os.read(self._reader, 65536)
        if data:
            self._log.feed(data)
        else:
            self._finish()

    def _finish(self) -> None:
        if not self._ended.done():
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self._log.close()
            self._ended.set_result(None)

    async def drain(self, seconds: float = 2.0) -> None:
        """Wait until everything written is in the log; a process that no one could find can't hold it open for ever."""
        await asyncio.wait([self._ended], timeout=seconds)
        self._finish()


def tail(path: Path) -> str:
    """The last lines of a log without their times: Kubernetes' fallback for a missing termination message."""
    try:
        with path.open("rb") as file:
            # Times and a cut first line come on top of the bytes that are kept.
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES - (_TAIL_LINES + 1) * len(_now())))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return ""
    texts = [line.partition(b" ")[2] for line in lines[-_TAIL_LINES:]]
    return b"\n".join(texts)[-_TAIL_BYTES:].decode(errors="replace")
