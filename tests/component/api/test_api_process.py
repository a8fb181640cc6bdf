"""`carryon-api` as a program: it says where it serves, outlives the API server's absence, and ends when told to."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from carryon_api.__main__ import main
from status_site import ADMIN, Site

Started = subprocess.Popen[str]


def start(*arguments: str) -> Started:
    command = [sys.executable, "-m", "carryon_api", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def kubeconfig(site: Site) -> Path:
    return site.folder / "kubeconfig"


def test_it_serves_until_it_is_told_to_stop(site: Site, kubeconfig: Path) -> None:
    process = start("--kubeconfig", str(kubeconfig), "--port", "0", "--standalone")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("serving on ").strip()
        assert url.startswith("http://127.0.0.1:")
        site.urls.append(url)
        with site.http(ADMIN, replica=len(site.urls) - 1) as http:
            site.until(lambda: http.get("/readyz").status_code == 200, "it is ready")
            assert http.get("/api/v1/session").json()["mode"] == "standalone"
            # An open stream does not keep it from ending.
            with http.stream("GET", "/api/v1/events") as stream:
                assert stream.status_code == 200
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_while_kubernetes_is_away_it_says_so_and_does_not_die(tmp_path: Path, site: Site, kubeconfig: Path) -> None:
    away = tmp_path / "kubeconfig"
    away.write_text(kubeconfig.read_text().replace(site.server, "http://127.0.0.1:9"))
    process = start("--kubeconfig", str(away), "--port", "0")
    try:
        assert process.stdout is not None
        site.urls.append(process.stdout.readline().removeprefix("serving on ").strip())
        with site.http(ADMIN, replica=len(site.urls) - 1) as http:
            assert http.get("/livez").status_code == 200
            ready = http.get("/readyz")
            assert (ready.status_code, ready.text.splitlines()[0]) == (503, "jobs: jobs are not listed yet")
            answer: Any = http.get("/api/v1/jobs")
            assert answer.status_code == 503
            assert answer.json()["detail"].startswith("Kubernetes does not answer")
            assert "retry-after" in answer.headers
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.communicate()


@pytest.mark.parametrize("wrong", ["--kubeconfig", "--port"])
def test_what_it_can_not_start_with_is_said_in_one_sentence(
    site: Site, kubeconfig: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = site.url.rpartition(":")[2]
    given = {"--kubeconfig": str(kubeconfig), "--port": taken} | (
        {wrong: "/nowhere"} if wrong == "--kubeconfig" else {}
    )
    said = {
        "--kubeconfig": "carryon-api: cannot connect to Kubernetes",
        "--port": f"carryon-api: 127.0.0.1:{taken} can't be listened on: Address already in use; choose another",
    }
    monkeypatch.setattr(sys, "argv", ["carryon-api", *(part for pair in given.items() for part in pair)])
    with pytest.raises(SystemExit, match=re.escape(said[wrong])):
        main()
