"""Units as they go over the wire."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from carryon_api.shapes import Shape
from carryon_core.done import Resume, Timings, UsedModel
from carryon_jobs.states import UnitState


class ArtifactLink(Shape):
    """One finished file of a unit."""

    name: str = Field(examples=["clip.mp4"])
    url: str = Field(description="Where it is, below the API's address; new where its content is.")
    size: int = Field(description="Bytes.", examples=[1048576])
    content_type: str = Field(examples=["video/mp4"])
    sha256: str


class Preview(Shape):
    """A finished section of a clip that is still being made."""

    name: str = Field(examples=["000.3fa9c0d1b2e4.mp4"])
    url: str


class UnitStep(Shape):
    """How far a unit at work is, as its worker last said."""

    phase: str = Field(description="loading, generating or publishing; running where the worker does not answer.")
    step: int | None = Field(examples=[12])
    steps: int | None = Field(examples=[30])
    seconds_per_step: float | None = Field(default=None, examples=[0.42])


class Unit(Shape):
    """One item at one stage."""

    stage: str = Field(examples=["clip"])
    item: str = Field(examples=["dunes"])
    index: int = Field(examples=[7])
    state: UnitState
    reason: str = Field(description="Why it stands so, where that is known.", examples=["waits for image"])
    url: str = Field(description="Where more about it is, below the API's address.")
    artifacts: list[ArtifactLink] = Field(default=[])
    progress: UnitStep | None = None


class UnitPage(Shape):
    """Some of a job's units, stage by stage."""

    total: int = Field(description="Units of all pages.", examples=[15])
    items: list[Unit]


class Attempt(Shape):
    """One pod's try at a unit."""

    pod_uid: str
    pod: str = Field(examples=["reel-42-3fa9c0d1b2-1"])
    attempt: int | None = Field(description="Number of the pod among those made for its units.", examples=[1])
    state: Literal["waiting", "running", "ended"]
    reason: str = Field(description="Why it failed, in a word.", examples=["OutOfMemory"])
    message: str
    started: str | None = Field(description="RFC 3339.")
    finished: str | None
    log: str | None = Field(description="Where its log is, below the API's address; null where there is none.")


class DoneFacts(Shape):
    """What a done unit's record says of how it was made."""

    outcome: str = Field(examples=["generated"])
    attempt: int
    pod: str
    finished: str
    device: str
    timings: Timings
    resume: Resume | None = Field(description="What its journal was good for.")
    overrides: dict[str, Any]
    models: list[UsedModel]
    versions: dict[str, str]


class UnitDetail(Unit):
    """All that is known of one unit."""

    fingerprint: str = Field(description="What it is made from; empty while that is not known.")
    seed: int | None
    params: dict[str, Any] = Field(description="Values that its templates use: the item's, and those given to it.")
    previews: list[Preview]
    attempts: list[Attempt] = Field(description="The newest first; of those that are done or failed, what was kept.")
    done: DoneFacts | None


class Item(Shape):
    """One thing to make."""

    index: int
    id: str


class ItemPage(Shape):
    """Some of a job's items, in order."""

    total: int
    items: list[Item]
