"""The cache of jobs never goes back in time."""

from __future__ import annotations

from typing import Any

import pytest

from carryon_operator.handlers import KopfMemory
from carryon_operator.jobs import JobCache


def job(version: object = 1, *, uid: str = "u1", name: str = "reel", **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "studio", "name": name, "uid": uid, "resourceVersion": str(version)},
        **fields,
    }


@pytest.fixture
def rung() -> list[str]:
    return []


@pytest.fixture
def jobs(rung: list[str]) -> JobCache:
    return JobCache(on_change=rung.append)


def version(jobs: JobCache) -> str:
    known = jobs.get("studio/reel")
    assert known is not None
    return str(known["metadata"]["resourceVersion"])


def test_a_new_version_rings_and_a_known_one_does_not(jobs: JobCache, rung: list[str]) -> None:
    jobs.observe(job(1))
    jobs.observe(job(1))
    jobs.observe(job(2))
    assert rung == ["studio/reel", "studio/reel"]
    assert jobs.key_of_uid("u1") == "studio/reel"


def test_an_event_from_before_our_own_write_does_not_undo_it(jobs: JobCache, rung: list[str]) -> None:
    jobs.observe(job(9))
    jobs.put(job(11))
    jobs.observe(job(10))
    assert version(jobs) == "11"
    assert rung == ["studio/reel"]


def test_an_answer_that_comes_after_newer_events_changes_nothing(jobs: JobCache) -> None:
    jobs.observe(job(12))
    jobs.put(job(11))
    assert version(jobs) == "12"


def test_an_answer_that_comes_after_the_deletion_does_not_bring_the_job_back(jobs: JobCache) -> None:
    jobs.observe(job(1))
    jobs.remove(job(3))
    jobs.put(job(2))
    assert jobs.get("studio/reel") is None
    assert jobs.key_of_uid("u1") is None


def test_an_answer_about_the_former_job_does_not_replace_the_new_one_of_that_name(jobs: JobCache) -> None:
    jobs.observe(job(5, uid="u2"))
    jobs.put(job(6, uid="u1"))
    assert version(jobs) == "5"


def test_the_deletion_of_a_former_job_leaves_the_new_one_of_that_name(jobs: JobCache) -> None:
    jobs.observe(job(1))
    jobs.observe(job(5, uid="u2"))
    jobs.remove(job(4, uid="u1"))
    assert version(jobs) == "5"
    assert jobs.key_of_uid("u1") is None
    assert jobs.key_of_uid("u2") == "studio/reel"


def test_versions_are_compared_as_numbers(jobs: JobCache) -> None:
    jobs.observe(job(99))
    jobs.observe(job(100))
    assert version(jobs) == "100"


def test_versions_that_are_no_numbers_are_taken_as_they_come(jobs: JobCache) -> None:
    jobs.observe(job("b7"))
    jobs.observe(job("a1"))
    assert version(jobs) == "a1"


def test_managed_fields_are_not_kept_and_the_event_is_left_as_it_was(jobs: JobCache) -> None:
    seen = job(1)
    seen["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    jobs.observe(seen)
    known = jobs.get("studio/reel")
    assert known is not None
    assert "managedFields" not in known["metadata"]
    assert "managedFields" in seen["metadata"]


async def test_kopf_forgets_jobs_that_went_while_it_did_not_watch() -> None:
    """It keeps what it has of them until it hears of their end: which here nobody tells it."""
    jobs, memory = JobCache(), KopfMemory()
    for uid in ("u1", "u2", "u3"):
        jobs.observe(job(uid=uid, name=uid))
        await memory.memories.recall(job(uid=uid, name=uid), noticed_by_listing=True)  # type: ignore[arg-type]
        memory.heard(uid)
    jobs.remove(job(uid="u1", name="u1"))
    await memory.prune(jobs)
    memory.gone("u3")
    assert len(list(memory.memories.iter_all_memories())) == 2
    await memory.prune(jobs)
    assert len(list(memory.memories.iter_all_memories())) == 2
