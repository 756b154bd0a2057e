"""Many clients and sandboxes with a faulty network on both sides of the gateway."""

from __future__ import annotations

import pytest

from .faults import Fault
from .traffic import Schedule, run


@pytest.mark.parametrize("seed", [1, 2])
async def test_answers_are_ones_own_and_nothing_is_done_twice_whatever_breaks(seed: int) -> None:
    """RFC 9110 §9.2.2, 9112 §8: cuts, delays and sandboxes that sleep, wake and move."""
    world = await run(Schedule(seed))
    assert len(world.faults) > len(world.schedule.faults) / 2
    assert world.ended["whole"] > sum(world.ended.values()) / 3
    assert world.ended["tunnel"] > 0
    assert world.fleet.moves["woken"] > 0
    assert world.fleet.moves["moved"] > 0


async def test_garbage_between_never_mixes_what_belongs_to_different_requests() -> None:
    """What is spoilt is spoilt; no part of it is ever somebody else's."""
    world = await run(Schedule(3, garbage=True))
    assert world.faults[Fault.GARBAGE] > 0
    assert world.ended["whole"] > 0
