"""The report on a job over HTTP, where not everything can be read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from status_site import VIEWER, Site


def test_a_report_without_a_secret_says_so_and_is_made_all_the_same(
    site: Site, make: Callable[..., dict[str, Any]]
) -> None:
    make("keyless", output={"uri": "s3://bucket/x", "credentialsSecret": {"name": "gone"}})
    with site.http(VIEWER) as http:
        answer = http.get("/api/v1/namespaces/default/jobs/keyless/support")
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as report:
        problems = json.loads(report.read("problems.json"))
        readme = report.read("README.txt").decode()
        assert json.loads(report.read("job.json"))["metadata"]["name"] == "keyless"
    assert any(each.startswith("1 of the 1 Secrets that the job names could not be read") for each in problems)
    assert any(each.startswith("a Secret that the job names: ") for each in problems), "and why"
    assert "Before you pass it on: 1 of the 1 Secrets" in readme


def test_a_report_looks_for_the_default_stores_keys_where_a_job_names_no_output(
    site: Site, make: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make("homely")
    cluster = site.apps[0].state.cluster
    monkeypatch.setattr(cluster, "config", replace(cluster.config, default_store_secret="lost"))
    with site.http(VIEWER) as http:
        answer = http.get("/api/v1/namespaces/default/jobs/homely/support")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as report:
        problems = json.loads(report.read("problems.json"))
    assert any(each.startswith("1 of the 1 Secrets") for each in problems), "it can't be read here, so it says so"
