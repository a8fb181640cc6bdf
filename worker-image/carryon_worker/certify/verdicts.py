"""What is certified of a pipeline with a scheduler, and when it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from carryon_core.done import Resume
from carryon_worker.certify.cuts import FEWEST

if TYPE_CHECKING:
    from carryon_worker.certify.runs import Made, Ran


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

    @property
    def title(self) -> str:
        """For people: the class, and what differs."""
        return f"{self.name} {json.dumps(dict(self.params))}" if self.params else self.name


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one pipeline with one scheduler, on this machine.

    Attributes:
        pipeline: Class.
        scheduler: Class, with what differs from the pipeline's own if that was chosen; "" where the pipeline has none.
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
        durable: Seconds from SIGTERM to the end of the process, by which all that had been computed was in the bucket.
        problem: Why it can't be certified, a sentence that says what to do; "" where nothing was in the way.
        device: What it was made on, as done.json has it; "" if unknown.
        versions: Library -> version.
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
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def certified(self) -> bool:
        """Whether the pipeline is repeatable, resumes exactly, and that means something."""
        proven = self.control in (Control.CHANGED, Control.REFUSED)
        return bool(self.repeatable and self.exact and proven and not self.recomputed and not self.problem)


def unequal(repeatable: bool) -> str:
    """Says that two uninterrupted runs gave different bits.

    Args:
        repeatable: Whether two that had no journal gave the same.
    """
    if repeatable:
        return "a run with a journal gives other bits than one without: please report it"
    return "two uninterrupted runs give different bits: it is not repeatable here, so nothing can be compared"


def unfit(calls: int, computed: int, unresumable: str) -> str:
    """Why an uninterrupted run gives nothing to interrupt; "" if it does.

    Args:
        calls: Of the denoiser, as the journal counted them.
        computed: Calls that were seen to be computed.
        unresumable: Why the journal ended before the unit did; "" if it did not.
    """
    if unresumable:
        return f"it can't be resumed: {unresumable}"
    if calls != computed:
        return f"its denoiser was seen to compute {computed} calls, of which the journal counted {calls}"
    if calls < FEWEST:
        return (
            f"it makes {calls} calls of its denoiser, too few to interrupt and resume it: give it more steps, such as"
            " --param num_inference_steps=8"
        )
    return ""


def started_over(why: str) -> str:
    """Says that a process did not go on with what another had kept."""
    return f"it starts over instead of going on: {why}"


def not_exact(expected: Made, made: Made, computed: int, calls: int, resume: Resume, held: int) -> str:
    """What is wrong with a run that was resumed and came to its end; "" if nothing is.

    Args:
        expected: What uninterrupted runs made.
        made: What it made.
        computed: Calls that it computed.
        calls: Of an uninterrupted run.
        resume: Its own account.
        held: Calls that the journal could answer.
    """
    if resume.calls != calls:
        return f"a resumed run makes {resume.calls} calls, an uninterrupted one {calls}"
    if resume.replayed != held:
        return f"of {held} calls that the journal can answer, {resume.replayed} were answered from it"
    if computed != calls - held:
        return f"a resumed run computed {computed} of {calls} calls, although {held} are in the journal"
    if made != expected:
        return "a resumed run gives other bits than an uninterrupted one: please report it"
    return ""


def control(expected: Made, ran: Ran) -> Control:
    """What became of a negative control.

    Args:
        expected: What uninterrupted runs made.
        ran: The process that resumed from a journal which holds other numbers.
    """
    if ran.done is None or ran.made() != expected:
        return Control.CHANGED
    return Control.REFUSED if ran.refused else Control.VACUOUS


def vacuous(made: Made) -> str:
    """Says that an equal output proves nothing, and why."""
    if not made.finite:
        why = "its output is not a number"
    elif made.flat:
        why = "all of its output is one number"
    else:
        why = "its output does not depend on the call that was changed"
    return f"vacuous: {why}, so that equal bits prove nothing; try real weights, another dtype or more steps"
