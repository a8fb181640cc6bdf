"""Two replicas with a Lease as it is by default: the leader is killed, stopped, cut off; who wrote when is logged."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from carryon_core.messages import StoreConfig
from carryon_operator.kube.election import Terms
from carryon_store import open_store
from fault_proxy import Passed
from processes import until
from replicas import Cluster, Operator, Player, cluster, job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ELECT = {"CARRYON_LEADER_ELECT": "true", "CARRYON_LEASE_NAMESPACE": "default"}
TERMS = Terms()
JOBS = 400
"""More than are made in the time: there is always something to write."""


class Pair:
    """A leader at work, and one who stands by."""

    def __init__(self, c: Cluster, stack: ExitStack) -> None:
        self.cluster = c
        c.free_lease()
        a, b = (stack.enter_context(c.operator(name, **ELECT)) for name in "ab")
        until(lambda: a.ready() and b.ready())
        until(lambda: c.holder() != "")
        self.leader, self.standby = (a, b) if c.holder().startswith("a_") else (b, a)
        self.player = Player(c, open_store(StoreConfig(uri=c.output.as_uri())), seconds=0.3)
        stack.enter_context(self.player.playing())
        for number in range(4):
            c.create(job(f"reel-{number}", JOBS, parallelism=4))
        until(lambda: all("status" in c.get(f"reel-{number}") for number in range(4)))
        until(lambda: len(self.leader.proxy.writes()) > 30)
        assert self.standby.proxy.writes() == []

    def takeover(self) -> Passed:
        """The first write of the one who stood by, once there is one."""
        until(lambda: self.standby.proxy.writes())
        return self.standby.proxy.writes()[0]

    def check(self, happened: float, what: str) -> None:
        """No write of the leader after its deadline; all units of all pods once; and how long it took."""
        first = self.takeover()
        renewed = last_renewal(self.leader)
        late = [each for each in self.leader.proxy.writes() if each.at > renewed + TERMS.renew]
        assert late == [], "a request of a leader whose deadline was over"
        assert first.at > renewed + TERMS.duration - 0.5
        print(f"\n{what}: {first.at - happened:.1f} s until the other writes; promised: under 20 s")
        assert first.at - happened < 30
        made = len(self.player.made)
        until(lambda: len(self.player.made) > made + 20)
        assert set(self.player.made.values()) == {1}, "no unit is made twice"
        counters = [self.cluster.get(f"reel-{number}")["status"]["counters"] for number in range(4)]
        assert all(each["failures"] == each["disruptions"] == each["stuck"] == 0 for each in counters)


def last_renewal(operator: Operator) -> float:
    """When the last renewal that worked came by: its request began before."""
    return max(
        e.at
        for e in operator.proxy.log
        if e.method in ("PUT", "POST") and "/leases" in e.path and e.status < 300 and e.status
    )


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack.enter_context(cluster(tmp_path)), stack)


def test_a_leader_that_is_killed_is_replaced(pair: Pair) -> None:
    at = pair.leader.signal(signal.SIGKILL)
    pair.check(at, "SIGKILL")


def test_a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_wakes_up(pair: Pair) -> None:
    at = pair.leader.signal(signal.SIGSTOP)
    pair.takeover()
    before = len(pair.leader.proxy.writes())
    woken = pair.leader.signal(signal.SIGCONT)
    until(lambda: pair.leader.ended() is not None)
    assert pair.leader.ended() == 1
    assert "was not renewed within 10 s" in pair.leader.log
    late = [each for each in pair.leader.proxy.writes()[before:] if each.at > woken]
    assert late == []
    pair.check(at, "SIGSTOP")


def test_a_leader_that_is_cut_off_ends_before_another_leads(pair: Pair) -> None:
    pair.leader.proxy.cut = True
    at = time.monotonic()
    until(lambda: pair.leader.ended() is not None)
    assert pair.leader.ended() == 1
    assert pair.cluster.holder().startswith(f"{pair.leader.name}_"), "nobody leads yet"
    assert "ending, to stand by after the next start" in pair.leader.log
    pair.leader.start()
    pair.check(at, "cut off")
    pair.leader.proxy.cut = False
    until(pair.leader.ready)
    assert pair.leader.ended() is None, "it stands by"
