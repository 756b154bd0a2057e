"""A guest in a control group, in virtual time: the kernel's CPU limit, and the informant's eyes.

The limit is a quota for each period of 100 ms: who has used it up waits for the next one. What the
group has to do comes in bursts, each as long as the one before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.resize.guest.load import SAMPLE_EVERY, Averages, Usage
from gateway.resize.guest.pressure import Memory, Strain, Watch
from gateway.resize.sizing import Metrics
from gateway.sandbox.quantities import MILLI

from .loop import Loop, World

if TYPE_CHECKING:
    from gateway.resize.amounts import Resources
    from gateway.resize.sizing import Rules

#: Seconds of a period, and how many go by from one look at what is lacking to the next. An
#: informant looks more often, but asks no more often for that.
PERIOD: Final = 0.1
PERIODS: Final = 5
#: Bytes of a slot, and of what is in use.
_SLOT: Final = 2**30
_IN_USE: Final = _SLOT // 10
#: CPU seconds that are none: sums of tenths are not exact.
_NOTHING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Bursts:
    """So many seconds of CPU every so many periods, on so many threads."""

    seconds: float
    every: int
    threads: int = 1


@dataclass(slots=True)
class Group:
    """What a control group counts."""

    bursts: Bursts
    periods: int = 0
    throttled: int = 0
    busy: float = 0.0
    waited: float = 0.0
    _now: int = field(default=0, init=False)
    _left: float = field(default=0.0, init=False)

    def spend_period(self, cpus: float) -> None:
        """Let a period go by in which there is a quota of so many CPUs."""
        if self._now % self.bursts.every == 0:
            self._left += self.bursts.seconds
        self._now += 1
        if self._left <= _NOTHING:
            return
        able = min(self._left, self.bursts.threads * PERIOD)
        ran = min(able, cpus * PERIOD)
        self._left -= ran
        self.busy += ran
        self.periods += 1
        if ran < able:
            self.throttled += 1
            self.waited += PERIOD - ran / self.bursts.threads


class Throttled(Loop):
    """A sandbox whose load follows from what it has to do and what it has."""

    def __init__(self, size: Resources, rules: Rules, bursts: Bursts, world: World) -> None:
        self.group = Group(bursts)
        self._averages, self._watch = Averages(), Watch()
        super().__init__(size, rules, world)
        self._had = size
        self._sample()
        self._watch_out()

    def _sample(self) -> None:
        usage = Usage(self.group.busy, self.group.waited)
        self._averages = self._averages.take(usage, self.now)
        load = self._averages.load
        if load is not None:
            self.world.metrics = Metrics(load.one, load.five, _IN_USE / _SLOT)
        self.after(SAMPLE_EVERY, self._sample)

    def _watch_out(self) -> None:
        for _ in range(PERIODS):
            self.group.spend_period(self.actual.cpu / MILLI)
        if self.actual.exceeds(self._had):
            self._watch = Watch()
        self._had = self.actual
        memory = Memory(self.actual.memory * _SLOT, _IN_USE)
        strain = Strain(0.0, self.group.periods, self.group.throttled)
        self._watch = self._watch.look(memory, strain, self.now)
        if self._watch.needs is not None:
            self.wish(self._watch.needs.cpu, self._watch.needs.memory)
        self.after(PERIODS * PERIOD, self._watch_out)
