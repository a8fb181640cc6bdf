"""A disk that runs low pauses jobs before it breaks them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from plane import Plane, succeeded, units_done, until
from reels import begun_units, reel, stage, versions

pytestmark = pytest.mark.slow
GIB = 1024**3


def test_a_job_pauses_while_the_disk_is_short_and_carries_on_without_a_failure(tmp_path: Path, begun: Path) -> None:
    reserve = shutil.disk_usage(tmp_path).free - GIB
    plane = Plane(tmp_path / "plane", environment={"CARRYON_DISK_RESERVE": str(reserve)}).start()
    try:
        script = f"""
            if [ "$CARRYON_ITEM" = 2 ] && [ ! -e {tmp_path}/free ]; then sleep 600 & wait; fi
            head -c 64 /dev/urandom > "$CARRYON_OUTPUT/clip.bin"
        """
        job = reel("roomy", clips=4, parallelism=1)
        job["spec"]["stages"] = [stage("clip", begun, script)]
        plane.apply(job)
        plane.wait_for("roomy", lambda job: units_done(job) == 2)
        before = versions(plane.job_folder("roomy"))
        until(lambda: "clip/2" in begun_units(begun))

        filler = tmp_path / "filler"
        with filler.open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, 2 * GIB)
        until(lambda: any("disk-pressure" in str(pod["status"]) for pod in plane.pods("roomy")))

        (tmp_path / "free").touch()
        filler.unlink()
        status = plane.wait_for("roomy", succeeded)["status"]
        assert status["counters"]["failures"] == 0
        after = versions(plane.job_folder("roomy"))
        assert {unit: after[unit] for unit in before} == before
        assert begun_units(begun) == ["clip/0", "clip/1", "clip/2", "clip/2", "clip/3"]
    finally:
        plane.kill()
