"""One API server with the API in front of it for each module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from status_site import JOBS, Site, job


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, default_store=None) as made:
        yield made


@pytest.fixture
def make(site: Site) -> Callable[..., dict[str, Any]]:
    """Makes a job, with the status that an operator would have written, known to the API."""

    def made(name: str, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
        stored: dict[str, Any] = site.kube("POST", JOBS, job(name, **spec))
        if status is not None:
            site.status(name, {"observedGeneration": 1, **status})
        version = site.kube("GET", f"{JOBS}/{name}")["metadata"]["resourceVersion"]

        def known() -> bool:
            seen = site.apps[0].state.cluster.job("default", name)
            return seen is not None and seen.version == version

        site.until(known, f"the API has heard of {name}")
        return stored

    return made
