"""When to ask for more before it is measured: memory before the kernel kills, CPU when throttled.

No I/O, no clock. What is asked for is asked for again while it is lacking, and anew after each
growth: then only what was seen since then counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gateway.resize.messages import MoreResources

#: The share of all memory that may be in use.
MEMORY_TARGET: Final = 0.9
#: The share of time in which tasks may wait for memory.
MEMORY_STALL: Final = 0.2
#: The share of periods in which the CPU limit may be reached.
CPU_THROTTLED: Final = 0.5
#: Seconds over which the shares of time and of periods are taken.
WINDOW: Final = 2.0
#: Seconds after which it is asked again. An agent forgets what it was asked after ten.
ASK_AGAIN: Final = 5.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that there are, and bytes in use that cannot be had back at once."""

    total: int
    used: int

    @property
    def available(self) -> int:
        """Return what is not in use; a limit may have been set below that."""
        return max(self.total - self.used, 0)

    @property
    def is_short(self) -> bool:
        """Return whether more is in use than should be."""
        return not self.allows(self.total)

    def allows(self, total: int) -> bool:
        """Return whether what is in use would have room enough in so many bytes."""
        return self.used <= total * MEMORY_TARGET

    def can_become(self, total: int) -> bool:
        """Return whether it may be so many bytes: more than there are, or enough.

        Who is short of memory, and is asked for nothing of it, can still do with less CPU.
        """
        return total >= self.total or self.allows(total)


@dataclass(frozen=True, slots=True)
class Strain:
    """What has been lacking so far: counts that only grow.

    `stalled` is in seconds in which some task waited for memory; a period is one in which the
    kernel lets the sandbox use its CPU limit up, and throttled where it was.
    """

    stalled: float = 0.0
    periods: int = 0
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """What has been seen and asked; times are in seconds of a clock that never goes back."""

    needs: MoreResources | None = None
    _stalls: bool = False
    _throttled: bool = False
    _strain: Strain | None = None
    _since: float = 0.0
    _asked_memory: float | None = None
    _asked_cpu: float | None = None

    def look(self, memory: Memory, strain: Strain, now: float) -> Watch:
        """Look once; `needs` then says what to ask for now, None if nothing."""
        seen = self._window(strain, now)
        short, throttled = memory.is_short or seen._stalls, seen._throttled
        due = (short and _is_due(self._asked_memory, now)) or (
            throttled and _is_due(self._asked_cpu, now)
        )
        if not due:
            return replace(seen, needs=None)
        return replace(
            seen,
            needs=MoreResources(cpu=throttled, memory=short),
            _asked_memory=now if short else self._asked_memory,
            _asked_cpu=now if throttled else self._asked_cpu,
        )

    def unheard(self) -> Watch:
        """Take it that nobody was asked: what is lacking is asked for again at the next look."""
        return replace(self, needs=None, _asked_memory=None, _asked_cpu=None)

    def _window(self, strain: Strain, now: float) -> Watch:
        """Judge what has been lacking once a window has passed, and begin the next."""
        elapsed = now - self._since
        if self._strain is None:
            return replace(self, _strain=strain, _since=now)
        if elapsed < WINDOW:
            return self
        before = self._strain
        periods, throttled = strain.periods - before.periods, strain.throttled - before.throttled
        return replace(
            self,
            _stalls=strain.stalled - before.stalled > elapsed * MEMORY_STALL,
            _throttled=throttled > periods * CPU_THROTTLED,
            _strain=strain,
            _since=now,
        )


def _is_due(asked: float | None, now: float) -> bool:
    return asked is None or now - asked >= ASK_AGAIN
