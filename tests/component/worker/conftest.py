"""Worker processes of a test: real ones, with a folder as bucket; none outlives its test."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carryon_core import layout
from carryon_core.done import Done
from carryon_core.messages import AssignedUnit, Assignment, StoreConfig, Termination
from carryon_store import Store, open_store, units
from forked_workers import Forge

if TYPE_CHECKING:
    from studios import Studio

DEADLINE = 30.0
SCRIPT = Path(__file__).parents[3] / "examples" / "tiny_pipeline.py"


def eventually(holds: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """What `holds` returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)
    return value


@dataclass(frozen=True)
class Ended:
    """A worker that ended."""

    code: int
    message: str
    stderr: str

    @property
    def termination(self) -> Termination:
        return Termination.model_validate_json(self.message)


@dataclass
class Running:
    """A worker at work."""

    process: subprocess.Popen[bytes]
    log: Path
    message: Path

    @property
    def stderr(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def address(self) -> str:
        port = eventually(lambda: re.search(r"/healthz on \S+ port (\d+)", self.stderr))[1]
        return f"http://127.0.0.1:{port}"

    def says(self, text: str) -> None:
        eventually(lambda: text in self.stderr)

    def end(self, seconds: float = DEADLINE) -> Ended:
        code = self.process.wait(timeout=seconds)
        return Ended(code, self.message.read_text() if self.message.exists() else "", self.stderr)


@dataclass
class Bench:
    """Starts workers on one job."""

    root: Path
    store: Store
    running: list[Running] = field(default_factory=list)
    eventually = staticmethod(eventually)

    def command(self, index: int, *args: str, env: Mapping[str, str] | None = None, **extra: Any) -> AssignedUnit:
        """A unit made by a program."""
        variables = [{"name": name, "value": value} for name, value in (env or {}).items()]
        return self.unit(index, {"command": {"args": list(args), "env": variables}}, **extra)

    def shell(self, index: int, script: str, **extra: Any) -> AssignedUnit:
        """A unit made by a shell script."""
        return self.command(index, "sh", "-c", textwrap.dedent(script), **extra)

    def unit(self, index: int, generate: dict[str, Any], *, inputs: dict[str, Any] | None = None) -> AssignedUnit:
        return AssignedUnit(
            index=index,
            item=f"item {index}",
            fingerprint=f"{index + 1:064x}",
            seed=1000 + index,
            generate=generate,
            inputs=inputs or {},
        )

    def assignment(self, *assigned: AssignedUnit, **options: Any) -> Assignment:
        return Assignment(
            namespace="studio",
            job="reel",
            attempt=1,
            units=list(assigned),
            **{"store": StoreConfig(uri=self.store.uri), "stage": "clip", "stall_seconds": None, **options},
        )

    def prefix(self, unit: AssignedUnit, stage: str = "clip") -> str:
        return layout.unit_prefix("studio", "reel", stage, unit.item, unit.fingerprint)

    def done(self, unit: AssignedUnit, stage: str = "clip") -> Done | None:
        found = units.read_done(self.store, self.prefix(unit, stage))
        assert found is None or isinstance(found, Done)
        return found

    def artifacts(self, unit: AssignedUnit, stage: str = "clip") -> dict[str, bytes]:
        """Name -> content of a unit that is done."""
        done = self.done(unit, stage)
        assert done is not None
        return {each.name: self.store.get(self.prefix(unit, stage) + each.key) for each in done.artifacts}

    def publish(self, unit: AssignedUnit, stage: str, files: Mapping[str, bytes]) -> None:
        """Make a unit done without a worker."""
        made = []
        for name, content in files.items():
            path = self.root / name
            path.write_bytes(content)
            made.append(units.File(name, path, "image/png" if name.endswith(".png") else "text/plain"))

        def describe(artifacts: list[Any]) -> Done:
            return Done(
                fingerprint=unit.fingerprint, stage=stage, item=unit.item, artifacts=artifacts, seed=0, finished="now"
            )

        units.publish(self.store, self.prefix(unit, stage), made, describe)

    def environment(self, number: int, assignment: Assignment | str) -> dict[str, str]:
        """Variables of worker `number`."""
        scratch = self.root / f"scratch-{number}"
        scratch.mkdir()
        text = assignment if isinstance(assignment, str) else assignment.model_dump_json(by_alias=True)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("CARRYON_")},
            "CARRYON_ASSIGNMENT": text,
            "CARRYON_POD_NAME": f"pod-{number}",
            "CARRYON_POD_UID": f"uid-{number}",
            "CARRYON_BIND": "127.0.0.1",
            "CARRYON_PORT": "0",
            "CARRYON_SCRATCH": str(scratch),
            "CARRYON_TERMINATION_LOG": str(self.root / f"message-{number}"),
        }

    def start(self, assignment: Assignment | str, *, python: tuple[str, ...] = (), **env: str) -> Running:
        """Start a worker.

        Args:
            assignment: Or the text of the environment variable.
            python: Arguments of the interpreter.
            env: Variables that differ.
        """
        number = len(self.running)
        log, message = self.root / f"log-{number}", self.root / f"message-{number}"
        environment = self.environment(number, assignment) | env
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *python, "-m", "carryon_worker"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.running.append(Running(process, log, message))
        return self.running[-1]

    def run(self, assignment: Assignment | str, *, seconds: float = DEADLINE, **env: Any) -> Ended:
        """Start a worker and wait for its end."""
        return self.start(assignment, **env).end(seconds)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, open_store(StoreConfig(uri=(tmp_path / "bucket").as_uri())))
    yield made
    for running in made.running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Folders of tiny pipelines with made-up weights."""
    folder = tmp_path_factory.mktemp("models")
    # One process for both: most of its time goes into imports.
    build = (
        "import pathlib, runpy, sys; script = runpy.run_path(sys.argv[1]); folder = pathlib.Path(sys.argv[2]);"
        "[script['build'](script[name], folder / name, 3) for name in ('video', 'image')]"
    )
    subprocess.run([sys.executable, "-c", build, SCRIPT, folder], check=True, timeout=120)
    return {name: str(folder / name) for name in ("video", "image")}


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    made = Forge(tmp_path_factory.mktemp("forge") / "log")
    yield made
    made.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of those models of the zoo that some test has needed."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def references() -> dict[str, tuple[dict[str, bytes], int]]:
    """What units came to that were not interrupted: a unit depends on nothing but itself."""
    return {}


@pytest.fixture
def studio(bench: Any, forge: Forge, tiny: Path, references: dict[str, tuple[dict[str, bytes], int]]) -> Studio:
    from studios import Studio

    return Studio(bench, forge, tiny, references)
