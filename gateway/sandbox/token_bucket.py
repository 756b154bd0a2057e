"""How often something may be done: so much a second, and some at once."""

from __future__ import annotations

from typing import Final

#: What sums of floating-point numbers may lack of a whole token.
_ROUNDING: Final = 1e-4


class TokenBucket:
    """Allows `rate` a second, and `burst` at once after a quiet time. It begins full."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token; return whether there was one."""
        self._refill(now)
        if self._tokens < 1.0 - _ROUNDING:
            return False
        self._tokens -= 1.0
        return True

    def wait(self, now: float) -> float:
        """Return the seconds until there is a token; 0 if there is one."""
        self._refill(now)
        return 0.0 if self._tokens >= 1.0 - _ROUNDING else (1.0 - self._tokens) / self._rate

    def is_full(self, now: float) -> bool:
        """Return whether it says no more than a new one would."""
        self._refill(now)
        return self._tokens >= self._burst

    def _refill(self, now: float) -> None:
        # The clock may be set back: that gives nothing.
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
