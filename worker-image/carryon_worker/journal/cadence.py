"""When what waits is written: a segment is one object, and objects cost time and money."""

from __future__ import annotations

from carryon_core.messages import Cadence


def due(cadence: Cadence, calls: int, size: int, age: float) -> bool:
    """Whether what waits is to be written now.

    Args:
        cadence: How much work may be lost at most.
        calls: Calls that wait.
        size: Their bytes.
        age: Seconds since the oldest of them began.
    """
    return calls > 0 and (size >= cadence.every_bytes or age >= cadence.every_seconds)


def wait(cadence: Cadence, calls: int, age: float) -> float | None:
    """Seconds until time alone makes it due; None while nothing waits."""
    return max(0.0, cadence.every_seconds - age) if calls else None


def fits(cadence: Cadence, held: int, size: int) -> bool:
    """Whether a call of `size` bytes may still be added to a journal that holds so many."""
    return cadence.max_bytes is None or held + size <= cadence.max_bytes
