"""One control plane for a module of tests, with intervals short enough to be waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plane import Plane


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
    shared_plane.clear()


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A file that the programs of a test may note in what they begin; see `reels.film`."""
    file = tmp_path / "begun"
    file.touch()
    return file
