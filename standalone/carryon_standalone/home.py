"""The data folder of a standalone control plane: where everything lies, what is kept, and who may run it."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

ENV_HOME: Final = "CARRYON_HOME"
_DYING: Final = 10.0
"""Seconds that the processes of a killed supervisor may take to be gone."""


class StartFailed(RuntimeError):
    """A control plane does not come up: a sentence that says why."""


class HomeTaken(StartFailed):
    """Another supervisor runs in this data folder."""


@dataclass(frozen=True, slots=True)
class Home:
    """Paths inside a data folder; nothing is created by asking for one."""

    root: Path

    @classmethod
    def of(cls, folder: Path | None = None) -> Home:
        """The folder given, else that of $CARRYON_HOME, else ~/.carryon."""
        return cls((folder or Path(os.environ.get(ENV_HOME) or Path.home() / ".carryon")).expanduser().absolute())

    def command(self, verb: str) -> str:
        """What to type for a command about this folder, such as `carryon up --data DIR`."""
        return f"carryon {verb}" + ("" if self == Home.of() else f" --data {shlex.quote(str(self.root))}")

    @property
    def kubeconfig(self) -> Path:
        """Address and credentials, for kubectl and every other client."""
        return self.root / "kubeconfig"

    @property
    def token(self) -> Path:
        """Bearer token of the API server."""
        return self.root / "token"

    @property
    def authority(self) -> Path:
        """Certificate that clients trust."""
        return self.root / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The API server's certificate and private key."""
        return self.root / "server.pem"

    @property
    def lock(self) -> Path:
        """Held by the supervisor and its components as long as one of them lives."""
        return self.root / "lock"

    @property
    def running(self) -> Path:
        """Who the supervisor is, and whether the control plane is ready."""
        return self.root / "running.json"

    @property
    def settings(self) -> Path:
        """What is kept from one start to the next."""
        return self.root / "settings.json"

    @property
    def page(self) -> Path:
        """A file for the browser, which leads to the page and signs in."""
        return self.root / "page.html"

    @property
    def logs(self) -> Path:
        """Logs of supervisor and components."""
        return self.root / "logs"

    @property
    def apiserver(self) -> Path:
        """The API server's database."""
        return self.root / "apiserver"

    @property
    def node(self) -> Path:
        """The node's pods: their volumes and logs."""
        return self.root / "node"

    @property
    def output(self) -> Path:
        """Where artifacts go unless settings say otherwise."""
        return self.root / "output"

    def create(self) -> None:
        """Make the folder, and what lies in it readable by its owner only: it holds a token that may run programs.

        A folder that was there before keeps its own rights: it may hold other things.

        Raises:
            StartFailed: It can't be made.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.logs, self.apiserver, self.node):
                folder.mkdir(mode=0o700, exist_ok=True)
                folder.chmod(0o700)
            self.output.mkdir(mode=0o700, exist_ok=True)  # once made, whom it is shown to is its owner's affair
        except OSError as error:
            raise StartFailed(
                f"the data folder {self.root} can't be used: {error.strerror}: {error.filename};"
                " choose another with --data"
            ) from None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a data folder remembers, so that `carryon run` brings up the same control plane as `carryon up` did.

    Attributes:
        port: The API server's, so that a kubeconfig stays valid; None before the first start.
        output: Absolute folder of the artifacts; None means `Home.output`.
        gpus: GPUs to offer; None leaves counting them to the node.
        page: Port of the page and its API, so that a bookmark stays valid; None before the first start.
    """

    port: int | None = None
    output: str | None = None
    gpus: int | None = None
    page: int | None = None

    @classmethod
    def load(cls, home: Home) -> Settings:
        """Settings of a folder; those of a new one are all unset."""
        try:
            kept = json.loads(home.settings.read_text())
        except FileNotFoundError:
            return cls()
        return cls(**{name: kept.get(name) for name in cls.__dataclass_fields__})

    def save(self, home: Home) -> None:
        """Keep these settings."""
        write_private(home.settings, json.dumps(asdict(self), indent=2) + "\n")

    def chosen(self, *, output: Path | None, gpus: int | None) -> Settings:
        """These settings, with what a person chose now; None leaves a setting as it is."""
        return replace(
            self,
            output=str(output.expanduser().absolute()) if output is not None else self.output,
            gpus=gpus if gpus is not None else self.gpus,
        )


@dataclass(frozen=True, slots=True)
class Running:
    """The supervisor of a data folder.

    Attributes:
        pid: Of its process.
        ticks: When that process was created, in clock ticks since boot: with the pid it names one process.
        ready: Whether the control plane answers.
        page: Whether it serves a page.
    """

    pid: int
    ticks: int
    ready: bool = False
    page: bool = False

    @classmethod
    def this_process(cls, *, ready: bool, page: bool = False) -> Running:
        """The calling process."""
        return cls(os.getpid(), _ticks(os.getpid()), ready, page)

    @classmethod
    def load(cls, home: Home) -> Running | None:
        """The supervisor that is alive in a folder, if there is one: a stale record counts for nothing."""
        try:
            kept = json.loads(home.running.read_text())
            running = cls(**{name: kept[name] for name in cls.__dataclass_fields__ if name in kept})
            return running if _ticks(running.pid) == running.ticks else None
        except (FileNotFoundError, ProcessLookupError):
            return None

    def save(self, home: Home) -> None:
        """Tell others."""
        write_private(home.running, json.dumps(asdict(self)) + "\n")


def _ticks(pid: int) -> int:
    """Start time of a live process: field 22 of /proc/PID/stat, see proc(5); the name before may hold anything."""
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if state in "ZX":  # dead, and not yet waited for by its parent
        raise ProcessLookupError(pid)
    return int(fields[18])


@contextmanager
def hold(home: Home) -> Iterator[int]:
    """Own a data folder: yields the file descriptor of the lock.

    The components inherit the descriptor, and a flock ends only when its last holder does. So after a SIGKILL of the
    supervisor nobody starts a second API server beside one that is still dying.

    Raises:
        HomeTaken: Another supervisor owns it.
    """
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _DYING
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                other = Running.load(home)
                if other or time.monotonic() > deadline:
                    who = f"process {other.pid}" if other else "a component of an earlier one"
                    raise HomeTaken(
                        f"a control plane already runs in {home.root} ({who}): stop it with `{home.command('down')}`"
                    ) from None
                time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
