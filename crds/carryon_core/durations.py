"""Times as people write them: durations ("30s", "5m", "1h30m", "250ms") and moments (RFC 3339)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
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


def moment(text: str | None) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None where there is none, or what only Kubernetes takes for one."""
    if not text:
        return None
    try:
        read = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
