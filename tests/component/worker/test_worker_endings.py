"""How a program ends a unit on purpose without artifacts."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from carryon_core.done import Outcome
from carryon_core.messages import ExitCode


def says(content: str) -> str:
    return f"printf %s {shlex.quote(content)} > $CARRYON_OUTCOME; "


WRITES = "printf made > $CARRYON_OUTPUT/made.txt; "


@pytest.mark.parametrize(
    ("content", "outcome", "reason"),
    [
        ('{"outcome": "skipped", "reason": "no new post"}', Outcome.SKIPPED, "no new post"),
        ('{"outcome": "filtered"}', Outcome.FILTERED, ""),
        ('{"outcome": "skipped", "reason": null, "more": 1}', Outcome.SKIPPED, ""),
        (r'{"outcome": "skipped", "reason": "half \ud800"}', Outcome.SKIPPED, "half ?"),
        ('{"outcome": "skipped", "reason": "%s"}' % ("x" * 5000), Outcome.SKIPPED, "x" * 1000),
    ],
)
@pytest.mark.parametrize("leaves", ["", WRITES])
def test_a_unit_that_was_skipped_or_filtered_is_done_without_artifacts(
    bench: Any, content: str, outcome: Outcome, reason: str, leaves: str
) -> None:
    unit = bench.shell(0, leaves + says(content))
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.DONE, ended.stderr
    done = bench.done(unit)
    assert (done.outcome, done.reason, done.artifacts) == (outcome, reason, [])
    assert [each.key for each in bench.store.list(bench.prefix(unit))] == [bench.prefix(unit) + "done.json"]
    # And stays so.
    assert bench.run(bench.assignment(unit)).code == ExitCode.DONE
    assert bench.done(unit) == done


def test_generated_may_be_said_too_and_needs_a_file_all_the_same(bench: Any) -> None:
    units = [bench.shell(index, script + says('{"outcome": "generated"}')) for index, script in enumerate((WRITES, ""))]
    ended = bench.run(bench.assignment(*units))
    assert bench.done(units[0]).outcome is Outcome.GENERATED
    assert bench.done(units[1]) is None
    assert ended.termination.units[1].reason == "NoArtifacts"


@pytest.mark.parametrize(
    "script",
    [
        says("skipped"),
        says('{"outcome": "boring"}'),
        says('{"reason": "none"}'),
        says('["skipped"]'),
        says('{"outcome": "skipped", "reason": 7}'),
        says("[" * 50_000),
        says(""),
        "printf '\\377' > $CARRYON_OUTCOME",
        "mkdir $CARRYON_OUTCOME",
        "mkfifo $CARRYON_OUTCOME",
        "ln -s /etc/hostname $CARRYON_OUTCOME",
        "head -c 100000 /dev/zero > $CARRYON_OUTCOME",
    ],
)
def test_an_outcome_that_can_not_be_read_is_a_bad_request_that_says_the_form(bench: Any, script: str) -> None:
    unit = bench.shell(0, WRITES + script)
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.BAD_REQUEST, ended.stderr
    assert 'write {"outcome": "generated", "skipped" or "filtered"' in ended.termination.message
    assert bench.done(unit) is None
    assert "Traceback" not in ended.stderr


def test_an_outcome_of_a_program_that_failed_does_not_count(bench: Any) -> None:
    unit = bench.shell(0, says('{"outcome": "skipped"}') + "exit 3")
    assert bench.run(bench.assignment(unit)).termination.units[0].reason == "ExitCode"
    assert bench.done(unit) is None
