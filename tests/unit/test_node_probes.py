"""Probes of the standalone node."""

from __future__ import annotations

import asyncio

import pytest

from carryon_standalone.node import probes


@pytest.mark.parametrize("turns", range(4))
def test_whoever_follows_a_probe_can_be_ended_at_any_moment(turns: int) -> None:
    async def ends() -> bool:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def check() -> None:
            await answered

        async def follow() -> None:
            async for _ in probes.follow({"periodSeconds": 3600}, check):
                pass

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.01)
        answered.set_result(None)
        for _ in range(turns):
            await asyncio.sleep(0)
        following.cancel()
        done, _ = await asyncio.wait([following], timeout=1)
        following.cancel()
        return bool(done)

    assert asyncio.run(ends())
