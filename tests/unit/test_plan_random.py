"""Whatever happens to pods, bucket and spec, in whatever order: the promises hold, and the job comes to its end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from carryon_core.status import JobStatus, Phase
from worlds import TWO_STAGES, World, job_spec


class AnyHistory(RuleBasedStateMachine):
    """Random lives of one job of two stages; pods end in every way there is, status is lost, the bucket goes away."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            spec=job_spec(stages=TWO_STAGES, items={"count": 6}, parallelism=3, unitsPerPod=2, retry={"perUnit": 50})
        )
        self.remakes: set[str] = set()

    @rule()
    def reconcile(self) -> None:
        if self.world.outage is None:
            self.world.step()

    @rule(index=st.integers(0, 5), units=st.integers(0, 2))
    def worker_publishes(self, index: int, units: int) -> None:
        working = self.world.working()
        if working:
            pod = working[index % len(working)]
            for fingerprint in pod.fingerprints[:units]:
                self.world.publish(fingerprint)

    @rule(
        index=st.integers(0, 5),
        code=st.sampled_from([0, 1, 10, 11, 13, 14, 15, 137, 143]),
        disrupted=st.booleans(),
        finishing=st.booleans(),
    )
    def pod_ends(self, index: int, code: int, disrupted: bool, finishing: bool) -> None:
        working = self.world.working()
        if working:
            pod = working[index % len(working)]
            if finishing:
                self.world.finish(pod)
            else:
                self.world.end(pod, code, disrupted=disrupted)

    @rule(index=st.integers(0, 5))
    def pod_vanishes(self, index: int) -> None:
        pods = list(self.world.pods.values())
        if pods:
            self.world.vanish(pods[index % len(pods)])

    @rule(index=st.integers(0, 11))
    def artifact_is_deleted(self, index: int) -> None:
        done = sorted(self.world.done - self.world.broken)
        if done:
            lost = done[index % len(done)]
            self.world.broken.add(lost)
            self.remakes.add(lost)

    @rule(suspend=st.booleans())
    def suspend_or_resume(self, suspend: bool) -> None:
        if self.world.spec.suspend != suspend:
            self.world.edit(suspend=suspend)

    @rule(count=st.integers(4, 8))
    def items_are_edited(self, count: int) -> None:
        self.world.edit(items={"count": count})

    @precondition(lambda self: self.world.status != JobStatus())
    @rule()
    def status_is_lost(self) -> None:
        self.world.status = JobStatus()

    @rule(away=st.booleans())
    def bucket_goes_away(self, away: bool) -> None:
        self.world.outage = "no answer" if away else None

    @rule(seconds=st.integers(1, 1000))
    def time_passes(self, seconds: int) -> None:
        self.world.now += seconds

    @invariant()
    def no_unit_is_made_again_after_it_was_done(self) -> None:
        for fingerprint, times in self.world.made.items():
            assert times == 1 or fingerprint in self.remakes

    @invariant()
    def no_two_pods_work_on_one_unit(self) -> None:
        busy = [(pod.stage, unit) for pod in self.world.alive() for unit in pod.units]
        assert len(busy) == len(set(busy))

    @invariant()
    def never_more_pods_than_parallelism(self) -> None:
        assert len(self.world.alive()) <= self.world.spec.parallelism

    @invariant()
    def each_unit_stands_in_one_set(self) -> None:
        units = self.world.status.units
        assert units.total == units.succeeded + units.failed + units.remaining

    def teardown(self) -> None:
        world = self.world
        world.outage = None
        for pod in world.working():
            if pod.gone_by is not None:
                world.end(pod, 11)
        if world.spec.suspend:
            world.edit(suspend=False)
        world.run()
        assert world.status.phase == Phase.SUCCEEDED
        assert world.status.units.succeeded == world.status.units.total
        assert not world.pods
        assert not world.status.recorded


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
