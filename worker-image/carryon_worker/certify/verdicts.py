"""What is certified of a pipeline with a scheduler, and when it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Control(StrEnum):
    """What became of the negative control: a journal that holds other numbers than the denoiser returned."""

    NONE = ""
    """It was not tried."""
    CHANGED = "changed"
    """The output was another one: what the journal holds matters."""
    REFUSED = "refused"
    """It was found out, and the unit started over to the right output."""
    VACUOUS = "vacuous"
    """The output stayed the same, so that an equal output proves nothing."""


@dataclass(frozen=True, slots=True)
class SchedulerChoice:
    """A scheduler to put in the place of the pipeline's own, as `generate.diffusers.scheduler` has it.

    Attributes:
        name: Class of diffusers, such as EulerAncestralDiscreteScheduler.
        params: Fields of its config that differ from those of the pipeline's own scheduler.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one pipeline with one scheduler, on this machine.

    Attributes:
        pipeline: Class.
        scheduler: Class; "" where the pipeline has none.
        calls: Of the denoiser, in an uninterrupted run.
        repeatable: Whether two uninterrupted runs, one of them without a journal, gave the same bits; None if unknown.
        exact: Whether every interrupted and resumed run gave the same bits as the uninterrupted ones, with each kept
            call answered from the journal; None if unknown.
        control: What became of the negative control.
        replayed: Calls answered from the journal, over all resumed runs.
        recomputed: Calls computed again although they had been kept, over all resumed runs.
        bytes: Of the whole journal; divided by `calls`, what one call takes.
        waited: Seconds that the calls of an uninterrupted run took longer for the journal's sake, together.
        replay: Seconds that it takes to replay 100 calls, the pipeline's own work between them included.
        durable: Seconds from SIGTERM until all that had been computed was in the bucket.
        problem: Why it can't be certified, a sentence that says what to do; "" where nothing was in the way.
    """

    pipeline: str
    scheduler: str
    calls: int = 0
    repeatable: bool | None = None
    exact: bool | None = None
    control: Control = Control.NONE
    replayed: int = 0
    recomputed: int = 0
    bytes: int = 0
    waited: float = 0.0
    replay: float = 0.0
    durable: float = 0.0
    problem: str = ""

    @property
    def certified(self) -> bool:
        """Whether the pipeline is repeatable, resumes exactly, and that means something."""
        proven = self.control in (Control.CHANGED, Control.REFUSED)
        return bool(self.repeatable and self.exact and proven and not self.recomputed and not self.problem)
