"""Scenes for what an agent does next: loops that have begun, and worlds that are not willing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.resize.amounts import Resources
from gateway.resize.sizing import DEFAULT_UNIT, Metrics, Rules

from .loop import Deed, Loop, Sent, Step, What, World

if TYPE_CHECKING:
    from gateway.resize.state import Denial

#: The loads that need so many compute units.
LOADS = {1: 0.0, 2: 0.45, 3: 0.675, 4: 0.9, 6: 1.35, 8: 1.8}


def units(number: int) -> Resources:
    return DEFAULT_UNIT.times(number)


def load(number: int) -> Metrics:
    return Metrics(LOADS[number])


def settled(size: int = 1, world: World | None = None, rules: Rules | None = None) -> Loop:
    """Return a loop in which what begins has begun; nothing is measured yet."""
    loop = Loop(units(size), rules, world)
    loop.run(1.0)
    loop.deeds.clear()
    return loop


def need(loop: Loop, number: int) -> None:
    """Have the guest need so many units from now on."""
    loop.world.metrics = load(number)
    loop.measure()


def done(loop: Loop, seconds: float, *, ticks: bool = False) -> list[tuple[What, Resources]]:
    """Let time go by; return what the agent did, but for words that say nothing new."""
    loop.deeds.clear()
    asked = loop.state.permit.asked
    told = None if asked is None else asked.resources
    loop.run(seconds)
    found: list[tuple[What, Resources]] = []
    for deed in loop.deeds:
        if deed.what != "permit" or deed.size != told or ticks:
            found.append((deed.what, deed.size))
        if deed.what == "permit":
            told = deed.size
    return found


def rounded(loop: Loop) -> list[Deed]:
    """Return what was done; sums of tenths of a second are not exact."""
    return [replace(deed, at=round(deed.at, 6)) for deed in loop.deeds]


def at(loop: Loop, what: What) -> list[float]:
    """Return when that was done."""
    return [deed.at for deed in rounded(loop) if deed.what == what]


class Failing(World):
    """Calls of one kind fail, as long as they do."""

    def __init__(self, what: What, how: Sent = Sent.LOST) -> None:
        self.what: What | None = what
        self.how = how

    def goes(self, what: What, size: Resources) -> Sent:
        return self.how if what == self.what else Sent.DONE


class Stubborn(World):
    """Its guest cannot do with less than so many units."""

    def __init__(self, least: int) -> None:
        self.least = least

    def agrees(self, less: Resources) -> bool:
        return not units(self.least).exceeds(less)


class Slow(World):
    """Calls take long, of some kinds."""

    def __init__(self, *slow: What) -> None:
        self.slow = slow

    def lasts(self, what: What) -> float:
        return 4.0 if what in self.slow else 0.1


class Node(World):
    """Its node denies what is more than there is, in one way, as long as it does."""

    def __init__(self, denial: Denial | None) -> None:
        self.denial = denial

    def settles(self, actual: Resources, desired: Resources) -> list[Step]:
        if self.denial is not None and desired.exceeds(actual):
            return [Step(0.5, self.denial)]
        return [Step(0.5, desired)]


class InTurn(World):
    """Its node gives and takes CPU first, and memory two seconds later."""

    def settles(self, actual: Resources, desired: Resources) -> list[Step]:
        return [Step(1.0, Resources(desired.cpu, actual.memory)), Step(3.0, desired)]
