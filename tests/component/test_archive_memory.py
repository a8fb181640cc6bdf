"""Archives pass through: however large their films are, a few megabytes of them are in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from archives import film, raw, resolved
from carryon_core.done import Artifact, Done
from carryon_core.messages import StoreConfig
from carryon_store import Stores
from carryon_store.units import File, publish

MIB = 1 << 20
SIZES = (1 * MIB, 300 * MIB)
ROOM = {"file": 64 * MIB, "s3": 256 * MIB}
"""By the scheme of the store: S3 is sent four parts of 16 MiB at the same time, each of which is in memory twice."""
MEASURED = """
import json, sys
from carryon_core.messages import StoreConfig
from carryon_jobs.archive import checking, exporting, importing
from carryon_jobs.archive.moving import Place
from carryon_jobs.job import Job
from carryon_store import Stores

class Cluster:
    def find(self, namespace, name): return None
    def create(self, job, *, dry_run): return job

job, path, config = json.loads(sys.argv[1]), sys.argv[2], StoreConfig.model_validate_json(sys.argv[3])
with open(path, "wb") as file:
    for piece in exporting.prepare(Job(job, lambda name: {})).stream():
        file.write(piece)
with open(path, "rb") as file:
    archive = checking.check(file.fileno())
    plan = importing.plan(archive, Place("other", "reel", config), Stores().open(config), Cluster())
    importing.carry_out(plan, Cluster())
# Of this program alone: what getrusage tells begins with the size of the process that started it.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) * 1024)
"""


@pytest.mark.slow
def test_a_film_that_is_three_hundred_times_as_large_takes_no_more_memory(
    store_config: StoreConfig, stores: Stores, tmp_path: Path
) -> None:
    peaks = []
    for size in SIZES:
        config = store_config.model_copy(update={"uri": f"{store_config.uri}/{size}"})
        store, job = stores.open(config), raw(film(), config)
        units = resolved(job)
        made = tmp_path / "film.mp4"
        with made.open("wb") as file:
            file.truncate(size)
        for item in range(2):
            unit = units.stages[0].units[item]

            def describe(
                artifacts: list[Artifact], item: str = units.ids[item], fingerprint: str = unit.fingerprint
            ) -> Done:
                named = {"stage": "image", "item": item, "seed": 1, "finished": "2026-11-21T08:24:43Z"}
                return Done(fingerprint=fingerprint, artifacts=artifacts, **named)  # type: ignore[arg-type]

            publish(store, units.prefix(unit), [File("film.mp4", made, "video/mp4")], describe)
        target = store_config.model_copy(update={"uri": f"{store_config.uri}/there-{size}"})
        path = tmp_path / f"{size}.carryon"
        command = [sys.executable, "-c", MEASURED, json.dumps(job), str(path), target.model_dump_json()]
        ran = subprocess.run(command, capture_output=True, text=True, env=os.environ)
        assert ran.returncode == 0, ran.stderr
        assert path.stat().st_size > 2 * size
        there = [info for info in stores.open(target).list("other/reel/") if info.size == size]
        assert len(there) == 2
        path.unlink()
        peaks.append(int(ran.stdout))
    room = ROOM[store_config.uri.partition(":")[0]]
    print(f"peak memory: {', '.join(f'{peak / MIB:.0f} MiB' for peak in peaks)}; promised: at most {room // MIB} more")
    assert peaks[1] - peaks[0] < room
