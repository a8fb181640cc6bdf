"""Where units stand: what counts as done, what a stage that gathers is made from, and what follows below it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryon_core.done import Outcome
from carryon_core.messages import InputRef
from carryon_core.resolve import resolve
from carryon_core.resolved import ResolvedJob, Unit
from carryon_core.spec import JobSpec
from carryon_core.standing import DoneUnit, Standing, UnitKey, stand

GENERATED, SKIPPED, FILTERED = Outcome.GENERATED, Outcome.SKIPPED, Outcome.FILTERED
IMAGE, CLIP, REEL, POST = range(4)


def stage(name: str, *args: str, after: tuple[str, ...] = (), each: str = "item") -> dict[str, Any]:
    return {"name": name, "after": list(after), "each": each, "generate": {"command": {"args": ["make", *args]}}}


def job(*stages: dict[str, Any], items: int = 3, **fields: Any) -> ResolvedJob:
    spec = JobSpec.model_validate({"items": {"count": items}, "stages": list(stages), **fields})
    return resolve("studio", "reel", spec)


def film(items: int = 3) -> ResolvedJob:
    """Images, clips of them, a reel of the clips and a post for each item with its image and the reel."""
    return job(
        stage("image"),
        stage("clip", "{{ inputs.image }}", after=("image",)),
        stage("reel", "{{ inputs.clip }}", after=("clip",), each="job"),
        stage("post", "{{ inputs.image }}", "{{ inputs.reel }}", after=("image", "reel")),
        items=items,
    )


class Bucket:
    """What is done of a job, by unit: fingerprints are looked up where the job stands."""

    def __init__(self, resolved: ResolvedJob) -> None:
        self.resolved = resolved
        self.done: dict[str, DoneUnit] = {}

    def make(self, *keys: UnitKey, outcome: Outcome = GENERATED, failed: set[UnitKey] | None = None) -> None:
        for key in keys:
            fingerprint = self.stand(failed).job.unit(*key).fingerprint
            assert fingerprint, f"{key} has no fingerprint"
            self.done[fingerprint] = DoneUnit(outcome)

    def stand(self, failed: set[UnitKey] | None = None) -> Standing:
        return stand(self.resolved, self.done, failed if failed is not None else set())


def all_of(stage: int, items: int = 3) -> list[UnitKey]:
    return [(stage, item) for item in range(items)]


def test_nothing_is_done_in_an_empty_bucket_and_a_reel_has_no_fingerprint_yet() -> None:
    standing = Bucket(film()).stand()
    assert standing.outcomes == {}
    assert standing.members == {}
    assert [unit.fingerprint != "" for unit in standing.job.units()] == [True] * 6 + [False] * 4


def test_a_reel_waits_for_the_last_clip() -> None:
    bucket = Bucket(film())
    bucket.make((CLIP, 0), (CLIP, 2))
    assert bucket.stand().job.unit(REEL, 0).fingerprint == ""
    with pytest.raises(ValueError, match="still waits"):
        bucket.stand().inputs(bucket.stand().job.unit(REEL, 0))
    bucket.make((CLIP, 1))
    assert bucket.stand().job.unit(REEL, 0).fingerprint


def test_a_reel_is_made_of_its_clips_in_the_order_of_items() -> None:
    bucket = Bucket(film())
    bucket.make((CLIP, 2), (CLIP, 0), (CLIP, 1))
    standing = bucket.stand()
    assert standing.members == {REEL: ((CLIP, 0), (CLIP, 1), (CLIP, 2))}
    assert standing.inputs(standing.job.unit(REEL, 0)) == {
        "clip": [
            InputRef(stage="clip", item=str(n), fingerprint=standing.job.unit(CLIP, n).fingerprint) for n in range(3)
        ]
    }


def test_a_clip_that_failed_is_left_out_of_the_reel_and_makes_it_anew_when_it_comes_later() -> None:
    bucket = Bucket(film())
    bucket.make((CLIP, 0), (CLIP, 2))
    without = bucket.stand({(CLIP, 1)})
    assert without.members == {REEL: ((CLIP, 0), (CLIP, 2))}
    bucket.make((REEL, 0), failed={(CLIP, 1)})
    assert (REEL, 0) in bucket.stand({(CLIP, 1)}).outcomes
    bucket.make((CLIP, 1))
    later = bucket.stand()
    assert (REEL, 0) not in later.outcomes
    assert later.job.unit(REEL, 0).fingerprint not in ("", without.job.unit(REEL, 0).fingerprint)


def test_without_a_word_on_failures_all_that_is_not_done_is_left_out() -> None:
    bucket = Bucket(film())
    bucket.make((CLIP, 1))
    assert stand(bucket.resolved, bucket.done).members == {REEL: ((CLIP, 1),)}


def test_what_comes_after_a_reel_is_known_when_the_reel_is() -> None:
    bucket = Bucket(film())
    bucket.make(*all_of(IMAGE), *all_of(CLIP))
    posts = [bucket.stand().job.unit(POST, item) for item in range(3)]
    assert len({unit.fingerprint for unit in posts} | {""}) == 4
    reel = bucket.stand().job.unit(REEL, 0)
    assert bucket.stand().inputs(posts[1]) == {
        "image": InputRef(stage="image", item="1", fingerprint=bucket.resolved.unit(IMAGE, 1).fingerprint),
        "reel": InputRef(stage="reel", item="job", fingerprint=reel.fingerprint),
    }
    # Another reel makes other posts.
    fewer = stand(
        bucket.resolved, {k: v for k, v in bucket.done.items() if k != bucket.resolved.unit(CLIP, 0).fingerprint}
    )
    assert not {u.fingerprint for u in posts} & {u.fingerprint for u in fewer.job.stages[POST].units}


@pytest.mark.parametrize("outcome", [SKIPPED, FILTERED])
def test_an_image_that_made_nothing_skips_its_clip_and_its_post_and_is_left_out_of_the_reel(outcome: Outcome) -> None:
    bucket = Bucket(film())
    bucket.make((IMAGE, 1), outcome=outcome)
    bucket.make((IMAGE, 0), (IMAGE, 2), (CLIP, 0), (CLIP, 2))
    standing = bucket.stand()
    assert standing.outcomes[IMAGE, 1] is outcome
    assert standing.outcomes[CLIP, 1] is standing.outcomes[POST, 1] is SKIPPED
    assert standing.members == {REEL: ((CLIP, 0), (CLIP, 2))}


def test_a_reel_of_nothing_is_skipped_and_so_is_all_below_it() -> None:
    bucket = Bucket(film())
    bucket.make(*all_of(IMAGE), outcome=FILTERED)
    outcomes = bucket.stand().outcomes
    assert {key for key, outcome in outcomes.items() if outcome is SKIPPED} == {
        *all_of(CLIP),
        (REEL, 0),
        *all_of(POST),
    }


def test_a_reel_none_of_whose_clips_could_be_made_is_skipped_unless_it_failed_by_that() -> None:
    bucket = Bucket(film())
    bucket.make((IMAGE, 0), outcome=SKIPPED)
    standing = bucket.stand({(CLIP, 1), (CLIP, 2)})
    assert standing.members == {REEL: ()}
    assert standing.outcomes[REEL, 0] is SKIPPED
    assert standing.job.unit(REEL, 0).fingerprint == ""
    assert (REEL, 0) not in bucket.stand({(CLIP, 1), (CLIP, 2), (REEL, 0)}).outcomes


def test_a_unit_that_is_done_stays_done_whatever_became_of_its_upstream() -> None:
    bucket = Bucket(film())
    bucket.make((CLIP, 0))
    assert bucket.stand().outcomes == {(CLIP, 0): GENERATED}
    bucket.make((IMAGE, 0), outcome=SKIPPED)
    assert bucket.stand().outcomes[CLIP, 0] is GENERATED


def chain() -> Bucket:
    return Bucket(job(stage("scene", "{{ inputs.previous | default('') }}"), items=4))


def test_a_scene_takes_its_inputs_from_the_scene_before() -> None:
    bucket = chain()
    units = bucket.resolved.stages[0].units
    assert [unit.previous for unit in units] == [False, True, True, True]
    assert bucket.stand().inputs(units[0]) == {}
    assert bucket.stand().inputs(units[2]) == {
        "previous": InputRef(stage="scene", item="1", fingerprint=units[1].fingerprint)
    }


def test_a_scene_that_made_nothing_skips_those_that_build_on_it() -> None:
    bucket = chain()
    bucket.make((0, 3))
    bucket.make((0, 1), outcome=FILTERED)
    assert bucket.stand().outcomes == {(0, 1): FILTERED, (0, 2): SKIPPED, (0, 3): GENERATED}


def test_a_chain_below_a_reel_is_known_as_a_whole_when_the_reel_is() -> None:
    bucket = Bucket(
        job(
            stage("clip"),
            stage("reel", after=("clip",), each="job"),
            stage("scene", "{{ inputs.previous | default(inputs.reel) }}", after=("reel",)),
            stage("book", after=("scene", "reel"), each="job"),
        )
    )
    bucket.make(*all_of(0))
    prints = bucket.stand().job.stages[2].fingerprints
    assert len({*prints, ""}) == 4
    bucket.make(*all_of(2))
    standing = bucket.stand({(1, 0)})
    assert standing.inputs(standing.job.unit(3, 0)) == {
        "scene": [InputRef(stage="scene", item=str(n), fingerprint=prints[n]) for n in range(3)],
        "reel": [],
    }


def test_a_look_that_finds_nothing_new_answers_with_the_same_job() -> None:
    bucket = Bucket(film())
    assert bucket.stand().job is bucket.resolved
    bucket.make(*all_of(CLIP))
    first = bucket.stand().job
    assert first is not bucket.resolved
    assert bucket.stand().job is first
    # The two ways to ask do not push each other out of what is remembered.
    del bucket.done[first.unit(CLIP, 1).fingerprint]
    other = stand(bucket.resolved, bucket.done).job
    assert other is not first
    assert bucket.stand({(CLIP, 1)}).job is other
    bucket.make((CLIP, 1))
    assert bucket.stand().job is first
    bucket.done.clear()
    assert bucket.stand().job is bucket.resolved


def scenes(prompts: list[str]) -> ResolvedJob:
    """A film of these prompts whose scenes are told apart by their place."""
    items = [{"id": f"scene-{number}", "params": {"prompt": prompt}} for number, prompt in enumerate(prompts)]
    spec = {
        "items": {"list": items},
        "stages": [
            stage("image", "{{ item.prompt }}"),
            stage("clip", "{{ inputs.image }}", after=("image",)),
            stage("reel", "{{ inputs.clip }}", after=("clip",), each="job"),
        ],
    }
    return resolve("studio", "reel", JobSpec.model_validate(spec))


def finished(resolved: ResolvedJob) -> Bucket:
    bucket = Bucket(resolved)
    for each in resolved.order:
        bucket.make(*((each.index, unit.item) for unit in each.units))
    return bucket


@given(st.lists(st.text(max_size=3), min_size=1, max_size=15), st.data())
def test_an_edit_makes_the_units_of_the_items_that_changed_and_the_reel(before: list[str], data: st.DataObject) -> None:
    after = list(before)
    for number in data.draw(st.sets(st.sampled_from(range(len(before))), max_size=3)):
        after[number] = data.draw(st.text(max_size=3))
    changed = {number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    bucket = finished(scenes(before))
    bucket.resolved = scenes(after)
    made: set[UnitKey] = set()
    while missing := {
        (unit.stage, unit.item)
        for unit in bucket.stand().job.units()
        if unit.fingerprint and (unit.stage, unit.item) not in bucket.stand().outcomes
    }:
        bucket.make(*missing)
        made |= missing
    assert made == {(part, number) for part in (IMAGE, CLIP) for number in changed} | (
        {(REEL, 0)} if changed else set()
    )


@st.composite
def jobs(draw: st.DrawFn) -> ResolvedJob:
    stages: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 5))):
        names = [each["name"] for each in stages]
        after = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
        each = draw(st.sampled_from(["item", "job"])) if after else "item"
        chained = each == "item" and draw(st.booleans())
        args = [f"{{{{ inputs.{name} }}}}" for name in after] + ["{{ inputs.previous | default('') }}"] * chained
        stages.append(stage(f"s{index}", *args, after=tuple(after), each=each))
    return job(*draw(st.permutations(stages)), items=draw(st.integers(1, 4)))


def expected(resolved: ResolvedJob, done: dict[str, DoneUnit], failed: set[UnitKey] | None) -> dict[UnitKey, Outcome]:
    """The rules of `stand` once more, one unit at a time and without any memory."""
    found: dict[UnitKey, Outcome] = {}
    prints: dict[UnitKey, str] = {}
    now = stand(resolved, done, failed).job
    for each in now.order:
        for unit in each.units:
            key = (each.index, unit.item)
            if each.gathers:
                up = [(i, u.item) for i in each.after for u in now.stages[i].units]
                over = all(k in found or (failed is not None and k in failed) for k in up)
                empty = over and all(found.get(k) is not GENERATED for k in up) and key not in (failed or ())
            else:
                up = [(i, 0 if now.stages[i].gathers else unit.item) for i in each.after]
                up += [(each.index, unit.item - 1)] if unit.previous else []
                empty = any(found.get(k, GENERATED) is not GENERATED for k in up)
            prints[key] = unit.fingerprint
            if unit.fingerprint in done:
                found[key] = done[unit.fingerprint].outcome
            elif empty:
                found[key] = SKIPPED
            settled = all(k in found or failed is None or k in failed for k in up)
            if each.gathers:
                assert bool(unit.fingerprint) == (settled and any(found.get(k) is GENERATED for k in up))
            else:
                assert bool(unit.fingerprint) == all(prints[k] for k in up)
    return found


@settings(max_examples=150, deadline=None)
@given(jobs(), st.data())
def test_whatever_happens_units_stand_by_the_rules(resolved: ResolvedJob, data: st.DataObject) -> None:
    done: dict[str, DoneUnit] = {}
    failed: set[UnitKey] = set()
    for _ in range(data.draw(st.integers(0, 12))):
        units = [unit for unit in stand(resolved, done, failed).job.units() if unit.fingerprint]
        unit: Unit = data.draw(st.sampled_from(units))
        match data.draw(st.sampled_from([GENERATED, GENERATED, SKIPPED, FILTERED, "fail", "retry", "lose"])):
            case Outcome() as outcome:
                done[unit.fingerprint] = DoneUnit(outcome)
            case "fail":
                failed.add((unit.stage, unit.item))
            case "retry":
                failed.discard((unit.stage, unit.item))
            case _:
                done.pop(unit.fingerprint, None)
        for said in (failed, None):
            standing = stand(resolved, done, said)
            assert standing.outcomes == expected(resolved, done, said)
            # What was found out earlier changes no answer.
            fresh = stand(replace(resolved), done, said)
            assert (fresh.outcomes, fresh.members) == (standing.outcomes, standing.members)
            assert fresh.job == standing.job
            for each in standing.job.units():
                if each.fingerprint and (each.stage, each.item) in standing.outcomes:
                    for refs in standing.inputs(each).values():
                        for ref in refs if isinstance(refs, list) else [refs]:
                            assert len(ref.fingerprint) == 64


def test_a_job_of_a_hundred_thousand_units_is_looked_at_in_a_moment() -> None:
    resolved = job(stage("clip"), items=100_000)
    done = {unit.fingerprint: DoneUnit(GENERATED) for unit in resolved.units()}
    stand(resolved, done, set())
    began = time.perf_counter()
    assert len(stand(resolved, done, set()).outcomes) == 100_000
    # 20 ms on an idle machine; the bound is for a busy one.
    assert time.perf_counter() - began < 1
