"""Whatever happens to pods, bucket and spec, in whatever order: the promises hold, and the job comes to its end."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from carryon_core import names
from carryon_core.done import Outcome
from carryon_core.phases import Phase
from carryon_core.ranges import IndexSet
from carryon_core.standing import stand
from carryon_core.status import FAILURES_SHOWN, ConditionType, JobStatus
from carryon_operator.plan import conditions
from carryon_operator.plan.decide import decide
from carryon_operator.plan.model import Observation, Waiting
from carryon_operator.plan.stopping import KEPT_FAILED
from worlds import FILM, World, job_spec

ENDS = [0, 1, 10, 11, 12, 13, 14, 15, 137, 143, None]


ARGS = ["draw", "{{ item.p }}", "{{ item.photo }}"]
STAGES = [
    {**FILM[0], "success": {"minPercent": 50}, "generate": {"command": {"args": ARGS}}},
    {**FILM[1], "success": {"minPercent": 50}, "approval": "Required"},
    FILM[2],
    # Each made from the one before, and from the number of its item.
    {
        "name": "note",
        "success": {"minPercent": 50},
        "generate": {"command": {"args": ["{{ item.index }}", "{{ inputs.previous | default(none) }}"]}},
    },
]
EXPLAINED = (
    ConditionType.SUSPENDED,
    ConditionType.STALLED,
    ConditionType.AWAITING_APPROVAL,
    ConditionType.FINISHED,
)
"""One of these says what a job waits for that does not get on by itself."""


class AnyHistory(RuleBasedStateMachine):
    """Random lives of a film: pods end in every way there is, people edit and ask, the bucket goes away."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = list("abcdef")
        self.prompts: dict[str, str] = {}
        self.lost = False
        self.refused = False
        self.remade: set[str] = set()
        self.counted = count()
        self.stale: Observation | None = None
        self.world = World(
            spec=job_spec(
                stages=STAGES,
                items=self.items(),
                parallelism=3,
                unitsPerPod=2,
                retry={"perUnit": 2, "rounds": 1},
                approved={"clip": ["a", "b", "c"]},
                notify=[{"url": "https://hooks.example/"}],
            ),
            files={f"s3://bucket/in/{item}": "a" * 64 for item in self.ids},
        )

    def items(self) -> dict[str, object]:
        files = {item: {"file": f"s3://bucket/in/{item}"} for item in self.ids}
        params = {item: {"p": self.prompts.get(item, item), "photo": file} for item, file in files.items()}
        return {"list": [{"id": item, "params": each} for item, each in params.items()]}

    def edit_items(self, **fields: object) -> None:
        held = self.world.files
        uris = [f"s3://bucket/in/{item}" for item in self.ids]
        self.world.files = {uri: held.get(uri, "a" * 64) for uri in uris}
        self.world.edit(items=self.items(), **fields)

    @rule()
    def reconcile(self) -> None:
        if not self.refused:
            before = set(self.world.alive_uids())
            self.world.step()
            self.stale = self.world.observe()
            begun = [pod for pod in self.world.alive() if pod.uid not in before]
            assert not begun or len(self.world.alive()) <= self.world.spec.parallelism
            return
        plan = decide(replace(self.world.observe(), problem=("SecretNotFound", "there is no Secret")))
        assert (plan.create, plan.delete, plan.discard) == ((), (), ())
        self.world.status = plan.status

    @precondition(lambda self: self.stale is not None)
    @rule()
    def reconcile_by_what_was_seen_a_while_ago(self) -> None:
        # Own creates and deletes have always been seen, because no decision is made before.
        assert self.stale is not None
        busy = {(pod.stage, unit) for pod in self.world.alive() for unit in pod.units}
        self.world.carry_out(replace(self.stale, retry_at=self.world.retry_at))
        self.stale = None
        assert busy <= {(pod.stage, unit) for pod in self.world.working() for unit in pod.units}

    @rule()
    def operator_restarts(self) -> None:
        self.world.retry_at.clear()

    @rule(index=st.integers(0, 5), units=st.integers(1, 2))
    def worker_publishes(self, index: int, units: int) -> None:
        if working := self.world.working():
            for fingerprint in working[index % len(working)].fingerprints[:units]:
                self.world.publish(fingerprint)

    @rule(index=st.integers(0, 5))
    def pod_finishes(self, index: int) -> None:
        if working := self.world.working():
            self.world.finish(working[index % len(working)])

    @rule(index=st.integers(0, 5), code=st.sampled_from(ENDS), disrupted=st.booleans())
    def pod_ends(self, index: int, code: int | None, disrupted: bool) -> None:
        if working := self.world.working():
            self.world.end(working[index % len(working)], code, disrupted=disrupted)

    @rule(index=st.integers(0, 5))
    def pod_vanishes(self, index: int) -> None:
        if pods := list(self.world.pods.values()):
            self.world.vanish(pods[index % len(pods)])

    @rule(index=st.integers(0, 5))
    def node_dies(self, index: int) -> None:
        if living := [pod for pod in self.world.working() if pod.gone_by is None]:
            pod = living[index % len(living)]
            self.world.pods[pod.name] = replace(pod, gone_by=self.world.now + 30)

    @rule(index=st.integers(0, 5), reason=st.sampled_from(["ImagePullBackOff", "Unschedulable", "SchedulingGated", ""]))
    def pod_waits_or_starts(self, index: int, reason: str) -> None:
        if working := [pod for pod in self.world.working() if pod.gone_by is None]:
            pod = working[index % len(working)]
            waits = Waiting(reason, "why", self.world.now) if reason else None
            started = None if reason else self.world.now
            self.world.pods[pod.name] = replace(pod, waiting=waits, started=started)

    @rule(index=st.integers(0, 5), outcome=st.sampled_from(Outcome))
    def worker_finds_nothing_to_make(self, index: int, outcome: Outcome) -> None:
        if working := self.world.working():
            for fingerprint in working[index % len(working)].fingerprints[:1]:
                if fingerprint not in self.world.done:
                    self.world.outcomes[fingerprint] = outcome
                    self.world.publish(fingerprint)

    @rule(index=st.integers(0, 11))
    def artifact_is_deleted(self, index: int) -> None:
        if done := sorted(self.world.done - self.world.broken):
            lost = done[index % len(done)]
            self.world.broken.add(lost)
            self.remade.add(lost)
            self.lost = True

    @rule(suspend=st.booleans())
    def suspend_or_resume(self, suspend: bool) -> None:
        if self.world.spec.suspend != suspend:
            self.world.edit(suspend=suspend)

    @rule(cancel=st.booleans())
    def cancel_or_not(self, cancel: bool) -> None:
        if self.world.spec.cancel != cancel:
            self.world.edit(cancel=cancel)

    @rule(approved=st.sampled_from([[], ["a"], ["*"]]))
    def stage_is_approved(self, approved: list[str]) -> None:
        self.world.edit(approved={"clip": approved})

    @rule(seed=st.integers(0, 2), index=st.integers(0, 5))
    def unit_is_redone(self, seed: int, index: int) -> None:
        item = self.ids[index % len(self.ids)]
        self.world.edit(overrides=[{"stage": "image", "item": item, "params": {"seed": seed}}])

    @rule(limit=st.sampled_from([None, 1, 100, 10_000]))
    def gpu_seconds_are_limited(self, limit: int | None) -> None:
        self.world.edit(limits={"gpuSeconds": limit})

    @rule(limit=st.sampled_from([None, "1m", "1h"]))
    def time_is_limited(self, limit: str | None) -> None:
        self.world.edit(timeouts={"job": limit})

    @rule(parallelism=st.sampled_from([0, 1, 3, 5]))
    def parallelism_is_edited(self, parallelism: int) -> None:
        self.world.edit(parallelism=parallelism)

    @rule(order=st.randoms(use_true_random=False))
    def items_are_reordered(self, order: object) -> None:
        order.shuffle(self.ids)  # type: ignore[attr-defined]  # a random.Random
        self.edit_items()

    @rule(index=st.integers(0, 5), prompt=st.sampled_from("xyz"))
    def prompt_is_edited(self, index: int, prompt: str) -> None:
        self.prompts[self.ids[index % len(self.ids)]] = prompt
        self.edit_items()

    @rule(items=st.sets(st.integers(0, 5)), content=st.sampled_from("bc"))
    def files_change(self, items: set[int], content: str) -> None:
        uris = {f"s3://bucket/in/{self.ids[item % len(self.ids)]}" for item in items}
        self.world.files = {**self.world.files, **dict.fromkeys(uris, content * 64)}
        self.world.generation += 1

    @rule(at=st.integers(0, 5))
    def item_is_inserted(self, at: int) -> None:
        self.ids.insert(at % (len(self.ids) + 1), f"new-{next(self.counted)}")
        self.edit_items()

    @rule(at=st.integers(0, 5))
    def item_is_removed(self, at: int) -> None:
        if len(self.ids) > 2:
            del self.ids[at % len(self.ids)]
            self.edit_items(overrides=[])

    @rule(revision=st.sampled_from(["1", "2"]))
    def stage_is_edited(self, revision: str) -> None:
        self.world.edit(stages=[{**STAGES[0], "revision": revision}, *STAGES[1:]])

    @rule(refused=st.booleans())
    def secret_comes_and_goes(self, refused: bool) -> None:
        self.refused = refused

    @rule()
    def resume_is_requested(self) -> None:
        self.world.annotations[names.ANNOTATION_RESUME] = f"request {next(self.counted)}"

    @rule()
    def restart_is_requested(self) -> None:
        self.world.annotations[names.ANNOTATION_RESTART] = f"request {next(self.counted)}"

    @rule(units=st.sampled_from(["image/0-1", "clip/2", "reel/0", "reel/job", "nonsense", "clip/99"]))
    def retry_is_requested(self, units: str) -> None:
        self.world.annotations[names.ANNOTATION_RETRY] = f"{units}@{next(self.counted)}"

    @precondition(lambda self: self.world.status != JobStatus())
    @rule()
    def status_is_lost(self) -> None:
        self.world.status = JobStatus()

    @rule(away=st.booleans())
    def bucket_goes_away(self, away: bool) -> None:
        self.world.outage = "no answer" if away else None

    @rule(seconds=st.sampled_from([1, 30, 100, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.world.now += seconds

    @invariant()
    def no_unit_is_made_again_after_it_was_done(self) -> None:
        for fingerprint, times in self.world.made.items():
            assert times == 1 or fingerprint in self.remade

    @invariant()
    def no_two_pods_work_on_one_unit(self) -> None:
        busy = [(pod.stage, unit) for pod in self.world.alive() for unit in pod.units]
        assert len(busy) == len(set(busy))

    @invariant()
    def each_unit_stands_in_one_set(self) -> None:
        for stage in self.world.status.stages:
            done, failed = IndexSet.parse(stage.succeeded), IndexSet.parse(stage.failed)
            assert not done & failed
            assert not (done | failed) - IndexSet.span(stage.total)
            assert not IndexSet.parse(stage.skipped) - done

    @invariant()
    def counters_add_up(self) -> None:
        units = self.world.status.units
        assert units.succeeded + units.failed + units.remaining == units.total
        assert sum(units.outcomes.values()) == units.succeeded

    @invariant()
    def status_keeps_to_its_bounds(self) -> None:
        status = self.world.status
        assert len(status.recent_failures) <= FAILURES_SHOWN
        assert len(status.model_dump_json(by_alias=True)) < 50 * 1024

    @invariant()
    def a_phase_is_what_conditions_come_to(self) -> None:
        ends = (ConditionType.SUCCEEDED, ConditionType.FAILED, ConditionType.CANCELLED)
        held = [kind for kind in ends if conditions.holds(self.world.status, kind)]
        assert len(held) <= 1
        assert bool(held) == conditions.holds(self.world.status, ConditionType.FINISHED)

    @invariant()
    def artifacts_are_missed_only_when_some_are_gone(self) -> None:
        assert self.lost or "ArtifactsVanished" not in self.world.events

    @invariant()
    def nothing_succeeds_that_is_not_in_the_bucket(self) -> None:
        if (
            self.world.status.phase == Phase.SUCCEEDED
            and self.world.status.observed_generation == self.world.generation
        ):
            standing = stand(self.world.resolved, self.world.bucket)
            stages = self.world.status.stages
            failed = {(i, item) for i, stage in enumerate(stages) for item in IndexSet.parse(stage.failed)}
            for unit in standing.job.units():
                assert (unit.stage, unit.item) in standing.outcomes or (unit.stage, unit.item) in failed

    def teardown(self) -> None:
        world = self.world
        world.outage = None
        world.now += 100_000
        for pod in world.working():
            if pod.gone_by is not None:
                world.end(pod, 11)
            else:
                world.pods[pod.name] = replace(pod, waiting=None)
        self.it_rests_or_says_why()
        world.edit(
            suspend=False, cancel=False, parallelism=3, approved={"clip": ["*"]}, limits={}, timeouts={"job": None}
        )
        for pod in world.working():
            if pod.gone_by is not None:
                world.end(pod, 11)
        world.settle()
        world.annotations[names.ANNOTATION_RESUME] = "the last request"
        world.run()
        assert world.status.phase == Phase.SUCCEEDED, world.status.message
        assert world.status.units.succeeded == world.status.units.total
        assert len(world.pods) <= KEPT_FAILED
        assert set(world.status.recorded) == {pod.uid for pod in world.pods.values()}

    def it_rests_or_says_why(self) -> None:
        """Every job ends, or says what it waits for."""
        world = self.world
        world.run()
        status = world.status
        if status.phase == Phase.PENDING or world.spec.parallelism == 0:
            return
        assert any(conditions.holds(status, kind) for kind in EXPLAINED), status.message


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
