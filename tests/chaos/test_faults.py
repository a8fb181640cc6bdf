"""A thousand faults between operator and API server and between everybody and the bucket: outcomes are as without."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from carryon_core import layout
from carryon_core.done import Done
from carryon_core.messages import StoreConfig
from carryon_store import Store, open_store
from carryon_store.units import read_done
from fault_proxy import API_FAULTS, S3_FAULTS, by_seed
from fault_proxy import serving as proxied
from plane import Plane, succeeded
from processes import until
from reels import begun_units, contents_hold, reel, stage
from reels import finished as done_units
from replicas import Cluster, Player, cluster, finished, job

SEED = int(os.environ.get("CARRYON_FAULTS_SEED", "20261122"))
"""Another one tells another story."""
FAULTS = 1000
RATE = 0.3
UNITS = 24

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def fails(unit: str, before: int) -> bool:
    """Units whose pods fail: some once, one always."""
    return (int(unit) % 5 == 3 and before == 0) or int(unit) == 11


def outcome(c: Cluster, store: Store, name: str) -> dict[str, Any]:
    """What became of a job: what must not depend on luck."""
    status = c.get(name)["status"]
    made = {}
    for found in store.list(layout.job_prefix("default", name)):
        prefix, _, file = found.key.rpartition("/")
        if file == layout.DONE:
            done = read_done(store, f"{prefix}/")
            assert isinstance(done, Done)
            made[done.item] = [(each.name, each.sha256) for each in done.artifacts]
            assert all(store.head(f"{prefix}/{each.key}").size == each.size for each in done.artifacts)
    return {
        "phase": status["phase"],
        "units": status["units"],
        "counters": status["counters"],
        "stages": [{key: each.get(key) for key in ("succeeded", "failed", "failures")} for each in status["stages"]],
        "made": made,
    }


def test_a_thousand_faults_change_no_outcome(tmp_path: Path, moto_config: StoreConfig) -> None:
    assert moto_config.endpoint is not None
    direct = open_store(moto_config)
    on_api, on_s3 = by_seed(SEED, RATE, API_FAULTS), by_seed(SEED + 1, RATE, S3_FAULTS)
    with ExitStack() as stack:
        bucket = stack.enter_context(proxied(moto_config.endpoint))
        c = stack.enter_context(cluster(tmp_path))
        settings = {
            "CARRYON_DEFAULT_STORE": moto_config.uri,
            "CARRYON_DEFAULT_STORE_ENDPOINT": bucket.url,
            "CARRYON_VERIFY_INTERVAL": "5s",
        }
        a = stack.enter_context(c.operator("a", **settings))
        store = open_store(StoreConfig(uri=moto_config.uri, endpoint=bucket.url))
        player = Player(c, store, fails=fails, seconds=0.05)
        stack.enter_context(player.playing())
        until(a.ready)
        began = time.monotonic()
        wave(c, ["calm-0", "calm-1"])
        expected = outcome(c, direct, "calm-0")
        assert expected == outcome(c, direct, "calm-1"), "without faults two jobs end alike"
        assert expected["phase"] == "Failed"
        assert expected["counters"]["failures"] == 5 + 3
        calm = time.monotonic() - began

        a.proxy.plan, bucket.plan = on_api, on_s3
        stormy, number = Counter[str](), 0
        while stormy.total() < FAULTS:
            names = [f"storm-{number + each}" for each in range(2 if number else 12)]
            number += len(names)
            wave(c, names)
            for name in names:
                assert outcome(c, direct, name) == expected, f"{name}, after {stormy.total()} faults"
            stormy = a.proxy.injected + bucket.injected
        print(f"\n{stormy.total()} faults, {number} jobs as without: {dict(stormy)}; {time.monotonic() - began:.0f} s,")
        print(f"of which {calm:.0f} s without faults")
        # Whose answer to the last write is lost finds it done, by himself.
        assert set(player.made.values()) <= {0, 1}, "no unit is made twice"
        assert sum(player.made.values()) > 0.8 * len(player.made)
        assert a.ended() is None
        assert "Traceback" not in a.log


def wave(c: Cluster, names: list[str]) -> None:
    """Jobs that are made at the same time, to their end."""
    for name in names:
        c.create(job(name, UNITS, parallelism=6))
    for name in names:
        c.wait_for(name, finished, 240)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path / "plane", environment={"CARRYON_VERIFY_INTERVAL": "2s"})
    yield made
    made.kill()


def test_workers_and_operator_get_through_a_bucket_that_fails_again_and_again(
    plane: Plane, tmp_path: Path, moto_config: StoreConfig
) -> None:
    assert moto_config.endpoint is not None
    begun = tmp_path / "begun"
    begun.touch()
    with proxied(moto_config.endpoint, by_seed(SEED, RATE, S3_FAULTS)) as bucket:
        plane.start()
        keys = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        plane.request("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "keys"}, "stringData": keys})
        output = {"uri": moto_config.uri, "endpoint": bucket.url, "credentialsSecret": {"name": "keys"}}
        made = reel("fragile", output=output, unitsPerPod=3)
        script = 'echo clip > "$CARRYON_OUTPUT/clip.txt"'
        made["spec"].update(items={"count": 12}, stages=[stage("clip", begun, script)])
        plane.apply(made)
        status = plane.wait_for("fragile", succeeded, 200)["status"]
        print(f"\n{bucket.injected.total()} faults between workers, operator and bucket: {dict(bucket.injected)}")
    assert bucket.injected.total() > 30
    assert status["counters"]["failures"] == 0
    store = open_store(moto_config)
    units = done_units(store, made)
    assert len(units) == 12
    assert all(contents_hold(store, at, unit.done) for at, unit in units.items())
    assert begun_units(begun) == sorted(f"clip/{item}" for item in range(12)), "no unit is made twice"
