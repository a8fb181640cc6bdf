"""done.json: the object that makes a unit done."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, JsonValue, model_validator

from carryon_core.fingerprint import CONTRACT
from carryon_core.schema import Loose, or_else

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Outcome(StrEnum):
    """How a unit ended; the last two made nothing on purpose and are not retried."""

    GENERATED = "generated"
    SKIPPED = "skipped"
    """The generator found that there is nothing to do for this item."""
    FILTERED = "filtered"
    """What was made must not be kept, by the verdict of a safety checker for example."""


class Artifact(Loose):
    """One finished file of a unit."""

    name: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        description="Name the generator gave it, such as clip.mp4."
    )
    key: Annotated[str, Field(min_length=1, max_length=1024)] = Field(description="Key relative to the unit's prefix.")
    size: int = Field(ge=0, description="Bytes.")
    sha256: Sha256
    content_type: str = "application/octet-stream"


class Timings(Loose):
    """Seconds spent in the parts of an attempt."""

    load: float = 0.0
    generate: float = 0.0
    publish: float = 0.0


class Misfit(StrEnum):
    """What about a journal did not fit the worker that wanted to go on from it."""

    LIBRARY = "library"
    MACHINE = "machine"
    SWITCHES = "switches"
    PIPELINE = "pipeline"
    MODEL = "model"
    CALL = "call"
    DAMAGED = "damaged"
    """It can't be read, or not from its beginning."""
    DIVERGED = "diverged"
    """The pipeline did not do again what it had done."""


KnownMisfit = Annotated[Misfit | None, or_else(Misfit, None)]


class Resume(Loose):
    """What a unit's journal was good for, in one attempt."""

    calls: int = Field(description="Calls of the denoiser, those answered from the journal included.")
    replayed: int = Field(default=0, description="Calls answered from the journal.")
    step: int = Field(default=0, description="Steps that an earlier attempt had ended.")
    saved: float = Field(default=0.0, description="Seconds that the replayed calls had taken.")
    waited: float = Field(default=0.0, description="Seconds that steps waited for the journal.")
    refused: str = Field(default="", description="Why what earlier attempts left was of no use, if it was not.")
    misfit: KnownMisfit = Field(default=None, description="The same in one word.")
    ended: str = Field(default="", description="Why calls were not kept any more from some point on, if so.")


class UsedModel(Loose):
    """A model or adapter that a unit was made with."""

    model: str = Field(description="As the configuration names it.")
    revision: str = Field(default="", description="Commit on a hub.")
    sha256: str = Field(default="", description="Of an adapter's file; of a model, of its files' names and digests.")
    name: str = Field(default="", description="Of an adapter.")
    scale: float | None = Field(default=None, description="Of an adapter.")


class Done(Loose):
    """What done.json says; written last, and only by the first who gets there."""

    contract: int = Field(default=CONTRACT, description="Version of what goes into the fingerprint.")
    fingerprint: Sha256
    stage: str
    item: str
    outcome: Outcome = Outcome.GENERATED
    reason: str = Field(default="", description="Why it was skipped or filtered.")
    artifacts: list[Artifact]
    seed: int
    timings: Timings = Field(default_factory=Timings)
    resume: Resume | None = Field(default=None, description="null where nothing was kept.")
    attempt: int = 1
    pod: str = ""
    pod_uid: str = ""
    finished: str = Field(description="RFC 3339 time, UTC.")
    device: str = "cpu"
    overrides: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Memory knobs of the stage or its round that took effect: offload, tiling and others.",
    )
    models: list[UsedModel] = Field(default_factory=list, description="Models and adapters that were loaded.")
    versions: dict[str, str] = Field(default_factory=dict, description="Of worker and libraries.")

    @model_validator(mode="before")
    @classmethod
    def _know_the_outcome(cls, told: Any) -> Any:
        """An outcome that only a newer worker knows is done all the same: never is that removed and made again."""
        if isinstance(told, dict) and isinstance(told.get("outcome"), str) and told["outcome"] not in set(Outcome):
            return {**told, "outcome": Outcome.GENERATED if told.get("artifacts") else Outcome.SKIPPED}
        return told
