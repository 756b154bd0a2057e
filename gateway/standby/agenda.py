"""What is to be looked at when: each key once, at the soonest time that it was put down for. Pure.

A heap, whose entries are let be when their key is taken off or put down sooner: they are void
then. None of them is ever first, and where they come to be more than all others are, all are
thrown out.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import Final, Generic, TypeVar

from gateway.sandbox.model import Key

K = TypeVar("K", Key, str)

#: Void entries beyond those that count: with fewer it is not worth while to throw them out.
SLACK: Final = 64


class Agenda(Generic[K]):
    """Keys by when they are due, in seconds of whichever clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, K]] = []
        #: When each is due: all other entries of the heap are void.
        self._times: dict[K, float] = {}

    def __len__(self) -> int:
        return len(self._times)

    @property
    def next(self) -> float:
        """When the first is due; without any, never (`inf`)."""
        return self._heap[0][0] if self._heap else inf

    def put(self, key: K, when: float) -> None:
        """Put a key down for a time, unless it is down for a sooner one."""
        known = self._times.get(key)
        if known is None or when < known:
            self._times[key] = when
            heapq.heappush(self._heap, (when, key))
            self._tidy()

    def remove(self, key: K) -> None:
        """Take a key off, if it is down for any time."""
        if self._times.pop(key, None) is not None:
            self._tidy()

    def pop(self, now: float) -> tuple[float, K] | None:
        """Take off the first that is due, and return it with its time; None: none is."""
        if self.next > now:
            return None
        first = heapq.heappop(self._heap)
        del self._times[first[1]]
        self._tidy()
        return first

    def clear(self) -> None:
        """Take all off."""
        self._heap.clear()
        self._times.clear()

    def _tidy(self) -> None:
        heap, times = self._heap, self._times
        if len(heap) > 2 * len(times) + SLACK:
            heap[:] = [(when, key) for key, when in times.items()]
            heapq.heapify(heap)
        while heap and times.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
