"""Our own API server: what no other server promises, and what only its insides show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiservers import MEDIA_CRD, Server, until


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return until


@pytest.fixture(scope="session")
def media_crd() -> dict[str, Any]:
    return MEDIA_CRD


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for a module, with the MediaJob kind."""
    made = Server(tmp_path_factory.mktemp("apiserver")).start()
    try:
        made.define()
        yield made
    finally:
        made.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, not started."""
    made = Server(tmp_path)
    try:
        yield made
    finally:
        made.kill()
