"""Everything happens to a film that can: whatever the order, nothing done is made again, and it gets finished."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from carryon_core import names
from plane import ApiError, Plane, succeeded
from reels import begun_units, reel, stage

EVENTS = 90
SEED = int(os.environ.get("CARRYON_CHAOS_SEED", "20261122"))
"""Another one plays another story."""
PARALLELISM = 3


def scene(number: int) -> dict[str, Any]:
    return {"id": f"scene-{number}", "params": {"prompt": "p0"}}


def film(begun: Path) -> dict[str, Any]:
    """A film of eight scenes, whose programs note for which prompt they begin."""
    retry = {"perUnit": EVENTS, "rounds": 1, "backoff": {"initial": "1s", "factor": 1}}
    made = reel("film", parallelism=PARALLELISM, unitsPerPod=2, retry=retry)
    begin = f'echo "$CARRYON_STAGE/$CARRYON_ITEM:$prompt" >> {begun}; sleep 1.2; '
    image = f'prompt=$1; {begin} echo "image $1" > "$CARRYON_OUTPUT/image.txt"'
    clip = f'prompt=$(cut -d " " -f 2 "$1"); {begin} echo "clip $prompt" > "$CARRYON_OUTPUT/clip.txt"'
    gather = 'cat "$@" > "$CARRYON_OUTPUT/reel.txt"'
    made["spec"].update(
        items={"list": [scene(number) for number in range(8)]},
        output={"uri": (begun.parent / "output").as_uri(), "keepOutdated": 1000},
        stages=[
            {"name": "image", "generate": {"command": {"args": ["sh", "-ec", image, "image", "{{ item.prompt }}"]}}},
            {
                "name": "clip",
                "after": ["image"],
                "generate": {"command": {"args": ["sh", "-ec", clip, "clip", "{{ inputs.image }}"]}},
            },
            stage("reel", begun.with_name("reels"), gather, "{{ inputs.clip }}", after="clip", each="job"),
        ],
    )
    return made


def complete(folder: Path) -> dict[str, Path]:
    """What is done and all there: stage/item:prompt -> its artifact. The reel does not count."""
    found = {}
    for path in folder.glob("*/*/*/done.json"):
        with suppress(FileNotFoundError):
            done = json.loads(path.read_text())
            if done["stage"] != "reel":
                file = path.parent / done["artifacts"][0]["key"]
                found[f"{done['stage']}/{done['item']}:{file.read_text().split()[1]}"] = file
    return found


def _has_ended(pod: dict[str, Any]) -> bool:
    containers = pod["status"].get("containerStatuses") or ()
    ended = any("terminated" in each["state"] for each in containers)
    return ended or pod["status"]["phase"] in ("Succeeded", "Failed")


def _told(pod: dict[str, Any]) -> tuple[str, ...]:
    described = pod["metadata"]
    units = described["annotations"][names.ANNOTATION_UNITS]
    return described["name"], pod["status"], described.get("deletionTimestamp", "-"), units


class Play:
    """The film, what happened to it, and what is known to be done."""

    def __init__(self, plane: Plane, begun: Path) -> None:
        self.plane = plane
        self.begun = begun
        self.drawn = random.Random(SEED)
        self.job = film(begun)
        self.folder = begun.parent / "output" / "default" / "film"
        self.known: dict[str, int] = {}
        self.removed: str | None = None
        self.story: list[str] = []

    def look(self) -> None:
        """Nothing that was done when it was looked at before has been begun since; parallelism holds."""
        there = complete(self.folder)
        begun = Counter(begun_units(self.begun))
        for unit, count in self.known.items():
            assert begun[unit] == count, f"{unit} was done and begun again; so far: {self.story}"
        self.known.update({unit: begun[unit] for unit in there})
        if self.removed in there:
            self.removed = None
        at_work = [pod for pod in self.plane.pods("film") if not _has_ended(pod)]
        assert len(at_work) <= PARALLELISM, f"too many pods: {[_told(pod) for pod in at_work]}; so far: {self.story}"

    def happen(self) -> None:
        events = {
            self.evict: 4,
            self.delete_pod: 3,
            self.kill_worker: 4,
            self.kill_operator: 1,
            self.kill_node: 1,
            self.kill_everything: 1,
            self.suspend: 3,
            self.resume: 3,
            self.restart: 2,
            self.ask_to_resume: 1,
            self.edit: 5,
            self.append: 2,
            self.remove: 1,
            self.remove_artifact: 2,
        }
        (event,) = self.drawn.choices(list(events), list(events.values()))
        self.story.append(event.__name__)
        event()

    def pod(self) -> str | None:
        pods = [pod["metadata"]["name"] for pod in self.plane.pods("film")]
        return self.drawn.choice(pods) if pods else None

    def evict(self) -> None:
        if pod := self.pod():
            with suppress(ApiError):  # It has ended, or gone.
                self.plane.evict(pod)

    def delete_pod(self) -> None:
        if pod := self.pod():
            with suppress(ApiError):
                self.plane.request("DELETE", f"/api/v1/namespaces/default/pods/{pod}")

    def kill_worker(self) -> None:
        for process in self.plane.processes():
            with suppress(psutil.NoSuchProcess):
                if process.cmdline()[1:] == ["-m", "carryon_worker"]:
                    process.kill()
                    return

    def kill_operator(self) -> None:
        self.kill_component("operator")

    def kill_node(self) -> None:
        self.kill_component("node")

    def kill_component(self, name: str) -> None:
        with suppress(ValueError, psutil.NoSuchProcess):  # It is down already.
            self.plane.component(name).kill()

    def kill_everything(self) -> None:
        self.plane.kill()
        self.plane.start()

    def suspend(self) -> None:
        self.job["spec"]["suspend"] = True
        self.plane.apply(self.job)

    def resume(self) -> None:
        self.job["spec"]["suspend"] = False
        self.plane.apply(self.job)

    def restart(self) -> None:
        self.plane.annotate("film", names.ANNOTATION_RESTART, str(self.drawn.random()))

    def ask_to_resume(self) -> None:
        self.plane.annotate("film", names.ANNOTATION_RESUME, str(self.drawn.random()))

    def edit(self) -> None:
        """Another prompt, or one that it had before."""
        item = self.drawn.choice(self.job["spec"]["items"]["list"])
        item["params"]["prompt"] = f"p{self.drawn.randrange(4)}"
        self.plane.apply(self.job)

    def append(self) -> None:
        items = self.job["spec"]["items"]["list"]
        items.insert(self.drawn.randrange(len(items) + 1), scene(100 + self.story.count("append")))
        self.plane.apply(self.job)

    def remove(self) -> None:
        items = self.job["spec"]["items"]["list"]
        items.pop(self.drawn.randrange(len(items)))
        self.plane.apply(self.job)

    def remove_artifact(self) -> None:
        """One at a time: a bucket that loses many at once is another story."""
        there = complete(self.folder)
        if there and self.removed is None:
            self.removed = self.drawn.choice(sorted(there))
            self.known.pop(self.removed, None)
            there[self.removed].unlink()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_film_survives_whatever_happens_to_it(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.touch()
    plane = Plane(tmp_path / "plane", environment={"CARRYON_VERIFY_INTERVAL": "2s"}).start()
    try:
        play = Play(plane, begun)
        plane.apply(play.job)
        for _ in range(EVENTS):
            after = time.monotonic() + play.drawn.uniform(0, 1.5)
            play.look()
            while time.monotonic() < after:
                time.sleep(0.1)
                play.look()
            play.happen()
        play.resume()
        wanted = [item["params"]["prompt"] for item in play.job["spec"]["items"]["list"]]
        status = plane.wait_for("film", succeeded, 240)["status"]
        play.look()
        assert status["progress"] == f"{2 * len(wanted) + 1}/{2 * len(wanted) + 1}"
        reels = sorted(play.folder.glob("reel/job/*/reel.*.txt"), key=lambda file: file.stat().st_mtime)
        assert [f"clip {prompt}" for prompt in wanted] in [file.read_text().splitlines() for file in reels]

        counters, happened = status["counters"], Counter(play.story)
        print(json.dumps(counters), dict(happened), "units begun:", len(begun_units(begun)))
        lost_with_machines = PARALLELISM * (happened["kill_node"] + happened["kill_everything"])
        assert counters["disruptions"] <= happened["evict"] + happened["delete_pod"] + lost_with_machines
        assert counters["restarts"] <= happened["restart"]
        assert counters["suspensions"] <= happened["suspend"]
        assert counters["stuck"] == 0
        damaged = {"InputDamaged", "InputMissing", "ArtifactsMissing"}
        assert {each["reason"] for each in status["recentFailures"]} <= {"Crash", *damaged}
    finally:
        plane.kill()
