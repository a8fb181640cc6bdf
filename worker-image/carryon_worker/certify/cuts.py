"""Where a unit is interrupted, and how. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

FEWEST: int = 3
"""Calls that a unit must have: one before a cut, one after, and one for good measure."""


@dataclass(frozen=True, slots=True)
class Cut:
    """An interruption.

    Attributes:
        before: Number of the call before which the process ends.
        signal: By which it ends.
    """

    before: int
    signal: int


def plan(timesteps: Sequence[str], count: int) -> tuple[Cut, ...]:
    """Cuts of one unit, in order; fewer where it has not so many calls.

    The last one is right before the last call, by SIGTERM: there, everything else is in the journal. Of the others, if
    there are any, all are kills without a word, and one is between two calls of one step, if a step has several.

    Args:
        timesteps: Of each call of an uninterrupted run; "" where it does not say.
        count: How many are wanted.
    """
    total = len(timesteps)
    last = total - 1
    spread = {max(1, round(number * last / count)) for number in range(1, count)} - {last}
    inside = [number for number, (one, other) in enumerate(pairwise(timesteps), 1) if one and one == other]
    between = [number for number in inside if number < last]
    if spread and between and not spread & set(between):
        # The one that is nearest to one of them takes its place.
        _, place, nearest = min((abs(place - number), place, number) for place in spread for number in between)
        spread = spread - {place} | {nearest}
    return (*(Cut(number, signal.SIGKILL) for number in sorted(spread)), Cut(last, signal.SIGTERM))
