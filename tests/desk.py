"""One job under observation: a real observer, real stores, an API server on loopback, and clocks that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from carryon_core import layout
from carryon_core.done import Done, Outcome
from carryon_core.messages import StoreConfig
from carryon_core.ranges import IndexSet
from carryon_core.resolve import ResolvedJob
from carryon_core.standing import UnitKey, stand
from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_operator.config import Config
from carryon_operator.looks import Looks
from carryon_operator.memory import JobMemory
from carryon_operator.metrics import Metrics
from carryon_operator.observe import Observer
from carryon_operator.plan.model import Observation, PodRecord
from carryon_store import Store, Stores, place_of
from carryon_store.units import encode_done
from fake_apiserver import FakeApiServer

CLIPS: dict[str, Any] = {
    "name": "clip",
    "generate": {"command": {"args": ["make", "{{ item.prompt }}"]}},
}
REEL: dict[str, Any] = {
    "name": "reel",
    "each": "job",
    "after": ["clip"],
    "generate": {"command": {"args": ["join", "{{ inputs.clip }}"]}},
}


@dataclass
class Desk:
    """A job, its bucket, and who looks at it."""

    config: Config
    server: FakeApiServer
    client: Client
    output: StoreConfig
    raw: dict[str, Any] = field(default_factory=dict)
    ticks: float = 1000.0
    longest: float = 120.0

    def __post_init__(self) -> None:
        self.stores = Stores()
        self.store: Store = self.stores.open(self.output)
        self.restart()

    def restart(self) -> None:
        """The operator forgets all it knew."""
        self.observer = Observer(self.config, self.client, Looks(longest=self.longest), lambda: self.ticks, Metrics())
        self.memory = JobMemory("uid-1")

    def write(self, *, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """Create the job, or edit it."""
        metadata = self.raw.get("metadata", {"generation": 0, "annotations": {}})
        former = self.raw.get("spec", {"stages": [CLIPS]})
        self.raw = {
            "metadata": {
                "namespace": "ns",
                "name": "film",
                "uid": "uid-1",
                "generation": metadata["generation"] + bool(spec),
                "annotations": {**metadata["annotations"], **(annotations or {})},
            },
            "spec": {**former, **spec},
            "status": self.raw.get("status", {}),
        }

    async def look(self, *, later: float = 2.0, pods: Iterable[PodRecord] = (), sweep: bool = False) -> Observation:
        """Look at the job, some seconds after the last time."""
        self.ticks += later
        return await self.observer.observe(self.raw, tuple(pods), self.memory, 1e9, sweep=sweep)

    def report(self, seen: Observation, *, ended: bool = False) -> None:
        """Write the status that follows from an observation, as far as looks read it."""
        assert seen.resolved is not None
        standing = stand(seen.resolved, seen.done)
        stages = []
        for stage in standing.job.stages:
            done = {item: how for (at, item), how in standing.outcomes.items() if at == stage.index}
            skipped = IndexSet(item for item, how in done.items() if how is not Outcome.GENERATED)
            stages.append({"name": stage.name, "succeeded": str(IndexSet(done)), "skipped": str(skipped)})
        told = {"reason": "Told", "message": "", "lastTransitionTime": "2026-11-21T08:00:00Z"}
        kinds = ("Accepted", "Succeeded", "Finished") if ended else ("Accepted",)
        self.raw["status"] = {
            "observedGeneration": seen.generation,
            "items": {
                "count": len(seen.resolved.ids),
                "digest": seen.resolved.items_digest,
                "variant": seen.resolved.variant,
                "source": seen.source,
            },
            "stages": stages,
            "conditions": [{"type": kind, "status": "True", **told} for kind in kinds],
        }

    def publish(self, job: ResolvedJob, *units: UnitKey, outcome: Outcome = Outcome.GENERATED) -> None:
        """Make units done, as a worker would."""
        for stage, item in units:
            unit = job.unit(stage, item)
            artifacts = []
            if outcome is Outcome.GENERATED:
                key = layout.artifact_name("clip.mp4", unit.fingerprint)
                self.store.put(job.prefix(unit) + key, b"clip", content_type="")
                artifacts = [{"name": "clip.mp4", "key": key, "size": 4, "sha256": unit.fingerprint}]
            done = Done.model_validate(
                {
                    "fingerprint": unit.fingerprint,
                    "stage": job.stages[stage].name,
                    "item": job.item_id(stage, item),
                    "outcome": outcome,
                    "artifacts": artifacts,
                    "seed": unit.seed,
                    "podUid": f"pod-{item}",
                    "timings": {"generate": 2.5},
                    "finished": datetime.now(UTC).isoformat(),
                }
            )
            self.store.put(job.prefix(unit) + layout.DONE, encode_done(done), content_type="")

    def lose(self, job: ResolvedJob, stage: int, item: int) -> None:
        """Delete a unit's artifact, as a lifecycle rule would."""
        unit = job.unit(stage, item)
        self.store.delete(job.prefix(unit) + layout.artifact_name("clip.mp4", unit.fingerprint))

    def uri(self, path: str) -> str:
        """Where a file of this job's namespace may lie."""
        return f"{self.output.uri}/ns/{path}"

    def put(self, path: str, content: bytes) -> str:
        """Write such a file; its uri."""
        config, key = place_of(self.uri(path), self.output)
        self.stores.open(config).put(key, content, content_type="")
        return self.uri(path)

    def remove(self, path: str) -> None:
        """Delete it again."""
        config, key = place_of(self.uri(path), self.output)
        self.stores.open(config).delete(key)


@asynccontextmanager
async def desk(config: Config) -> AsyncIterator[Desk]:
    """A desk whose jobs use the default store."""
    assert config.default_store is not None
    async with FakeApiServer().serving() as server, Client(Connection(server.url)) as client:
        yield Desk(config, server, client, config.default_store)


def pod(job: ResolvedJob, *units: UnitKey, uid: str = "pod-1", phase: str = "Running") -> PodRecord:
    """A pod of some units of one stage."""
    ((stage, _), *_) = units
    return PodRecord(
        namespace="ns",
        name=uid,
        uid=uid,
        job_uid="uid-1",
        stage=job.stages[stage].name,
        units=tuple(job.item_id(*unit) for unit in units),
        fingerprints=tuple(job.unit(*unit).fingerprint for unit in units),
        attempt=1,
        phase=phase,
        created=0.0,
    )
