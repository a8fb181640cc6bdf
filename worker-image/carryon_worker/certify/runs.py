"""One unit, made by worker processes that may be killed, with a folder as bucket."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from carryon_core import layout, names
from carryon_core.done import Done, Outcome
from carryon_core.messages import AssignedUnit, Assignment, Cadence, ExitCode, StoreConfig, Termination
from carryon_store import Store, open_store, units
from carryon_worker.certify.forge import Child, Forge, Order, Pause
from carryon_worker.journal import chain, fingerprint
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.segments import Kind
from carryon_worker.settings import ENV_PORT

OFF: Final = Cadence(enabled=False)
USUAL: Final = Cadence()
"""As `checkpoint.policy: Medium` has it, without a limit."""
_UNIT: Final = ("certify", "certify", "unit", "certified", f"{1:064x}")
"""Namespace, job, stage, item and fingerprint; nobody else uses the bucket."""
_SEED: Final = 20_240_229
_STALL: Final = 1800.0
_LOOK: Final = 0.02
"""Seconds between looks whether a worker has come to where it waits."""
_GRACE: Final = 180
"""Seconds that a worker has from SIGTERM on; a large journal takes some to write."""
_REFUSED: Final = re.compile(rf"{fingerprint.REASON}: (.*); the unit starts over")
_ENDED: Final = re.compile(r"from here on the unit can't be resumed: (.*)")


class Uncertifiable(Exception):
    """Nothing can be said about the pipeline; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came out of a unit.

    Attributes:
        result: Digest of every bit that the pipeline returned.
        artifacts: Digests of the files.
        finite: Whether all of its numbers are finite.
        flat: Whether all of its numbers are the same.
    """

    result: str
    artifacts: tuple[str, ...]
    finite: bool
    flat: bool


@dataclass(frozen=True, slots=True)
class Ran:
    """One process, from start to end.

    Attributes:
        code: How it ended; minus the signal that killed it.
        paused: Whether it came to where it was to wait.
        ending: Seconds from the signal to its end; 0 where there was none.
        reports: What was seen of it, see `observed`.
        log: What it said.
        termination: What it left for whoever looks after it.
        done: If the unit is done.
    """

    code: int
    paused: bool
    ending: float
    reports: Sequence[Mapping[str, Any]]
    log: str
    termination: Termination | None
    done: Done | None

    @property
    def computed(self) -> int:
        """Calls of the denoiser that it computed to the end."""
        return sum("call" in report for report in self.reports)

    @property
    def timesteps(self) -> tuple[str, ...]:
        """Of the calls it computed."""
        return tuple(report["when"] for report in self.reports if "call" in report)

    @property
    def replaying(self) -> float:
        """Seconds from the first call of the denoiser that was asked for to the first that was computed."""
        asked = [report["asked"] for report in self.reports if "asked" in report]
        first = next((report["began"] for report in self.reports if "call" in report), None)
        return first - asked[-1] if asked and first is not None else 0.0

    @property
    def unresumable(self) -> str:
        """Why it kept no more calls from some point on; "" if it kept all."""
        found = _ENDED.search(self.log)
        return found[1] if found else ""

    @property
    def refused(self) -> str:
        """Why it started over instead of going on; "" if it did not."""
        found = _REFUSED.search(self.log)
        return found[1] if found else ""

    @property
    def failure(self) -> str:
        """Why it did not make the unit: a sentence."""
        if self.termination is not None:
            for report in self.termination.units:
                if report.reason:
                    return f"{report.reason}: {report.message}"
            return f"{self.termination.reason}: {self.termination.message}"
        if self.code < 0:
            return f"the worker was killed by {signal.Signals(-self.code).name}: is there enough memory?"
        said = self.log.strip().splitlines()
        return f"the worker ended with code {self.code}" + (f": {said[-1]}" if said else "")

    def made(self) -> Made:
        """What it made.

        Raises:
            Uncertifiable: Nothing.
        """
        if self.done is None:
            raise Uncertifiable(self.failure)
        if self.done.outcome is not Outcome.GENERATED:
            raise Uncertifiable(
                f"what it makes is {self.done.outcome} ({self.done.reason}): there is nothing to compare"
            )
        seen = next(report for report in reversed(self.reports) if "result" in report)
        artifacts = tuple(artifact.sha256 for artifact in self.done.artifacts)
        return Made(seen["result"], artifacts, seen["finite"], seen["flat"])


class Workplace:
    """Where one unit is made over and over.

    Args:
        root: Folder for everything; removed by its owner.
        forge: Where workers come from.
        generate: The generator's configuration.
        imports: Libraries and names in them that its workers need.
        models: Folder for models that come from elsewhere; may be shared.
        knobs: In how much memory it is made.
    """

    def __init__(
        self,
        root: Path,
        forge: Forge,
        generate: Mapping[str, Any],
        imports: Sequence[tuple[str, str]],
        models: Path,
        knobs: Mapping[str, Any],
    ) -> None:
        self._root = root
        self._forge = forge
        self._imports = imports
        self._models = models
        self._knobs = dict(knobs)
        namespace, job, self._stage, item, digest = _UNIT
        self._unit = AssignedUnit(index=0, item=item, fingerprint=digest, seed=_SEED, generate=dict(generate))
        self.prefix = layout.unit_prefix(namespace, job, self._stage, item, digest)
        self._count = 0

    def bucket(self, name: str) -> Path:
        """Folder of a bucket."""
        return self._root / "buckets" / name

    def store(self, name: str) -> Store:
        """A bucket."""
        return open_store(StoreConfig(uri=self.bucket(name).as_uri()))

    def copy(self, name: str, other: str) -> None:
        """Let a bucket have the content of another."""
        shutil.copytree(self.bucket(other), self.bucket(name))

    def run(self, bucket: str, cadence: Cadence = USUAL, pause: Pause | None = None, kill: int = 0) -> Ran:
        """Let a new process make the unit, or go on with it.

        Args:
            bucket: That it works with.
            cadence: How its calls are kept.
            pause: Where it waits to be killed.
            kill: Signal that it gets there.
        """
        self._count += 1
        folder = self._root / f"process-{self._count}"
        folder.mkdir()
        log, reports, message = folder / "log", folder / "reports", folder / "message"
        reports.touch()
        order = Order(self._environment(bucket, cadence, folder, message), log, reports, pause, self._imports)
        child = self._forge.start(order)
        sent = _kill_where_it_waits(child, reports, kill) if pause is not None else None
        while (code := child.wait(3600.0)) is None:
            pass
        told = Termination.model_validate_json(message.read_text()) if message.exists() else None
        done = units.read_done(self.store(bucket), self.prefix)
        ran = Ran(
            code=code,
            paused=sent is not None,
            ending=0.0 if sent is None else time.monotonic() - sent,
            reports=_read(reports),
            log=log.read_text(errors="replace") if log.exists() else "",
            termination=told,
            done=done if isinstance(done, Done) else None,
        )
        shutil.rmtree(folder)
        return ran

    def kept(self, bucket: str) -> Chain:
        """The calls that are in a bucket to go on from."""
        scratch = self._root / "read"
        shutil.rmtree(scratch, ignore_errors=True)
        return chain.furthest(self.store(bucket), self.prefix, scratch)

    def _environment(self, bucket: str, cadence: Cadence, folder: Path, message: Path) -> dict[str, str]:
        namespace, job, *_ = _UNIT
        assignment = Assignment(
            namespace=namespace,
            job=job,
            stage=self._stage,
            attempt=1,
            store=StoreConfig(uri=self.bucket(bucket).as_uri()),
            stall_seconds=_STALL,
            knobs=self._knobs,
            checkpoint=cadence,
            units=[self._unit],
        )
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("CARRYON_")},
            names.ENV_ASSIGNMENT: assignment.model_dump_json(by_alias=True),
            names.ENV_POD_NAME: f"process-{self._count}",
            names.ENV_POD_UID: f"process-{self._count}",
            names.ENV_BIND: "127.0.0.1",
            ENV_PORT: "0",
            names.ENV_SCRATCH: str(folder),
            names.ENV_GRACE_SECONDS: str(_GRACE),
            names.ENV_TERMINATION_LOG: str(message),
            names.ENV_MODEL_CACHE: os.environ.get(names.ENV_MODEL_CACHE, str(self._models)),
        }


def calls(of: Chain) -> int:
    """Calls in a chain."""
    return of[-1].end if of else 0


def answered(of: Chain) -> int:
    """Calls in a chain that replay answers; the others are computed again."""
    return sum(call.kind is Kind.KEPT for segment in of for call in segment.header.calls)


def interrupted(code: int, kill: int) -> bool:
    """Whether a process ended as one does that gets this signal."""
    return code == (ExitCode.INTERRUPTED if kill == signal.SIGTERM else -kill)


def _kill_where_it_waits(child: Child, reports: Path, kill: int) -> float | None:
    """When the signal was sent, monotonic; None if the process ended before it came so far."""
    while child.wait(_LOOK) is None:
        if any("paused" in report for report in _read(reports)):
            sent = time.monotonic()
            child.kill(kill)
            return sent
    return None


def _read(reports: Path) -> Sequence[Mapping[str, Any]]:
    """The lines that were written whole."""
    return [json.loads(line) for line in reports.read_text(encoding="utf-8").split("\n")[:-1]]
