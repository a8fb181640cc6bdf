"""One import at a time into one place, in real stores: who is alive keeps it, who was killed gives way."""

from __future__ import annotations

import threading

import pytest

from carryon_core.messages import StoreConfig
from carryon_jobs.archive.claiming import Claim
from carryon_jobs.archive.moving import Place
from carryon_jobs.errors import NotPossible
from carryon_store import Store, StoreError, Stores

BRISK = {"renew": 0.05, "lease": 1.0}


@pytest.fixture
def place(store_config: StoreConfig) -> Place:
    return Place("ns", "reel", store_config)


def left(store: Store) -> list[str]:
    return [info.key for info in store.list("ns/")]


def test_a_claim_keeps_others_out_and_leaves_nothing_behind(store: Store, place: Place) -> None:
    with Claim(store, place, **BRISK) as claim:
        assert claim.holds()
        with pytest.raises(NotPossible, match="another import of reel into namespace ns is at work"):
            Claim(store, place, **BRISK).__enter__()
        with Claim(store, Place("ns", "other", place.config), **BRISK):
            assert claim.holds()
    assert left(store) == []


def test_a_claim_that_is_given_back_meanwhile_is_taken_at_once(store: Store, place: Place) -> None:
    first = Claim(store, place, renew=60, lease=60).__enter__()
    taken = threading.Event()

    def second() -> None:
        with Claim(store, place, renew=60, lease=60):
            taken.set()

    waiting = threading.Thread(target=second)
    waiting.start()
    first.__exit__(None, None, None)
    waiting.join(30)
    assert taken.is_set()
    assert left(store) == []


def test_an_import_that_was_killed_gives_way_and_takes_nothing_any_more(store: Store, place: Place) -> None:
    # Never renewed, as of a process that hangs: it may wake up again.
    hung = Claim(store, place, renew=60, lease=60).__enter__()
    with Claim(store, place, **BRISK) as claim:
        assert claim.holds()
        assert not hung.holds()
        hung.__exit__(None, None, None)
        assert claim.holds(), "who wakes up gives back only what was its own"
    assert left(store) == []


def test_of_two_who_find_a_dead_claim_one_gets_it(store: Store, place: Place) -> None:
    dead = Claim(store, place, renew=60, lease=60).__enter__()
    held = threading.Semaphore(0)
    outcomes: list[bool] = []

    def attempt() -> None:
        try:
            with Claim(store, place, **BRISK):
                outcomes.append(True)
                held.acquire(timeout=30)
        except NotPossible:
            outcomes.append(False)
            held.release()

    both = [threading.Thread(target=attempt) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert sorted(outcomes) == [False, True]
    dead.__exit__(None, None, None)
    assert left(store) == []


def test_a_bucket_that_takes_nothing_is_said_before_anything_is_written(
    file_config: StoreConfig, stores: Stores
) -> None:
    file_store = stores.open(file_config)
    file_store.put("ns/reel", b"in the way", content_type="text/plain")
    with pytest.raises(StoreError):
        Claim(file_store, Place("ns", "reel", file_config), **BRISK).__enter__()
