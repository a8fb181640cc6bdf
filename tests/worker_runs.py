"""Attempts at units by forked workers, one after another, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import forked_workers
from carryon_core.messages import AssignedUnit, Termination
from forked_workers import Fate, Forge

SPARED = Fate()


@dataclass(frozen=True)
class Attempt:
    """What became of one worker.

    Attributes:
        computed: Calls of a denoiser that it made to the end.
    """

    code: int
    termination: Any
    computed: int
    stderr: str

    @property
    def loads(self) -> int:
        """Pipelines that it loaded."""
        return sum(" loaded " in line for line in self.stderr.splitlines())

    @property
    def refusals(self) -> list[str]:
        """What it said of units that can't be made."""
        return [line for line in self.stderr.splitlines() if ": BadRequest: " in line]


@dataclass
class Runs:
    """Workers of one job.

    Attributes:
        bench: Knows the job's bucket.
        env: Variables that all of them get.
    """

    bench: Any
    forge: Forge
    env: dict[str, str] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def run(self, *units: AssignedUnit, cache: str = "cache", fate: Fate = SPARED, **options: Any) -> Attempt:
        """One attempt, by a process of its own.

        Args:
            units: In their order.
            cache: Name of its model cache.
            fate: What happens to it.
            options: Of the assignment.
        """
        root, number = self.bench.root, len(self.attempts)
        environment = self.bench.environment(number, self.bench.assignment(*units, **options))
        environment |= forked_workers.ONE_THREAD | {"CARRYON_MODEL_CACHE": str(root / cache)} | self.env
        log, calls, message = root / f"log-{number}", root / f"calls-{number}", root / f"message-{number}"
        calls.touch()
        code = self.forge.run(environment, log, calls, fate)
        told = Termination.model_validate_json(message.read_text()) if message.exists() else None
        attempt = Attempt(code, told, len(calls.read_text().splitlines()), log.read_text(errors="replace"))
        self.attempts.append(attempt)
        return attempt

    def forget(self) -> None:
        """Empty the bucket."""
        for info in list(self.bench.store.list()):
            self.bench.store.delete(info.key)
