"""Long work in turns: everything once, in order, and never much longer than a turn at a time."""

from __future__ import annotations

import asyncio
import json
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.turns import TURN, turns

from .conftest import patient
from .faultapi import LIST, WATCH, answers, frame, watches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.dialects.base import RawObject
    from gateway.sandbox.registry import Registry

    from .conftest import Watch
    from .faultapi import FaultApi


class Clock:
    """Stands still but for what work takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def worked(costs: list[float], clock: Clock) -> list[list[int]]:
    """Return which items of these costs were worked on in which turn."""
    done: list[list[int]] = []
    for turn in turns(range(len(costs)), clock):
        done.append([])
        for item in turn:
            clock.now += costs[item]
            done[-1].append(item)
    return done


def test_a_turn_ends_once_its_time_is_used_up_and_not_before() -> None:
    clock = Clock()
    assert worked([TURN / 4] * 10, clock) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert worked([TURN * 3, 0.0, TURN, 0.0], clock) == [[0], [1, 2], [3]]


def test_nothing_to_do_takes_no_turn() -> None:
    assert worked([], Clock()) == []


def test_time_between_turns_is_not_counted() -> None:
    clock = Clock()
    done: list[int] = []
    for turn in turns(range(4), clock):
        clock.now += 100.0
        done.append(len(list(turn)))
    assert done == [4]


@patient
@given(st.lists(st.floats(0.0, TURN * 2), max_size=30))
def test_every_item_has_its_turn_once_and_in_order(costs: list[float]) -> None:
    done = worked(costs, Clock())
    assert [item for turn in done for item in turn] == list(range(len(costs)))
    for turn in done:
        assert turn
        assert sum(costs[item] for item in turn[:-1]) < TURN * 1.001


def test_what_the_items_raise_is_raised_where_it_is_taken() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError

    (turn,) = islice(turns(items(), Clock()), 1)
    assert next(turn) == 1
    with pytest.raises(LookupError):
        next(turn)


# ---- in a reflector ----------------------------------------------------------------------------


#: Objects that come at once.
COUNT = 2000


def sandbox(number: int) -> RawObject:
    name = f"s{number:04}"
    return {
        "metadata": {
            "namespace": "team-a",
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(100 + number),
        }
    }


async def sizes_until_full(registry: Registry) -> set[int]:
    """Return how many routes there were whenever another task had its turn."""
    sizes = set()
    async with asyncio.timeout(10.0):
        while len(registry) < COUNT:
            sizes.add(len(registry))
            await asyncio.sleep(0)
    return sizes


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let turns be so short that thousands of objects take many, on any machine."""
    monkeypatch.setattr("gateway.cluster.turns.TURN", 0.0001)


async def test_in_a_page_of_thousands_others_have_their_turn(
    api: FaultApi, watch: Watch, registry: Registry, short_turns: None
) -> None:
    page = {"metadata": {"resourceVersion": "9999"}, "items": [*map(sandbox, range(COUNT))]}
    api.queue(LIST, answers(json.dumps(page).encode()))
    async with watch() as cluster:
        assert len(await sizes_until_full(registry)) > 50
        await cluster.wait_synced()
    assert api.count(LIST) == 1


async def test_in_a_burst_of_events_others_have_their_turn(
    api: FaultApi, watch: Watch, registry: Registry, short_turns: None
) -> None:
    burst = b"".join(frame("ADDED", sandbox(number)) for number in range(COUNT))
    api.queue(WATCH, watches(burst, then="hang"))
    async with watch():
        assert len(await sizes_until_full(registry)) > 50


async def test_while_what_a_list_lacked_is_removed_others_have_their_turn(
    api: FaultApi, watch: Watch, registry: Registry, short_turns: None
) -> None:
    page = {"metadata": {"resourceVersion": "9999"}, "items": [*map(sandbox, range(COUNT))]}
    api.queue(LIST, answers(json.dumps(page).encode()))
    sizes = set()
    async with watch() as cluster:
        await cluster.wait_synced()
        api.version = 10_000
        api.compact()
        await api.drop_watches()
        async with asyncio.timeout(10.0):
            while len(registry) > 0:
                sizes.add(len(registry))
                await asyncio.sleep(0)
    assert len(sizes) > 10
