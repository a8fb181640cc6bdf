"""The control plane as a tree of processes: brought up, crashed, killed and stopped for real."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from plane import Plane, succeeded, units_done
from reels import reel


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path / "plane")
    yield made
    for each in processes_of(made):
        with suppress(psutil.NoSuchProcess):  # it went with its parent
            each.kill()


def until(look: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.05)


def said(plane: Plane) -> str:
    """What the supervisor wrote."""
    return (plane.data.parent / f"{plane.data.name}.log").read_text()


def carryon(plane: Plane, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "CARRYON_HOME")}
    return subprocess.Popen(
        [sys.executable, "-m", "carryon_standalone", *arguments, "--data", str(plane.data)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(plane: Plane) -> list[psutil.Process]:
    """Whatever has the data folder in its command line, whoever started it."""
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if each.pid != os.getpid() and any(str(plane.data) in part for part in each.info["cmdline"] or ())
    ]


@pytest.mark.parametrize("name", ["apiserver", "node", "operator"])
def test_a_component_that_crashes_is_started_again_and_work_goes_on(plane: Plane, name: str) -> None:
    plane.start()
    manifest = reel("reel", clips=12, seconds=0.5)
    plane.apply(manifest)
    plane.wait_for("reel", lambda job: units_done(job) >= 1)
    before = plane.component(name)
    before.kill()
    plane.wait_for("reel", succeeded, timeout=90)

    def started_again() -> bool:
        try:
            return plane.component(name).pid != before.pid
        except ValueError:  # There is none at the moment.
            return False

    until(started_again)
    known_as = {"apiserver": "API server"}.get(name, name)
    assert f"the {known_as} was killed (SIGKILL): starting it again in 0.5 s" in said(plane)


@pytest.mark.slow
def test_the_page_comes_back_where_it_was_and_moves_on_where_its_port_is_taken(plane: Plane) -> None:
    plane.start()
    address = page_of(plane)
    assert f"{address}#token=" in said(plane)
    plane.component("page").kill()
    until(lambda: "the page was killed (SIGKILL): starting it again in 0.5 s" in said(plane))
    until(lambda: ready(address))
    tree = plane.processes()
    plane.stop()
    assert not [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    port = int(address.rstrip("/").rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        plane.start()
        assert f"port {port} is taken by another program: the page is at {page_of(plane)} now" in said(plane)
        assert ready(page_of(plane))


def page_of(plane: Plane) -> str:
    out, _ = carryon(plane, "page", "--print").communicate(timeout=20)
    return out.strip().partition("#")[0]


def ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_nothing_outlives_a_killed_supervisor_and_the_next_one_carries_on(plane: Plane) -> None:
    plane.start()
    manifest = reel("reel", clips=15, seconds=0.5)
    plane.apply(manifest)
    plane.wait_for("reel", lambda job: units_done(job) >= 2)
    address = yaml.safe_load(plane.kubeconfig.read_text())
    until(lambda: len(plane.processes()) > 5)  # supervisor, four components, and workers
    tree = plane.processes()
    tree[0].send_signal(signal.SIGKILL)
    assert plane.process is not None
    plane.process.wait(timeout=10)
    plane.start()  # at once: it waits for the rest of the old tree by itself
    assert not [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert yaml.safe_load(plane.kubeconfig.read_text()) == address
    plane.wait_for("reel", succeeded)


@pytest.mark.slow
def test_down_stops_everything_in_time_even_workers_that_do_not_listen(plane: Plane) -> None:
    plane.start()
    plane.apply(reel("deaf", clips=3, script="trap '' TERM; echo up; sleep 300"))
    until(lambda: sum((pod.get("status") or {}).get("phase") == "Running" for pod in plane.pods("deaf")) == 3)
    tree = plane.processes()
    began = time.monotonic()
    down = carryon(plane, "down")
    out, _ = down.communicate(timeout=40)
    assert (down.returncode, out) == (0, f"the control plane in {plane.data} is stopped\n")
    assert time.monotonic() - began < 20
    assert plane.process is not None
    assert plane.process.wait(timeout=1) == 0
    assert not [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    again, _ = carryon(plane, "down").communicate(timeout=20)
    assert again == f"the control plane in {plane.data} was not running\n"


def test_a_second_signal_ends_everything_at_once(plane: Plane) -> None:
    plane.start()
    plane.apply(reel("deaf", clips=3, script="trap '' TERM; echo up; sleep 300"))
    until(lambda: sum((pod.get("status") or {}).get("phase") == "Running" for pod in plane.pods("deaf")) == 3)
    tree = plane.processes()
    assert plane.process is not None
    plane.process.send_signal(signal.SIGINT)
    until(lambda: "stopping" in said(plane))
    plane.process.send_signal(signal.SIGINT)
    plane.process.wait(timeout=3)
    until(lambda: not [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE], 5)


def test_a_folder_has_one_control_plane(plane: Plane) -> None:
    plane.start()
    assert processes_of(plane)
    second = carryon(plane, "up")
    out, _ = second.communicate(timeout=20)
    assert second.returncode == 1
    assert plane.process is not None
    assert out == (
        f"a control plane already runs in {plane.data} (process {plane.process.pid}):"
        f" stop it with `carryon down --data {plane.data}`\n"
    )
    detached = carryon(plane, "up", "--detach")
    out, _ = detached.communicate(timeout=20)
    assert out.startswith(f"the control plane in {plane.data} was up already\n")
    other, _ = carryon(plane, "up", "--detach", "--gpus", "3").communicate(timeout=20)
    assert "runs with another --output or --gpus: stop it with `carryon down --data" in other


@pytest.mark.slow
def test_many_who_bring_it_up_at_once_get_the_same_one(plane: Plane) -> None:
    started = [carryon(plane, "up", "--detach") for _ in range(3)]
    said = [each.communicate(timeout=60)[0] for each in started]
    # The address that signs in is in there.
    assert (plane.data / "logs" / "supervisor.log").stat().st_mode & 0o077 == 0
    assert [each.returncode for each in started] == [0, 0, 0], said
    assert sum("is up" in each for each in said) == 1
    carryon(plane, "down").communicate(timeout=40)


@pytest.mark.slow
def test_a_port_that_somebody_else_took_is_given_up(plane: Plane) -> None:
    plane.start()
    port = int(yaml.safe_load(plane.kubeconfig.read_text())["clusters"][0]["cluster"]["server"].rpartition(":")[2])
    plane.stop()
    with socket.create_server(("127.0.0.1", port)):
        plane.start()
        assert plane.request("GET", "/version")["gitVersion"]
        assert f"port {port} is taken by another program" in said(plane)


def test_a_component_that_can_not_start_is_told_with_the_end_of_its_log(plane: Plane) -> None:
    (plane.data / "apiserver").mkdir(parents=True)
    (plane.data / "apiserver" / "state.db").write_text("this is no database")
    up = carryon(plane, "up")
    out, _ = up.communicate(timeout=60)
    assert up.returncode == 1
    told, *log = out.splitlines()
    assert told == f"the API server ended with exit code 1; its log {plane.data}/logs/apiserver.log ends with:"
    assert "file is not a database" in log[-1]
    until(lambda: processes_of(plane) == [], 5)


def test_a_data_folder_that_can_not_be_used_is_one_sentence(plane: Plane) -> None:
    plane.data.mkdir()
    (plane.data / "node").write_text("a file where a folder should be")
    for arguments in (["up"], ["up", "--detach"]):
        up = carryon(plane, *arguments)
        out, _ = up.communicate(timeout=60)
        assert up.returncode == 1
        assert out == (
            f"the data folder {plane.data} can't be used: File exists: {plane.data}/node; choose another with --data\n"
        )


def test_run_brings_the_control_plane_up_and_down_and_carries_on_after_ctrl_c(plane: Plane, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(reel("reel", clips=9, seconds=2)))
    output = tmp_path / "clips"
    first = carryon(plane, "run", str(file), "--output", str(output), "--down-on-exit")
    assert first.stdout is not None
    while not re.search("clip [1-5]/9 done", line := first.stdout.readline()):
        assert line, "it ended early"
    first.send_signal(signal.SIGINT)
    out, _ = first.communicate(timeout=40)
    assert first.returncode == 130
    assert out.endswith("stopped: what is finished is kept, and the same command carries on\n")
    until(lambda: processes_of(plane) == [], 5)
    kept = {path: path.stat().st_mtime_ns for path in output.rglob("done.json")}
    assert 1 <= len(kept) < 9

    second = carryon(plane, "run", str(file), "--down-on-exit")  # the folder remembers --output
    out, _ = second.communicate(timeout=90)
    assert second.returncode == 0, out
    assert f"artifacts: {output}/default/reel/" in out
    made = {path: path.stat().st_mtime_ns for path in output.rglob("done.json")}
    assert len(made) == 9
    assert {path: made[path] for path in kept} == kept
    until(lambda: processes_of(plane) == [], 5)


def test_run_ends_at_once_at_the_second_ctrl_c(plane: Plane, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(reel("deaf", clips=3, script="trap '' TERM; echo up; sleep 300")))
    run = carryon(plane, "run", str(file), "--down-on-exit")
    assert run.stdout is not None
    while "deaf: " not in (line := run.stdout.readline()):
        assert line, "it ended early"
    until(lambda: sum((pod.get("status") or {}).get("phase") == "Running" for pod in plane.pods("deaf")) == 3)
    run.send_signal(signal.SIGINT)
    log = plane.data / "logs" / "supervisor.log"
    until(lambda: "stopping" in log.read_text())
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=3) == 130
    until(lambda: processes_of(plane) == [], 5)
