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


def test_the_step_of_a_unit_is_shown_at_most_2_seconds_behind_its_worker(
    plane: Plane, visit: Visit, tmp_path: Path
) -> None:
    steps = tmp_path / "steps"
    counting = (
        f'for step in $(seq 24); do echo $step/24 | tee "$CARRYON_PROGRESS" > {steps}; sleep 0.25; done; {PICTURE}'
    )
    plane.apply(reel("slow", clips=1, script=counting))
    visitor = visit().open("slow")
    visitor.sees_unit("clip", 0, "active")
    told: list[tuple[float, int]] = []
    behind: list[tuple[int, int]] = []
    label = visitor.unit("clip", 0).locator(".unit-label")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and visitor.unit("clip", 0).get_attribute("data-state") == "active":
        now = time.monotonic()
        if steps.exists() and (known := steps.read_text().partition("/")[0]).isdigit():
            told.append((now, int(known)))
        shown = label.text_content() or ""
        step = int(shown.partition("step ")[2].partition("/")[0] or 0)
        due = max((number for at, number in told if at <= now - LATEST), default=0)
        behind.append((due, step))
        visitor.page.wait_for_timeout(100)
    assert max(step for _, step in behind) >= 12, f"only {behind} was shown"
    assert [pair for pair in behind if pair[1] < pair[0]] == []
    visitor.sees_progress("1/1")
