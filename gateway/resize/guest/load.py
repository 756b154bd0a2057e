"""How many CPUs a sandbox keeps busy, over one and over five minutes. No I/O, no clock.

A machine's own kernel knows. In a container the load average is that of the whole node, so it is
reckoned here as the kernel reckons its own, from what the container has used of CPUs and how long
some task of it has waited for one. Without the waiting, a sandbox that is held at its limit would
show exactly the load that it may have, and never look as if it needed more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

#: Seconds from one sample to the next: the kernel's own.
SAMPLE_EVERY: Final = 5.0
#: Seconds; more have not passed for this sandbox, but while it was frozen.
LONGEST_SAMPLE: Final = 15.0

_ONE_MINUTE: Final = 60.0
_FIVE_MINUTES: Final = 300.0


@dataclass(frozen=True, slots=True)
class Load:
    """Busy CPUs, averaged over one and five minutes."""

    one: float
    five: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of CPU time that were used, and seconds in which some task waited for a CPU."""

    busy: float
    waited: float


@dataclass(frozen=True, slots=True)
class Averages:
    """The load as of the last sample; None as long as nothing can be said of it.

    The first measure is the first average: a sandbox does not begin idle, it begins unknown.
    """

    load: Load | None = None
    _usage: Usage | None = None
    _at: float = 0.0

    def take(self, sample: Load | Usage, now: float) -> Averages:
        """Take a sample; `now` is in seconds of a clock that never goes back."""
        if isinstance(sample, Load):
            return Averages(sample)
        elapsed = now - self._at
        if self._usage is None or not 0 < elapsed <= LONGEST_SAMPLE:
            return Averages(self.load, sample, now)
        used = sample.busy - self._usage.busy + sample.waited - self._usage.waited
        return Averages(moved(self.load, max(used, 0.0) / elapsed, elapsed), sample, now)


def moved(load: Load | None, busy: float, elapsed: float) -> Load:
    """Return the load after so many seconds in which so many CPUs were busy."""
    if load is None:
        return Load(busy, busy)
    return Load(
        _nearer(load.one, busy, elapsed / _ONE_MINUTE),
        _nearer(load.five, busy, elapsed / _FIVE_MINUTES),
    )


def _nearer(average: float, value: float, share: float) -> float:
    return value + (average - value) * math.exp(-share)
