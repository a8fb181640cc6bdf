"""How often: a token bucket for all requests together, exponential backoff for one key that fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable


class TokenBucket:
    """Lets `burst` through at once and `rate` a second from then on, first come first served.

    Attributes:
        waited: Seconds that those who reserved have had to wait, all together.
    """

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
        self.waited = 0.0

    def reserve(self) -> float:
        """Take a token, if need be one that is yet to come.

        Returns:
            Seconds until it may be used.
        """
        self._fill()
        self._tokens -= 1.0
        wait = max(0.0, -self._tokens / self._rate)
        self.waited += wait
        return wait

    def take(self) -> float:
        """Take a token if there is one now.

        Returns:
            0, or the seconds until there will be one: none was taken then.
        """
        self._fill()
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self._rate
        self._tokens -= 1.0
        return 0.0

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


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
