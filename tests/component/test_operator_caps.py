"""The operator's own caps, with the real reconciler and several jobs on one API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from carryon_kube.errors import Unavailable
from carryon_operator.plan.shares import Caps
from carryon_store import open_store
from fake_apiserver import Fault, eventually
from making import make, resolved
from reconciling import SPEC, World, world


def add(w: World, name: str, **spec: Any) -> str:
    w.server.put(
        names.PLURAL,
        name,
        apiVersion=names.API_VERSION,
        kind=names.KIND,
        metadata={"generation": 1},
        spec={**SPEC, **spec},
        status={},
    )
    return f"default/{name}"


async def reconcile(w: World, *keys: str) -> None:
    for key in keys:
        w.now += 2
        w.ticks += 2
        w.jobs.observe(json.loads(json.dumps(w.server.objects[f"{names.PLURAL}/{key}"])))
        await w.reconciler.reconcile(key)
        await eventually(lambda: {pod.name for pod in w.pods} == {p["metadata"]["name"] for p in w.ours()})


def of(w: World, key: str) -> int:
    name = key.rpartition("/")[2]
    return sum(pod["metadata"]["labels"][names.LABEL_JOB] == name for pod in w.going())


def told(w: World, key: str, kind: str) -> tuple[str, str]:
    conditions = w.server.objects[f"{names.PLURAL}/{key}"]["status"]["conditions"]
    (found,) = [each for each in conditions if each["type"] == kind]
    return found["reason"], found["message"]


async def test_a_job_that_finds_no_room_says_so_and_is_woken_when_a_pod_ends(tmp_path: Path) -> None:
    async with world(tmp_path / "out", caps=Caps(3)) as w:
        first, second = add(w, "first"), add(w, "second")
        await reconcile(w, first, second)
        assert (of(w, first), of(w, second)) == (3, 0)
        full = "the operator runs at most 3 pods, and other jobs have taken the rest"
        assert told(w, second, "Progressing") == ("WaitingForTurn", f"waits for its turn: {full}")
        assert w.server.objects[f"{names.PLURAL}/{second}"]["status"]["message"].endswith(full)
        assert w.rung == []

        await w.seen(*w.end("0", code=11))
        await eventually(lambda: second in w.rung)
        await reconcile(w, first)
        assert of(w, first) == 2, "the slot is the other's, who holds fewer"
        await reconcile(w, second)
        assert (of(w, first), of(w, second)) == (2, 1)


async def test_no_job_has_more_pods_than_the_cap_for_each(tmp_path: Path) -> None:
    async with world(tmp_path / "out", caps=Caps(pods_per_job=2)) as w:
        first, second = add(w, "first"), add(w, "second", parallelism=1)
        await reconcile(w, first, second, first)
        assert (of(w, first), of(w, second)) == (2, 1)
        assert told(w, first, "Progressing") == (
            "Working",
            "at work: 2 units; more could start: the operator runs at most 2 pods of one job",
        )


@pytest.mark.parametrize(
    "fault",
    [
        Fault(403, "POST", message='pods "x" is forbidden: exceeded quota: gpus', path="/pods"),
        Fault(422, "POST", message='Pod "x" is invalid: spec', path="/pods"),
    ],
)
async def test_a_job_whose_pods_are_refused_leaves_its_slots_to_others(tmp_path: Path, fault: Fault) -> None:
    async with world(tmp_path / "out", caps=Caps(2)) as w:
        first, second = add(w, "first"), add(w, "second")
        w.server.faults.append(fault)
        await reconcile(w, first)
        await reconcile(w, second)
        assert (of(w, first), of(w, second)) == (0, 2)


async def test_a_create_whose_answer_was_lost_holds_its_slot(tmp_path: Path) -> None:
    async with world(tmp_path / "out", caps=Caps(1)) as w:
        first, second = add(w, "first"), add(w, "second")
        w.server.faults += [Fault(0, "POST", path="/pods")] * 4
        with pytest.raises(Unavailable):
            await reconcile(w, first)
        await reconcile(w, second)
        assert of(w, second) == 0, "nobody knows yet whether there is one"
        await reconcile(w, first)
        assert of(w, first) == 0, "there is none after all, and who failed waits behind the others"
        await eventually(lambda: second in w.rung)
        await reconcile(w, second)
        assert of(w, second) == 1


async def test_pods_that_run_are_left_alone_when_a_higher_priority_comes(tmp_path: Path) -> None:
    async with world(tmp_path / "out", caps=Caps(2)) as w:
        low, high = add(w, "low"), add(w, "high", priority=10)
        await reconcile(w, low, high, low, high)
        assert (of(w, low), of(w, high)) == (2, 0)
        assert w.server.requests("DELETE") == []
        await w.seen(*w.end("0", code=11), *w.end("1", code=11))
        await reconcile(w, low, high)
        assert (of(w, low), of(w, high)) == (0, 2)


async def test_a_job_that_is_deleted_waits_for_nothing(tmp_path: Path) -> None:
    async with world(tmp_path / "out", caps=Caps(1)) as w:
        first, second = add(w, "first"), add(w, "second")
        await reconcile(w, first, second)
        assert w.slots.waiting == 2
        w.jobs.remove(w.server.objects[f"{names.PLURAL}/{second}"])
        await w.reconciler.reconcile(second)
        assert w.slots.waiting == 1


async def test_a_job_whose_turn_needs_a_look_at_its_whole_bucket_keeps_its_place(tmp_path: Path) -> None:
    async with world(tmp_path / "out", caps=Caps(1)) as w:
        reel = {"name": "reel", "each": "job", "after": ["clip"], "generate": {"command": {"args": ["join"]}}}
        gathers = {"items": {"count": 1}, "stages": [*SPEC["stages"], reel]}
        first = add(w, "first", **gathers)
        await reconcile(w, first)
        second, third = add(w, "second", items={"count": 1}), add(w, "third", items={"count": 1})
        await reconcile(w, second)
        assert w.config.default_store is not None
        job = resolved({"metadata": {"name": "first"}, "spec": {**SPEC, **gathers}})
        make(open_store(w.config.default_store), job, tmp_path, 0, {"a.txt": (b"made", "text/plain")})
        await w.seen(*w.end(code=0))
        await reconcile(w, first, third, second)
        assert [of(w, key) for key in (first, second, third)] == [0, 1, 0]

        await w.seen(*w.end(code=11))
        await reconcile(w, first)
        assert [of(w, key) for key in (first, second, third)] == [1, 0, 0], "it has waited longer than the third"
        (pod,) = w.going()
        assert pod["metadata"]["labels"][names.LABEL_STAGE] == "reel"
