"""Units that are killed inside go on in new processes, to the same bits: real workers, tiny models, a real bucket."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import forked_workers
from carryon_core import layout
from carryon_core.done import Done
from carryon_core.messages import AssignedUnit, Cadence, ExitCode, StoreConfig, Termination, UnitOutcome
from carryon_store import open_store
from carryon_worker.journal import chain, fingerprint, segments
from carryon_worker.journal.segments import Blob, Segment
from forked_workers import Fate, Forge
from tiny_models import MODELS

STEPS = 8
TERM, KILL = signal.SIGTERM, signal.SIGKILL
SPARED = Fate()
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

    def unit(self, model: str, seed: int = 1000, dtype: str = "float32", like: str = "", **params: Any) -> AssignedUnit:
        """The same place in the bucket, whatever it is made from.

        Args:
            model: Name of a tiny model, or a folder.
            seed: Of the unit.
            dtype: Of the weights.
            like: Tiny model whose parameters a folder takes.
            params: That differ.
        """
        given = {**MODELS[like or model][1], "num_inference_steps": STEPS, **params}
        config = {"diffusers": {"model": str(self.models / model), "dtype": dtype, "params": given}}
        made: AssignedUnit = self.bench.unit(0, config)
        return made.model_copy(update={"seed": seed})

    def run(self, *units: AssignedUnit, fate: Fate = SPARED, cadence: Cadence = OFTEN, **more: Any) -> Attempt:
        """One attempt, by a process of its own."""
        root, number = self.bench.root, len(self.attempts)
        assignment = self.bench.assignment(*units, checkpoint=cadence, **more)
        environment = self.bench.environment(number, assignment) | forked_workers.ONE_THREAD
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
        prefix = self.bench.prefix(unit)
        found: tuple[Segment, ...] = ()
        for info in self.bench.store.list(layout.journal_prefix(prefix)):
            if info.key.endswith("fingerprint.json"):
                worker = fingerprint.of(json.loads(self.bench.store.get(info.key)))
                folder = self.bench.root / "read"
                shutil.rmtree(folder, ignore_errors=True)
                found = max(found, chain.read(self.bench.store, prefix, worker, folder), key=len)
        return found

    def calls(self, unit: AssignedUnit) -> int:
        found = self.journal(unit)
        return found[-1].end if found else 0

    def keys(self, unit: AssignedUnit) -> list[str]:
        """Of the segments."""
        found = self.bench.store.list(layout.journal_prefix(self.bench.prefix(unit)))
        return [info.key for info in found if info.key.endswith(".safetensors")]


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    made = Forge(tmp_path_factory.mktemp("forge") / "log")
    yield made
    made.close()


@pytest.fixture(scope="module")
def tiny(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all tiny models."""
    folder = tmp_path_factory.mktemp("tiny")
    forge.build(folder, *MODELS)
    return folder


@pytest.fixture(scope="module")
def references() -> dict[str, tuple[dict[str, bytes], int]]:
    """What units came to that were not interrupted: a unit depends on nothing but itself."""
    return {}


@pytest.fixture
def studio(bench: Any, forge: Forge, tiny: Path, references: dict[str, tuple[dict[str, bytes], int]]) -> Studio:
    return Studio(bench, forge, tiny, references)


def go_on(studio: Studio, unit: AssignedUnit, signals: Sequence[int], seed: str) -> None:
    """Interrupt a unit at random calls, and hold what comes out against what should."""
    draw = random.Random(seed)
    expected, total = studio.uninterrupted(unit)
    held = 0
    for number, kill in enumerate(signals):
        # Some calls are left for the attempts to come.
        at = draw.randint(1, max(1, (total - held) // (len(signals) - number + 1)))
        attempt = studio.run(unit, fate=Fate(kill, at, pause=0.04), cadence=NEVER if kill == TERM else OFTEN)
        now = studio.calls(unit)
        assert attempt.computed == at
        if kill == TERM:
            assert attempt.code == ExitCode.INTERRUPTED, attempt.stderr
            # Although a call was at work, and would have been for a minute.
            assert attempt.ending < 2
            # All that had been computed; the call at work is lost.
            assert now == held + at
            assert attempt.termination is not None
            assert attempt.termination.units[0].durable
        else:
            assert attempt.code == -KILL
            assert held <= now <= held + at
        held = now
    last = studio.run(unit)
    assert last.code == ExitCode.DONE, last.stderr
    assert last.computed == total - held
    resume = studio.done(unit).resume
    assert resume is not None
    assert (resume.calls, resume.replayed, resume.refused) == (total, held, "")
    assert held > 0
    assert studio.bench.artifacts(unit) == expected
    assert list(studio.bench.store.list(layout.journal_prefix(studio.bench.prefix(unit)))) == []


@pytest.mark.parametrize("model", ["sd", "sdxl", "flux", "sd3", "wan", "ltx"])
def test_a_unit_that_is_killed_inside_goes_on_to_the_same_bits(studio: Studio, model: str) -> None:
    go_on(studio, studio.unit(model), [TERM, KILL], model)


@pytest.mark.slow
@pytest.mark.parametrize("model", [*MODELS])
def test_four_kills_of_whole_interpreters_go_on_to_the_same_bits(studio: Studio, model: str) -> None:
    studio.whole = True
    draw = random.Random(f"four times {model}")
    unit = studio.unit(model, num_inference_steps=16)
    go_on(studio, unit, [TERM, *(draw.choice([TERM, KILL]) for _ in range(3))], f"four times {model}")


def half_made(studio: Studio, unit: AssignedUnit, *at: int) -> None:
    """Leave a segment of a unit for each number, with so many calls."""
    for calls in at:
        assert studio.run(unit, fate=Fate(TERM, calls), cadence=NEVER).code == ExitCode.INTERRUPTED
    assert [len(each.header.calls) for each in studio.journal(unit)] == [*at]


def test_an_attempt_that_failed_is_gone_on_from_too(studio: Studio) -> None:
    unit = studio.unit("sd")
    expected, total = studio.uninterrupted(unit)
    failed = studio.run(unit, fate=Fate(fails=True, at=3), cadence=NEVER)
    assert failed.code == ExitCode.SOME_FAILED
    assert failed.termination is not None
    (report,) = failed.termination.units
    assert (report.reason, report.durable) == ("GeneratorFailed", True)
    assert studio.run(unit).computed == total - 3
    assert studio.bench.artifacts(unit) == expected


def test_units_of_one_pod_have_a_journal_each(studio: Studio) -> None:
    unit = studio.unit("sd")
    other = studio.bench.unit(1, unit.generate)
    expected, total = studio.uninterrupted(other)
    killed = studio.run(unit, other, fate=Fate(TERM, at=total + 3), cadence=NEVER)
    assert killed.termination is not None
    assert [(report.outcome, report.durable) for report in killed.termination.units] == [
        (UnitOutcome.DONE, False),
        (UnitOutcome.INTERRUPTED, True),
    ]
    assert (studio.calls(unit), studio.calls(other)) == (0, 3)
    assert studio.run(unit, other).computed == total - 3
    assert studio.bench.artifacts(other) == expected
    assert studio.bench.artifacts(unit) != expected


def test_a_journal_goes_through_s3_just_the_same(studio: Studio, moto_config: StoreConfig) -> None:
    unit = studio.unit("sd")
    expected, total = studio.uninterrupted(unit)
    studio.bench.store = open_store(moto_config)
    killed = studio.run(unit, fate=Fate(TERM, 3), cadence=NEVER, store=moto_config)
    assert killed.code == ExitCode.INTERRUPTED, killed.stderr
    assert studio.calls(unit) == 3
    assert studio.run(unit, store=moto_config).computed == total - 3
    assert studio.bench.artifacts(unit) == expected
    assert studio.keys(unit) == []


def test_a_damaged_or_missing_segment_costs_work_and_nothing_else(studio: Studio) -> None:
    unit = studio.unit("sd")
    expected, total = studio.uninterrupted(unit)
    half_made(studio, unit, 2, 1, 2)
    whole = studio.content()
    middle = studio.keys(unit)[1]
    turned = bytearray(whole[middle])
    turned[-100] ^= 16
    for spoilt in (bytes(turned), whole[middle][:-1], None):
        studio.fill({**whole, middle: spoilt})
        last = studio.run(unit)
        assert ("a segment of the journal is of no use" in last.stderr) is (spoilt is not None)
        assert last.computed == total - 2
        assert studio.bench.artifacts(unit) == expected


def test_a_journal_of_other_numbers_diverges_and_the_unit_starts_over(studio: Studio) -> None:
    unit = studio.unit("sd")
    expected, total = studio.uninterrupted(unit)
    half_made(studio, unit, 3)
    (segment,) = studio.journal(unit)
    (first,) = segment.blobs[0]
    changed = bytearray(first.data)
    changed[3] ^= 1
    blobs = [(Blob(first.dtype, first.shape, changed),), *segment.blobs[1:]]
    content, _ = segments.encode(segment.header, blobs)
    studio.bench.store.put(studio.keys(unit)[0], content, content_type="application/octet-stream")
    last = studio.run(unit)
    assert last.code == ExitCode.DONE
    reason = "CheckpointNotResumable: call 1 of unet has another 0, 2 steps lost"
    assert reason in last.stderr
    resume = studio.done(unit).resume
    assert resume is not None
    assert (resume.refused, resume.replayed, resume.calls) == (reason, 0, total)
    assert last.computed == total
    assert studio.bench.artifacts(unit) == expected


def test_a_journal_that_does_not_fit_is_refused_by_the_field_that_differs(studio: Studio) -> None:
    base = studio.unit("sd")
    trailing = Path(shutil.copytree(studio.models / "sd", studio.bench.root / "trailing"))
    scheduler = trailing / "scheduler/scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "timestep_spacing": "trailing"}))
    installed = version("diffusers")
    table: list[tuple[str, AssignedUnit, dict[str, Any], Fate]] = [
        ("seed 1000 -> 1001, 2 steps lost", studio.unit("sd", seed=1001), {}, Fate()),
        ("params.prompt text ", studio.unit("sd", prompt="night"), {}, Fate()),
        ("text_encoder.dtype float32 -> bfloat16", studio.unit("sd", dtype="bfloat16"), {}, Fate()),
        ("vae.use_tiling False -> True", base, {"knobs": {"tiling": True}}, Fate()),
        (f"diffusers {installed} -> 0.43.0, 2 steps lost", base, {}, Fate(versions={"diffusers": "0.43.0"})),
        ("scheduler.timestep_spacing leading -> trailing", studio.unit(str(trailing), like="sd"), {}, Fate()),
    ]
    half_made(studio, base, 3)
    kept = studio.content()
    for reason, unit, more, fate in table:
        studio.fill(kept)
        attempt = studio.run(unit, fate=fate, **more)
        assert attempt.code == ExitCode.DONE, attempt.stderr
        resume = studio.done(unit).resume
        assert resume is not None
        assert resume.refused.startswith(f"CheckpointNotResumable: {reason}"), resume.refused
        assert resume.refused in attempt.stderr
        assert "dunes" not in attempt.stderr
        assert "night" not in attempt.stderr
        assert resume.replayed == 0
        made = studio.bench.artifacts(unit)
        assert list(studio.bench.store.list(layout.journal_prefix(studio.bench.prefix(unit)))) == []
        studio.fill({})
        assert made == studio.uninterrupted(unit, **more)[0], reason
