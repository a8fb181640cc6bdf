"""What operator and worker tell each other."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from carryon_core.done import Done, Misfit, Outcome
from carryon_core.messages import (
    TERMINATION_LONGEST,
    Assignment,
    AssignmentPointer,
    ExitCode,
    InputRef,
    StoreConfig,
    Termination,
    UnitOutcome,
    UnitReport,
)

SHA = "0123456789abcdef" * 4
texts = st.one_of(
    st.text(max_size=40),
    # Control characters and those beyond 16 bits take 6 and 12 bytes each in escaped JSON.
    st.builds(str.__mul__, st.sampled_from(["\U0001f600", "\x00", '"', "\\", "é", "x"]), st.integers(0, 6000)),
)
reports = st.builds(
    UnitReport,
    index=st.integers(0, 100_000),
    outcome=st.sampled_from(UnitOutcome),
    reason=st.one_of(st.text(string.ascii_letters, max_size=30), texts),
    message=texts,
    permanent=st.booleans(),
)
terminations = st.builds(
    Termination,
    reason=texts,
    message=texts,
    units=st.one_of(st.lists(reports, max_size=5), st.lists(reports).map(lambda few: few * 100)),
)


@given(terminations)
@example(Termination(reason="\U0001f600" * 5000, message="\x00" * 5000))
@example(Termination(reason="Crash", units=[UnitReport(index=i, outcome=UnitOutcome.FAILED) for i in range(2000)]))
def test_a_termination_message_is_always_json_that_kubernetes_does_not_cut(said: Termination) -> None:
    text = said.encode()
    assert len(text.encode()) <= TERMINATION_LONGEST
    read = Termination.model_validate_json(text)
    assert said.reason.startswith(read.reason)
    assert said.message.startswith(read.message)
    told = {(report.index, report.outcome, report.permanent, report.reason) for report in said.units}
    assert {(report.index, report.outcome, report.permanent, report.reason) for report in read.units} <= told


def test_a_short_message_says_everything() -> None:
    said = Termination(
        reason="SomeFailed",
        message="2 of 3",
        units=[
            UnitReport(index=0, outcome=UnitOutcome.DONE),
            UnitReport(index=1, outcome=UnitOutcome.FAILED, reason="Crash", message="exit 1", permanent=True),
            UnitReport(index=2, outcome=UnitOutcome.NOT_STARTED),
        ],
    )
    assert Termination.model_validate_json(said.encode()) == said


def test_failures_are_kept_longer_than_what_the_bucket_knows() -> None:
    done = [UnitReport(index=i, outcome=UnitOutcome.DONE, message="x" * 50) for i in range(200)]
    failed = [UnitReport(index=i, outcome=UnitOutcome.FAILED, reason="Crash") for i in range(200, 210)]
    read = Termination.model_validate_json(Termination(reason="SomeFailed", units=done + failed).encode())
    assert [report.index for report in read.units] == list(range(200, 210))


def test_a_reader_of_today_understands_a_writer_of_tomorrow() -> None:
    said = {"reason": "Done", "units": [{"index": 0, "outcome": "done", "seconds": 3}], "worker": "2.0"}
    assert Termination.model_validate(said).units[0].outcome is UnitOutcome.DONE


def test_words_of_tomorrow_spoil_nothing_of_a_message() -> None:
    """A reader of today would lose the whole termination message to one word that it does not know."""
    unit = {"index": 0, "outcome": "lent", "durable": True, "saved": 3.5, "misfit": "moon", "refused": "another moon"}
    (read,) = Termination.model_validate({"reason": "Done", "units": [unit]}).units
    assert (read.outcome, read.misfit) == (UnitOutcome.NOT_STARTED, None)
    assert (read.durable, read.saved, read.refused) == (True, 3.5, "another moon")


@pytest.mark.parametrize("wrong", [7, None, ["done"]])
def test_what_is_no_word_at_all_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Termination.model_validate({"reason": "Done", "units": [{"index": 0, "outcome": wrong}]})


def test_an_outcome_of_tomorrow_without_artifacts_counts_as_skipped() -> None:
    told = {"stage": "clip", "item": "a", "fingerprint": SHA, "seed": 1, "finished": "2027-01-01T00:00:00Z"}
    assert Done.model_validate({**told, "artifacts": [], "outcome": "postponed"}).outcome is Outcome.SKIPPED


def test_exit_codes_are_those_of_the_contract() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "SOME_FAILED": 10,
        "INTERRUPTED": 11,
        "BAD_REQUEST": 12,
        "OUT_OF_MEMORY": 13,
        "STALLED": 14,
        "UNIT_TIMEOUT": 15,
    }


def assignment() -> Assignment:
    return Assignment.model_validate(
        {
            "namespace": "studio",
            "job": "reel",
            "stage": "clip",
            "attempt": 2,
            "store": {"uri": "s3://bucket"},
            "unitTimeoutSeconds": 60,
            "stallSeconds": None,
            "units": [
                {
                    "index": 3,
                    "item": "dünen",
                    "fingerprint": SHA,
                    "seed": 2**63 - 1,
                    "generate": {"command": {"args": ["make", {"$input": {"stage": "image", "name": None}}]}},
                    "inputs": {
                        "image": {"stage": "image", "item": "dünen", "fingerprint": SHA},
                        "clip": [{"stage": "clip", "item": "a", "fingerprint": SHA}],
                        "none": [],
                    },
                }
            ],
        }
    )


def test_an_assignment_survives_the_way_to_the_worker() -> None:
    text = assignment().model_dump_json(by_alias=True)
    read = Assignment.model_validate_json(text)
    assert read == assignment()
    assert isinstance(read.units[0].inputs["image"], InputRef)
    assert read.units[0].inputs["clip"] == [InputRef(stage="clip", item="a", fingerprint=SHA)]
    assert json.loads(text)["stallSeconds"] is None


def test_a_watch_that_is_off_stays_off_where_nulls_are_left_out() -> None:
    text = assignment().model_dump_json(by_alias=True, exclude_none=True)
    assert Assignment.model_validate_json(text) == assignment()


def test_an_assignment_without_units_is_refused() -> None:
    with pytest.raises(ValidationError, match="units"):
        Assignment.model_validate({**assignment().model_dump(by_alias=True), "units": []})


def test_a_pointer_is_told_from_an_assignment() -> None:
    pointer = AssignmentPointer(key="studio/reel/_assignments/x.json", sha256=SHA, store=StoreConfig(uri="s3://b"))
    text = pointer.model_dump_json(by_alias=True)
    assert AssignmentPointer.model_validate_json(text) == pointer
    with pytest.raises(ValidationError):
        Assignment.model_validate_json(text)
    with pytest.raises(ValidationError):
        AssignmentPointer.model_validate_json(assignment().model_dump_json(by_alias=True))


@pytest.mark.parametrize("digest", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(ValidationError, match="sha256"):
        AssignmentPointer(key="k", sha256=digest, store=StoreConfig(uri="s3://b"))


def test_a_done_json_survives_reading_by_an_older_reader() -> None:
    done = Done(
        fingerprint=SHA,
        stage="clip",
        item="dunes",
        artifacts=[{"name": "c.mp4", "key": "c.0.mp4", "size": 1, "sha256": SHA}],
        seed=1,
        finished="2026-01-01T00:00:00Z",
    )
    grown = {**done.model_dump(by_alias=True), "journal": {"segments": 3}}
    assert Done.model_validate(grown) == done


def test_a_refusal_is_said_and_cut_where_there_is_no_room() -> None:
    refused = "CheckpointNotResumable: " + "x" * 900
    fields: dict[str, Any] = {"outcome": UnitOutcome.INTERRUPTED, "saved": 12.5, "lost": 3.25, "refused": refused}
    one = Termination(reason="Interrupted", units=[UnitReport(index=0, misfit=Misfit.LIBRARY, **fields)])
    assert Termination.model_validate_json(one.encode()) == one
    many = Termination(reason="Interrupted", units=[UnitReport(index=i, ended="y" * 900, **fields) for i in range(12)])
    text = many.encode()
    assert len(text.encode()) <= TERMINATION_LONGEST
    read = Termination.model_validate_json(text)
    assert [(each.index, each.saved, each.lost) for each in read.units] == [(i, 12.5, 3.25) for i in range(12)]
