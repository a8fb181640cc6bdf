"""What a service's answers mean: tables."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core.hosted import Poll
from carryon_worker.failures import UnitFailure
from carryon_worker.generators import http_answers
from carryon_worker.generators.http_answers import State, Verdict
from carryon_worker.generators.submission import Record, Stand, Submission

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
POLL = Poll(url="https://host/jobs/{id}", progress="/progress")


@pytest.mark.parametrize(
    ("status", "means"),
    [
        (200, Verdict.TAKEN),
        (202, Verdict.TAKEN),
        (307, Verdict.REFUSED),
        (400, Verdict.REFUSED),
        (401, Verdict.REFUSED),
        (404, Verdict.REFUSED),
        (408, Verdict.UNKNOWN),
        (409, Verdict.UNKNOWN),
        (429, Verdict.AGAIN),
        (500, Verdict.UNKNOWN),
        (501, Verdict.REFUSED),
        (502, Verdict.UNKNOWN),
        (503, Verdict.AGAIN),
        (529, Verdict.UNKNOWN),
    ],
)
def test_a_status_says_whether_to_ask_again(status: int, means: Verdict) -> None:
    assert http_answers.verdict(status) is means


@pytest.mark.parametrize(
    ("retry_after", "at_least"),
    [
        (None, 0.0),
        ("7", 7.0),
        ("0", 0.0),
        ("Sat, 21 Nov 2026 12:02:00 GMT", 120.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
    ],
)
def test_a_wait_is_never_shorter_than_the_service_asks_for(retry_after: str | None, at_least: float) -> None:
    waited = http_answers.wait(1, retry_after, NOW, random.Random(0))
    assert max(at_least, 0.5) <= waited <= max(at_least, 1.0)


@given(st.integers(1, 10_000), st.integers())
def test_waits_grow_and_end_at_a_minute(tries: int, seed: int) -> None:
    waited = http_answers.wait(tries, None, NOW, random.Random(seed))
    longest = min(60.0, 2.0 ** min(tries - 1, 10))
    assert longest / 2 <= waited <= longest


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"status": "succeeded"}, State.SUCCEEDED),
        ({"status": "COMPLETED"}, State.SUCCEEDED),
        ({"status": "Failed"}, State.FAILED),
        ({"status": "canceled"}, State.FAILED),
        ({"status": "starting"}, State.PENDING),
        ({"status": 3}, State.PENDING),
    ],
)
def test_a_state_is_what_the_service_says_in_whatever_letters(answer: Any, state: State) -> None:
    assert http_answers.state(POLL, answer) is state


@pytest.mark.parametrize("answer", [{}, {"status": None}, {"status": {}}, [], "done", None])
def test_an_answer_without_a_status_says_what_it_has_instead(answer: Any) -> None:
    with pytest.raises(UnitFailure, match=r"no status at /status \(poll.status\), but") as refused:
        http_answers.state(POLL, answer)
    assert refused.value.reason == "AnswerUnreadable"


@pytest.mark.parametrize(
    ("said", "percent"),
    [
        (0.25, 25), (1.0, 100), (1, 1), (37, 37), (250, 100), ("42%", 42), ("0.5", 50),
        ("half", None), (True, None), (None, None),
    ],
)  # fmt: skip
def test_progress_is_a_share_or_percents(said: Any, percent: int | None) -> None:
    assert http_answers.percent(POLL, {"progress": said}) == percent


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"error": "no room"}, "no room"),
        ({"error": {"code": 7, "message": "no room"}}, "no room"),
        ({"error": None}, "it does not say why"),
        ({}, "it does not say why"),
        ({"error": "x" * 900}, "x" * 500),
    ],
)
def test_why_it_failed_is_told_in_the_words_of_the_service(answer: Any, why: str) -> None:
    assert http_answers.why_failed(POLL, answer) == why


@pytest.mark.parametrize(
    ("answer", "pointer", "found"),
    [
        ({"output": "a"}, "/output", ["a"]),
        ({"output": ["a", "b"]}, "/output", ["a", "b"]),
        ({"data": [{"b64": "a"}, {"b64": "b"}]}, "/data/1/b64", ["b"]),
        ({"images": [{"url": "a"}, {"url": "b"}]}, "/images", ["a", "b"]),
    ],
)
def test_texts_are_found_by_pointer(answer: Any, pointer: str, found: list[str]) -> None:
    assert http_answers.texts(answer, pointer, "result.urls") == found


def test_a_place_without_texts_is_told() -> None:
    with pytest.raises(UnitFailure, match=r"no text at /output \(result.urls\), but the fields id, status"):
        http_answers.texts({"id": 1, "status": "done"}, "/output", "result.urls")


def test_files_come_as_base64_or_as_data_urls() -> None:
    assert http_answers.decoded("aGk=") == (b"hi", "")
    assert http_answers.decoded("data:image/png;base64,aGk=") == (b"hi", "image/png")
    for wrong in ("data:text/plain,hi", "!"):
        with pytest.raises(UnitFailure):
            http_answers.decoded(wrong)


def test_a_submission_keeps_its_key_until_the_service_has_ended_it(tmp_path: Any) -> None:
    saves: list[int] = []

    def reopened() -> Record:
        return Record(tmp_path, lambda: saves.append(1))

    key = reopened().submission.key("unit")
    reopened().sending()
    assert reopened().submission == Submission(1, Stand.SENT)
    reopened().taken({"id": "7"})
    again = reopened()
    assert again.submission == Submission(1, Stand.TAKEN, {"id": "7"})
    assert again.submission.key("unit") == key
    again.ended()
    assert reopened().submission == Submission(2)
    assert reopened().submission.key("unit") != key
    assert Submission().key("other") != key
    assert len(saves) == 3
