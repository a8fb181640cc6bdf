"""The plug is pulled at thirty random moments: nothing finished is made again, no write is lost, no job hangs."""

from __future__ import annotations

import json
import random
import threading
from http.client import HTTPException
from pathlib import Path

import pytest

from carryon_core.messages import StoreConfig
from carryon_store import open_store
from plane import Plane
from reels import contents_hold, finished, reel

KILLS = 30
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
COUNT = f"{CONFIG_MAPS}/count"
SEED = 20261121


class Writer(threading.Thread):
    """Counts in a ConfigMap as fast as the API server acknowledges, and remembers the last number it was promised."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(daemon=True)
        self.plane = plane
        self.promised = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        number = self.promised
        while not self.stopped.is_set():
            number += 1
            try:
                self.plane.request("PATCH", COUNT, {"data": {"n": str(number)}}, "application/merge-patch+json")
            except (OSError, HTTPException):
                return  # The plug was pulled: this one was not promised.
            self.promised = number


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_thirty_kills_at_random_moments(tmp_path: Path) -> None:
    drawn = random.Random(SEED)
    plane = Plane(tmp_path / "plane")
    ledger = tmp_path / "started"
    script = (
        f'echo "$CARRYON_ITEM" >> {ledger}; sleep {{seconds}}; head -c 4096 /dev/urandom > "$CARRYON_OUTPUT/clip.bin"'
    )
    # Five kills in a row of one unit are no bug here, and would be NoProgress; so its budget is larger than they are.
    retry = {"perUnit": KILLS, "backoff": {"initial": "1s", "max": "2s"}}
    job = reel("reel", clips=40, seconds=0.7, script=script, retry=retry)
    plane.start()
    plane.request("POST", CONFIG_MAPS, {"metadata": {"name": "count"}, "data": {"n": "0"}})
    plane.apply(job)
    store = open_store(StoreConfig(uri=plane.output.as_uri()))
    known: dict[str, dict[str, tuple[str, str]]] = {}
    promised = 0
    try:
        for kill in range(KILLS):
            writer = Writer(plane)
            writer.promised = promised
            writer.start()
            writer.stopped.wait(drawn.uniform(0.2, 4.0))
            starts_before = ledger.read_text().split() if ledger.exists() else []
            done_before = finished(store, job)
            plane.kill()
            writer.stopped.set()
            writer.join()
            promised = writer.promised

            seen = finished(store, job)
            for at, unit in known.items():
                assert seen[at].objects == unit, f"kill {kill}: {at} was made again"
            # What was done when it was looked at was never begun anew after that.
            done_items = {unit.done.item for unit in done_before.values()}
            begun_since = ledger.read_text().split()[len(starts_before) :] if ledger.exists() else []
            assert not done_items & set(begun_since), f"kill {kill}: a finished unit was begun again"
            known = {at: unit.objects for at, unit in seen.items()}

            plane.start()
            kept = plane.request("GET", COUNT)
            assert int(kept["data"]["n"]) >= promised, f"kill {kill}: a write that was acknowledged is lost"
            promised = int(kept["data"]["n"])
        plane.wait_for("reel", lambda found: (found.get("status") or {}).get("phase") == "Succeeded", 180)
        after = finished(store, job)
        assert len(after) == 40
        assert {at: after[at].objects for at in known} == known
        assert all(contents_hold(store, at, unit.done) for at, unit in after.items())
        status = plane.get("reel")["status"]
        assert status["counters"]["failures"] == 0
        print(json.dumps(status["counters"]), "units begun:", len(ledger.read_text().split()))
    finally:
        plane.kill()
