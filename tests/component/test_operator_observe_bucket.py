"""Whatever happens to a bucket, what is known of it after a look is so, and what was not looked at is never made up."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from carryon_core import layout
from carryon_core.done import Done, Outcome
from carryon_core.messages import StoreConfig
from carryon_core.resolve import resolve
from carryon_core.resolved import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.standing import DoneUnit, Standing, UnitKey, stand
from carryon_operator.bucket import BucketMemory
from carryon_operator.plan.model import PodRecord
from carryon_store import open_store
from carryon_store.units import encode_done
from desk import CLIPS, REEL, pod

POSTER = {"name": "poster", "after": ["reel"], "generate": {"command": {"args": ["x", "{{ inputs.reel }}"]}}}


def version(prompt: str) -> ResolvedJob:
    """The film after an edit of its first clip."""
    prompts = {"dunes": prompt, "sea": "sea", "sky": "sky"}
    items = [{"id": item, "params": {"prompt": text}} for item, text in prompts.items()]
    spec = {"items": {"list": items}, "stages": [CLIPS, REEL, POSTER]}
    return resolve("ns", "film", JobSpec.model_validate(spec))


VERSIONS = [version("dunes"), version("dunes at night")]
UNITS: list[UnitKey] = [*((0, item) for item in range(3)), (1, 0), *((2, item) for item in range(3))]


class BucketModel(RuleBasedStateMachine):
    """A film is made, edited, lost and found; its operator restarts."""

    units = st.sampled_from(UNITS)

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.store = open_store(StoreConfig(uri=Path(self.folder).as_uri()))
        self.job = VERSIONS[0]
        self.memory = BucketMemory()
        self.known = False
        self.truth: dict[str, Outcome | None] = {}
        """Prefix of a unit -> how its done.json says that it ended, None if it says nothing."""
        self.pods: dict[str, PodRecord] = {}
        self.ticks = 0

    def standing(self) -> Standing:
        """Where the job stands by what is true."""
        done: dict[str, DoneUnit] = {}
        while True:
            now = stand(self.job, done)
            found = {
                unit.fingerprint: DoneUnit(outcome)
                for unit in now.job.units()
                if unit.fingerprint and (outcome := self.truth.get(now.job.prefix(unit))) is not None
            }
            if found == done:
                return now
            done = found

    def sweep(self) -> None:
        self.ticks += 1
        self.memory.sweep(self.store, self.job, self.ticks)
        self.known = True

    @rule(unit=units, outcome=st.sampled_from([Outcome.GENERATED, Outcome.GENERATED, Outcome.SKIPPED]))
    def a_pod_makes_a_unit(self, unit: UnitKey, outcome: Outcome) -> None:
        job = self.standing().job
        stage, item = unit
        if not job.unit(*unit).fingerprint:
            return
        self.ticks += 1
        working = pod(job, unit, uid=f"pod-{self.ticks}")
        self.memory.note_pods([*self.pods.values(), working])
        prefix = job.prefix(job.unit(*unit))
        if prefix not in self.truth:
            done = Done(
                fingerprint=job.unit(*unit).fingerprint,
                stage=job.stages[stage].name,
                item=job.item_id(stage, item),
                outcome=outcome,
                artifacts=[],
                seed=1,
                finished="2026-11-21T08:00:00Z",
            )
            self.store.put(prefix + layout.DONE, encode_done(done), content_type="")
            self.truth[prefix] = outcome
        self.pods[working.uid] = replace(working, phase="Succeeded")

    @rule(unit=units)
    def a_unit_is_lost(self, unit: UnitKey) -> None:
        job = self.standing().job
        if job.unit(*unit).fingerprint:
            prefix = job.prefix(job.unit(*unit))
            self.store.delete(prefix + layout.DONE)
            self.truth.pop(prefix, None)
            self.known = False

    @rule(unit=units)
    def a_done_json_breaks(self, unit: UnitKey) -> None:
        job = self.standing().job
        if job.unit(*unit).fingerprint:
            prefix = job.prefix(job.unit(*unit))
            self.store.put(prefix + layout.DONE, b"{", content_type="")
            self.truth[prefix] = None
            self.known = False

    @rule()
    def what_does_not_verify_is_discarded(self) -> None:
        for bad in list(self.memory.invalid.values()):
            self.memory.discard(self.store, bad)
            # One that was written again since it was looked at stays: nobody knows yet what that is.
            left = any(self.store.list(bad.prefix + layout.DONE))
            if self.truth.get(bad.prefix, Outcome.GENERATED) is None and not left:
                del self.truth[bad.prefix]

    @rule(which=st.sampled_from([0, 1]))
    def the_job_is_edited(self, which: int) -> None:
        if self.job is not VERSIONS[which]:
            self.job = VERSIONS[which]
            self.memory.note_edit()
            self.known = False

    @rule()
    def the_operator_restarts(self) -> None:
        self.memory = BucketMemory()
        self.known = False

    @rule()
    def everything_is_looked_at(self) -> None:
        self.memory.note_pods(self.pods.values())
        self.sweep()
        assert self.memory.fresh

    @rule(vanish=st.booleans())
    def pods_that_ended_are_looked_at(self, vanish: bool) -> None:
        if vanish:
            self.pods.clear()
        self.memory.note_pods(self.pods.values())
        # As the operator does it: a first look, and one after an edit, are at everything.
        if self.memory.swept_at is None:
            self.sweep()
        else:
            self.memory.settle(self.store, self.job)
        if self.known:
            # What gathers, and what comes after it, may be there from a time when just these units were done: that is
            # found by the look at everything which goes before the making.
            self.is_so(stages=1)

    @rule()
    def a_look_at_everything_tells_all(self) -> None:
        self.sweep()
        self.is_so(stages=3)
        assert stand(self.job, self.memory.done).outcomes == self.standing().outcomes

    @invariant()
    def nothing_is_made_up(self) -> None:
        if self.known:
            true = {prefix for prefix, outcome in self.truth.items() if outcome is not None}
            now = stand(self.job, self.memory.done).job
            assert {now.prefix(unit) for unit in now.units() if unit.fingerprint in self.memory.done} <= true

    def is_so(self, stages: int) -> None:
        """What is known of the first stages is what is true."""
        now = self.standing().job
        wanted = {
            unit.fingerprint: now.prefix(unit) for unit in now.units() if unit.fingerprint and unit.stage < stages
        }
        done = {each: self.truth[at] for each, at in wanted.items() if self.truth.get(at) is not None}
        assert {each: unit.outcome for each, unit in self.memory.done.items() if each in wanted} == done
        broken = {each for each, at in wanted.items() if self.truth.get(at, Outcome.GENERATED) is None}
        assert self.memory.invalid.keys() & wanted.keys() == broken

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


TestBucketModel = BucketModel.TestCase
TestBucketModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
