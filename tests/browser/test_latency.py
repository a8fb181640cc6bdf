"""What is shown is what happens now."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from browser.pictures import PICTURE
from browser.visitor import Visit
from plane import Plane
from reels import reel

pytestmark = pytest.mark.slow


LATEST = 2.0
"""Seconds that a step may take from a worker to the eye."""
STEPS = 24


def at_step(steps: Path) -> int:
    """The step that the worker is at; 0 before the first, and while it is written down."""
    number = steps.read_text().partition("/")[0] if steps.exists() else ""
    return int(number) if number.isdigit() else 0


def test_the_step_of_a_unit_is_shown_at_most_2_seconds_behind_its_worker(
    plane: Plane, visit: Visit, tmp_path: Path
) -> None:
    steps = tmp_path / "steps"
    step = f'echo $step/{STEPS} | tee "$CARRYON_PROGRESS" > {steps}; sleep 0.25'
    plane.apply(reel("slow", clips=1, script=f"for step in $(seq {STEPS}); do {step}; done; {PICTURE}"))
    visitor = visit().open("slow")
    visitor.sees_unit("clip", 0, "active")
    told: list[tuple[float, int]] = []
    behind: list[tuple[int, int]] = []
    label = visitor.unit("clip", 0).locator(".unit-label")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        now = time.monotonic()
        shown = label.text_content() or ""
        known = at_step(steps)
        if known == STEPS:  # From now on the unit may be done, and show no step any more.
            break
        told.append((time.monotonic(), known))
        due = max((number for at, number in told if at <= now - LATEST), default=0)
        behind.append((due, int(shown.partition("step ")[2].partition("/")[0] or 0)))
        visitor.page.wait_for_timeout(100)
    assert max(shown for _, shown in behind) >= STEPS / 2, f"only {behind} was shown"
    assert [pair for pair in behind if pair[1] < pair[0]] == []
    visitor.sees_progress("1/1")
