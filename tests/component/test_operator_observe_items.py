"""Items from data: a job follows its table, and nothing that happens to the table harms what it has."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Any

import pytest

from carryon_core import layout
from carryon_core.messages import StoreConfig
from carryon_operator.config import Config
from carryon_operator.plan.rest import is_over
from desk import CLIPS, Desk, desk
from fake_apiserver import Fault

MINUTE = 61.0


def csv(*ids: str, prompts: bool = True) -> bytes:
    rows = [f"{each},a film of {each}" if prompts else each for each in ids]
    return "\n".join(["id,prompt" if prompts else "id", *rows, ""]).encode()


@pytest.fixture
async def d(store_config: StoreConfig) -> AsyncIterator[Desk]:
    """A cluster's operator for S3, a person's own for folders."""
    root = PurePosixPath("/") if store_config.uri.startswith("file:") else None
    async with desk(Config(default_store=store_config, file_root=root)) as made:
        yield made


@pytest.fixture
async def m(file_config: StoreConfig) -> AsyncIterator[Desk]:
    """A desk with folders only."""
    async with desk(Config(default_store=file_config, file_root=PurePosixPath("/"))) as made:
        yield made


def follow(d: Desk, content: bytes, **fields: Any) -> None:
    """Create a job whose items come from a table with this content."""
    d.write(items={"from": {"uri": d.put("in/creators.csv", content), "format": "csv", **fields}})


def ids(seen: Any) -> tuple[str, ...]:
    assert seen.problem is None
    assert seen.outage is None
    return seen.resolved.ids


async def test_rows_become_items_and_the_job_keeps_its_own_copy(d: Desk) -> None:
    follow(d, csv("dunes", "sea"))
    seen = await d.look()
    assert ids(seen) == ("dunes", "sea")
    assert seen.resolved.generate(seen.resolved.unit(0, 1)) == {"command": {"args": ["make", "a film of sea"]}}
    assert seen.source != ""
    assert d.store.get(layout.items_key("ns", "film", seen.resolved.items_digest)).decode() == seen.resolved.items


async def test_only_the_first_rows_are_taken_where_so_many_are_asked_for(d: Desk) -> None:
    follow(d, csv("dunes", "sea", "sky"), first=2)
    assert ids(await d.look()) == ("dunes", "sea")
    d.write(items={"from": {"uri": d.uri("in/creators.csv"), "format": "csv", "first": 3}})
    assert ids(await d.look()) == ("dunes", "sea", "sky")


async def test_a_change_is_seen_within_a_minute_and_not_asked_for_at_every_look(d: Desk) -> None:
    follow(d, csv("dunes"))
    first = await d.look()
    d.put("in/creators.csv", csv("dunes", "sea"))
    assert ids(await d.look()) == ("dunes",)
    assert d.observer.wakes_in(first, d.memory) == pytest.approx(58.0)
    seen = await d.look(later=MINUTE)
    assert ids(seen) == ("dunes", "sea")
    assert seen.source != first.source
    assert seen.swept


async def test_a_request_to_resume_looks_at_the_table_at_once(d: Desk) -> None:
    follow(d, csv("dunes"))
    await d.look()
    d.put("in/creators.csv", csv("dunes", "sea"))
    d.write(annotations={"carryon.dev/resume-requested-at": "now"})
    assert ids(await d.look()) == ("dunes", "sea")


async def test_a_table_that_says_the_same_in_other_words_changes_nothing(d: Desk) -> None:
    follow(d, csv("dunes", "sea"))
    first = await d.look()
    d.put("in/creators.csv", csv("dunes", "sea").replace(b"\n", b"\r\n"))
    seen = await d.look(later=MINUTE)
    assert seen.resolved is first.resolved, "nothing is resolved again"
    assert seen.source != first.source


async def test_a_table_that_vanishes_from_a_bucket_changes_nothing(d: Desk) -> None:
    follow(d, csv("dunes", "sea"))
    first = await d.look()
    d.report(first)
    d.remove("in/creators.csv")
    seen = await d.look(later=MINUTE)
    assert seen.resolved == first.resolved
    assert seen.stale is not None
    assert seen.stale[0] == "SourceMissing"


BROKEN = {
    "not there": (None, "SourceMissing", "does not exist: put it back"),
    "no table": (b"\xff\xfe", "SourceInvalid", "is not UTF-8"),
    "empty": (b"", "SourceInvalid", "is empty"),
    "no rows": (b"id,prompt\n", "SourceInvalid", "has no rows"),
    "an id twice": (csv("dunes", "sea", "dunes"), "SourceInvalid", 'rows 2 and 4 have the same id "dunes"'),
    "no id": (b"id,prompt\ndunes,x\n,y\n", "SourceInvalid", "row 3 has no id"),
    "a column gone": (csv("dunes", "sea", prompts=False), "SourceInvalid", "item.prompt"),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_table_that_breaks_changes_nothing_and_counts_again_when_it_is_whole(
    m: Desk, how: str, restarted: bool
) -> None:
    content, reason, sentence = BROKEN[how]
    follow(m, csv("dunes", "sea"))
    first = await m.look()
    m.report(first)
    if content is None:
        m.remove("in/creators.csv")
    else:
        m.put("in/creators.csv", content)
    if restarted:
        m.restart()
    for _ in range(3):
        seen = await m.look(later=MINUTE)
        assert seen.resolved == first.resolved
        assert seen.source == first.source
        assert seen.stale is not None
        assert seen.stale[0] == reason
        assert sentence in seen.stale[1]
    m.put("in/creators.csv", csv("dunes", "sea", "sky"))
    seen = await m.look(later=MINUTE)
    assert ids(seen) == ("dunes", "sea", "sky")
    assert seen.stale is None


@pytest.mark.parametrize("how", BROKEN)
async def test_a_job_without_items_yet_says_what_is_wrong_with_the_table_until_it_is_whole(m: Desk, how: str) -> None:
    content, reason, sentence = BROKEN[how]
    follow(m, content or b"")
    if content is None:
        m.remove("in/creators.csv")
    for _ in range(2):
        seen = await m.look(later=30)
        assert seen.problem is not None
        expected = {"SourceMissing": "ItemsNotFound", "SourceInvalid": "InvalidItems"}[reason]
        assert seen.problem[0] == ("InvalidTemplate" if how == "a column gone" else expected)
        assert sentence in seen.problem[1]
    m.put("in/creators.csv", csv("dunes"))
    assert ids(await m.look(later=MINUTE)) == ("dunes",)


async def test_a_template_that_is_edited_into_nonsense_is_no_fault_of_the_table(d: Desk) -> None:
    follow(d, csv("dunes"))
    d.report(await d.look())
    d.write(stages=[{"name": "clip", "generate": {"command": {"args": ["{{ item.promt }}"]}}}])
    seen = await d.look()
    assert seen.problem is not None
    assert seen.problem[0] == "InvalidTemplate"
    d.write(stages=[CLIPS])
    assert ids(await d.look()) == ("dunes",)


MANY = tuple(f"item-{number}" for number in range(10))


async def test_a_change_that_removes_more_than_half_waits_until_somebody_agrees_to_just_that(d: Desk) -> None:
    follow(d, csv(*MANY))
    first = await d.look()
    d.report(first)
    d.put("in/creators.csv", csv(*MANY[:4], "new"))
    for restarted in (False, True):
        if restarted:
            d.restart()
        seen = await d.look(later=MINUTE)
        assert seen.resolved == first.resolved
        assert seen.stale is not None
        reason, message = seen.stale
        assert reason == "ConfirmItems"
        assert "leave out 6 of the 10" in message
        command = message.partition("to agree: ")[2]
    assert command.startswith("kubectl annotate generationjobs film -n ns --overwrite carryon.dev/confirm-items=")
    digest = command.rpartition("=")[2]

    for wrong in (digest[:11], "0" * 12, "", digest.upper() + "Z"):
        d.write(annotations={"carryon.dev/confirm-items": wrong})
        assert (await d.look()).stale == seen.stale
    d.write(annotations={"carryon.dev/confirm-items": digest})
    agreed = await d.look()
    assert ids(agreed) == (*MANY[:4], "new")
    assert agreed.stale is None
    assert agreed.former_items is not None
    assert [item for item, _ in agreed.former_items] == list(MANY)
    d.report(agreed)

    d.put("in/creators.csv", csv(MANY[0]))
    seen = await d.look(later=MINUTE)
    assert seen.stale is not None, "who agreed to one change did not agree to the next"
    assert seen.stale[0] == "ConfirmItems"


async def test_a_change_that_removes_half_is_taken(d: Desk) -> None:
    follow(d, csv(*MANY))
    d.report(await d.look())
    d.put("in/creators.csv", csv(*MANY[:5]))
    assert ids(await d.look(later=MINUTE)) == MANY[:5]


async def test_an_edit_that_takes_few_rows_waits_like_a_change_of_the_table(d: Desk) -> None:
    follow(d, csv(*MANY))
    d.report(await d.look())
    d.write(items={"from": {"uri": d.uri("in/creators.csv"), "format": "csv", "first": 2}})
    seen = await d.look()
    assert ids(seen) == MANY
    assert seen.stale is not None
    assert seen.stale[0] == "ConfirmItems"


async def test_rows_that_are_appended_extend_a_job_that_is_over(d: Desk) -> None:
    follow(d, csv("dunes"))
    seen = await d.look()
    d.publish(seen.resolved, (0, 0))
    d.report(await d.look(sweep=True), ended=True)
    for restarted in (False, True):
        if restarted:
            d.restart()
        seen = await d.look(later=MINUTE)
        assert is_over(seen)
        assert seen.stale is None
        assert d.memory.known.resting
        assert d.memory.bucket.swept_at is None, "nothing of its bucket was looked at"
    d.put("in/creators.csv", csv("dunes", "sea"))
    assert is_over(await d.look())
    for _ in range(2):
        seen = await d.look(later=MINUTE)
        assert not is_over(seen), "until status says so"
        assert ids(seen) == ("dunes", "sea")
        assert seen.swept
        assert seen.done.keys() == {seen.resolved.unit(0, 0).fingerprint}
    d.report(seen)
    assert ids(await d.look()) == ("dunes", "sea")


async def test_a_job_that_is_over_stays_so_when_its_table_breaks(d: Desk) -> None:
    follow(d, csv("dunes"))
    d.report(await d.look(), ended=True)
    d.remove("in/creators.csv")
    for restarted in (False, True):
        if restarted:
            d.restart()
        seen = await d.look(later=MINUTE)
        assert is_over(seen)
        assert seen.stale is not None
        assert seen.stale[0] == "SourceMissing"
    d.put("in/creators.csv", b"id,prompt\nsea,x\n")
    seen = await d.look(later=MINUTE)
    assert is_over(seen)
    assert seen.stale is not None
    assert seen.stale[0] == "ConfirmItems"
    d.put("in/creators.csv", csv("dunes"))
    seen = await d.look(later=MINUTE)
    assert is_over(seen)
    assert seen.stale is None


async def test_without_its_own_copy_a_job_takes_what_the_table_says(d: Desk) -> None:
    follow(d, csv(*MANY))
    seen = await d.look()
    d.report(seen)
    d.store.delete(layout.items_key("ns", "film", seen.resolved.items_digest))
    d.put("in/creators.csv", csv("dunes"))
    d.restart()
    assert ids(await d.look()) == ("dunes",)


async def test_jsonl_is_read_too(d: Desk) -> None:
    uri = d.put("in/x.jsonl", b'{"name": "dunes", "prompt": "x", "n": 3}\n\n{"name": "sea", "prompt": "y"}\n')
    d.write(items={"from": {"uri": uri, "format": "jsonl", "idColumn": "name"}})
    assert ids(await d.look()) == ("dunes", "sea")


async def test_a_table_of_another_namespace_is_not_read(moto_config: StoreConfig) -> None:
    async with desk(Config(default_store=moto_config)) as d:
        d.store.put("another/secret.csv", csv("dunes"), content_type="")
        d.write(items={"from": {"uri": f"{moto_config.uri}/another/secret.csv", "format": "csv"}})
        seen = await d.look()
        assert seen.problem is not None
        assert seen.problem[0] == "SourceNotAllowed"
        assert f"only below {moto_config.uri}/ns/" in seen.problem[1]


# Items in a ConfigMap.


def mapped(d: Desk, **fields: Any) -> None:
    d.server.put("configmaps", "creators", "ns", **fields)


def follow_map(d: Desk) -> None:
    d.write(items={"from": {"configMapKeyRef": {"name": "creators", "key": "items.csv"}, "format": "csv"}})


async def test_a_config_map_is_followed(m: Desk) -> None:
    mapped(m, data={"items.csv": csv("dunes").decode()})
    follow_map(m)
    first = await m.look()
    assert ids(first) == ("dunes",)
    reads = len(m.server.requests("GET"))
    await m.look()
    assert len(m.server.requests("GET")) == reads, "not at every look"
    mapped(m, data=None, binaryData={"items.csv": base64.b64encode(csv("dunes", "sea")).decode()})
    seen = await m.look(later=MINUTE)
    assert ids(seen) == ("dunes", "sea")
    assert int(seen.source) > int(first.source)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_config_map_that_is_gone_or_withheld_changes_nothing(m: Desk, restarted: bool) -> None:
    mapped(m, data={"items.csv": csv("dunes").decode()})
    follow_map(m)
    m.report(await m.look())
    for fault, content, reason, sentence in (
        (Fault(403, message="no right"), {"items.csv": csv("dunes").decode()}, "SourceUnreachable", "no right"),
        (None, {}, "SourceMissing", 'has no key "items.csv"'),
        (None, None, "SourceMissing", 'there is no ConfigMap "creators"'),
    ):
        if content is None:
            m.server.remove("configmaps", "creators", "ns")
        else:
            mapped(m, data=content)
        if fault is not None:
            m.server.faults.append(fault)
        if restarted:
            m.restart()
        seen = await m.look(later=MINUTE)
        assert ids(seen) == ("dunes",)
        assert seen.stale is not None
        assert seen.stale[0] == reason
        assert sentence in seen.stale[1]


async def test_a_config_map_that_is_not_there_yet_is_waited_for(m: Desk) -> None:
    follow_map(m)
    seen = await m.look()
    assert seen.problem is not None
    assert seen.problem[0] == "ItemsNotFound"
    mapped(m, data={"items.csv": csv("dunes").decode()})
    assert ids(await m.look(later=MINUTE)) == ("dunes",)


async def test_a_job_that_is_over_goes_on_when_its_config_map_has_more(m: Desk) -> None:
    mapped(m, data={"items.csv": csv("dunes").decode()})
    follow_map(m)
    m.report(await m.look(), ended=True)
    assert is_over(await m.look(later=MINUTE))
    mapped(m, data={"items.csv": csv("dunes", "sea").decode()})
    assert ids(await m.look(later=MINUTE)) == ("dunes", "sea")


async def test_a_bucket_that_does_not_answer_leaves_the_items_as_they_are(moto_config: StoreConfig) -> None:
    async with desk(Config(default_store=moto_config)) as d:
        follow(d, csv("dunes"))
        d.report(await d.look())
        d.config = Config(default_store=moto_config.model_copy(update={"endpoint": "http://127.0.0.1:1"}))
        d.longest = 0.2
        d.restart()
        seen = await d.look()
        assert seen.outage is not None
        assert seen.problem is None
        assert seen.resolved is not None
        assert seen.resolved.items_digest == d.raw["status"]["items"]["digest"]
        assert d.memory.look is not None
        await asyncio.wait([d.memory.look], timeout=60)
