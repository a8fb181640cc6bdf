"""Two operators on one cluster, each a process: hand over, stand by, and no double work even if both were to act."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from carryon_core.messages import StoreConfig
from carryon_store import open_store
from processes import until
from replicas import EAGER, Player, cluster, finished, job

ELECT = {"CARRYON_LEADER_ELECT": "true", "CARRYON_LEASE_NAMESPACE": "default", **EAGER}


def test_one_acts_one_stands_by_and_takes_over_when_the_first_ends(tmp_path: Path) -> None:
    with cluster(tmp_path) as c, c.operator("a", **ELECT) as a, c.operator("b", **ELECT) as b:
        c.free_lease()
        player = Player(c, open_store(StoreConfig(uri=c.output.as_uri())))
        with player.playing():
            until(lambda: a.ready() and b.ready() and c.holder())
            first, second = (a, b) if c.holder().startswith("a_") else (b, a)
            c.create(job("one"))
            c.wait_for("one", finished)
            assert second.proxy.writes() == [], "who stands by writes nothing"
            assert [b"carryon_leader 1.0" in each.metrics() for each in (first, second)] == [True, False]

            transitions = c.lease()["leaseTransitions"]
            first.signal(signal.SIGTERM)
            until(lambda: first.ended() is not None)
            assert first.ended() == 0
            assert "is given back" in first.log
            c.create(job("two"))
            done = c.wait_for("two", finished)["status"]
        assert c.holder().startswith(f"{second.name}_")
        assert c.lease()["leaseTransitions"] == transitions + 1
        assert done["counters"]["failures"] == 0
        assert set(player.made.values()) == {1}
        assert set(player.given.values()) == {1}
        assert "Traceback" not in first.log + second.log


@pytest.mark.slow
def test_two_that_are_told_to_act_at_once_make_no_double_work(tmp_path: Path) -> None:
    with cluster(tmp_path) as c, c.operator("a") as a, c.operator("b") as b:
        store = open_store(StoreConfig(uri=c.output.as_uri()))
        player = Player(c, store, fails=lambda unit, before: unit in "37" and before == 0)
        with player.playing():
            until(lambda: a.ready() and b.ready())
            c.create(job("both", 10, unitsPerPod=1))
            status = c.wait_for("both", finished)["status"]
        assert a.proxy.writes(), "both act"
        assert b.proxy.writes()
        assert (status["phase"], status["counters"]["failures"]) == ("Succeeded", 2)
        assert status["counters"]["disruptions"] == status["counters"]["stuck"] == 0
        assert set(player.made.values()) == {1}, "no unit is made twice"
        assert sum(player.given.values()) == 12, "ten units, and two that failed once"
        assert "Traceback" not in a.log + b.log
