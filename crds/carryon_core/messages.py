"""What operator and worker tell each other: the assignment, the exit codes, the termination message and /progress."""

from __future__ import annotations

import json
from enum import IntEnum, StrEnum
from typing import Annotated, Final

from pydantic import Field, JsonValue

from carryon_core.done import KnownMisfit, Sha256
from carryon_core.schema import Loose, or_else

ASSIGNMENT_INLINE: Final = 16 * 1024
"""Bytes of an assignment that still go into the environment: Linux refuses a variable of 128 KiB."""
TERMINATION_LONGEST: Final = 4000
"""Bytes of a termination message: Kubernetes cuts at 4,096, and a cut message is no JSON."""


class ExitCode(IntEnum):
    """How a worker ends."""

    DONE = 0
    """All assigned units are done."""
    SOME_FAILED = 10
    """Some units failed, the others are done."""
    INTERRUPTED = 11
    """Asked to stop; resume state is saved."""
    BAD_REQUEST = 12
    """What was asked for can't work: another attempt would end the same."""
    OUT_OF_MEMORY = 13
    STALLED = 14
    """No movement for `timeouts.stall`."""
    UNIT_TIMEOUT = 15
    """One unit took longer than `timeouts.unit`."""


class StoreConfig(Loose):
    """Where a bucket is; credentials come from the environment."""

    uri: str
    endpoint: str | None = None
    region: str | None = None


class InputRef(Loose):
    """The finished unit that an input is taken from."""

    stage: str
    item: str
    fingerprint: Sha256


class AssignedUnit(Loose):
    """One unit a pod is to make."""

    index: int = Field(description="Index of the item among the job's.")
    item: str
    fingerprint: Sha256
    seed: int
    generate: dict[str, JsonValue] = Field(description="The generator's configuration after templating.")
    inputs: dict[str, InputRef | list[InputRef]] = Field(
        default_factory=dict,
        description='Name in `inputs` (a stage, or "previous") -> where its artifacts lie; for a unit that gathers, a'
        " list in order of the items.",
    )


class Cadence(Loose):
    """How often a unit's journal is written, and how large it may become."""

    enabled: bool = Field(default=True, description="false: nothing is kept, and an interrupted unit starts over.")
    every_seconds: float = Field(default=15.0, gt=0, description="Work that may wait to be written.")
    every_bytes: int = Field(default=64 * 2**20, gt=0, description="Bytes that may wait to be written.")
    max_bytes: int | None = Field(default=None, ge=0, description="Bytes a unit's journal may have; null: any number.")


class Assignment(Loose):
    """Everything a worker needs to know."""

    version: int = Field(default=1, description="That workers have to know to carry it out: see `compatibility`.")
    contract: int = Field(default=1, description="Of the units' fingerprints.")
    namespace: str
    job: str
    stage: str
    attempt: int
    store: StoreConfig
    unit_timeout_seconds: float | None = None
    stall_seconds: float | None = None
    knobs: dict[str, JsonValue] = Field(
        default_factory=dict, description="Memory knobs of the stage or its round, for the generator: see `memory.py`."
    )
    checkpoint: Cadence = Field(default_factory=Cadence)
    units: Annotated[list[AssignedUnit], Field(min_length=1)]


class AssignmentPointer(Loose):
    """Stands in for an assignment that is too large for the environment."""

    key: str
    sha256: Sha256
    store: StoreConfig


class ModelPin(Loose):
    """Which commit a revision of a hub's model stands for, in all units of one job."""

    model: str
    revision: str | None = Field(default=None, description="Branch or tag; null: the default branch.")
    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


class UnitOutcome(StrEnum):
    """What became of one assigned unit in one attempt."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NOT_STARTED = "notStarted"


class UnitReport(Loose):
    """One unit's part of a termination message."""

    index: int = Field(description="Position in the assignment, not the item's index: items may move meanwhile.")
    outcome: Annotated[UnitOutcome, or_else(UnitOutcome, UnitOutcome.NOT_STARTED)]
    reason: str = ""
    message: str = ""
    permanent: bool = Field(default=False, description="true: another attempt would end the same.")
    durable: bool = Field(default=False, description="true: this attempt left something that a later one goes on from.")
    lost: float = Field(
        default=0.0, description="Seconds since it last did, or since the unit began; 0 of a done unit."
    )
    saved: float = Field(default=0.0, description="Seconds that calls answered from a journal had taken.")
    waited: float = Field(default=0.0, description="Seconds that steps waited for the journal.")
    refused: str = Field(default="", description="Why what earlier attempts left was of no use, if it was not.")
    misfit: KnownMisfit = Field(default=None, description="The same in one word.")
    ended: str = Field(default="", description="Why calls were not kept any more from some point on, if so.")

    def shortened(self, longest: int) -> UnitReport:
        """The report with texts of at most so many characters."""
        texts = {"message": self.message, "refused": self.refused, "ended": self.ended}
        return self.model_copy(update={name: text[:longest] for name, text in texts.items()})


class Termination(Loose):
    """What a worker says when it ends: JSON in the termination message, always under 4,000 bytes."""

    reason: str = Field(description="CamelCase, of the whole pod.")
    message: str = ""
    units: list[UnitReport] = Field(default_factory=list)

    def encode(self) -> str:
        """The message as JSON of at most `TERMINATION_LONGEST` bytes.

        Done and not-started units are left out first (the bucket knows the former), then texts are shortened, then
        the last reports dropped: a reader takes a missing report as "look into the bucket".
        """
        reports = self.units
        for longest in (1000, 300, 100, 30, 0):
            kept = [report.shortened(longest) for report in reports]
            text = self.model_copy(update={"message": self.message[: max(longest, 100)], "units": kept})._text()
            if len(text.encode()) <= TERMINATION_LONGEST:
                return text
            reports = [r for r in self.units if r.outcome in (UnitOutcome.FAILED, UnitOutcome.INTERRUPTED)]
        while reports:
            reports = reports[: len(reports) // 2]
            kept = [report.shortened(0) for report in reports]
            text = self.model_copy(update={"message": self.message[:100], "units": kept})._text()
            if len(text.encode()) <= TERMINATION_LONGEST:
                return text
        return Termination(reason=self.reason[:100], message=self.message[:100])._text()

    def _text(self) -> str:
        return json.dumps(self.model_dump(by_alias=True, mode="json", exclude_defaults=True), ensure_ascii=True)


class UnitProgress(Loose):
    """Where the unit at work is."""

    index: int
    item: str
    step: int | None = None
    steps: int | None = None
    section: int | None = Field(default=None, description="Sections that are finished, of a unit that is made so.")
    sections: int | None = Field(default=None, description="Sections in all, where the pipeline says so beforehand.")
    previews: list[str] = Field(
        default_factory=list, description="Keys of clips of finished sections, below the unit's prefix."
    )
    phase: str = Field(description="loading, generating or publishing.")
    seconds: float = Field(description="Since this unit began.")


class Progress(Loose):
    """Answer of a worker's /progress; holds no prompts."""

    stage: str
    attempt: int
    units: int = Field(description="Units assigned.")
    finished: int = Field(description="Units of those that ended, well or not.")
    current: UnitProgress | None = None
    idle_seconds: float = Field(description="Since the last movement.")
