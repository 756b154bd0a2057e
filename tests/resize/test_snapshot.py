"""How a size stands, in words and as values for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from gateway.cluster.pod_facts import Obstacle
from gateway.resize.agent import Agent
from gateway.resize.snapshot import Status, obstructed, sized, unsized
from tests.resize.doubles import World
from tests.wake.virtual import in_virtual_time

if TYPE_CHECKING:
    from gateway.sandbox.model import Route


@pytest.fixture
def route() -> Route:
    """A sandbox that is to be sized."""
    made: list[Route] = []

    @in_virtual_time
    async def make() -> None:
        made.append(World().sandbox())

    make()
    return made[0]


@pytest.mark.parametrize(
    "status", [one for one in Status if one not in (Status.UNSUPPORTED, Status.DISABLED)]
)
def test_of_one_that_does_not_ask_for_it_no_more_is_told_than_that(
    route: Route, status: Status
) -> None:
    told = unsized(replace(route, scaling=None), status, "some reason")
    assert (told.status, told.reason) == (Status.DISABLED, "")
    assert unsized(route, status, "some reason").status is status


def test_where_nothing_is_sized_that_is_told_of_all(route: Route) -> None:
    for one in (route, replace(route, scaling=None)):
        told = unsized(one, Status.UNSUPPORTED, "it is off")
        assert (told.status, told.reason) == (Status.UNSUPPORTED, "it is off")


def test_an_obstacle_is_told_by_its_name(route: Route) -> None:
    told = obstructed(route, Obstacle.OLD_NODE).as_json()
    assert (told["status"], told["reason"]) == ("obstacle", "old_node")
    assert told["actual"] is None


@in_virtual_time
async def test_sizes_are_told_to_the_byte_and_not_in_whole_slots() -> None:
    world = World()
    pod = world.pod(memory="1536Mi")
    told = sized(world.sandbox(), Agent(world.tools, world.sandbox(), pod))
    assert told.actual == told.desired == {"cpu": "1", "mem": "1536Mi"}
    assert (told.permitted, told.approved, told.load1) == (None, None, None)
