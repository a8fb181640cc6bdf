"""A worker that is stopped, killed, stuck or too slow, also while its main thread sits in native code."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from carryon_core.messages import ExitCode, Progress, UnitOutcome

WRITES = "printf made > $CARRYON_OUTPUT/made.txt"

PLUGIN = """
import hashlib
import logging
import time

from carryon_worker import runner
from carryon_worker.generators import Generator, Made, Output
from carryon_worker.failures import UnitFailure

log = logging.getLogger("carryon_worker.plugin")


class Plugin(Generator):
    def load(self, config, session):
        if config.get("in") == "load":
            self.act(config, session)

    def generate(self, config, session):
        self.act(config, session)
        path = session.outputs / "made.txt"
        path.write_text("made")
        return Made([Output("made.txt", path)])

    def act(self, config, session):
        match config["does"]:
            case "native":
                # One call that gives the interpreter lock away and takes minutes.
                log.info("inside")
                hashlib.pbkdf2_hmac("sha256", b"", b"", 2**30)
            case "steps":
                session.step(3, 8)
                log.info("inside")
                hashlib.pbkdf2_hmac("sha256", b"", b"", 2**30)
            case "raise":
                raise RuntimeError("first line\\nthe last line" + "!" * 100_000)
            case "memory":
                raise MemoryError
            case "publish slowly":
                publish = runner.units.publish

                def slowly(*args):
                    log.info("inside")
                    time.sleep(1)
                    return publish(*args)

                runner.units.publish = slowly
            case "poison":
                raise UnitFailure("DeviceError", "the device is gone", ends_worker=True)
"""


@pytest.fixture
def plugin(bench: Any) -> Any:
    """Units of a generator that was installed beside the worker."""
    site = bench.root / "site"
    (site / "plugin-1.dist-info").mkdir(parents=True)
    (site / "plugin-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (site / "plugin-1.dist-info" / "entry_points.txt").write_text("[carryon.generators]\nplugin = plugin:Plugin\n")
    (site / "plugin.py").write_text(PLUGIN)

    def start(*does: str, when: str = "generate", **options: Any) -> Any:
        units = [bench.unit(index, {"plugin": {"does": each, "in": when}}) for index, each in enumerate(does)]
        return bench.start(bench.assignment(*units, **options), PYTHONPATH=str(site))

    return start


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_in(bench: Any, path: Path) -> int:
    return int(bench.eventually(lambda: path.exists() and path.read_text().strip()))


def test_sigterm_stops_a_program_and_says_interrupted(bench: Any) -> None:
    pid = bench.root / "pid"
    script = "sleep 60 & echo $! > $PIDS; echo inside >&2; wait"
    unit = bench.shell(1, script, env={"PIDS": str(pid)})
    running = bench.start(bench.assignment(bench.shell(0, WRITES), unit, bench.shell(2, WRITES)))
    running.says("inside")
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    ended = running.end()
    assert ended.code == ExitCode.INTERRUPTED
    assert time.monotonic() - began < 5
    assert ended.termination.reason == "Interrupted"
    assert [report.outcome for report in ended.termination.units] == ["done", "interrupted", "notStarted"]
    bench.eventually(lambda: not alive(pid_in(bench, pid)))


def test_a_program_that_ignores_sigterm_is_killed_well_inside_the_grace_period(bench: Any) -> None:
    script = "trap '' TERM; echo inside >&2; while :; do sleep 0.1; done"
    running = bench.start(bench.assignment(bench.shell(0, script)), CARRYON_GRACE_SECONDS="3")
    running.says("inside")
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == ExitCode.INTERRUPTED
    assert 1.0 <= time.monotonic() - began < 3.0


def test_sigterm_works_while_the_main_thread_is_in_a_long_native_call(plugin: Any) -> None:
    running = plugin("native")
    running.says("inside")
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    ended = running.end()
    assert (ended.code, time.monotonic() - began < 2) == (ExitCode.INTERRUPTED, True)
    assert ended.termination.units[0].outcome == UnitOutcome.INTERRUPTED


@pytest.mark.parametrize(
    ("does", "code", "outcomes"),
    [(["publish slowly"], 0, ["done"]), (["publish slowly", "nothing"], 11, ["done", "notStarted"])],
)
def test_what_is_made_when_sigterm_comes_is_still_published(
    plugin: Any, bench: Any, does: list[str], code: int, outcomes: list[str]
) -> None:
    running = plugin(*does)
    running.says("inside")
    running.process.send_signal(signal.SIGTERM)
    ended = running.end()
    assert (ended.code, [report.outcome for report in ended.termination.units]) == (code, outcomes)
    assert bench.artifacts(bench.unit(0, {})) == {"made.txt": b"made"}


def test_sigterm_while_the_worker_is_still_starting_is_not_lost(bench: Any) -> None:
    # The handler is the first thing a worker installs; before it, only the interpreter itself is loaded.
    running = bench.start(bench.assignment(bench.shell(0, "sleep 60")))
    caught = f"{1 << (signal.SIGTERM - 1):x}"

    def handled() -> bool:
        lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
        mask = next(line for line in lines if line.startswith("SigCgt")).split()[1]
        return bool(int(mask, 16) & int(caught, 16))

    bench.eventually(handled)
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == ExitCode.INTERRUPTED


def test_killed_without_a_word_then_run_again_a_unit_is_done_once(bench: Any) -> None:
    gate, pid = bench.root / "gate", bench.root / "pid"
    script = "echo $$ > $PIDS; while ! test -e $GATE; do sleep 0.05; done; " + WRITES
    assignment = bench.assignment(bench.shell(0, script, env={"GATE": str(gate), "PIDS": str(pid)}))
    running = bench.start(assignment)
    program = pid_in(bench, pid)
    running.process.kill()
    assert running.end().code == -signal.SIGKILL
    bench.eventually(lambda: not alive(program))
    gate.touch()
    assert bench.run(assignment).code == ExitCode.DONE
    assert bench.run(assignment).code == ExitCode.DONE
    assert [key.key.rpartition("/")[2] for key in bench.store.list() if key.key.endswith("done.json")] == ["done.json"]
    assert bench.artifacts(assignment.units[0]) == {"made.txt": b"made"}
    assert bench.done(assignment.units[0]).pod == "pod-1"


@pytest.mark.parametrize("when", ["load", "generate"])
def test_no_movement_for_too_long_is_a_stall(plugin: Any, when: str) -> None:
    ended = plugin("native", "native", when=when, stall_seconds=1.0).end()
    assert ended.code == ExitCode.STALLED
    stalled, rest = ended.termination.units
    assert (stalled.outcome, stalled.reason, rest.outcome) == ("failed", "Stalled", "notStarted")
    assert "no movement for 1 s while " + ("loading" if when == "load" else "generating") in stalled.message


def test_a_program_without_a_progress_file_is_never_stuck(bench: Any) -> None:
    ended = bench.run(bench.assignment(bench.shell(0, "sleep 1.2; " + WRITES), stall_seconds=0.3))
    assert ended.code == ExitCode.DONE, ended.stderr


def test_a_program_that_reported_and_then_stops_moving_is_stuck(bench: Any) -> None:
    script = "echo 1/4 > $CARRYON_PROGRESS; sleep 0.4; echo 2/4 >> $CARRYON_PROGRESS; sleep 60"
    running = bench.start(bench.assignment(bench.shell(0, script), stall_seconds=1.0))
    ended = running.end()
    assert ended.code == ExitCode.STALLED
    assert "at step 2" in ended.termination.message


def test_a_unit_that_takes_too_long_is_ended_with_its_program(bench: Any) -> None:
    pid = bench.root / "pid"
    script = "sleep 60 & echo $! > $PIDS; wait"
    assignment = bench.assignment(
        bench.shell(0, WRITES), bench.shell(1, script, env={"PIDS": str(pid)}), unit_timeout_seconds=1.0
    )
    ended = bench.run(assignment)
    assert ended.code == ExitCode.UNIT_TIMEOUT
    done, late = ended.termination.units
    assert (done.outcome, late.outcome, late.reason) == ("done", "failed", "UnitTimeout")
    assert "timeouts.unit" in late.message
    bench.eventually(lambda: not alive(pid_in(bench, pid)))


def test_loading_does_not_count_for_the_unit_timeout(plugin: Any) -> None:
    running = plugin("native", when="load", unit_timeout_seconds=0.2, stall_seconds=1.5)
    assert running.end().code == ExitCode.STALLED


@pytest.mark.parametrize(
    ("does", "code", "outcomes"),
    [
        (["raise", "nothing"], 10, ["failed", "done"]),
        (["memory", "nothing"], 13, ["failed", "notStarted"]),
        (["poison", "nothing"], 1, ["failed", "notStarted"]),
    ],
)
def test_what_a_generator_raises_ends_its_unit_and_the_worker_only_where_it_must(
    plugin: Any, does: list[str], code: int, outcomes: list[str]
) -> None:
    ended = plugin(*does).end()
    assert ended.code == code, ended.stderr
    assert [report.outcome for report in ended.termination.units] == outcomes


def test_a_crash_leaves_its_traceback_in_the_log_and_a_line_in_the_message(plugin: Any) -> None:
    ended = plugin("raise").end()
    assert "Traceback" in ended.stderr
    (report,) = ended.termination.units
    assert report.reason == "GeneratorFailed"
    assert report.message.startswith("RuntimeError: first line\nthe last line!")
    assert "Traceback" not in ended.message


def test_progress_tells_step_and_phase_but_no_prompt(plugin: Any, bench: Any) -> None:
    running = plugin("steps")
    running.says("inside")
    status, body = get(running.address + "/progress")
    progress = Progress.model_validate_json(body)
    assert (status, progress.stage, progress.units, progress.finished) == (200, "clip", 1, 0)
    current = progress.current
    assert current is not None
    assert (current.item, current.index, current.step, current.steps) == ("item 0", 0, 3, 8)
    assert current.phase == "generating"
    assert b"does" not in body
    assert get(running.address + "/healthz") == (200, b"ok")
    status, body = get(running.address + "/metrics")
    assert status == 200
    assert b"\ncarryon_worker_steps_total " in body
    assert get(running.address + "/secrets")[0] == 404


def test_a_programs_progress_file_is_its_progress(bench: Any) -> None:
    unit = bench.shell(0, """echo '{"step": 2, "steps": 9}' > $CARRYON_PROGRESS; sleep 60""")
    running = bench.start(bench.assignment(unit))

    def step() -> Any:
        current = json.loads(get(running.address + "/progress")[1])["current"]
        return current and (current["step"], current["steps"]) == (2, 9)

    bench.eventually(step)


def test_a_port_that_is_taken_is_no_reason_to_fail(bench: Any) -> None:
    first = bench.start(bench.assignment(bench.shell(0, "sleep 60")))
    port = first.address.rpartition(":")[2]
    ended = bench.run(bench.assignment(bench.shell(1, WRITES)), CARRYON_PORT=port)
    assert ended.code == ExitCode.DONE
    assert "can't be bound" in ended.stderr


def test_a_termination_log_that_can_not_be_written_is_no_reason_to_fail(bench: Any) -> None:
    ended = bench.run(bench.assignment(bench.shell(0, WRITES)), CARRYON_TERMINATION_LOG=os.devnull + "/log")
    assert ended.code == ExitCode.DONE
    assert "can't be written" in ended.stderr
