"""What a day is reckoned by: what was needed and what was there, of CPU and of memory."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

from gateway.sandbox.quantities import MILLI

if TYPE_CHECKING:
    from collections.abc import Iterable

    from e2e.bench.resize_loads import Life, Need
    from gateway.sandbox.scaling import Size

#: Seconds of one point of a curve.
POINT: Final = 300


@dataclass(slots=True)
class Spent:
    """One resource over time: CPUs, or bytes, times seconds.

    `short`: seconds in which more was needed than there was. `missing`: how much that was.
    """

    needed: float = 0.0
    sized: float = 0.0
    missing: float = 0.0
    short: float = 0.0

    def add(self, need: float, size: float, seconds: float) -> None:
        """So much was needed, and so much there, for so long."""
        self.needed += need * seconds
        self.sized += size * seconds
        if need > size:
            self.missing += (need - size) * seconds
            self.short += seconds


@dataclass(slots=True)
class Tally:
    """What happened to one sandbox, or to several.

    `overruns`: how often memory came to be too little, which a kernel answers by a kill. `held`:
    seconds in which a node did not have what was wanted. `asked`: requests for more, `denied`:
    those that were granted in part or not at all. `above`: resizes to more than the maximum.
    """

    seconds: float = 0.0
    cpu: Spent = field(default_factory=Spent)
    memory: Spent = field(default_factory=Spent)
    overruns: int = 0
    held: float = 0.0
    resizes: int = 0
    asked: int = 0
    denied: int = 0
    wishes: int = 0
    refusals: int = 0
    above: int = 0

    def spend(self, need: Need, size: Size, seconds: float) -> None:
        """A sandbox has had this size for so long."""
        self.seconds += seconds
        self.cpu.add(need.cpu, size.cpu / MILLI, seconds)
        self.memory.add(need.memory, size.memory, seconds)


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum."""
    found = Tally()
    for tally in tallies:
        _add(found, tally)
    return found


def _add(found: Tally | Spent, other: Tally | Spent) -> None:
    for one in fields(found):
        value = getattr(other, one.name)
        if isinstance(value, Spent):
            _add(getattr(found, one.name), value)
        else:
            setattr(found, one.name, getattr(found, one.name) + value)


@dataclass(slots=True)
class Curve:
    """Sums over all sandboxes, for each POINT of the day in CPUs or bytes times seconds."""

    cpu: list[Spent]
    memory: list[Spent]

    @staticmethod
    def over(seconds: int) -> Curve:
        """Return an empty one."""
        points = -(-seconds // POINT)
        return Curve([Spent() for _ in range(points)], [Spent() for _ in range(points)])

    def spend(self, need: Need, size: Size, since: int, until: int) -> None:
        """A sandbox has had this size from then to then."""
        while since < until:
            point = since // POINT
            end = min(until, (point + 1) * POINT)
            self.cpu[point].add(need.cpu, size.cpu / MILLI, end - since)
            self.memory[point].add(need.memory, size.memory, end - since)
            since = end


def fixed(life: Life, size: Size) -> Tally:
    """Return what would have been of a sandbox that always has this size."""
    tally = Tally()
    was_short = False
    for need, until in life.spans():
        tally.spend(need, size, until - need.at)
        is_short = need.memory > size.memory
        tally.overruns += is_short and not was_short
        was_short = is_short
    return tally
