"""The time of day, without the jumps of a clock that somebody sets.

Deadlines of jobs, delays and the ends of pods are compared with times of the cluster, so they need the time of day. An
operator that believes each jump of its machine's clock ends jobs an hour early because of a time server that was wrong
for a minute. So the time goes on by a clock that nobody sets, and a jump counts once it has lasted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

BELIEVED_AFTER: Final = 300.0
"""Seconds that a jump must last."""
_SLEW: Final = 1.0
"""Seconds of a difference that is no jump: clocks that are kept right by small steps are followed."""

log = logging.getLogger(__name__)


def boot_clock() -> float:
    """Seconds that nobody sets, and that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Call it for the seconds since the epoch."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = boot_clock) -> None:
        """Begin with the machine's time.

        Args:
            wall: Seconds since the epoch, as the machine has them.
            monotonic: Seconds that nobody sets.
        """
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._jump = 0.0
        self._since = 0.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        wall, ticks = self._wall(), self._monotonic()
        steady = ticks + self._offset
        difference = wall - steady
        if abs(difference) > _SLEW:
            # Make sure that a second jump is not believed for the time that the first has lasted.
            if abs(difference - self._jump) > _SLEW:
                log.warning(
                    "the clock of this machine jumped by %+.0f s: believed if it lasts for %.0f s",
                    difference - self._jump,
                    BELIEVED_AFTER,
                )
                self._jump, self._since = difference, ticks
            if ticks - self._since < BELIEVED_AFTER:
                return steady
            log.warning("the clock of this machine has jumped by %+.0f s for good", difference)
        self._offset, self._jump = wall - ticks, 0.0
        return wall
