"""What a job's bucket and files say: stages that gather, input files, late looks, and buckets that do not answer."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from carryon_core import layout
from carryon_core.done import Outcome
from carryon_core.messages import StoreConfig
from carryon_core.resolve import ResolvedJob
from carryon_core.standing import DoneUnit, Standing, stand
from carryon_operator.config import Config
from carryon_operator.plan.model import Observation
from carryon_operator.plan.rest import is_over
from desk import CLIPS, REEL, Desk, desk, pod

FILM: dict[str, Any] = {
    "items": {"list": [{"id": each, "params": {"prompt": each}} for each in ("dunes", "sea", "sky")]},
    "stages": [
        CLIPS,
        REEL,
        {
            "name": "poster",
            "after": ["reel"],
            "generate": {"command": {"args": ["poster", "{{ inputs.reel }}", "{{ item.id }}"]}},
        },
    ],
}
DAY = 86400.0 + 1


@pytest.fixture
async def d(store_config: StoreConfig) -> AsyncIterator[Desk]:
    root = PurePosixPath("/") if store_config.uri.startswith("file:") else None
    async with desk(Config(default_store=store_config, file_root=root)) as made:
        yield made


@pytest.fixture
async def f(file_config: StoreConfig) -> AsyncIterator[Desk]:
    """A desk with folders only."""
    async with desk(Config(default_store=file_config, file_root=PurePosixPath("/"))) as made:
        yield made


def job(seen: Observation) -> ResolvedJob:
    assert seen.problem is None
    assert seen.outage is None
    assert seen.resolved is not None
    return seen.resolved


def standing(seen: Observation) -> Standing:
    return stand(job(seen), seen.done)


# Stages that gather.


async def test_a_sweep_finds_what_gathers_and_what_comes_after_it(d: Desk) -> None:
    d.write(**FILM)
    seen = await d.look()
    d.publish(job(seen), (0, 0), (0, 1), (0, 2))
    d.publish(standing(await d.look(sweep=True)).job, (1, 0), (2, 1))
    seen = await d.look(sweep=True)
    assert standing(seen).outcomes.keys() == {(0, 0), (0, 1), (0, 2), (1, 0), (2, 1)}
    reel = standing(seen).job.unit(1, 0)
    found = seen.done[reel.fingerprint]
    assert replace(found, finished=0.0) == DoneUnit(Outcome.GENERATED, "pod-0", 2.5)
    assert found.finished > 0
    assert seen.swept
    d.restart()
    assert (await d.look()).done == seen.done


async def test_a_reel_counts_only_for_the_clips_it_was_made_from(d: Desk) -> None:
    d.write(**FILM)
    resolved = job(await d.look())
    d.publish(resolved, (0, 0), (0, 1))
    of_two = standing(await d.look(sweep=True)).job
    d.publish(of_two, (1, 0))
    assert (1, 0) in standing(await d.look(sweep=True)).outcomes
    d.publish(resolved, (0, 2))
    seen = await d.look(sweep=True)
    assert (1, 0) not in standing(seen).outcomes, "a straggler makes it anew"
    d.lose(resolved, 0, 2)
    seen = await d.look(sweep=True)
    assert (1, 0) in standing(seen).outcomes
    assert seen.invalid.keys() == {resolved.unit(0, 2).fingerprint}


async def test_the_units_of_pods_that_ended_are_looked_at_those_that_gather_too(d: Desk) -> None:
    d.write(**FILM)
    resolved = job(await d.look())
    clips = pod(resolved, (0, 0), (0, 1), (0, 2))
    await d.look(pods=[clips])
    d.publish(resolved, (0, 0), (0, 1), (0, 2))
    assert not (await d.look(pods=[clips])).done, "the pod is still at it"
    seen = await d.look(pods=[replace(clips, phase="Succeeded")])
    assert standing(seen).outcomes.keys() == {(0, 0), (0, 1), (0, 2)}
    assert not seen.swept
    whole = standing(seen).job
    reel = pod(whole, (1, 0), uid="pod-2")
    await d.look(pods=[reel])
    d.publish(whole, (1, 0))
    seen = await d.look(pods=[])
    assert (1, 0) in standing(seen).outcomes, "a pod that vanished may have finished before"
    poster = pod(standing(seen).job, (2, 2), uid="pod-3")
    await d.look(pods=[poster])
    d.publish(standing(seen).job, (2, 2))
    assert (2, 2) in standing(await d.look(pods=[replace(poster, phase="Failed")])).outcomes


async def test_a_pod_of_units_that_are_wanted_otherwise_now_is_of_no_interest(d: Desk) -> None:
    d.write(**FILM)
    before = job(await d.look())
    old = pod(before, (0, 0), (0, 1))
    await d.look(pods=[old])
    d.publish(before, (0, 0), (0, 1))
    d.write(items={"list": [{"id": "dunes", "params": {"prompt": "another"}}, FILM["items"]["list"][1]]})
    seen = await d.look(pods=[replace(old, phase="Succeeded")])
    assert standing(seen).outcomes.keys() == {(0, 1)}
    odd = replace(old, uid="pod-9", phase="Failed", stage="gone", units=("dunes", "no such item"))
    assert standing(await d.look(pods=[odd])).outcomes.keys() == {(0, 1)}


async def test_units_that_made_nothing_are_done(d: Desk) -> None:
    d.write(**FILM)
    resolved = job(await d.look())
    d.publish(resolved, (0, 0), outcome=Outcome.SKIPPED)
    d.publish(resolved, (0, 1), outcome=Outcome.FILTERED)
    seen = await d.look(sweep=True)
    assert dict(standing(seen).outcomes) == {(0, 0): Outcome.SKIPPED, (0, 1): Outcome.FILTERED}


async def test_many_units_of_one_pod_cost_one_listing(f: Desk) -> None:
    f.write(items={"count": 40}, stages=[{"name": "clip", "generate": {"command": {"args": ["x"]}}}])
    resolved = job(await f.look())
    units = [(0, item) for item in range(30)]
    working = pod(resolved, *units)
    await f.look(pods=[working])
    f.publish(resolved, *units)
    assert len((await f.look(pods=[replace(working, phase="Succeeded")])).done) == 30


# Files.


def with_photos(d: Desk, *names: str) -> None:
    items = [{"id": name, "params": {"prompt": name, "photo": {"file": d.uri(f"in/{name}.png")}}} for name in names]
    stage = {"name": "clip", "generate": {"command": {"args": ["animate", "{{ item.photo }}"]}}}
    d.write(items={"list": items}, stages=[stage])


def fingerprints(seen: Observation) -> list[str]:
    return [unit.fingerprint for unit in job(seen).units()]


async def test_a_file_that_changed_makes_only_its_units_again(d: Desk) -> None:
    for name in ("dunes", "sea"):
        d.put(f"in/{name}.png", name.encode())
    with_photos(d, "dunes", "sea")
    before = await d.look()
    d.publish(job(before), (0, 0), (0, 1))
    d.put("in/sea.png", b"another sea")
    assert fingerprints(await d.look()) == fingerprints(before), "files are looked at with the whole bucket"
    seen = await d.look(sweep=True)
    assert fingerprints(seen)[0] == fingerprints(before)[0]
    assert fingerprints(seen)[1] != fingerprints(before)[1]
    assert standing(seen).outcomes.keys() == {(0, 0)}
    d.put("in/sea.png", b"sea")
    assert fingerprints(await d.look(sweep=True)) == fingerprints(before)


async def test_a_file_that_was_never_there_is_missing_until_it_is(d: Desk) -> None:
    d.put("in/dunes.png", b"dunes")
    with_photos(d, "dunes", "sea")
    seen = await d.look()
    assert [unit.missing for unit in job(seen).units()] == ["", d.uri("in/sea.png")]
    d.put("in/sea.png", b"sea")
    seen = await d.look(sweep=True)
    assert [unit.missing for unit in job(seen).units()] == ["", ""]


async def test_a_file_that_vanished_unmakes_nothing(d: Desk) -> None:
    d.put("in/dunes.png", b"dunes")
    with_photos(d, "dunes")
    before = await d.look()
    d.publish(job(before), (0, 0))
    d.remove("in/dunes.png")
    for restarted in (False, True):
        if restarted:
            d.restart()
        seen = await d.look(sweep=True)
        assert fingerprints(seen) == fingerprints(before)
        assert standing(seen).outcomes.keys() == {(0, 0)}


async def test_a_file_is_read_once_and_after_a_restart_not_again(f: Desk, file_config: StoreConfig) -> None:
    uri = f.put("in/dunes.png", b"dunes")
    with_photos(f, "dunes")
    before = await f.look()
    assert json.loads(f.store.get(layout.files_key("ns", "film"))).keys() == {uri}
    path = Path(uri.removeprefix("file://"))
    then = path.stat().st_mtime_ns
    path.write_bytes(b"other")  # Nothing but the content tells that: whoever reads the file would see it.
    os.utime(path, ns=(then, then))
    assert fingerprints(await f.look(sweep=True)) == fingerprints(before)
    f.restart()
    assert fingerprints(await f.look()) == fingerprints(before)
    f.store.put(layout.files_key("ns", "film"), b"damaged", content_type="")
    f.restart()
    assert fingerprints(await f.look()) != fingerprints(before)


async def test_many_files_of_one_folder_are_found_by_a_listing(d: Desk) -> None:
    names = [f"photo {number}" for number in range(120)]
    for name in names[:-1]:
        d.put(f"in/{name}.png", name.encode())
    with_photos(d, *names)
    seen = await d.look()
    assert [unit.missing for unit in job(seen).units()] == [""] * 119 + [d.uri("in/photo 119.png")]


async def test_a_file_that_a_job_may_not_read_is_refused(moto_config: StoreConfig) -> None:
    async with desk(Config(default_store=moto_config)) as d:
        item = {"id": "dunes", "params": {"photo": {"file": f"{moto_config.uri}/another/x.png"}}}
        stage = {"name": "clip", "generate": {"command": {"args": ["animate", "{{ item.photo }}"]}}}
        d.write(items={"list": [item]}, stages=[stage])
        for _ in range(2):
            seen = await d.look()
            assert seen.problem is not None
            assert seen.problem[0] == "SourceNotAllowed"
        d.write(items={"count": 1}, stages=[{"name": "clip", "generate": {"command": {"args": ["x"]}}}])
        assert job(await d.look()).total == 1


# Late looks at jobs that are over.


async def over(d: Desk) -> Observation:
    """A film whose sky was filtered, all made and over."""
    d.write(**FILM)
    resolved = job(await d.look())
    d.publish(resolved, (0, 0), (0, 1))
    d.publish(resolved, (0, 2), outcome=Outcome.FILTERED)
    d.publish(standing(await d.look(sweep=True)).job, (1, 0))
    d.publish(standing(await d.look(sweep=True)).job, (2, 0), (2, 1), (2, 2))
    seen = await d.look(sweep=True)
    assert len(standing(seen).outcomes) == 7
    d.report(seen, ended=True)
    return seen


async def test_a_late_look_finds_all_that_is_there(d: Desk) -> None:
    await over(d)
    seen = await d.look()
    assert is_over(seen)
    assert seen.lost is None
    assert d.memory.known.resting
    assert d.observer.wakes_in(seen, d.memory) == pytest.approx(86400.0)
    for _ in range(2):
        seen = await d.look(later=DAY)
        assert is_over(seen)
        assert seen.lost == 0
        assert d.memory.known.resting
        assert d.memory.store is None


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_late_look_counts_what_is_gone_and_the_job_stays_over(d: Desk, restarted: bool) -> None:
    made = standing(await over(d)).job
    d.lose(made, 0, 0)
    d.store.delete(made.prefix(made.unit(2, 1)) + layout.DONE)
    if restarted:
        d.restart()
    assert (await d.look()).lost is None, "it is not asked for at once"
    for _ in range(2):
        seen = await d.look(later=DAY)
        assert is_over(seen)
        assert seen.lost == 2, "and not the reel that was made from the clip"
    assert (await d.look()).lost == 2, "until somebody looks again"
    d.publish(made, (0, 0), (2, 1))
    assert (await d.look(later=DAY)).lost == 0


async def test_a_resume_finds_out_anew_what_a_late_look_missed(d: Desk) -> None:
    made = standing(await over(d)).job
    d.lose(made, 0, 0)
    assert (await d.look(later=DAY)).lost is None
    assert (await d.look(later=DAY)).lost == 1
    d.write(annotations={"carryon.dev/resume-requested-at": "now"})
    seen = await d.look()
    assert not is_over(seen)
    assert seen.lost is None
    assert (0, 0) not in standing(seen).outcomes
    assert seen.invalid.keys() == {made.unit(0, 0).fingerprint}


async def test_where_a_lifecycle_rule_took_everything_all_is_lost(d: Desk) -> None:
    d.write(items={"from": {"uri": d.put("in/x.csv", b"id,prompt\ndunes,x\nsea,y\n"), "format": "csv"}})
    resolved = job(await d.look())
    d.publish(resolved, (0, 0), (0, 1))
    d.report(await d.look(sweep=True), ended=True)
    for info in list(d.store.list("ns/film/")):
        d.store.delete(info.key)
    await d.look()
    seen = await d.look(later=DAY)
    assert is_over(seen)
    assert seen.lost == 2


async def test_a_late_look_that_gets_no_answer_says_nothing_and_is_repeated_within_the_hour(
    moto_config: StoreConfig,
) -> None:
    async with desk(Config(default_store=moto_config)) as d:
        await over(d)
        d.raw["spec"]["output"] = {"uri": "s3://no-such-bucket/x", "endpoint": moto_config.endpoint}
        d.config = replace(d.config, ambient_credentials=True, default_store=None)
        d.config = replace(d.config, file_root=PurePosixPath("/"))
        d.restart()
        await d.look()
        seen = await d.look(later=DAY)
        assert is_over(seen)
        assert seen.outage is None
        assert seen.lost is None
        wait = d.observer.wakes_in(seen, d.memory)
        assert wait is not None
        assert 3500 < wait <= 3600


async def test_a_job_that_is_over_is_not_looked_into_after_a_restart(f: Desk, file_config: StoreConfig) -> None:
    await over(f)
    f.restart()
    f.raw["spec"]["stages"] = "no longer understood, and never resolved again"
    f.raw["spec"] = {**FILM}
    seen = await f.look()
    assert is_over(seen)
    assert f.memory.look is None


# What else an observation holds.


async def test_pods_would_be_made_otherwise_after_an_edit_of_what_they_are_made_with(f: Desk) -> None:
    f.write(**FILM)
    before = await f.look()
    assert before.templates.keys() == {"clip", "reel", "poster"}
    assert (await f.look()).templates == before.templates
    f.write(stages=[{**CLIPS, "nodeSelector": {"gpu": "a100"}}, *FILM["stages"][1:]])
    seen = await f.look()
    assert seen.templates["clip"] != before.templates["clip"]
    assert seen.templates["reel"] == before.templates["reel"]


async def test_what_a_pod_template_sets_in_vain_is_a_warning(f: Desk) -> None:
    f.write(**FILM, podTemplate={"spec": {"restartPolicy": "Always"}})
    seen = await f.look()
    assert job(seen)
    assert any("restartPolicy" in warning for warning in seen.warnings)


async def test_a_spec_that_cant_be_resolved_is_told_without_looking_at_the_bucket_again(d: Desk) -> None:
    d.write(**{**FILM, "stages": [{"name": "clip", "generate": {"command": {"args": ["{{ item.promt }}"]}}}]})
    seen = await d.look()
    assert seen.problem is not None
    assert seen.problem[0] == "InvalidTemplate"
    look = d.memory.look
    assert (await d.look()).problem == seen.problem
    assert d.memory.look is look
    d.write(**FILM)
    assert job(await d.look()).total == 7


async def test_a_look_that_goes_on_after_nobody_waits_for_it_is_the_only_one(moto_config: StoreConfig) -> None:
    away = moto_config.model_copy(update={"endpoint": "http://127.0.0.1:1"})
    async with desk(Config(default_store=away)) as d:
        d.longest = 0.05
        d.restart()
        d.write(**FILM)
        seen = await d.look()
        assert seen.outage is not None
        look = d.memory.look
        d.write(suspend=True)
        seen = await d.look()
        assert seen.outage is not None
        assert seen.spec is not None
        assert seen.spec.suspend
        assert d.memory.look is look
        assert look is not None
        await asyncio.wait([look], timeout=60)


@pytest.mark.parametrize(
    "damage",
    [
        {"succeeded": "0-3"},
        {"failed": "5-2"},
        {"skipped": "7"},
        {"failures": {"-1": "0"}},
        {"fruitless": {"2": "0,9"}},
        {"permanent": "3-1"},
        {"permanent": "0-999999999"},
        {"active": [{"pod": "p", "uid": "u", "units": "oops", "attempt": 1, "since": "2026-11-21T08:00:00Z"}]},
        {"succeeded": 7},
    ],
)
async def test_a_status_that_somebody_damaged_counts_as_lost(f: Desk, damage: dict[str, Any]) -> None:
    seen = await over(f)
    f.raw["status"]["stages"][0].update(damage)
    after = await f.look()
    assert not is_over(after)
    assert after.status.stages == []
    assert after.done == seen.done


async def test_a_counter_below_zero_is_damage_and_a_phase_of_another_version_is_none(f: Desk) -> None:
    await over(f)
    f.raw["status"]["phase"] = "Finalizing"
    after = await f.look()
    assert is_over(after)
    assert (after.status.phase, len(after.status.stages)) == (None, len(f.raw["status"]["stages"]))
    f.raw["status"]["counters"] = {"round": -1}
    assert (await f.look()).status.stages == []


async def test_a_job_without_an_output_waits_for_the_default_stores_keys(moto_config: StoreConfig) -> None:
    async with desk(Config(default_store=moto_config, default_store_secret="house")) as d:
        d.write(items={"list": [{"id": "dunes", "params": {"prompt": "sand"}}]})
        seen = await d.look()
        assert seen.problem is not None
        reason, message = seen.problem
        assert reason == "SecretNotFound"
        assert message.startswith('the operator\'s default store needs its keys: there is no Secret "house"')
        key = base64.b64encode(b"house").decode()
        data = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": key}
        d.server.put("secrets", "house", namespace="ns", data=data)
        seen = await d.look(later=60.0)
        assert seen.problem is None
        assert d.memory.keys is not None
        assert d.memory.keys.access_key_id == "house"
