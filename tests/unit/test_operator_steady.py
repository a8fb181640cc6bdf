"""The time of day without jumps: what lasts is believed, what does not never was."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from carryon_operator.steady import BELIEVED_AFTER, SteadyClock

NOON = 1_700_000_000.0


@dataclass
class Machine:
    """A machine whose clock is set by somebody."""

    ticks: float = 50.0
    wall: float = NOON

    def __post_init__(self) -> None:
        self.clock = SteadyClock(lambda: self.wall, lambda: self.ticks)

    def later(self, seconds: float, jump: float = 0.0) -> float:
        """What the clock says after a while, in which the machine's was set forth or back."""
        self.ticks += seconds
        self.wall += seconds + jump
        return self.clock()


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 2.0])
def test_a_jump_that_is_taken_back_never_was(jump: float) -> None:
    machine = Machine()
    assert machine.later(10, jump) == NOON + 10
    assert machine.later(200) == NOON + 210
    assert machine.later(50, -jump) == NOON + 260
    assert machine.later(1000) == NOON + 1260


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_that_lasts_is_believed(jump: float) -> None:
    machine = Machine()
    assert machine.later(10, jump) == NOON + 10
    assert machine.later(BELIEVED_AFTER) == NOON + 10 + BELIEVED_AFTER + jump
    assert machine.later(1) == NOON + 11 + BELIEVED_AFTER + jump


def test_a_second_jump_has_to_last_by_itself() -> None:
    machine = Machine()
    machine.later(0, 3600)
    assert machine.later(BELIEVED_AFTER - 1, 3600) == NOON + BELIEVED_AFTER - 1
    assert machine.later(2) == NOON + BELIEVED_AFTER + 1
    assert machine.later(BELIEVED_AFTER) == NOON + 1 + 2 * BELIEVED_AFTER + 7200


def test_small_corrections_are_followed() -> None:
    machine = Machine()
    for _ in range(100):
        machine.later(10, 0.5)
    assert machine.clock() == machine.wall == NOON + 1050
