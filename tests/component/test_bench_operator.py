"""The benchmark of the operator: what it writes, what it would compare, and the bounds of status that it shows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import indexed_job, operator_table, statuses
from fake_apiserver import FakeApiServer
from processes import kubeconfig


def test_numbers_take_the_place_of_those_before_and_of_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    real = operator_table.PAGE.read_text(encoding="utf-8")
    page.write_text(real, encoding="utf-8")
    operator_table.write(page, "| first |")
    operator_table.write(page, "| second |")
    written = page.read_text(encoding="utf-8")
    assert "| second |" in written
    assert "| first |" not in written
    assert written.startswith(real[:500])
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="has no place for the numbers"):
        operator_table.write(page, "| third |")


@pytest.mark.slow
@pytest.mark.parametrize(("units", "kib"), [(10_000, 48), (100_000, 580)])
def test_status_is_bounded_by_what_its_index_sets_take_in_the_worst_case(units: int, kib: int) -> None:
    sizes = statuses.sizes(units)
    assert sizes["all are done"] < 4 * 1024
    # Every number once, and 8 KiB for all the rest.
    assert max(sizes.values()) < (kib + 8) * 1024


class JobController:
    """As much of Kubernetes' Job controller as is compared: pods by index, at most `parallelism` at a time."""

    def __init__(self, server: FakeApiServer) -> None:
        self._server = server

    async def run(self) -> None:
        while True:
            for key, job in list(self._server.objects.items()):
                if key.startswith("jobs/"):
                    self._reconcile(job["metadata"]["namespace"], job)
            await asyncio.sleep(0.01)

    def _reconcile(self, namespace: str, job: dict[str, Any]) -> None:
        name, spec = job["metadata"]["name"], job["spec"]
        prefix = f"pods/{namespace}/{name}-"
        pods = {key: pod for key, pod in self._server.objects.items() if key.startswith(prefix)}
        done = sum((pod.get("status") or {}).get("phase") == "Succeeded" for pod in pods.values())
        for index in range(len(pods), min(spec["completions"], done + spec["parallelism"])):
            labels = {"batch.kubernetes.io/job-name": name}
            self._server.put(
                "pods", f"{name}-{index}", namespace, metadata={"labels": labels}, spec=spec["template"]["spec"]
            )
        status = {"succeeded": done}
        if done == spec["completions"]:
            status["conditions"] = [{"type": "Complete", "status": "True"}]
        if job.get("status") != status:
            self._server.put("jobs", name, namespace, spec=spec, status=status)


async def test_an_indexed_job_is_timed_where_a_controller_makes_its_pods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeApiServer().serving() as server:
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig(server.url, token="t")))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        controller = asyncio.create_task(JobController(server).run())
        made = await indexed_job.indexed(5, 2)
        controller.cancel()
        assert made is not None
        assert made.status >= 2
        assert made.creating > 0
        pods = [pod for key, pod in server.objects.items() if key.startswith("pods/")]
        assert [pod["status"]["phase"] for pod in pods] == ["Succeeded"] * 5


async def test_without_a_job_controller_nothing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert await indexed_job.indexed(5, 2) is None, "the standalone API server has no batch/v1"
