"""Sizes in the unit that the protocols speak of: milli-CPUs, and slots of memory.

How much memory a slot is, the sandbox's own configuration says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.sandbox.scaling import Size


@dataclass(frozen=True, slots=True)
class Resources:
    """Milli-CPUs, and slots of memory. Each is looked at for itself: there is no order."""

    cpu: int
    memory: int

    @staticmethod
    def of(size: Size, slot: int) -> Resources:
        """Return a size in slots of so many bytes; a part of one counts as a whole one."""
        return Resources(size.cpu, -(-size.memory // slot))

    def size(self, slot: int) -> Size:
        """Return how much that is, in slots of so many bytes."""
        return Size(self.cpu, self.memory * slot)

    def min(self, other: Resources) -> Resources:
        """Return the less of each."""
        return Resources(min(self.cpu, other.cpu), min(self.memory, other.memory))

    def max(self, other: Resources) -> Resources:
        """Return the more of each."""
        return Resources(max(self.cpu, other.cpu), max(self.memory, other.memory))

    def exceeds(self, other: Resources) -> bool:
        """Return whether there is more of either."""
        return self.cpu > other.cpu or self.memory > other.memory

    def times(self, factor: int) -> Resources:
        """Return so many of each."""
        return Resources(self.cpu * factor, self.memory * factor)

    def plus(self, other: Resources) -> Resources:
        """Return the sum of each."""
        return Resources(self.cpu + other.cpu, self.memory + other.memory)

    def less(self, other: Resources) -> Resources:
        """Return what is left of each, not below nothing."""
        return Resources(max(self.cpu - other.cpu, 0), max(self.memory - other.memory, 0))

    @property
    def has_both(self) -> bool:
        """Return whether there is some of each."""
        return self.cpu > 0 and self.memory > 0


NOTHING: Final = Resources(0, 0)


def clamped(value: Resources, low: Resources, high: Resources) -> Resources:
    """Return the value within bounds; where they contradict each other the lower one counts."""
    return value.min(high).max(low)


def exact(target: Resources, has: Size, slot: int) -> Size:
    """Return a target in slots as the size to ask for.

    Of a kind that is to stay as it is, not even a part of a slot is asked for.
    """
    now, size = Resources.of(has, slot), target.size(slot)
    memory = has.memory if target.memory == now.memory else size.memory
    return Size(size.cpu, memory)
