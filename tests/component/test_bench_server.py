"""The benchmark of the API server: that it counts rightly, and that it runs."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import api_load, serving
from bench.api_load import Address, Watcher

NOWHERE = Address(1, "token", ssl.create_default_context())
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
    b'%x\r\n{"type":"ADDED","object":{"data":{"a":"{}\\n}"}}}\n\r\n' % 50 for _ in range(3)
)


@given(st.lists(st.integers(min_value=1, max_value=len(STREAM)), max_size=20))
def test_events_are_counted_however_the_network_cuts_the_stream(cuts: list[int]) -> None:
    watcher, begin = Watcher(NOWHERE, api_load.PODS), 0
    for end in sorted({*cuts, len(STREAM)}):
        watcher.get_buffer(-1)[: end - begin] = STREAM[begin:end]
        watcher.buffer_updated(end - begin)
        begin = end
    assert (watcher.events, watcher.received) == (3, len(STREAM))


def test_it_measures_writes_that_every_watcher_was_told_of() -> None:
    run = serving.writes(watchers=2, seconds=0.1)
    # Each of the writers has finished what it began: a pod's five writes.
    assert len(run.latencies) >= 100
    assert len(run.latencies) % 5 == 0
    assert run.rate > 0
    assert run.cpu > 0
    assert run.sent * (0.1 + run.behind) > 0


async def test_a_watcher_that_was_cut_off_ends_the_measurement() -> None:
    watcher = Watcher(NOWHERE, api_load.PODS)
    watcher.connection_lost(None)
    with pytest.raises(AssertionError, match="the server ended a watch"):
        await serving._caught_up([watcher], 1)


def test_memory_and_start_are_of_a_server_that_holds_the_pods(tmp_path: Path) -> None:
    held = serving.stored(25)
    assert held.size > 3_000, "pods as the operator makes them, with a status"
    assert min(held.rss, held.after) > 10 * 2**20
    assert held.ready > 0
    assert serving.commits(held.size, 0.05) > 0
    ours, bare = serving.starts(1)
    table = serving._ready_table(ours, bare, held)
    assert "25 pods stored" in table
