"""Processes of containers: started behind a gate, known by pid and start time, ended with everything they started.

At most one live process per container, whenever the node is killed: `start` returns a process that waits at a gate
(`launch.py`); the caller notes its identity on disk, then opens the gate. When the node dies the kernel kills the
process (PR_SET_PDEATHSIG, tied to the thread that started it: the node starts processes from its main thread only),
and the next node ends whatever is left of the recorded sessions before it does anything else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ENV_MARKER: Final = "CARRYON_NODE_CONTAINER"
"""Holds the folder of the container's record; children inherit it, so processes that left the session are found too."""

_PROC: Final = Path("/proc")
_LAUNCH: Final = str(Path(__file__).with_name("launch.py"))


@dataclass(frozen=True)
class Identity:
    """A process that can't be mistaken for another one: a pid alone is used again.

    Attributes:
        pid: Process id; also the id of its session and process group.
        ticks: Start time in clock ticks since boot (field 22 of /proc/PID/stat).
        boot: The kernel's boot id.
    """

    pid: int
    ticks: int
    boot: str


@dataclass(frozen=True)
class _Stat:
    state: str
    session: int
    ticks: int


def boot_id() -> str:
    """Changes with every boot of the machine."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the command's name, in parentheses, may hold anything
    return _Stat(state=fields[0], session=int(fields[3]), ticks=int(fields[19]))


class Process:
    """One started process; made by `start`."""

    def __init__(self, popen: subprocess.Popen[bytes], gate: socket.socket) -> None:
        self._popen = popen
        self._gate = gate
        stat = _stat(popen.pid)
        if stat is None:  # it is not reaped yet, so it has an entry even if it ended already
            raise OSError(f"/proc/{popen.pid}/stat can't be read: is /proc mounted?")
        self.identity = Identity(popen.pid, stat.ticks, boot_id())

    async def release(self) -> str | None:
        """Open the gate: the process executes its command; returns the error if that can't be done."""
        with self._gate:
            self._gate.setblocking(False)
            try:
                self._gate.send(b"1")
                error = await asyncio.get_running_loop().sock_recv(self._gate, 4096)
            except (BrokenPipeError, ConnectionResetError):  # it was killed at the gate
                return None
        return error.decode(errors="replace") or None

    async def wait(self) -> int:
        """Exit code, or minus the number of the signal that ended the process."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        handle = os.pidfd_open(self._popen.pid)
        try:
            loop.add_reader(handle, ended.set)
            await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
        return self._popen.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group, unless the process has ended."""
        if self._popen.returncode is None:  # not reaped: the pid, and so the group, is still its own
            os.killpg(self._popen.pid, number)


def start(command: Sequence[str], environment: Mapping[str, str], folder: Path, output: int) -> Process:
    """Start a process that waits at its gate, in its own session; call from the main thread.

    Args:
        command: Program and arguments.
        environment: The whole environment, with the marker.
        folder: Working directory.
        output: File descriptor for both stdout and stderr, so that their order is kept.

    Raises:
        OSError: The working directory is missing, or arguments and environment are too long.
        ValueError: An argument or variable holds a NUL.
    """
    here, there = socket.socketpair()
    with there:
        try:
            popen = subprocess.Popen(
                [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), str(there.fileno()), *command],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(there.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            here.close()
            raise
    return Process(popen, here)


def members(identity: Identity | None, marker: str) -> list[Identity]:
    """Live processes of a container: those of its session, and those whose environment carries its marker.

    Args:
        identity: The container's first process, dead or alive; None when only the marker is known.
        marker: A folder; processes whose marker is it or lies in it count.
    """
    boot = boot_id()
    session = None
    if identity is not None and identity.boot == boot:
        leader = _stat(identity.pid)
        # While any process of the session lives, the kernel gives the leader's pid to nobody else.
        if leader is None or leader.ticks == identity.ticks:
            session = identity.pid
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal() or (stat := _stat(pid := int(entry.name))) is None or stat.state in "ZX":
            continue
        if stat.session == session or _is_marked(pid, marker):
            found.append(Identity(pid, stat.ticks, boot))
    return found


def _is_marked(pid: int, marker: str) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:  # ended meanwhile, or another user's
        return False
    wanted = f"\0{ENV_MARKER}={marker}".encode()
    at = (b"\0" + environment).find(wanted)
    return at >= 0 and environment[at + len(wanted) - 1 :][:1] in (b"", b"\0", b"/")


def _kill(process: Identity) -> None:
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        stat = _stat(process.pid)
        if stat is not None and stat.ticks == process.ticks:  # the handle is of the process that was found
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


async def end_all(identity: Identity | None, marker: str) -> None:
    """SIGKILL everything of a container, and return when nothing of it lives."""
    delay = 0.005
    while found := members(identity, marker):
        for process in found:
            _kill(process)
        await asyncio.sleep(delay)
        delay = min(delay * 2, 0.5)
