"""Uploads wait in a file until they are whole, and nobody holds a place without sending."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from carryon_api import spooling
from carryon_api.problems import Problem
from carryon_api.spooling import Spool


def upload(*pieces: bytes, ends: bool = True) -> Request:
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not ends}
        await asyncio.Event().wait()
        raise AssertionError

    return Request({"type": "http", "method": "PUT", "headers": []}, receive)


async def test_what_was_sent_is_there_whole(tmp_path: Path) -> None:
    async with Spool(tmp_path).received(upload(b"a" * 1_500_000, b"b" * 1_500_000, b"c")) as file:
        file.seek(0)
        assert file.read() == b"a" * 1_500_000 + b"b" * 1_500_000 + b"c"
    assert list(tmp_path.iterdir()) == []


async def test_an_upload_that_stands_still_gives_its_place_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "PATIENCE", 0.05)
    spool = Spool(tmp_path)

    async def stuck() -> None:
        async with spool.received(upload(b"a", ends=False)):
            raise AssertionError("it is not whole")

    ended = await asyncio.gather(*(stuck() for _ in range(6)), return_exceptions=True)
    said = [str(each) for each in ended if isinstance(each, Problem)]
    assert (sum("stands still" in each for each in said), sum("too many" in each for each in said)) == (4, 2)
    async with spool.received(upload(b"a")) as file:
        assert file.tell() == 1
