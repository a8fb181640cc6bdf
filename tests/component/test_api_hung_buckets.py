"""A bucket that takes connections and never answers: its own jobs wait, and those of others notice nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import httpx
import pytest

from carryon_api.threads import Threads
from carryon_core.messages import StoreConfig
from status_site import ADMIN, JOBS, Site, job

SHARE = 3


@pytest.fixture
def hung() -> Iterator[str]:
    """An S3 endpoint whose connections are accepted by the system, and by nobody else."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def site(tmp_path: Path, hung: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobodys")
    default = StoreConfig(uri="s3://bucket/jobs", endpoint=hung)
    with Site(tmp_path / "site", default_store=default, file_root=PurePosixPath(tmp_path)) as made:
        cluster = made.apps[0].state.cluster
        cluster.threads = Threads(4 * SHARE, SHARE, patience=0.2)
        yield made


def test_jobs_of_another_namespace_go_on_and_its_own_are_told_to_come_again(site: Site, tmp_path: Path) -> None:
    site.kube("POST", JOBS, job("stuck"))
    site.status("stuck", {"resolved": {"output": "s3://bucket/jobs"}})
    site.kube("POST", JOBS.replace("default", "elsewhere"), job("fine", output={"uri": (tmp_path / "b").as_uri()}))
    cluster = site.apps[0].state.cluster
    site.until(lambda: cluster.job("default", "stuck") and cluster.job("elsewhere", "fine"), "both are known")
    unit = "/api/v1/namespaces/{}/jobs/{}/units/clip/0"

    def ask(number: int) -> None:
        with site.http(ADMIN) as http, pytest.raises(httpx.ReadTimeout):
            http.get(unit.format("default", "stuck"), timeout=3.0)

    with ThreadPoolExecutor(SHARE) as askers:
        list(askers.map(ask, range(SHARE)))
    # Those who asked are gone; what asks the bucket for them is not.
    assert cluster.threads.used("default") == SHARE
    with site.http(ADMIN) as http:
        assert http.get(unit.format("elsewhere", "fine")).json()["state"] == "waiting"
        refused = http.get(unit.format("default", "stuck"))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json()["detail"].startswith('too many requests wait for buckets of namespace "default"')
        # What needs no bucket is there all the same.
        stuck = unit.format("default", "stuck").partition("/units")[0]
        assert http.get(stuck).json()["name"] == "stuck"
        assert http.post(f"{stuck}/pause").json()["message"] == "Paused: 0 kept"
        assert http.post(f"{stuck}/cancel").json()["message"].startswith("Cancelled")
