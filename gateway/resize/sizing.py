"""What size a sandbox should have: a pure function of its load, its bounds and what was said of it.

CPU is judged by the load average, memory by what is used. Sizes are whole compute units, so much
CPU with so much memory, by whichever needs more; or, where the rules have it so, whole parts of
units, each for itself. A bound, or what there is already, need be neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.resize.amounts import Resources, clamped
from gateway.sandbox.quantities import MILLI

if TYPE_CHECKING:
    from gateway.sandbox.scaling import Scaling

DEFAULT_UNIT: Final = Resources(cpu=250, memory=1)


@dataclass(frozen=True, slots=True)
class Rules:
    """Between which sizes a sandbox may be, and how its size follows from its load.

    `floor`: as little as it may have while nobody uses it. `boost`: as much as it has at least
    after a wake, for `boost_for` seconds. `separate`: CPU and memory each go by their own need.
    """

    low: Resources
    high: Resources
    load_target: float = 0.9
    memory_target: float = 0.75
    floor: Resources | None = None
    boost: Resources | None = None
    boost_for: float = 0.0
    separate: bool = False

    @staticmethod
    def of(scaling: Scaling) -> Rules:
        """Return what its author wrote, in slots."""
        slot, floor, boost = scaling.slot, scaling.floor, scaling.boost
        return Rules(
            low=Resources.of(scaling.low, slot),
            high=Resources.of(scaling.high, slot),
            load_target=scaling.load_target,
            memory_target=scaling.memory_target,
            floor=None if floor is None else Resources.of(floor, slot),
            boost=None if boost is None else Resources.of(boost.size, slot),
            boost_for=0.0 if boost is None else boost.seconds,
            separate=scaling.separate,
        )

    def size(self, unit: Resources, cpu_units: int, memory_units: int) -> Resources:
        """Return the size that has so many units of each."""
        if self.separate:
            return Resources(unit.cpu * cpu_units, unit.memory * memory_units)
        return unit.times(max(cpu_units, memory_units))


@dataclass(frozen=True, slots=True)
class Metrics:
    """What an informant reports: loads in busy CPUs over one and five minutes, slots in use."""

    load1: float
    load5: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class Wish:
    """More than `base` of one kind or both: what a guest needs before it is measured."""

    base: Resources
    cpu: bool = False
    memory: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A guest that had `current` has refused to have only `requested`."""

    current: Resources
    requested: Resources


def round_half_up(value: float) -> int:
    """Return the nearest whole number; a half goes up (Python's own `round` takes the even one)."""
    whole = math.floor(value)  # and not of `value + 0.5`, a sum that is itself rounded
    return whole + 1 if value - whole >= 0.5 else whole


def goal(
    using: Resources,
    metrics: Metrics | None,
    wish: Wish | None,
    refusal: Refusal | None,
    rules: Rules,
    unit: Resources,
) -> Resources:
    """Return the size to work towards.

    Within the bounds, but where a guest has refused to be shrunk to within them: rather too much
    for a while than what it has in use taken away. Without metrics nothing shrinks.
    """
    wanted = using if metrics is None else _by_metrics(using, metrics, rules, unit)
    if wish is not None:
        wanted = wanted.max(wished_size(wish, rules, unit))
    wanted = clamped(wanted, rules.low, rules.high)
    return wanted if refusal is None else wanted.max(least_after(refusal, unit))


def risen(rules: Rules, before: Resources) -> Resources:
    """Return the size to wake up in."""
    return (before if rules.boost is None else before.max(rules.boost)).min(rules.high)


def least_after(refusal: Refusal, unit: Resources) -> Resources:
    """Return the least that may be asked of a guest next: a unit more, and what it has at most."""
    more = Resources(
        unit.cpu * (refusal.requested.cpu // unit.cpu + 1),
        unit.memory * (refusal.requested.memory // unit.memory + 1),
    )
    return more.min(refusal.current)


def wished_size(wish: Wish, rules: Rules, unit: Resources) -> Resources:
    """Return the least size in whole units that has more of what is wished for."""
    cpu_units = wish.base.cpu // unit.cpu + 1 if wish.cpu else 0
    memory_units = wish.base.memory // unit.memory + 1 if wish.memory else 0
    return rules.size(unit, cpu_units, memory_units)


def _by_metrics(using: Resources, metrics: Metrics, rules: Rules, unit: Resources) -> Resources:
    """Return what is needed now; what five minutes needed is not given up yet, as far as it is had.

    A load that comes and goes within minutes would have a size go up and down with it.
    """
    in_use = _by_memory(metrics.memory, rules, unit)
    now = rules.size(unit, _by_load(metrics.load1, rules, unit), in_use)
    lately = rules.size(unit, _by_load(metrics.load5, rules, unit), 0).min(using)
    return now.max(lately)


def _by_load(load: float, rules: Rules, unit: Resources) -> int:
    return round_half_up(load / rules.load_target / (unit.cpu / MILLI))


def _by_memory(slots: float, rules: Rules, unit: Resources) -> int:
    return math.ceil(slots / rules.memory_target / unit.memory)
