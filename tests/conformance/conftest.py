"""The API server under test: our own, or the cluster of the kubeconfig that CARRYON_TEST_KUBECONFIG names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiservers import KUBECONFIG, MEDIA_CRD, Client, Server, until


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return until


@pytest.fixture(scope="session")
def media_crd() -> dict[str, Any]:
    return MEDIA_CRD


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One server for a module, with the MediaJob kind. What a module has created in a cluster, goes with it."""
    if given := os.environ.get(KUBECONFIG):
        cluster = Client.of(Path(given))
        cluster.define()
        try:
            yield cluster
        finally:
            cluster.clear()
        return
    made = Server(tmp_path_factory.mktemp("apiserver")).start()
    try:
        made.define()
        yield made
    finally:
        made.kill()
