"""How often: a token bucket for all requests together, in fair turns; exponential backoff for one key that fails."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final

_SHORTEST: Final = 0.001
"""Seconds that are worth a timer."""
_ROUNDING: Final = 1e-6
"""What sums of floats may lack of a token."""


class TokenBucket:
    """Lets `burst` through at once and `rate` a second from then on."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        """Start full.

        Args:
            rate: Tokens a second.
            burst: Most tokens that are saved up.
            clock: Seconds, monotonic.
        """
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._tokens = self._burst
        self._at = clock()

    def take(self) -> float:
        """Take a token if there is one now.

        Returns:
            0, or the seconds until there will be one: none was taken then.
        """
        self._fill()
        if self._tokens < 1.0 - _ROUNDING:
            return (1.0 - self._tokens) / self._rate
        self._tokens -= 1.0
        return 0.0

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class FairTurns:
    """Tokens of one bucket for many flows: those that wait have a turn each, however much one of them wants.

    A flow is whatever requests are made for. Within one, first come first served.

    Attributes:
        waited: Seconds that all together have waited.
    """

    def __init__(self, bucket: TokenBucket) -> None:
        """Start with nobody waiting, inside a running event loop.

        Args:
            bucket: Nobody else takes from it; on the event loop's clock.
        """
        self._bucket = bucket
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self.waited = 0.0

    async def take(self, flow: str) -> None:
        """Wait for a token."""
        if not self._waiting and not self._bucket.take():
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.setdefault(flow, deque()).append(turn)
        if self._timer is None:
            self._hand_out()
        since = self._loop.time()
        try:
            await turn
        finally:
            self.waited += self._loop.time() - since

    def _hand_out(self) -> None:
        self._timer = None
        while self._waiting:
            flow, turns = next(iter(self._waiting.items()))
            if turns[0].done():
                # Whoever waited has been cancelled: no token is lost with that.
                self._next(flow, turns)
            elif wait := self._bucket.take():
                self._timer = self._loop.call_later(max(wait, _SHORTEST), self._hand_out)
                return
            else:
                turns[0].set_result(None)
                self._next(flow, turns)

    def _next(self, flow: str, turns: deque[asyncio.Future[None]]) -> None:
        turns.popleft()
        if turns:
            self._waiting.move_to_end(flow)
        else:
            del self._waiting[flow]


class Backoff:
    """Exponential delays, counted for each key by itself, with jitter so that keys that failed together part."""

    def __init__(self, initial: float, longest: float, *, draw: Callable[[], float] = random.random) -> None:
        """Start with no failures.

        Args:
            initial: Seconds after the first failure; doubles with each.
            longest: Seconds, at most.
            draw: Uniform in [0, 1): a delay is between half and all of what it would be.
        """
        self._initial = initial
        self._longest = longest
        self._draw = draw
        self._failures: dict[Hashable, int] = {}

    def next(self, key: Hashable = None) -> float:
        """Count a failure; seconds to wait for it."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        # 2**64 seconds are long enough, and keep the float finite.
        return min(self._initial * 2.0 ** min(failures - 1, 64), self._longest) * (0.5 + self._draw() / 2)

    def failures(self, key: Hashable = None) -> int:
        """Failures in a row."""
        return self._failures.get(key, 0)

    def forget(self, key: Hashable = None) -> None:
        """It worked: the next failure is the first."""
        self._failures.pop(key, None)
