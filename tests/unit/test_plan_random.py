"""Whatever happens to pods, bucket and spec, in whatever order: the promises hold, and the job comes to its end."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from carryon_core import names
from carryon_core.ranges import IndexSet
from carryon_core.status import JobStatus, Phase
from carryon_operator.plan.decide import decide
from worlds import TWO_STAGES, World, job_spec

ENDS = [0, 1, 10, 11, 12, 13, 14, 15, 137, 143, None]


class AnyHistory(RuleBasedStateMachine):
    """Random lives of a job of two stages: pods end in every way there is, people edit, the bucket goes away."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = list("abcdef")
        self.refused = False
        self.remade: set[str] = set()
        self.counted = count()
        self.world = World(
            spec=job_spec(stages=TWO_STAGES, items=self.items(), parallelism=3, unitsPerPod=2, retry={"perUnit": 2})
        )

    def items(self) -> dict[str, object]:
        return {"list": [{"id": item, "params": {"p": item}} for item in self.ids]}

    @rule()
    def reconcile(self) -> None:
        if not self.refused:
            self.world.step()
            return
        plan = decide(replace(self.world.observe(), problem=("SecretNotFound", "there is no Secret")))
        assert (plan.create, plan.delete, plan.discard) == ((), (), ())
        self.world.status = plan.status

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

    @rule(index=st.integers(0, 11))
    def artifact_is_deleted(self, index: int) -> None:
        if done := sorted(self.world.done - self.world.broken):
            lost = done[index % len(done)]
            self.world.broken.add(lost)
            self.remade.add(lost)

    @rule(suspend=st.booleans())
    def suspend_or_resume(self, suspend: bool) -> None:
        if self.world.spec.suspend != suspend:
            self.world.edit(suspend=suspend)

    @rule(parallelism=st.sampled_from([0, 1, 3, 5]))
    def parallelism_is_edited(self, parallelism: int) -> None:
        self.world.edit(parallelism=parallelism)

    @rule(order=st.randoms(use_true_random=False))
    def items_are_reordered(self, order: object) -> None:
        order.shuffle(self.ids)  # type: ignore[attr-defined]  # a random.Random
        self.world.edit(items=self.items())

    @rule(at=st.integers(0, 5))
    def item_is_inserted(self, at: int) -> None:
        self.ids.insert(at % (len(self.ids) + 1), f"new-{next(self.counted)}")
        self.world.edit(items=self.items())

    @rule(at=st.integers(0, 5))
    def item_is_removed(self, at: int) -> None:
        if len(self.ids) > 2:
            del self.ids[at % len(self.ids)]
            self.world.edit(items=self.items())

    @rule(revision=st.sampled_from(["1", "2"]))
    def stage_is_edited(self, revision: str) -> None:
        self.world.edit(stages=[{**TWO_STAGES[0], "revision": revision}, TWO_STAGES[1]])

    @rule(refused=st.booleans())
    def secret_comes_and_goes(self, refused: bool) -> None:
        self.refused = refused

    @rule()
    def resume_is_requested(self) -> None:
        self.world.annotations[names.ANNOTATION_RESUME] = f"request {next(self.counted)}"

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

    @invariant()
    def nothing_succeeds_that_is_not_in_the_bucket(self) -> None:
        if (
            self.world.status.phase == Phase.SUCCEEDED
            and self.world.status.observed_generation == self.world.generation
        ):
            made = {unit.fingerprint for unit in self.world.resolved.units()}
            assert made <= self.world.done

    def teardown(self) -> None:
        world = self.world
        world.outage = None
        world.edit(suspend=False, parallelism=3)
        for pod in world.working():
            if pod.gone_by is not None:
                world.end(pod, 11)
        world.settle()
        world.annotations[names.ANNOTATION_RESUME] = "the last request"
        world.run()
        assert world.status.phase == Phase.SUCCEEDED, world.status.message
        assert world.status.units.succeeded == world.status.units.total
        assert not world.pods
        assert not world.status.recorded


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
