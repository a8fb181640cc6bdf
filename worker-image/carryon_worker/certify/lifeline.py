"""Processes that end with the one that started them, which may be killed without a word."""

from __future__ import annotations

import ctypes
import signal
from types import FrameType
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_ASKING: Final = (signal.SIGINT, signal.SIGTERM)


def end_with_parent(number: int) -> None:
    """Get this signal when the parent ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)


def interrupt_once() -> None:
    """The first request to end is a KeyboardInterrupt; what is cleaned up then is not interrupted by a second one."""
    for number in _ASKING:
        signal.signal(number, _first)


def _first(number: int, frame: FrameType | None) -> None:
    for each in _ASKING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
