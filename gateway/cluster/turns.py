"""Long work on the event loop, cut into turns so that all others get theirs in between."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: How long one turn is, in seconds: what else is due waits so long at most, and one item more.
TURN: Final = 0.002

T = TypeVar("T")


def turns(items: Iterable[T], clock: Callable[[], float]) -> Iterator[Iterator[T]]:
    """Cut items into parts, each of which takes whoever consumes it about one `TURN`."""
    rest = iter(items)
    for first in rest:
        yield _turn(first, rest, clock)


def _turn(first: T, rest: Iterator[T], clock: Callable[[], float]) -> Iterator[T]:
    end = clock() + TURN
    for item in chain((first,), rest):
        yield item
        if clock() >= end:
            return
