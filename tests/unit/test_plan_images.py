"""A unit goes on with the image that began it: a deploy that brings a new worker costs no step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from carryon_core.messages import ExitCode, Termination
from carryon_core.status import IMAGES_SHOWN, ConditionType, JobStatus
from carryon_operator.plan.decide import decide
from carryon_operator.plan.images import PATIENCE
from carryon_operator.plan.model import Kept, Waiting
from worlds import World, condition, job_spec, waiting

OLD, NEW = (f"registry/worker@sha256:{digit * 64}" for digit in "ab")
DIGESTS = {"worker:1": OLD, "worker:2": NEW}


def world(**fields: Any) -> World:
    made = World(spec=job_spec(**{"items": {"count": 3}, "parallelism": 3, **fields}), digests=dict(DIGESTS))
    made.settle()
    return made


def left(made: World, *items: int, image: str = "worker:1", device: str = "", journal: bool = True) -> None:
    """Attempts have left something of these units."""
    for item in items:
        made.kept[made.fingerprint(0, item)] = Kept(made.now, journal=journal, image=image, device=device)


def deploy(made: World, image: str = "worker:2") -> None:
    """A new worker becomes today's, and every pod is killed."""
    made.image = image
    for pod in made.working():
        made.end(pod, 137, disrupted=True)
    made.now += 60
    made.settle()


def at_work(made: World) -> dict[str, str]:
    """Units -> image of the pod that is at them."""
    return {",".join(pod.units): pod.image for pod in made.working() if pod.gone_by is None}


def test_after_a_deploy_units_with_a_journal_keep_their_image_and_the_others_get_the_new_one() -> None:
    made = world()
    assert made.status.stages[0].images == {OLD: "0-2"}
    left(made, 0, 2)
    deploy(made)
    assert at_work(made) == {"0": OLD, "1": "worker:2", "2": OLD}
    assert made.status.stages[0].images == {OLD: "0,2", NEW: "1"}


def test_an_image_is_kept_through_a_pause_in_which_all_pods_are_gone() -> None:
    made = world()
    left(made, 1)
    made.edit(suspend=True)
    made.settle()
    for pod in made.working():
        made.end(pod, 11)
    made.settle()
    assert made.pods == {}
    assert made.status.stages[0].images == {OLD: "1"}, "what nothing is left of gets today's"
    made.image = "worker:2"
    made.edit(suspend=False)
    made.settle()
    assert at_work(made) == {"0": "worker:2", "1": OLD, "2": "worker:2"}


def test_what_a_program_keeps_is_no_reason_for_an_old_image() -> None:
    made = world()
    left(made, 0, journal=False)
    deploy(made)
    assert set(at_work(made).values()) == {"worker:2"}


@pytest.mark.parametrize(
    ("image", "got"), [("worker:1", "worker:1"), ("worker:2", "worker:2"), ("", "worker:2"), (OLD, OLD)]
)
def test_where_status_is_lost_the_journal_says_which_image_began_it(image: str, got: str) -> None:
    made = world()
    for pod in made.working():
        made.vanish(pod)
    made.status = JobStatus()
    made.image = "worker:2"
    left(made, 1, image=image)
    made.settle()
    assert at_work(made)["1"] == got


def test_units_of_one_pod_have_one_image() -> None:
    made = world(items={"count": 6}, unitsPerPod=3, parallelism=2)
    left(made, 0, 3)
    deploy(made)
    assert at_work(made) == {"0": OLD, "1,2": "worker:2"}


def test_a_kill_without_a_deploy_costs_no_further_pods() -> None:
    made = world(items={"count": 3}, unitsPerPod=3, parallelism=1)
    left(made, 1)
    deploy(made, "worker:1")
    assert at_work(made) == {"0,1,2": OLD}


def test_a_unit_that_is_made_of_something_else_now_gets_the_new_image() -> None:
    made = world()
    left(made, 0)
    made.image = "worker:2"
    stage = {"name": "clip", "revision": "2", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
    made.edit(stages=[stage])
    made.settle()
    for pod in made.working():
        made.end(pod, 11)
    made.settle()
    assert set(at_work(made).values()) == {"worker:2"}


def unpulled(made: World, reason: str, message: str = "") -> None:
    """The pods that are to go on with the old image wait for it."""
    for name, pod in made.pods.items():
        if pod.pinned:
            state = Waiting(reason, message, made.now)
            made.pods[name] = replace(pod, phase="Pending", started=None, image_id="", waiting=state)


def test_a_worker_that_began_a_unit_and_is_too_old_to_go_on_costs_no_attempt() -> None:
    """The operator was upgraded, and now asks for what only its own release's worker knows."""
    made = world(items={"count": 1}, retry={"perUnit": 1, "rounds": 0})
    left(made, 0)
    deploy(made)
    assert at_work(made) == {"0": OLD}
    refusal = Termination(reason="WorkerTooOld", message="this worker carries out ...").encode()
    for pod in made.working():
        made.end(pod, ExitCode.BAD_REQUEST, message=refusal)
    made.now += 60
    made.settle()
    assert at_work(made) == {"0": "worker:2"}
    assert made.status.counters.failures == 0
    assert made.status.stages[0].images == {NEW: "0"}


def test_todays_worker_that_is_too_old_fails_its_units_for_good_and_says_why() -> None:
    made = world(items={"count": 1})
    refusal = Termination(reason="WorkerTooOld", message="this worker carries out ...").encode()
    for pod in made.working():
        made.end(pod, ExitCode.BAD_REQUEST, message=refusal)
    made.settle()
    assert made.working() == []
    (failure,) = made.status.recent_failures
    assert (failure.reason, failure.message) == ("WorkerTooOld", "this worker carries out ...")
    assert condition(made, ConditionType.FAILED).status == "True"


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ImagePullBackOff", 'Back-off pulling image: rpc error: code = NotFound desc = failed: worker: not found"'),
        ("ErrImagePull", "manifest unknown: manifest unknown"),
        ("ErrImagePull", "repository does not exist or may require authorization"),
        ("ErrImageNeverPull", ""),
        ("InvalidImageName", ""),
    ],
)
def test_where_the_old_image_is_gone_the_unit_gets_the_new_one_at_once(reason: str, message: str) -> None:
    made = world(items={"count": 1})
    left(made, 0)
    deploy(made)
    unpulled(made, reason, message)
    made.settle()
    for pod in made.working():
        made.end(pod, None)
    made.settle()
    assert at_work(made) == {"0": "worker:2"}
    assert made.events.count("BeganImageUnavailable") == 1
    assert 'stage "clip", item "0": the image that began it can\'t be had any more' in " ".join(made.told)
    # The old one is not asked for again, although its journal is still there.
    for pod in made.working():
        made.vanish(pod)
    made.settle()
    made.now += 60
    made.settle()
    assert at_work(made) == {"0": NEW}


def test_a_registry_that_is_away_for_a_while_costs_no_step() -> None:
    made = world(items={"count": 1})
    left(made, 0)
    deploy(made)
    unpulled(made, "ErrImagePull", "dial tcp: i/o timeout")
    plan = made.settle()
    (pod,) = made.working()
    assert pod.gone_by is None
    assert condition(made, ConditionType.STALLED).reason == "ErrImagePull"
    assert plan.wake_at == made.now + PATIENCE
    made.now += PATIENCE
    made.settle()
    assert [each.gone_by is None for each in made.working()] == [False]


def test_an_image_that_was_loaded_by_hand_is_asked_for_by_its_name() -> None:
    """A node that never pulled it does not know it by digest."""
    made = world(items={"count": 1})
    left(made, 0)
    deploy(made, "worker:1")
    assert at_work(made) == {"0": OLD}
    unpulled(made, "ErrImagePull", "dial tcp: no route to host")
    made.settle()
    for pod in made.working():
        made.end(pod, None)
    made.settle()
    assert at_work(made) == {"0": "worker:1"}


def test_pods_that_wait_for_todays_image_are_not_the_rules_affair() -> None:
    made = world(items={"count": 1})
    waiting(made, "ErrImagePull", "not found")
    made.settle()
    assert [pod.gone_by for pod in made.working()] == [None]
    assert "BeganImageUnavailable" not in made.events


def test_a_kubelet_that_knows_no_digest_pins_nothing() -> None:
    made = World(spec=job_spec(items={"count": 1}))
    made.settle()
    left(made, 0)
    deploy(made, "worker:1")
    assert at_work(made) == {"0": "worker:1"}
    assert made.status.stages[0].images == {}


def test_the_gpu_that_a_journal_was_computed_on_is_asked_for() -> None:
    made = world(items={"count": 2}, parallelism=2)
    left(made, 1, device="NVIDIA L4, 8.9, 58 SM")
    for pod in made.working():
        made.end(pod, 137, disrupted=True)
    made.now += 60
    plan = decide(made.observe())
    assert [(wanted.items, wanted.device) for wanted in plan.create] == [((0,), ""), ((1,), "NVIDIA L4, 8.9, 58 SM")]


def test_what_status_remembers_is_bounded_and_moves_with_the_items() -> None:
    made = World(spec=job_spec(items={"list": [{"id": each} for each in "abcdefghijkl"]}, parallelism=12))
    made.settle()
    for number, pod in enumerate(made.working()):
        made.pods[pod.name] = replace(pod, image_id=f"worker@sha256:{number:064x}")
    made.settle()
    assert len(made.status.stages[0].images) == IMAGES_SHOWN
    (first,) = [image for image, items in made.status.stages[0].images.items() if items == "0"]
    left(made, 0)
    made.edit(items={"list": [{"id": each} for each in "zabcdefghijkl"]})
    made.settle()
    assert made.status.stages[0].images[first] == "1"


def test_what_is_done_is_remembered_no_more() -> None:
    made = world()
    made.run()
    assert made.status.stages[0].images == {}
    assert all(not pod.pinned for pod in made.pods.values())
