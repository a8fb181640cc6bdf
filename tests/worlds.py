"""A world in memory for decisions: a job, its pods and its bucket, moved on by the plans themselves.

Not a fake API server: only the facts that `decide` is made from, changed as a cluster and workers would change them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import Any

from carryon_core.done import Outcome
from carryon_core.resolve import ResolvedJob, parse_items, resolve
from carryon_core.spec import JobSpec
from carryon_core.standing import DoneUnit, stand
from carryon_core.status import Condition, ConditionType, JobStatus
from carryon_operator.plan import conditions
from carryon_operator.plan.counting import DEAD_AFTER
from carryon_operator.plan.decide import decide
from carryon_operator.plan.model import InvalidDone, Kept, Observation, Plan, PodRecord, Stopped, Waiting
from carryon_operator.plan.shares import Room


def job_spec(**fields: Any) -> JobSpec:
    """A job of 15 units, without rounds unless they are asked for."""
    stage = {"name": "clip", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
    retry = {"rounds": 0, **fields.pop("retry", {})}
    return JobSpec.model_validate(
        {"items": {"count": 15}, "stages": [stage], "parallelism": 3, "retry": retry, **fields}
    )


TWO_STAGES: list[dict[str, Any]] = [
    {"name": "image", "generate": {"command": {"args": ["draw", "{{ item.id }}"]}}},
    {"name": "clip", "after": ["image"], "generate": {"command": {"args": ["film", "{{ inputs.image }}"]}}},
]
FILM: list[dict[str, Any]] = [
    *TWO_STAGES,
    {
        "name": "reel",
        "each": "job",
        "after": ["clip"],
        "generate": {"command": {"args": ["join", "{{ inputs.clip }}"]}},
    },
]


@lru_cache(maxsize=256)
def _resolved(spec: str, files: tuple[tuple[str, str | None], ...]) -> ResolvedJob:
    return resolve("default", "reel", JobSpec.model_validate_json(spec), files=dict(files))


@dataclass
class World:
    """One job in its cluster.

    Attributes:
        made: Fingerprint -> how often a worker published it.
        broken: Fingerprints whose done.json does not verify.
        outcomes: Fingerprint -> how its unit ended, where it is not "generated".
        templates: Stage name -> digest of what its pods are made with, round by round.
        image: That pods have today, and `digests`: image -> the same by digest, as a kubelet tells it.
        kept: Fingerprint -> what attempts have left of a unit.
        stopped: As the last plan left it.
        pods: By name. `seconds` is what each unit costs its pod.
    """

    spec: JobSpec = field(default_factory=job_spec)
    generation: int = 1
    now: float = 1_000_000.0
    annotations: dict[str, str] = field(default_factory=dict)
    status: JobStatus = field(default_factory=JobStatus)
    pods: dict[str, PodRecord] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    makers: dict[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    made: dict[str, int] = field(default_factory=dict)
    retry_at: dict[str, float] = field(default_factory=dict)
    outage: str | None = None
    lost: int | None = None
    stale: tuple[str, str] | None = None
    warnings: tuple[str, ...] = ()
    files: dict[str, str | None] = field(default_factory=dict)
    templates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    former: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    image: str = "worker:1"
    digests: dict[str, str] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    stopped: tuple[Stopped, ...] = ()
    room: Room = field(default_factory=Room)
    _uids: Any = field(default_factory=lambda: count(1))

    @property
    def resolved(self) -> ResolvedJob:
        return _resolved(self.spec.model_dump_json(by_alias=True, exclude_none=True), tuple(self.files.items()))

    def edit(self, **fields: Any) -> None:
        self.spec = JobSpec.model_validate({**self.spec.model_dump(by_alias=True, exclude_none=True), **fields})
        self.generation += 1

    @property
    def job(self) -> ResolvedJob:
        """With the fingerprints that units have by what is done now."""
        return stand(self.resolved, self.bucket).job

    @property
    def bucket(self) -> dict[str, DoneUnit]:
        """What verifies."""
        return {
            each: DoneUnit(self.outcomes.get(each, Outcome.GENERATED), self.makers.get(each, ""), self.seconds)
            for each in self.done - self.broken
        }

    def observe(self) -> Observation:
        resolved = self.resolved
        self.former[resolved.items_digest] = resolved.items
        digest = self.status.items.digest
        former = parse_items(self.former[digest]) if digest not in ("", resolved.items_digest) else None
        job = self.job
        by_fingerprint = {unit.fingerprint: unit for unit in job.units()}
        return Observation(
            namespace="default",
            name="reel",
            uid="job-uid",
            generation=self.generation,
            annotations=self.annotations,
            spec=self.spec,
            status=self.status,
            resolved=resolved,
            now=self.now,
            output="file:///out",
            former_items=former,
            pods=tuple(self.pods.values()),
            images={stage.name: stage.image or self.image for stage in self.spec.stages},
            done=self.bucket,
            kept={each: kept for each, kept in self.kept.items() if each not in self.done},
            stopped=self.stopped,
            invalid={
                each: InvalidDone(each, job.prefix(by_fingerprint[each]), "etag", "artifact x is missing")
                for each in self.broken
                if each in by_fingerprint
            },
            outage=self.outage,
            room=self.room,
            lost=self.lost,
            stale=self.stale,
            warnings=self.warnings,
            templates=self.templates,
            retry_at=self.retry_at,
        )

    def step(self) -> Plan:
        """Decide, and let the cluster do what was decided."""
        return self.carry_out(self.observe())

    def carry_out(self, seen: Observation) -> Plan:
        """Decide by what was seen, perhaps a while ago, and let the cluster do what was decided."""
        plan = decide(seen)
        if plan.status != seen.status and seen.status != self.status:
            return plan  # A conflict: the status that was seen is not the one that is there.
        self.retry_at = dict(plan.retry_at)
        self.stopped = plan.stopped
        self.status = plan.status
        self.told += [event.message for event in plan.events]
        self.events += [event.reason for event in plan.events]
        for bad in plan.discard:
            self.broken.discard(bad.fingerprint)
            self.done.discard(bad.fingerprint)
        for wanted in plan.create:
            if wanted.name in self.pods:
                assert seen.pods != tuple(self.pods.values()), "a name that is taken is chosen by nobody who knows"
                continue
            assert plan.standing is not None
            job = plan.standing.job
            stage = job.stages[wanted.stage]
            image = wanted.image or self.spec.stages[stage.index].image or self.image
            self.pods[wanted.name] = PodRecord(
                namespace="default",
                name=wanted.name,
                uid=f"pod-{next(self._uids)}",
                job_uid="job-uid",
                stage=stage.name,
                units=tuple(job.item_id(stage.index, item) for item in wanted.items),
                fingerprints=tuple(stage.units[item].fingerprint for item in wanted.items),
                attempt=wanted.attempt,
                phase="Running",
                created=self.now,
                started=self.now,
                image=image,
                image_id=image if "@" in image else self.digests.get(image, ""),
                pinned=bool(wanted.image),
                template=self.templates.get(stage.name, ("",))[: wanted.round + 1][-1],
            )
        for gone in plan.delete:
            pod = self.pods.get(gone.name)
            if pod is None or pod.uid != gone.uid:
                continue
            assert pod.uid in self.status.recorded, "a pod is deleted only once status has recorded it"
            if pod.terminal:
                del self.pods[gone.name]
            else:
                self.pods[gone.name] = replace(pod, gone_by=self.now + 30)
        return plan

    def settle(self) -> Plan:
        """Decide until nothing changes."""
        for _ in range(20):
            before = (self.status, dict(self.pods))
            plan = self.step()
            if (self.status, self.pods) == before:
                return plan
        raise AssertionError("decisions do not come to rest")

    def working(self) -> list[PodRecord]:
        return [pod for pod in self.pods.values() if not pod.terminal]

    def alive(self) -> list[PodRecord]:
        """Pods at work whose node was not given up."""
        return [pod for pod in self.working() if pod.gone_by is None or self.now <= pod.gone_by + DEAD_AFTER]

    def alive_uids(self) -> list[str]:
        return [pod.uid for pod in self.alive()]

    def finish(self, pod: PodRecord, units: int | None = None) -> None:
        """The worker publishes its units (the first so many), and ends well if that was all."""
        for fingerprint in pod.fingerprints[:units]:
            self.publish(fingerprint, pod)
        if units is None or units >= len(pod.fingerprints):
            self.end(pod, 0)

    def publish(self, fingerprint: str, pod: PodRecord | None = None) -> None:
        if fingerprint not in self.done:
            self.done.add(fingerprint)
            self.makers[fingerprint] = pod.uid if pod else ""
            self.made[fingerprint] = self.made.get(fingerprint, 0) + 1

    def end(
        self, pod: PodRecord, code: int | None, *, message: str = "", disrupted: bool = False, reason: str = ""
    ) -> None:
        if pod.gone_by is not None:
            del self.pods[pod.name]  # A kubelet removes a pod that is being deleted as soon as it has ended.
            return
        phase = "Succeeded" if code == 0 else "Failed"
        self.pods[pod.name] = replace(
            pod,
            phase=phase,
            exit_code=code,
            message=message,
            disruption="PreemptionByScheduler" if disrupted else "",
            reason=reason,
            finished=self.now,
        )

    def vanish(self, pod: PodRecord) -> None:
        del self.pods[pod.name]

    def run(self, rounds: int = 200) -> None:
        """Let every worker succeed until the job comes to rest."""
        for _ in range(rounds):
            self.settle()
            working = self.working()
            if not working:
                waiting = [at for at in self.retry_at.values() if at > self.now]
                if not waiting:
                    return
                self.now = min(waiting)
                continue
            for pod in working:
                if pod.gone_by is not None:
                    self.end(pod, 11)
                else:
                    self.finish(pod)
            self.now += 1
        raise AssertionError("the job does not end")

    def fingerprint(self, stage: int, item: int) -> str:
        return self.job.unit(stage, item).fingerprint


def holds(world: World, kind: ConditionType) -> bool:
    return conditions.holds(world.status, kind)


def condition(world: World, kind: ConditionType) -> Condition:
    found = conditions.find(world.status, kind)
    assert found is not None
    return found


def items(ids: str, **changed: str) -> dict[str, Any]:
    return {"list": [{"id": each, "params": {"p": changed.get(each, each)}} for each in ids]}


def by_prompt(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same stages, the first of which is made from the item's parameter."""
    return [{**stages[0], "generate": {"command": {"args": ["draw", "{{ item.p }}"]}}}, *stages[1:]]


def at(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def work(world: World, fails: dict[str, int] | None = None, rounds: int = 100) -> None:
    """Let every worker succeed but those of some units, which fail so many times, until the job rests."""
    left = dict(fails or {})
    for _ in range(rounds):
        world.settle()
        working = world.working()
        waiting = [moment for moment in world.retry_at.values() if moment > world.now]
        if not working and not waiting:
            return
        for pod in working:
            if pod.gone_by is not None:
                world.end(pod, 11)
            elif left.get(pod.units[0], 0) > 0:
                left[pod.units[0]] -= 1
                world.end(pod, 1)
            else:
                world.finish(pod)
        world.now = min(waiting) if waiting and not working else world.now + 1


def waiting(world: World, reason: str, message: str = "") -> None:
    world.pods = {
        name: replace(pod, phase="Pending", started=None, waiting=Waiting(reason, message, world.now))
        for name, pod in world.pods.items()
    }
