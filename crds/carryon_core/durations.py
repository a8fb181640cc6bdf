"""Durations as people write them: "30s", "5m", "1h30m", "250ms"."""

from __future__ import annotations

import re
from typing import Final

PATTERN: Final = r"^([0-9]{1,6}(ms|s|m|h|d)){1,5}$"
_PART: Final = re.compile(r"([0-9]{1,6})(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """Seconds in a duration.

    Raises:
        ValueError: The text is no duration.
    """
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f'"{text}" is not a duration: write one such as 30s, 5m or 1h30m')
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
