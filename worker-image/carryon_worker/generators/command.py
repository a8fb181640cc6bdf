"""Any program as a generator.

What a program finds: an empty working folder, the worker's environment without credentials, the variables of its
configuration, and

    CARRYON_JOB, CARRYON_STAGE, CARRYON_ITEM, CARRYON_INDEX, CARRYON_SEED    who it is
    CARRYON_INPUTS     folder with one folder for each upstream stage, its artifacts in it, and inputs.json
    CARRYON_OUTPUT     folder: every regular file in it becomes an artifact, named by its path below the folder
    CARRYON_OUTCOME    file to write {"outcome": "skipped", "reason": "..."} to where there is nothing to make
    CARRYON_CHECKPOINT folder that the next attempt finds as it was last saved
    CARRYON_PROGRESS   file to write `step/steps`, or {"step": n, "steps": m}, to: shown as progress; from the first
                       time on, a program that no longer changes it counts as stalled

How it ends: 0 it is done, 12 what was asked for can't work (no retry), 13 out of memory, anything else a failure with
its last lines on stderr as message. Asked to stop, it gets SIGTERM, and SIGKILL after a third of the grace period;
what it started and left running is killed when it ends.
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from carryon_core.done import Outcome
from carryon_core.messages import ExitCode
from carryon_worker.failures import BadRequest, OutOfMemory, UnitFailure
from carryon_worker.generators import Generator, Made, Output, outcome_file
from carryon_worker.session import Session

_log = logging.getLogger(__name__)

_POLL: Final = 0.2
_TAIL: Final = 4096
"""Bytes of stderr kept for the message."""
_TAIL_LINES: Final = 3
_PROGRESS_LONGEST: Final = 4096
_PROGRESS: Final = re.compile(r"^\s*(\d{1,15})(?:\s*/\s*(\d{1,15}))?\s*$")
_WITHHELD: Final = ("AWS_", "CARRYON_")
"""Beginnings of names that a program does not inherit: credentials of the bucket, and what is the worker's own."""

_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class _Command:
    """A program with its arguments, and the variables it gets."""

    args: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Files:
    """Where a program and the worker meet, besides inputs and outputs."""

    progress: Path
    outcome: Path
    checkpoint: Path


class CommandGenerator(Generator):
    """Runs one program a unit."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def load(self, config: Mapping[str, Any], session: Session) -> None:
        """Bring back what an earlier attempt has kept: that takes time which is none of the unit's."""
        session.checkpoint()

    def generate(self, config: Mapping[str, Any], session: Session) -> Made:
        """Run the program and gather what it left in its output folder."""
        command = _parse_command(config)
        files = _Files(
            progress=session.scratch / "progress",
            outcome=session.scratch / "outcome.json",
            checkpoint=session.checkpoint(),
        )
        session.watch(False)
        code, said = self._run(command, session, files)
        _judge(command.args[0], code, said)
        outcome, reason = outcome_file.read(files.outcome)
        if outcome is not Outcome.GENERATED:
            return Made(outcome=outcome, reason=reason)
        return Made(_gather(session.outputs), reason=reason)

    def stop(self, seconds: float) -> None:
        """Ask the program's process group to end, then make it."""
        process = self._process
        if process is None:
            return
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _signal_group(process, signal.SIGKILL)

    def _run(self, command: _Command, session: Session, files: _Files) -> tuple[int, str]:
        """Exit status as `Popen.returncode`, and the last of what was said on stderr."""
        work = session.scratch / "work"
        work.mkdir()
        environment = _environment(command, session, files)
        killed_before = _oom_kills()
        process = _start(command.args, work, environment)
        self._process = process
        _log.info("running %s", command.args[0])
        if session.cancelled():
            # Whoever stopped us may have looked before there was a process.
            _signal_group(process, signal.SIGKILL)
        assert process.stderr is not None
        tail = _Tail(process.stderr)
        tail.start()
        report = _ProgressFile(files.progress, session)
        while True:
            try:
                process.wait(timeout=_POLL)
                break
            except subprocess.TimeoutExpired:
                report.look()
        report.look()
        _signal_group(process, signal.SIGKILL)
        self._process = None
        # Whoever still holds the pipe has left the group, which is theirs to do: then there is no end to wait for.
        tail.join(timeout=1.0)
        if process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL) and _oom_kills() > killed_before:
            raise OutOfMemory(f"{command.args[0]} was killed for want of memory: raise resources.limits.memory")
        return process.returncode, tail.text()


class _Tail(threading.Thread):
    """Passes a program's stderr on to our own and remembers the last of it."""

    def __init__(self, source: IO[bytes]) -> None:
        super().__init__(name="stderr", daemon=True)
        self._source = source
        self._kept = b""

    def run(self) -> None:
        while chunk := os.read(self._source.fileno(), 65536):
            self._kept = (self._kept + chunk)[-_TAIL:]
            sys.stderr.buffer.write(chunk)
            sys.stderr.buffer.flush()

    def text(self) -> str:
        """The last lines that are not empty."""
        lines = [line.strip() for line in self._kept.decode(errors="replace").splitlines()]
        return "\n".join([line for line in lines if line][-_TAIL_LINES:])


class _ProgressFile:
    """The file a program reports in; from its first report on, movement is looked for."""

    def __init__(self, path: Path, session: Session) -> None:
        self._path = path
        self._session = session
        self._seen: tuple[int, int] | None = None

    def look(self) -> None:
        """Take note of what is new."""
        try:
            status = self._path.stat()
            if (state := (status.st_mtime_ns, status.st_size)) == self._seen:
                return
            with self._path.open("rb") as file:
                file.seek(max(0, status.st_size - _PROGRESS_LONGEST))
                text = file.read(_PROGRESS_LONGEST).decode(errors="replace")
        except FileNotFoundError:
            return
        if self._seen is None:
            self._session.watch(True)
        self._seen = state
        self._session.moved()
        # A program may write the file anew or append to it: the last whole line counts.
        for line in reversed(text.splitlines()):
            if step := _parse(line):
                self._session.step(*step)
                return


def _parse(line: str) -> tuple[int, int | None] | None:
    if match := _PROGRESS.match(line):
        step, steps = match.groups()
        return int(step), None if steps is None else int(steps)
    try:
        match json.loads(line):
            case {"step": int(step), "steps": int(steps)}:
                return step, steps
            case {"step": int(step)}:
                return step, None
    except ValueError:
        # Half a line, or a program's own words: movement all the same, which the caller has counted.
        return None
    return None


def _parse_command(config: Mapping[str, Any]) -> _Command:
    """What to run: where an argument stands for several files, each becomes an argument.

    Raises:
        BadRequest: It is no command.
    """
    args: list[str] = []
    for arg in config.get("args") or ():
        args.extend(arg if isinstance(arg, list) else [arg])
    if not args:
        raise BadRequest("command.args is empty: name a program")
    if not all(isinstance(arg, str) for arg in args):
        raise BadRequest("command.args must be texts")
    env = {}
    for each in config.get("env") or ():
        name, value = each["name"], each.get("value", "")
        if isinstance(value, list):
            raise BadRequest(
                f"command.env.{name} can't hold {len(value)} files: give them as arguments, or read"
                " $CARRYON_INPUTS/inputs.json"
            )
        env[name] = value
    return _Command(args, env)


def _environment(command: _Command, session: Session, files: _Files) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}
    # `python` is the worker's own, whatever else the image holds.
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    return {
        **inherited,
        "PATH": path,
        **command.env,
        "CARRYON_JOB": session.job,
        "CARRYON_STAGE": session.stage,
        "CARRYON_ITEM": session.item,
        "CARRYON_INDEX": str(session.index),
        "CARRYON_SEED": str(session.seed),
        "CARRYON_INPUTS": str(session.inputs),
        "CARRYON_OUTPUT": str(session.outputs),
        "CARRYON_PROGRESS": str(files.progress),
        "CARRYON_OUTCOME": str(files.outcome),
        "CARRYON_CHECKPOINT": str(files.checkpoint),
    }


def _start(args: Sequence[str], work: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    program = args[0]
    found = shutil.which(program, path=environment["PATH"])
    if found is None:
        raise BadRequest(f'there is no program "{program}" in this image: put it there, or name one of PATH')
    try:
        return subprocess.Popen(
            args,
            executable=found,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()),
        )
    except ValueError as error:
        raise BadRequest(f"command: {error}") from None
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise BadRequest(
                f'"{program}" can\'t be started with {len(args)} arguments, which are too long together: let it read'
                " $CARRYON_INPUTS/inputs.json instead"
            ) from None
        if error.errno in (errno.ENOEXEC, errno.EACCES):
            raise BadRequest(f'"{program}" can\'t be started: {error.strerror}') from None
        raise


def _die_with(parent: int) -> Callable[[], None]:
    """What a child does before it becomes the program: ask the kernel to be killed when the worker ends, however."""

    def ask() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        # Gone, or nothing of the group is ours any more.
        return


def _judge(program: str, code: int, said: str) -> None:
    """Make sure the program ended well.

    Raises:
        UnitFailure: It did not.
    """
    if code == 0:
        return
    what = f"{program} ended with exit code {code}" if code > 0 else f"{program} was killed by signal {-code}"
    message = f"{what}: {said}" if said else what
    if code == ExitCode.BAD_REQUEST:
        raise BadRequest(message)
    if code == ExitCode.OUT_OF_MEMORY:
        raise OutOfMemory(message)
    raise UnitFailure("ExitCode", message)


def _gather(folder: Path) -> list[Output]:
    outputs = [
        Output(name=str(path.relative_to(folder)), path=path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]
    if not outputs:
        raise UnitFailure("NoArtifacts", "the program ended well but left no file in the folder CARRYON_OUTPUT")
    return outputs


def _oom_kills() -> int:
    """Processes of this memory cgroup that the kernel has killed for want of memory, as far as can be seen."""
    for file in (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control")):
        try:
            found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return 0
