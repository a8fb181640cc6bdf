"""What can be done to a job, and when: every state times every action, and what the actions send."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core import action_table, names, requests
from carryon_core.action_table import NOW, Situation
from carryon_core.actions import Action, Verdict, verdict, verdicts
from carryon_core.phases import Phase
from carryon_core.ranges import IndexSet
from carryon_core.spec import JobSpec
from carryon_core.status import ConditionType, JobStatus, StageStatus

AT = "2026-10-01T00:00:00.000000Z"
AHEAD = "2026-12-01T06:00:00Z"
SITUATIONS = {situation.title: situation for situation in action_table.table()}

# resume, pause, restart, cancel, retry, redo, approve, edit, delete: Yes, no, already.
MATRIX = {
    "Pending": "a Y n Y n Y n Y Y",
    "Stalled, the spec can't be carried out": "n Y n Y n n n Y Y",
    "Running": "a Y Y Y n Y n Y Y",
    "Running, 2 units failed for good": "a Y Y Y Y Y n Y Y",
    "Running, restart and retry asked for": "a Y a Y a Y n Y Y",
    "Stalled, limits.gpuSeconds reached": "n Y n Y n n n Y Y",
    "Running, spec.parallelism 0": "n Y n Y n Y n Y Y",
    "Retrying": "a Y n Y n Y n Y Y",
    "Stalled, no room for its pods": "n Y Y Y n Y n Y Y",
    "Stalled, artifacts vanished": "Y Y n Y n Y n Y Y",
    "AwaitingApproval": "n Y n Y n Y Y Y Y",
    "AwaitingApproval, everything approved meanwhile": "a Y n Y n Y a Y Y",
    "Suspending": "Y a n Y n Y n Y Y",
    "Suspended": "Y a n Y n Y n Y Y",
    "Suspended until a time": "Y Y n Y Y Y n Y Y",
    "Suspended, limits.resumes reached": "n a n Y n Y n Y Y",
    "Suspended, resume asked for": "a Y n Y n Y n Y Y",
    "Succeeded": "n n n n n Y n Y Y",
    "Succeeded, artifacts missing": "Y n n n n Y n Y Y",
    "Succeeded, 2 units failed within success.minPercent": "Y n n n Y Y n Y Y",
    "Failed": "Y n n n Y Y n Y Y",
    "Failed, resume asked for": "a n n n a Y n Y Y",
    "Failed, timeouts.job is over": "Y n n n n Y n Y Y",
    "Running, cancel asked for": "Y n n a n n n Y Y",
    "Cancelled": "Y n n a n n n Y Y",
    "Being deleted": "n n n n n n n n a",
}


def letter(made: Verdict) -> str:
    return "Y" if made.possible else "a" if made.already else "n"


def test_every_action_has_its_verdict_in_every_state() -> None:
    made = {title: " ".join(map(letter, each.verdicts().values())) for title, each in SITUATIONS.items()}
    assert made == MATRIX


def test_every_phase_is_in_the_table() -> None:
    assert {situation.phase for situation in SITUATIONS.values()} == set(Phase)


def test_the_written_table_is_what_the_chains_say() -> None:
    written = Path(__file__).parents[2] / "docs/reference/actions.md"
    assert written.read_text(encoding="utf-8") == action_table.render()


@pytest.mark.parametrize("title", SITUATIONS)
def test_every_verdict_says_why_and_what_to_do(title: str) -> None:
    for action, made in SITUATIONS[title].verdicts().items():
        assert made.reason, action
        assert not made.reason.endswith("."), action
        assert made.label, action
        assert not (made.possible and made.already), action
        assert made.action or not made.possible, action


def says(title: str, action: Action) -> tuple[str, str]:
    made = SITUATIONS[title].verdicts()[action]
    return made.reason, made.label


def test_sentences_and_buttons_name_the_numbers() -> None:
    assert says("Suspended", Action.RESUME) == ("suspended; 9 units done, which are kept", "Resume (6 remaining)")
    assert says("Failed", Action.RETRY) == ("2 units failed for good: retry gives them 3 attempts", "Retry failed (2)")
    assert says("Succeeded", Action.RESUME) == ("every unit is done: nothing is left to resume", "Resume")
    assert says("Failed, timeouts.job is over", Action.RESUME)[0] == (
        "spec.timeouts.job (2h) is over; 9 units done, which are kept"
    )
    assert says("Succeeded, 2 units failed within success.minPercent", Action.RESUME)[0] == (
        "2 units failed for good; 13 units done, which are kept"
    )
    assert says("Suspended, limits.resumes reached", Action.RESUME)[0] == (
        "limits.resumes is reached (3 of 3): raise it"
    )
    assert says("Failed, resume asked for", Action.RESUME)[0] == "asked already, waiting for the operator"
    assert says("Running", Action.RESTART)[1] == "Restart (3 active)"
    assert says("AwaitingApproval", Action.APPROVE) == (
        "6 units of stage clip wait until spec.approved.clip names their items", "Approve clip",
    )  # fmt: skip


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def patches(situation: Situation) -> dict[Action, dict[str, Any]]:
    return {
        Action.RESUME: requests.resume(situation.spec, AT),
        Action.PAUSE: requests.pause(situation.spec),
        Action.RESTART: requests.restart(AT),
        Action.CANCEL: requests.cancel(),
        Action.RETRY: requests.retry({"clip": IndexSet([7])}, AT),
        Action.APPROVE: requests.approve(situation.spec, "clip", ["*"]),
    }


def after(situation: Situation, patch: Mapping[str, Any]) -> tuple[JobSpec, dict[str, str]]:
    """Spec and annotations once a patch was taken."""
    spec = merged(situation.spec.model_dump(by_alias=True, mode="json", exclude_none=True), patch.get("spec", {}))
    return JobSpec.model_validate(spec), merged(situation.annotations, patch.get("metadata", {}).get("annotations", {}))


@pytest.mark.parametrize("title", SITUATIONS)
def test_what_was_asked_for_is_not_asked_for_again(title: str) -> None:
    situation = SITUATIONS[title]
    for action, patch in patches(situation).items():
        if not situation.verdicts()[action].possible:
            continue
        spec, annotations = after(situation, patch)
        # A change of the spec is a new generation, which the operator has not seen.
        generation = 2 if "spec" in patch else 1
        again = verdict(action, spec, situation.status, annotations, generation=generation, now=NOW)
        assert again.already, (action, again)


@pytest.mark.parametrize("title", SITUATIONS)
def test_a_request_that_was_handled_may_be_made_again(title: str) -> None:
    situation = SITUATIONS[title]
    asked = {names.ANNOTATION_RESUME: AT, names.ANNOTATION_RESTART: AT, names.ANNOTATION_RETRY: AT}
    handled = situation.status.model_copy(
        update={"handled": situation.status.handled.model_copy(update={"resume": AT, "restart": AT, "retry": AT})}
    )
    for action in Action:
        with_echo = verdict(action, situation.spec, handled, asked, generation=1, now=NOW)
        without = verdict(action, situation.spec, situation.status, {}, generation=1, now=NOW)
        assert with_echo == without, action


REASONS = {
    ConditionType.STALLED: ["ArtifactsVanished", "Unschedulable"],
    ConditionType.FAILED: ["UnitsFailed", "JobTimeout"],
    ConditionType.SUSPENDED: ["Suspended", "Suspending"],
}


@st.composite
def jobs(draw: st.DrawFn) -> tuple[JobSpec, JobStatus, dict[str, str], dict[str, Any]]:
    """Jobs in states that can be and in states that can't: status may be old, half there, or by another version."""
    claims = [
        {"type": kind, "status": draw(st.sampled_from(["True", "False", "Unknown"])), "lastTransitionTime": AT,
         "reason": draw(st.sampled_from(REASONS.get(kind, ["Other"]))), "message": draw(st.sampled_from(["", "why"]))}
        for kind in draw(st.lists(st.sampled_from(list(ConditionType)), unique=True))
    ]  # fmt: skip
    few = st.integers(0, 3)
    status = {
        "observedGeneration": draw(few),
        "conditions": claims,
        "units": {name: draw(few) for name in ("total", "succeeded", "failed", "active", "remaining")},
        "counters": {"resumes": draw(few)},
        "gpuSeconds": {"useful": draw(few), "lost": draw(few)},
        "handled": draw(st.fixed_dictionaries({}, optional=dict.fromkeys(("resume", "restart", "retry"), st.just(AT)))),
    }
    requests_made = dict.fromkeys(
        (names.ANNOTATION_RESUME, names.ANNOTATION_RESTART, names.ANNOTATION_RETRY),
        st.sampled_from(["", AT, "clip/7", "x" * 300]),
    )
    asks = draw(st.booleans())
    given = {
        "items": {"count": 3},
        "stages": [
            {"name": "clip", "generate": {"command": {"args": ["x"]}}, "approval": "Required" if asks else None}
        ],
        "suspend": draw(st.booleans()),
        "suspendUntil": draw(st.sampled_from([None, AHEAD, AT])),
        "cancel": draw(st.booleans()),
        "parallelism": draw(few),
        "limits": {"resumes": draw(st.none() | few), "gpuSeconds": draw(st.none() | st.integers(1, 3))},
        "approved": draw(st.sampled_from([{}, {"clip": ["*"]}, {"clip": ["0"]}])) if asks else {},
    }
    seen = {"generation": draw(st.none() | few), "now": draw(st.none() | st.just(NOW)), "deleting": draw(st.booleans())}
    annotations = draw(st.fixed_dictionaries({}, optional=requests_made))
    return JobSpec.model_validate(given), JobStatus.model_validate(status), annotations, seen


@given(jobs())
def test_whatever_a_job_looks_like_every_verdict_is_a_sentence(
    job: tuple[JobSpec, JobStatus, dict[str, str], dict[str, Any]],
) -> None:
    given_spec, status, annotations, seen = job
    made = verdicts(given_spec, status, annotations, **seen)
    assert list(made) == list(Action)
    for each in made.values():
        assert each.reason
        assert each.label
        assert not (each.possible and each.already)
        assert each.action or not each.possible
    if not status.units.active:
        assert not made[Action.RESTART].possible
    if not status.units.failed:
        assert not made[Action.RETRY].possible
    most = given_spec.limits.resumes
    if most is not None and status.counters.resumes >= most:
        assert not made[Action.RESUME].possible
    if given_spec.suspend or given_spec.cancel:
        assert not made[Action.PAUSE].possible


def test_a_pause_after_a_request_to_resume_can_be_resumed() -> None:
    paused = SITUATIONS["Suspended"]
    asked = {names.ANNOTATION_RESUME: AT}
    assert verdict(Action.RESUME, paused.spec, paused.status, asked).possible


def test_a_time_that_has_passed_suspends_nothing() -> None:
    situation = SITUATIONS["Suspended until a time"]
    for now, possible in ((NOW, True), (NOW + 3e7, False)):
        made = verdict(Action.RESUME, situation.spec, situation.status, {}, generation=2, now=now)
        assert made.possible is possible


def test_without_a_clock_a_time_counts_as_the_operator_saw_it() -> None:
    situation = SITUATIONS["Suspended until a time"]
    assert verdict(Action.RESUME, situation.spec, situation.status, {}).possible
    unseen = JobStatus.model_validate({"units": {"total": 15}})
    assert not verdict(Action.RESUME, situation.spec, unseen, {}).possible


def test_an_edit_that_the_operator_has_not_seen_reopens_a_job() -> None:
    done = SITUATIONS["Succeeded"]
    assert not verdict(Action.PAUSE, done.spec, done.status, {}, generation=1).possible
    assert verdict(Action.PAUSE, done.spec, done.status, {}, generation=2).possible


def test_deleting_says_what_becomes_of_artifacts() -> None:
    situation = SITUATIONS["Running"]
    given = {**situation.spec.model_dump(by_alias=True, exclude_none=True)}
    given["output"] = {"uri": "s3://bucket/clips", "onDelete": "Delete"}
    made = verdict(Action.DELETE, JobSpec.model_validate(given), situation.status, {})
    assert made.reason == "its pods stop, and its artifacts are deleted with it (output.onDelete)"


def spec(**more: Any) -> JobSpec:
    stages = [{"name": "clip", "generate": {"command": {"args": ["true"]}}}]
    return JobSpec.model_validate({"items": {"count": 15}, "stages": stages, **more})


def test_resuming_takes_a_time_away_only_where_there_is_one() -> None:
    assert requests.resume(spec(), AT)["spec"] == {"suspend": False, "cancel": False}
    assert requests.resume(spec(suspendUntil=AHEAD), AT)["spec"]["suspendUntil"] is None
    assert requests.pause(spec(suspendUntil=AHEAD)) == {"spec": {"suspend": True, "suspendUntil": None}}
    assert requests.pause(spec(suspend=True), AHEAD) == {"spec": {"suspend": False, "suspendUntil": AHEAD}}


def test_redo_changes_one_override_and_keeps_the_others() -> None:
    other = {"stage": "clip", "item": "3", "params": {"seed": 1}}
    before = spec(overrides=[other, {"stage": "clip", "item": "7", "params": {"seed": 2, "prompt": "rain"}}])
    made = requests.redo(before, "clip", "7", {"seed": 5})["spec"]["overrides"]
    assert made == [other, {"stage": "clip", "item": "7", "params": {"seed": 5, "prompt": "rain"}}]
    more = requests.redo(before, "clip", "8", {"seed": 9})["spec"]["overrides"]
    assert more == [
        *(each.model_dump() for each in before.overrides),
        {"stage": "clip", "item": "8", "params": {"seed": 9}},
    ]


def test_approvals_are_added_to_those_that_are_there() -> None:
    before = spec(approved={"clip": ["a"]})
    assert requests.approve(before, "clip", ["b", "a", "b"]) == {"spec": {"approved": {"clip": ["a", "b"]}}}
    assert requests.approve(before, "clip", ["c", "*"]) == {"spec": {"approved": {"clip": ["*"]}}}


UNITS = st.dictionaries(
    st.sampled_from(["image", "clip", "reel"]), st.frozensets(st.integers(0, 99), min_size=1).map(IndexSet), min_size=1
)


@given(UNITS)
def test_units_are_read_as_they_were_named(units: dict[str, IndexSet]) -> None:
    assert requests.named_units(f"{requests.name_units(units)}@{AT}") == units


def test_a_unit_that_gathers_may_be_named_by_its_id() -> None:
    assert requests.named_units("reel/job") == requests.named_units("reel/0") == {"reel": IndexSet([0])}
    with pytest.raises(ValueError, match="such as clip/7"):
        requests.named_units("clip")


def test_scattered_failures_are_retried_by_their_whole_range() -> None:
    few = JobStatus(stages=[StageStatus(name="clip", total=99, failed="7,9-11")])
    assert requests.all_failed(few, AT) == requests.retry({"clip": IndexSet([7, 9, 10, 11])}, AT)
    scattered = str(IndexSet(range(1, 1000, 2)))
    many = JobStatus(stages=[StageStatus(name="clip", total=1000, failed=scattered)])
    made = requests.all_failed(many, AT)["metadata"]["annotations"][names.ANNOTATION_RETRY]
    assert made == f"clip/1-999@{AT}"
    with pytest.raises(ValueError, match="too many to name"):
        requests.retry({"clip": IndexSet.parse(scattered)}, AT)


def test_what_failed_upstream_of_a_unit_is_retried_with_it() -> None:
    def stage(name: str, *after: str, each: str = "item") -> dict[str, Any]:
        return {"name": name, "after": after, "each": each, "generate": {"command": {"args": ["true"]}}}

    film = spec(
        stages=[stage("image"), stage("clip", "image"), stage("reel", "clip", each="job"), stage("post", "reel")]
    )
    failed = {"image": IndexSet([7]), "clip": IndexSet([5, 7]), "reel": IndexSet([0])}

    def chosen(**units: int) -> dict[str, str]:
        asked = {name: IndexSet([index]) for name, index in units.items()}
        return {name: str(indexes) for name, indexes in requests.with_upstream(film, failed, asked).items()}

    assert chosen(clip=7) == {"image": "7", "clip": "7"}
    assert chosen(clip=5) == {"clip": "5"}
    assert chosen(image=7) == {"image": "7"}
    assert chosen(reel=0) == {"image": "7", "clip": "5,7", "reel": "0"}
    assert chosen(post=3) == {"image": "7", "clip": "5,7", "reel": "0", "post": "3"}
