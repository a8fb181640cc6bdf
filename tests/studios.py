"""Units that are interrupted: real workers, tiny models, a real bucket."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import forked_workers
import zoo
from carryon_core import layout
from carryon_core.done import Done
from carryon_core.messages import AssignedUnit, Cadence, ExitCode, Termination
from carryon_worker.journal import chain, segments
from carryon_worker.journal.segments import Blob, Segment
from forked_workers import Fate, Forge
from zoo.entry import Picture

STEPS: Final = 8
TERM, KILL = signal.SIGTERM, signal.SIGKILL
SPARED: Final = Fate()
NEVER, OFTEN = Cadence(every_seconds=3600), Cadence(every_seconds=0.02)


@dataclass(frozen=True)
class Attempt:
    """What became of one worker.

    Attributes:
        computed: Calls of a denoiser that it made to the end.
        ending: Seconds from the signal to its end.
    """

    code: int
    termination: Termination | None
    computed: int
    stderr: str
    ending: float


@dataclass
class Studio:
    """One unit at a time, and workers that try to make it."""

    bench: Any
    forge: Forge
    models: Path
    references: dict[str, tuple[dict[str, bytes], int]]
    attempts: list[Attempt] = field(default_factory=list)
    whole: bool = False
    image: str = ""

    def unit(self, model: str, seed: int = 1000, dtype: str = "float32", like: str = "", **params: Any) -> AssignedUnit:
        """The same place in the bucket, whatever it is made from.

        Args:
            model: Name of a model in the zoo, or a folder.
            seed: Of the unit.
            dtype: Of the weights.
            like: Model of the zoo whose parameters a folder takes.
            params: That differ.
        """
        entry, _ = zoo.parse(like or model)
        given = self._put_down({**entry.params, "num_inference_steps": STEPS, **params})
        folder = model if like else str(self.folder(model))
        config = {"diffusers": {"model": folder, "dtype": dtype, "params": given}}
        made: AssignedUnit = self.bench.unit(0, config)
        return made.model_copy(update={"seed": seed})

    def folder(self, model: str) -> Path:
        """Where a model of the zoo lies; it is built where nobody has needed it yet."""
        folder = self.models / model
        if not folder.exists():
            self.forge.build(self.models, model)
        return folder

    def run(self, *units: AssignedUnit, fate: Fate = SPARED, cadence: Cadence = OFTEN, **more: Any) -> Attempt:
        """One attempt, by a process of its own."""
        root, number = self.bench.root, len(self.attempts)
        assignment = self.bench.assignment(*units, checkpoint=cadence, **more)
        environment = self.bench.environment(number, assignment) | forked_workers.ONE_THREAD
        environment["CARRYON_IMAGE"] = self.image
        # As in a pod: nothing that another has compiled.
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(root / f"compiled-{number}")
        log, calls, message = root / f"log-{number}", root / f"calls-{number}", root / f"message-{number}"
        calls.touch()
        if self.whole:
            with log.open("wb") as output:
                command = [sys.executable, forked_workers.__file__, calls, json.dumps(asdict(fate))]
                code = subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=120).returncode
        else:
            code = self.forge.run(environment, log, calls, fate)
        told = Termination.model_validate_json(message.read_text()) if message.exists() else None
        killed = calls.with_suffix(".killed")
        ending = time.time() - float(killed.read_text()) if killed.exists() else 0.0
        attempt = Attempt(code, told, len(calls.read_text().splitlines()), log.read_text(errors="replace"), ending)
        self.attempts.append(attempt)
        return attempt

    def uninterrupted(self, unit: AssignedUnit, **more: Any) -> tuple[dict[str, bytes], int]:
        """What is to come out, made without a journal, and how many calls that takes; the bucket is empty again."""
        made = f"{unit.model_dump_json()} {more}"
        if made not in self.references:
            attempt = self.run(unit, cadence=Cadence(enabled=False), **more)
            assert attempt.code == ExitCode.DONE, attempt.stderr
            assert self.done(unit).resume is None
            self.references[made] = (self.bench.artifacts(unit), attempt.computed)
            self.fill({})
        return self.references[made]

    def content(self) -> dict[str, bytes]:
        """All that lies in the bucket."""
        return {info.key: self.bench.store.get(info.key) for info in self.bench.store.list()}

    def fill(self, content: Mapping[str, bytes | None]) -> None:
        """Let this lie in the bucket, and nothing else; None is nothing."""
        for key in self.content():
            self.bench.store.delete(key)
        for key, each in content.items():
            if each is not None:
                self.bench.store.put(key, each, content_type="application/octet-stream")

    def done(self, unit: AssignedUnit) -> Done:
        found = self.bench.done(unit)
        assert isinstance(found, Done)
        return found

    def journal(self, unit: AssignedUnit) -> tuple[Segment, ...]:
        """What the bucket holds that could be gone on from."""
        folder = self.bench.root / "read"
        shutil.rmtree(folder, ignore_errors=True)
        return chain.furthest(self.bench.store, self.bench.prefix(unit), folder)

    def turn(self, key: str) -> None:
        """Turn a bit of an object."""
        turned = bytearray(self.content()[key])
        turned[-100] ^= 16
        self.bench.store.put(key, bytes(turned), content_type="application/octet-stream")

    def mend(self, unit: AssignedUnit, number: int) -> None:
        """Change a bit in segment `number`, in what its first call returned, and all digests, so that none tells."""
        previous = ""
        for segment in self.journal(unit):
            blobs = [*segment.blobs]
            if segment.header.number == number:
                first, *others = blobs[0]
                changed = bytearray(first.data)
                changed[3] ^= 1
                blobs[0] = (Blob(first.dtype, first.shape, changed), *others)
            header = segment.header.model_copy(update={"previous": previous})
            content, previous = segments.encode(header, blobs)
            self.bench.store.put(segment.key, content, content_type="application/octet-stream")

    def calls(self, unit: AssignedUnit) -> int:
        found = self.journal(unit)
        return found[-1].end if found else 0

    def keys(self, unit: AssignedUnit) -> list[str]:
        """Of the segments."""
        found = self.bench.store.list(layout.journal_prefix(self.bench.prefix(unit)))
        return [info.key for info in found if info.key.endswith(".safetensors")]

    def _put_down(self, value: Any) -> Any:
        """Parameters as a unit has them: pictures are files."""
        if isinstance(value, Mapping):
            return {name: self._put_down(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._put_down(each) for each in value]
        if not isinstance(value, Picture):
            return value
        path = Path(self.bench.root / f"{value.mode}-{value.side}.png")
        if not path.exists():
            value.paint().save(path)
        return {"$file": {"uri": path.as_uri(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}

    def half_made(self, unit: AssignedUnit, *at: int, **more: Any) -> None:
        """Leave a segment of a unit for each number, with so many calls."""
        for calls in at:
            killed = self.run(unit, fate=Fate(signal.SIGTERM, calls), cadence=NEVER, **more)
            assert killed.code == ExitCode.INTERRUPTED, killed.stderr
        assert [len(each.header.calls) for each in self.journal(unit)] == [*at]
