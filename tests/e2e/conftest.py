"""One control plane for a module of tests, with intervals short enough to be waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plane import JOBS, ApiError, Plane, until


@pytest.fixture(scope="session")
def intervals() -> dict[str, str]:
    """Settings of an operator that looks again soon."""
    return {
        "CARRYON_ITEMS_INTERVAL": "1s",
        "CARRYON_VERIFY_INTERVAL": "3s",
        "CARRYON_ENDED_VERIFY_INTERVAL": "3s",
    }


@pytest.fixture(scope="module")
def shared_plane(tmp_path_factory: pytest.TempPathFactory, intervals: dict[str, str]) -> Iterator[Plane]:
    made = Plane(tmp_path_factory.mktemp("e2e") / "plane", environment=intervals).start()
    yield made
    made.kill()


@pytest.fixture
def plane(shared_plane: Plane) -> Iterator[Plane]:
    """The module's control plane; jobs that a test leaves are removed with all that runs of them."""
    yield shared_plane
    for job in shared_plane.request("GET", JOBS)["items"]:
        try:
            shared_plane.delete(job["metadata"]["name"])
        except ApiError as error:
            if error.code != 404:  # It may have gone by itself.
                raise
    until(lambda: shared_plane.request("GET", JOBS)["items"] == [] and shared_plane.pods() == [], 60)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A file that the programs of a test may note in what they begin; see `reels.film`."""
    file = tmp_path / "begun"
    file.touch()
    return file
