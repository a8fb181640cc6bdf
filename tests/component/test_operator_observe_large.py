"""The largest job that there may be: 100,000 rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePosixPath

import pytest

from carryon_core.messages import StoreConfig
from carryon_operator.config import Config
from desk import CLIPS, desk

ROWS = 99_990
"""Ten are appended."""


@asynccontextmanager
async def watched(late: list[float]) -> AsyncIterator[None]:
    """Take down how long the event loop is late, each time."""

    async def tick() -> None:
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - due)

    ticking = asyncio.create_task(tick())
    yield
    ticking.cancel()


def table(rows: int) -> bytes:
    return ("id,prompt\n" + "".join(f"creator-{number},a portrait of {number}\n" for number in range(rows))).encode()


@pytest.mark.slow
async def test_a_hundred_thousand_rows_are_followed_and_leave_the_event_loop_to_others(
    file_config: StoreConfig,
) -> None:
    upscale = {"name": "up", "after": ["clip"], "generate": {"command": {"args": ["x", "{{ inputs.clip }}"]}}}
    late: list[float] = []
    async with desk(Config(default_store=file_config, file_root=PurePosixPath("/"))) as d:
        uri = d.put("in/creators.csv", table(ROWS))
        d.write(items={"from": {"uri": uri, "format": "csv"}}, stages=[CLIPS, upscale])
        async with watched(late):
            seen = await d.look()
        assert seen.resolved is not None
        assert seen.resolved.total == 2 * ROWS

        d.publish(seen.resolved, *((0, item) for item in range(0, 200, 2)))
        d.report(await d.look(sweep=True))
        for stage in d.raw["status"]["stages"]:
            stage["succeeded"] = ",".join(map(str, range(0, ROWS, 2)))
            stage["failed"] = ",".join(map(str, range(1, ROWS, 2)))
        d.put("in/creators.csv", table(ROWS + 10))
        async with watched(late):
            seen = await d.look(later=61)
        assert seen.resolved is not None
        assert len(seen.resolved.ids) == 100_000
        assert seen.former_items is not None
        assert len(seen.former_items) == ROWS
        assert len(seen.done) == 100

        d.put("in/creators.csv", table(ROWS + 11))
        async with watched(late):
            seen = await d.look(later=61)
        assert seen.stale is not None
        assert "more than 100000 rows" in seen.stale[1]
    # Threads share the interpreter, so the loop is never quite free, least of all on a busy machine; what runs on the
    # loop itself, though, would hold it up for longer than this.
    print(f"the event loop was late by {max(late) * 1000:.0f} ms at most")
    assert max(late) < 5.0
