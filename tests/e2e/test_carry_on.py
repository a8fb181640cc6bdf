"""The promise, end to end: kill anything, start again, and only what is missing is made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_store import Store, open_store
from plane import Plane, needs_kubectl, units_done, until
from reels import begun_units, contents_hold, film, finished, held_from, reel, scenes, stage, versions


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that the programs of a test wait for."""
    return tmp_path / "gate"


@pytest.fixture
def own_plane(tmp_path: Path) -> Iterator[Plane]:
    """A control plane of its own, which the test may kill."""
    made = Plane(tmp_path / "plane").start()
    yield made
    made.kill()


def store_of(plane: Plane) -> Store:
    return open_store(StoreConfig(uri=plane.output.as_uri()))


def wait_for_progress(plane: Plane, name: str, units: int) -> None:
    plane.wait_for(name, lambda job: units_done(job) >= units)


def wait_for_phase(plane: Plane, name: str, phase: str, seconds: float = 60) -> None:
    plane.wait_for(name, lambda job: (job.get("status") or {}).get("phase") == phase, seconds)


def test_a_reel_killed_at_nine_of_fifteen_makes_exactly_six_more(own_plane: Plane, gate: Path) -> None:
    job = reel("reel", script=held_from(9, gate))
    own_plane.apply(job)
    wait_for_progress(own_plane, "reel", 9)
    own_plane.kill()
    store = store_of(own_plane)
    before = finished(store, job)
    assert len(before) == 9

    gate.touch()
    own_plane.start()
    wait_for_phase(own_plane, "reel", "Succeeded")
    after = finished(store, job)
    assert len(after) == 15
    assert {at: after[at].objects for at in before} == {at: before[at].objects for at in before}, "made again"
    assert all(contents_hold(store, at, unit.done) for at, unit in after.items())
    status = own_plane.get("reel")["status"]
    assert status["progress"] == "15/15"
    assert status["counters"]["failures"] == 0, "a machine that goes down is not the job's fault"


@needs_kubectl
def test_suspend_frees_the_machine_and_resume_finishes_the_rest(plane: Plane, gate: Path) -> None:
    job = reel("freed", script=held_from(9, gate))
    plane.apply(job)
    wait_for_progress(plane, "freed", 9)
    plane.kubectl("patch", "gj", "freed", "--type", "merge", "-p", '{"spec":{"suspend":true}}')
    plane.kubectl("wait", "--for=condition=Suspended", "gj/freed", "--timeout=30s")
    until(lambda: plane.pods("freed") == [])  # They have ended; their objects go a moment later.
    status = plane.get("freed")["status"]
    assert status["phase"] == "Suspended"
    assert status["progress"] == "9/15"
    before = finished(store_of(plane), job)
    assert len(before) == 9

    gate.touch()
    plane.kubectl("patch", "gj", "freed", "--type", "merge", "-p", '{"spec":{"suspend":false}}')
    plane.kubectl("wait", "--for=condition=Finished", "gj/freed", "--timeout=60s")
    after = finished(store_of(plane), job)
    assert len(after) == 15
    assert {at: after[at].objects for at in before} == {at: before[at].objects for at in before}
    counters = plane.get("freed")["status"]["counters"]
    assert (counters["suspensions"], counters["resumes"], counters["failures"]) == (1, 1, 0)


def test_an_artifact_deleted_by_hand_is_made_again_and_only_that_one(own_plane: Plane, gate: Path) -> None:
    """Nobody looks at the whole bucket until the job would end."""
    job = reel("reel", clips=9, script=held_from(4, gate))
    own_plane.apply(job)
    wait_for_progress(own_plane, "reel", 4)
    store = store_of(own_plane)
    before = finished(store, job)
    lost = sorted(before)[0]
    store.delete(lost + before[lost].done.artifacts[0].key)

    gate.touch()
    wait_for_phase(own_plane, "reel", "Succeeded")
    after = finished(store, job)
    assert len(after) == 9
    assert after[lost].done.artifacts[0].sha256 != before[lost].done.artifacts[0].sha256, "the generator is random"
    untouched = set(before) - {lost}
    assert {at: after[at].objects for at in untouched} == {at: before[at].objects for at in untouched}


def test_a_worker_from_before_a_partition_changes_nothing_when_it_wakes(
    plane: Plane, gate: Path, tmp_path: Path
) -> None:
    job = reel("partitioned", clips=1, script=held_from(0, gate))
    plane.apply(job)
    until(lambda: bool(plane.pods("partitioned")))
    (pod,) = plane.pods("partitioned")
    (tmp_path / "scratch").mkdir()
    assigned = next(e["value"] for e in pod["spec"]["containers"][0]["env"] if e["name"] == names.ENV_ASSIGNMENT)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        names.ENV_ASSIGNMENT: assigned,
        names.ENV_SCRATCH: str(tmp_path / "scratch"),
        names.ENV_TERMINATION_LOG: str(tmp_path / "last-words"),
        names.ENV_BIND: "127.0.0.9",
    }
    cut_off = subprocess.Popen([sys.executable, "-m", "carryon_worker"], env=environment)
    try:
        program = _wait_for_child(cut_off.pid)
        cut_off.send_signal(signal.SIGSTOP)
        os.kill(program, signal.SIGSTOP)
        gate.touch()
        wait_for_phase(plane, "partitioned", "Succeeded")
        store = store_of(plane)
        before = finished(store, job)
        os.kill(program, signal.SIGCONT)
        cut_off.send_signal(signal.SIGCONT)
        assert cut_off.wait(timeout=30) == 0
    finally:
        cut_off.kill()
    after = finished(store, job)
    assert {at: unit.objects for at, unit in after.items()} == {at: unit.objects for at, unit in before.items()}
    assert all(contents_hold(store, at, unit.done) for at, unit in after.items())


def _wait_for_child(parent: int) -> int:
    """PID of the program that a worker runs."""
    path = Path(f"/proc/{parent}/task/{parent}/children")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for task in Path(f"/proc/{parent}/task").iterdir():
            children = (task / "children").read_text().split()
            if children:
                return int(children[0])
        time.sleep(0.02)
    raise AssertionError(f"no program appeared in {path}")


def test_a_unit_that_always_fails_never_stops_the_other_fourteen(plane: Plane) -> None:
    script = (
        'if [ "$CARRYON_ITEM" = 7 ]; then echo "no such scene: 7" >&2; exit 3; fi; '
        + "echo x > $CARRYON_OUTPUT/clip.txt"
    )
    job = reel("stubborn", script=script, retry={"perUnit": 2, "rounds": 0, "backoff": {"initial": "1s"}})
    plane.apply(job)
    wait_for_phase(plane, "stubborn", "Failed")
    status = plane.get("stubborn")["status"]
    units = {"total": 15, "succeeded": 14, "failed": 1, "active": 0, "remaining": 0, "outcomes": {"generated": 14}}
    assert status["units"] == units
    assert status["stages"][0]["failed"] == "7"
    assert status["stages"][0]["failures"] == {"2": "7"}
    failure = status["recentFailures"][0]
    assert (failure["stage"], failure["unit"], failure["reason"], failure["attempt"]) == ("clip", "7", "ExitCode", 2)
    assert "no such scene: 7" in failure["message"]
    assert "no such scene: 7" in status["message"]
    assert status["resume"]["possible"]
    assert status["resume"]["action"] == "correct what made them fail, then: carryon resume stubborn (1 remaining)"
    assert len(finished(store_of(plane), job)) == 14


def test_two_stages_run_item_by_item(plane: Plane) -> None:
    draw = {
        "name": "image",
        "generate": {"command": {"args": ["sh", "-ec", 'echo "$CARRYON_ITEM" > "$CARRYON_OUTPUT/image.txt"']}},
    }
    film = {
        "name": "clip",
        "after": ["image"],
        "generate": {
            "command": {"args": ["sh", "-ec", 'cat "$1" "$1" > "$CARRYON_OUTPUT/clip.txt"', "sh", "{{ inputs.image }}"]}
        },
    }
    job = reel("pairs", clips=3)
    job["spec"]["stages"] = [draw, film]
    plane.apply(job)
    wait_for_phase(plane, "pairs", "Succeeded")
    store = store_of(plane)
    clips = {
        unit.done.item: store.get(at + unit.done.artifacts[0].key)
        for at, unit in finished(store, job).items()
        if unit.done.stage == "clip"
    }
    assert clips == {"0": b"0\n0\n", "1": b"1\n1\n", "2": b"2\n2\n"}


def test_a_film_killed_in_the_middle_makes_nothing_again_that_is_done(own_plane: Plane, begun: Path) -> None:
    job = film("film", begun, items={"list": scenes(20)}, unitsPerPod=3)
    own_plane.apply(job)
    wait_for_progress(own_plane, "film", 7)
    own_plane.kill()
    before, begun_before = versions(own_plane.job_folder("film")), Counter(begun_units(begun))
    assert 7 <= len(before) < 41

    own_plane.start()
    wait_for_phase(own_plane, "film", "Succeeded")
    begun_since = Counter(begun_units(begun)) - begun_before
    assert not set(begun_since) & set(before)
    after = versions(own_plane.job_folder("film"))
    assert len(after) == 41
    assert {unit: after[unit] for unit in before} == before
    assert after["reel/job"][0].text.splitlines() == [f"clip of prompt {number}" for number in range(20)]


WAITING = 'while [ ! -e "$1" ]; do sleep 0.1; done; echo clip > "$CARRYON_OUTPUT/clip.txt"'


def test_an_operator_that_is_killed_disturbs_no_clip_and_counts_none_twice(
    own_plane: Plane, begun: Path, tmp_path: Path
) -> None:
    """It dies while clips are being made, and they end while it is away; one of them badly."""
    job = reel("reel", retry={"perUnit": 2, "rounds": 0, "backoff": {"initial": "1s"}})
    script = f'if [ "$CARRYON_ITEM" = 1 ] && [ "$(grep -c clip/1 {begun})" = 1 ]; then exit 3; fi'
    job["spec"].update(items={"count": 4}, stages=[stage("clip", begun, f"{WAITING}; {script}", f"{tmp_path}/go")])
    own_plane.apply(job)
    until(lambda: len(begun_units(begun)) == 3)
    own_plane.component("operator").kill()
    (tmp_path / "go").touch()
    wait_for_phase(own_plane, "reel", "Succeeded")
    assert Counter(begun_units(begun)) == {"clip/0": 1, "clip/1": 2, "clip/2": 1, "clip/3": 1}
    counters = own_plane.get("reel")["status"]["counters"]
    assert {cause: count for cause, count in counters.items() if count} == {"failures": 1}


def test_a_node_that_dies_costs_no_attempt(own_plane: Plane, begun: Path, tmp_path: Path) -> None:
    job = reel("reel", retry={"perUnit": 1, "rounds": 0})
    job["spec"].update(items={"count": 3}, stages=[stage("clip", begun, WAITING, f"{tmp_path}/go")])
    own_plane.apply(job)
    until(lambda: len(begun_units(begun)) == 3)
    own_plane.component("node").kill()
    until(lambda: len(begun_units(begun)) == 6)
    (tmp_path / "go").touch()
    wait_for_phase(own_plane, "reel", "Succeeded")
    assert Counter(begun_units(begun)) == {f"clip/{item}": 2 for item in range(3)}
    counters = own_plane.get("reel")["status"]["counters"]
    assert {cause: count for cause, count in counters.items() if count} == {"disruptions": 3}


def test_appending_clips_extends_a_finished_reel(plane: Plane) -> None:
    job = reel("grown", clips=2, seconds=0.1)
    plane.apply(job)
    wait_for_phase(plane, "grown", "Succeeded")
    before = finished(store_of(plane), job)
    job["spec"]["items"]["count"] = 4
    plane.patch("grown", {"spec": {"items": {"count": 4}}})
    plane.wait_for("grown", lambda found: found["status"].get("progress") == "4/4", 60)
    after = finished(store_of(plane), job)
    assert {at: after[at].objects for at in before} == {at: unit.objects for at, unit in before.items()}


@needs_kubectl
def test_deleting_a_job_ends_its_pods_and_keeps_its_clips(plane: Plane) -> None:
    job = reel("gone", clips=6, seconds=1)
    plane.apply(job)
    wait_for_progress(plane, "gone", 2)
    plane.kubectl("delete", "gj", "gone", "--timeout=30s")
    until(lambda: plane.pods("gone") == [])
    assert len(finished(store_of(plane), job)) >= 2
