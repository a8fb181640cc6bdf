"""What a program keeps in CARRYON_CHECKPOINT is there again at its next attempt, however the one before ended."""

from __future__ import annotations

import re
import signal
import threading
import time
from typing import Any

import pytest

from carryon_core.messages import ExitCode, StoreConfig, UnitOutcome
from carryon_store import Unreachable, open_store
from carryon_worker.checkpoints import Checkpoints

COUNTS = """
state=$CARRYON_CHECKPOINT/state
from=$(cat $state 2> /dev/null || echo 0)
echo "from $from" >&2
i=$from
while [ $i -lt 1000 ]; do
    i=$((i + 1))
    echo $i > $state.new && mv $state.new $state
    [ $i = $STOP ] && { echo inside >&2; eval "$THEN"; }
    [ $i = 6 ] && { echo "$from to $i" > $CARRYON_OUTPUT/count.txt; exit 0; }
done
"""


def counter(bench: Any, stop: int, then: str = "sleep 60 & wait", **more: Any) -> Any:
    """A unit that counts to 6; when it gets to `stop` it does something else first."""
    return bench.shell(0, COUNTS, env={"STOP": str(stop), "THEN": then}, **more)


def kept(bench: Any, unit: Any) -> list[str]:
    prefix = bench.prefix(unit) + "checkpoint/"
    return [each.key.removeprefix(prefix).partition(".")[0] for each in bench.store.list(prefix)]


def interrupted(bench: Any, unit: Any, **env: str) -> Any:
    running = bench.start(bench.assignment(unit), **env)
    running.says("inside")
    running.process.send_signal(signal.SIGTERM)
    return running.end()


def test_a_program_that_is_stopped_goes_on_where_it_was_and_leaves_nothing_behind(bench: Any) -> None:
    ended = interrupted(bench, counter(bench, 3))
    assert ended.code == ExitCode.INTERRUPTED, ended.stderr
    (report,) = ended.termination.units
    assert (report.outcome, report.durable) == (UnitOutcome.INTERRUPTED, True)
    assert kept(bench, counter(bench, 3)) == ["000001"]

    ended = interrupted(bench, counter(bench, 5))
    assert "from 3" in ended.stderr
    assert ended.termination.units[0].durable
    assert kept(bench, counter(bench, 5)) == ["000001", "000002"]

    unit = counter(bench, 1000)
    assert bench.run(bench.assignment(unit)).code == ExitCode.DONE
    assert bench.artifacts(unit) == {"count.txt": b"5 to 6\n"}
    assert kept(bench, unit) == []


def test_what_a_program_writes_when_it_is_asked_to_stop_is_saved(bench: Any) -> None:
    script = "trap 'echo 5 > $CARRYON_CHECKPOINT/state; exit 1' TERM; echo inside >&2; sleep 60 & wait"
    assert interrupted(bench, bench.shell(0, script)).termination.units[0].durable
    bench.run(bench.assignment(counter(bench, 1000)))
    assert bench.artifacts(counter(bench, 1000)) == {"count.txt": b"5 to 6\n"}


def test_an_attempt_that_came_no_further_leaves_nothing_durable(bench: Any) -> None:
    assert interrupted(bench, counter(bench, 3)).termination.units[0].durable
    script = "cp $CARRYON_CHECKPOINT/state s; cp s $CARRYON_CHECKPOINT/state; echo inside >&2; sleep 60 & wait"
    ended = interrupted(bench, bench.shell(0, script))
    assert ended.code == ExitCode.INTERRUPTED
    assert not ended.termination.units[0].durable
    assert kept(bench, counter(bench, 3)) == ["000001"]


def test_a_program_that_keeps_nothing_puts_nothing_into_the_bucket(bench: Any) -> None:
    unit = bench.shell(0, "echo inside >&2; sleep 60 & wait")
    ended = interrupted(bench, unit)
    assert not ended.termination.units[0].durable
    assert list(bench.store.list()) == []


def test_a_worker_killed_without_a_word_loses_what_came_after_the_last_saving(bench: Any) -> None:
    running = bench.start(bench.assignment(counter(bench, 3)), CARRYON_CHECKPOINT_SECONDS="0.05")
    running.says("inside")
    running.says("checkpoint 1 saved")
    bench.eventually(lambda: "3\n" in latest(bench, counter(bench, 3)))
    running.process.kill()
    running.end()
    ended = bench.run(bench.assignment(counter(bench, 1000)))
    assert "from 3" in ended.stderr
    assert bench.artifacts(counter(bench, 1000)) == {"count.txt": b"3 to 6\n"}


def latest(bench: Any, unit: Any) -> str:
    """The newest archive as text: a small file's content is readable in it."""
    objects = [each.key for each in bench.store.list(bench.prefix(unit) + "checkpoint/")]
    return bench.store.get(objects[-1]).decode(errors="replace") if objects else ""


@pytest.mark.parametrize(
    ("then", "limits", "code"),
    [
        ("exit 3", {}, ExitCode.SOME_FAILED),
        ("exit 13", {}, ExitCode.OUT_OF_MEMORY),
        ("sleep 60", {"unit_timeout_seconds": 1.0}, ExitCode.UNIT_TIMEOUT),
        ("echo 3 > $CARRYON_PROGRESS; sleep 60", {"stall_seconds": 1.0}, ExitCode.STALLED),
    ],
)
def test_an_attempt_that_failed_is_gone_on_from_too(bench: Any, then: str, limits: Any, code: int) -> None:
    ended = bench.run(bench.assignment(counter(bench, 3, then), **limits))
    assert ended.code == code, ended.stderr
    assert ended.termination.units[0].durable
    bench.run(bench.assignment(counter(bench, 1000)))
    assert bench.artifacts(counter(bench, 1000)) == {"count.txt": b"3 to 6\n"}


def test_what_can_not_work_keeps_nothing(bench: Any) -> None:
    unit = counter(bench, 3, "exit 12")
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.BAD_REQUEST
    assert kept(bench, unit) == []


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(bench: Any) -> None:
    for stop in (3, 5):
        interrupted(bench, counter(bench, stop))
    unit = counter(bench, 1000)
    first, second = [each.key for each in bench.store.list(bench.prefix(unit) + "checkpoint/")]
    content = bench.store.get(second)
    bench.store.put(second, content.replace(b"5\n", b"4\n"), content_type="application/x-tar")
    ended = interrupted(bench, counter(bench, 4))
    assert "checkpoint 2 is of no use: its content is not what its name says" in ended.stderr
    assert "from 3" in ended.stderr
    # What is newer than the damaged one is saved under another name, not into it.
    assert kept(bench, unit)[-1] == "000003"
    for each in bench.store.list(bench.prefix(unit) + "checkpoint/"):
        bench.store.put(each.key, content[:700], content_type="application/x-tar")
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.DONE
    assert "from 0" in ended.stderr
    assert first not in [each.key for each in bench.store.list()]


def test_other_units_and_other_fingerprints_see_nothing_of_it(bench: Any) -> None:
    interrupted(bench, counter(bench, 3))
    other = counter(bench, 1000)
    bench.run(
        bench.assignment(other.model_copy(update={"fingerprint": "f" * 64}), other.model_copy(update={"item": "x"}))
    )
    for changed in ({"fingerprint": "f" * 64}, {"item": "x"}):
        assert bench.artifacts(other.model_copy(update=changed)) == {"count.txt": b"0 to 6\n"}


def test_the_two_newest_are_kept(bench: Any) -> None:
    unit = bench.shell(
        0, "i=0; while :; do i=$((i + 1)); echo $i > n; mv n $CARRYON_CHECKPOINT/state; echo $i/9; sleep 0.02; done"
    )
    running = bench.start(bench.assignment(unit), CARRYON_CHECKPOINT_SECONDS="0.01")
    running.says("checkpoint 9 saved")
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == ExitCode.INTERRUPTED
    numbers = [int(each) for each in kept(bench, unit)]
    assert len(numbers) == 2
    assert numbers[1] == numbers[0] + 1


def test_a_folder_too_large_is_said_once_and_the_unit_is_made_all_the_same(bench: Any) -> None:
    script = "truncate -s 1025M $CARRYON_CHECKPOINT/huge; sleep 0.5; echo made > $CARRYON_OUTPUT/made.txt"
    ended = bench.run(bench.assignment(bench.shell(0, script)), CARRYON_CHECKPOINT_SECONDS="0.05")
    assert ended.code == ExitCode.DONE
    assert ended.stderr.count("the folder CARRYON_CHECKPOINT can't be saved: it holds more than 1024 MiB") == 1


def test_checkpoints_go_through_s3_just_the_same(bench: Any, moto_config: StoreConfig) -> None:
    bench.store = open_store(moto_config)
    running = bench.start(bench.assignment(counter(bench, 3), store=moto_config))
    running.says("inside")
    running.process.send_signal(signal.SIGTERM)
    assert running.end().termination.units[0].durable
    assert bench.run(bench.assignment(counter(bench, 1000), store=moto_config)).code == ExitCode.DONE
    assert bench.artifacts(counter(bench, 1000)) == {"count.txt": b"3 to 6\n"}
    assert kept(bench, counter(bench, 1000)) == []


GROWS = """
import hashlib, os, pathlib, time

kept = pathlib.Path(os.environ["CARRYON_CHECKPOINT"])

def write(name, content):
    (kept / (name + ".new")).write_bytes(content)
    (kept / (name + ".new")).rename(kept / name)

n = 0
if (kept / "state").exists():
    n, digest = (kept / "state").read_text().split()
    assert digest == hashlib.sha256(n.encode()).hexdigest()
    n = int(n)
    # Written first, so it is never older than the state, and newer by one at most.
    assert n <= int((kept / "large").read_bytes()[:8]) <= n + 1
    assert (kept / "large").stat().st_size == 2_000_008
print("from", n, flush=True)
first = n
while n < 200:
    n += 1
    write("large", b"%08d" % n + bytes(2_000_000))
    write("state", f"{n} {hashlib.sha256(str(n).encode()).hexdigest()}".encode())
    with (kept / "log").open("a") as log:
        log.write(f"{n}\\n")
    if n == first + 8:
        print("inside", flush=True)
    time.sleep(0.01)
pathlib.Path(os.environ["CARRYON_OUTPUT"], "n.txt").write_text(str(n))
"""


def test_whatever_kills_a_worker_and_when_its_program_finds_one_moment_of_its_folder(bench: Any) -> None:
    unit = bench.command(0, "python", "-c", GROWS)
    began = []
    for number in range(8):
        running = bench.start(bench.assignment(unit), CARRYON_CHECKPOINT_SECONDS="0.02")
        running.says("inside")
        running.says("saved")
        running.process.send_signal(signal.SIGTERM if number % 2 else signal.SIGKILL)
        ended = running.end()
        assert "AssertionError" not in ended.stderr
        began.append(int(re.search(r"from (\d+)", ended.stderr)[1]))
    assert began == sorted(began)
    assert began[-1] > began[0] == 0
    assert bench.run(bench.assignment(unit)).code == ExitCode.DONE
    assert bench.artifacts(unit) == {"n.txt": b"200"}


class Hanging:
    """A bucket whose writes take longer than anybody waits, until they are let go."""

    def __init__(self, store: Any, gate: threading.Event) -> None:
        self.store, self.gate = store, gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def put(self, *args: Any, **options: Any) -> Any:
        self.gate.wait(30)
        raise Unreachable("no answer")


def test_a_bucket_that_hangs_holds_the_end_up_no_longer_than_it_may(bench: Any) -> None:
    gate = threading.Event()
    bucket: Any = Hanging(bench.store, gate)
    told: list[None] = []
    checkpoints = Checkpoints(bucket, "unit/", bench.root, 60.0, lambda: told.append(None))
    (checkpoints.open() / "state").write_text("1")
    began = time.monotonic()
    checkpoints.flush(0.2)
    assert 0.2 <= time.monotonic() - began < 5
    gate.set()
    checkpoints.close()
    assert told == []


class Silent:
    """A bucket that does not answer."""

    def list(self, prefix: str) -> Any:
        raise Unreachable("no answer")


def test_a_bucket_that_does_not_say_what_was_left_is_no_reason_to_start_over(bench: Any) -> None:
    bucket: Any = Silent()
    checkpoints = Checkpoints(bucket, "unit/", bench.root, 60.0, lambda: None)
    with pytest.raises(Unreachable):
        checkpoints.open()
    assert list(bench.root.glob("kept")) == []
