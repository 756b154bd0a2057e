"""What observers tell, put to sandboxes: what counts, for whom, and what is not known."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any

import pytest

from gateway.sandbox.activity import Activity
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry
from gateway.sandbox.standby import IdleRules, StandbyPolicy
from gateway.standby.flow_messages import MAX_ENTRIES, Count, Sync, Watch
from gateway.standby.observers import MISSED, SETTLING, Observers
from gateway.telemetry.instruments import Instruments

if TYPE_CHECKING:
    from gateway.standby.observer_link import ObserverLink

ADDRESS = "10.2.0.2"
CLIENT = "10.1.0.2"


class World:
    """One replica: its sandboxes, its clock, and observers that say what a test makes them say."""

    def __init__(self, confirm_within: float = 10.0) -> None:
        self.now = 1000.0
        self.gateways: list[str] = []
        self.registry = Registry()
        self.activity = Activity()
        self.instruments = Instruments()
        self.observers = Observers(
            self.activity,
            lambda: self.gateways,
            (ipaddress.ip_network("192.0.2.0/24"),),
            lambda: self.now,
            self.instruments,
            confirm_within,
        )
        self.registry.subscribe(
            lambda before, after: self.activity.heed(before, after, self.now, self.now)
        )
        self.registry.subscribe(self.observers.heed)

    def add(self, uid: str = "u1", address: str | None = ADDRESS, **fields: Any) -> Route:
        defaults: dict[str, Any] = {
            "id": f"default--{uid}",
            "version": 1,
            "state": State.RUNNING,
            "incarnation": "i",
            "node": "node-1",
        }
        key = Key("native", "default", uid)
        route = Route(key=key, uid=uid, address=address, **(defaults | fields))
        self.registry.apply(route)
        return route

    async def connect(self, node: str = "node-1") -> ObserverLink:
        link = await self.observers.connect(node)
        await self.answer(link)
        return link

    async def answer(self, link: ObserverLink) -> list[Watch]:
        """Answer all that the gateway says; return what it wished for."""
        wishes = []
        while True:
            said = await link.next()
            if isinstance(said, Watch):
                wishes.append(said)
            elif isinstance(said, Sync):
                self.observers.synced(link, said.number)
                return wishes

    def tell(self, link: ObserverLink, count: int, source: str = CLIENT, port: int = 80) -> None:
        self.observers.take(link, [Count(ADDRESS, source, port, count)])

    def idle_for(self, uid: str = "u1") -> float:
        usage = self.activity.of(uid)
        assert usage is not None
        return usage.unused_for(self.now)

    def is_used(self, uid: str = "u1") -> bool:
        usage = self.activity.of(uid)
        return usage is not None and usage.count > 0


@pytest.fixture
def world() -> World:
    return World()


# ---- what counts --------------------------------------------------------------------------------


async def test_a_sandbox_is_used_while_a_connection_leads_to_it(world: World) -> None:
    route = world.add()
    link = await world.connect()
    world.tell(link, 2)
    assert world.observers.active(route).count == 2
    world.now += 50
    assert world.is_used()
    world.tell(link, 1)
    world.tell(link, 0)
    world.now += 5
    assert not world.is_used()
    assert world.idle_for() == 5
    seen = world.observers.active(route)
    assert (seen.count, seen.last_seen, seen.connected) == (0, 1050.0, True)


async def test_one_use_is_counted_however_many_connections_there_are(world: World) -> None:
    world.add()
    link = await world.connect()
    world.tell(link, 3)
    world.tell(link, 3, source="10.1.0.3")
    usage = world.activity.of("u1")
    assert usage is not None
    assert usage.count == 1
    world.tell(link, 0)
    assert usage.count == 1
    world.tell(link, 0, source="10.1.0.3")
    world.tell(link, 0, source="10.1.0.3")
    assert usage.count == 0


async def test_a_connection_that_was_over_before_it_was_told_is_a_use(world: World) -> None:
    route = world.add()
    link = await world.connect()
    world.now += 50
    world.tell(link, 0)
    assert world.idle_for() == 0
    assert world.observers.active(route).last_seen == 1050.0


@pytest.mark.parametrize(
    ("source", "port"),
    [
        ("10.3.0.7", 80),  # a replica of the gateway
        ("192.0.2.9", 80),  # told to all: the nodes
        ("172.16.5.5", 80),  # ignored by the sandbox's policy
        ("fd00:5::1", 80),
        (CLIENT, 9100),
        ("0.0.0.0", 80),
        ("::", 80),
    ],
)
async def test_what_is_ignored_is_no_use(world: World, source: str, port: int) -> None:
    sources = tuple(ipaddress.ip_network(one) for one in ("172.16.0.0/12", "fd00:5::/32"))
    policy = StandbyPolicy(True, 60.0, sources, (9100,))
    route = world.add(idle=IdleRules(policy))
    world.gateways = ["10.3.0.7"]
    await world.observers.look()
    link = await world.connect()
    world.now += 50
    world.tell(link, 4, source, port)
    assert not world.is_used()
    world.tell(link, 0, source, port)
    world.tell(link, 0, source, port)  # nor if it was too short to be seen
    assert world.idle_for() == 50
    assert world.observers.active(route).count == 0
    world.tell(link, 1)
    assert world.is_used()


async def test_a_policy_that_changes_is_heeded_at_once(world: World) -> None:
    world.add()
    link = await world.connect()
    world.tell(link, 1)
    assert world.is_used()
    ignoring = StandbyPolicy(True, 60.0, ignored_ports=(80,))
    world.add(version=2, idle=IdleRules(ignoring))
    assert not world.is_used()
    world.add(version=3)
    assert world.is_used()


async def test_a_replica_that_joins_is_no_use_as_soon_as_it_is_known(world: World) -> None:
    route = world.add()
    link = await world.connect()
    world.tell(link, 1, source="10.3.0.8")
    assert world.is_used()
    world.gateways = ["10.3.0.8"]
    await world.observers.look()
    assert not world.is_used()
    assert world.observers.active(route).count == 0


async def test_a_connection_that_two_nodes_see_counts_once_until_the_last_sees_it_end(
    world: World,
) -> None:
    route = world.add()
    one, other = await world.connect(), await world.connect("node-2")
    world.tell(one, 1)
    world.tell(other, 1)
    assert world.observers.active(route).count == 1
    world.tell(one, 0)
    assert world.is_used()
    world.tell(other, 0)
    assert not world.is_used()


async def test_two_that_claim_one_address_are_both_used(world: World) -> None:
    world.add()
    link = await world.connect()
    world.tell(link, 1)
    world.add("u2")
    assert world.is_used("u1")
    assert world.is_used("u2")
    world.add("u1", None, version=2)
    assert not world.is_used("u1")
    assert world.is_used("u2")
    world.tell(link, 0)
    assert not world.is_used("u2")


async def test_one_that_leaves_its_address_is_not_used_by_what_leads_there(world: World) -> None:
    route = world.add()
    link = await world.connect()
    world.tell(link, 1)
    world.now += 5
    world.add(version=2, address=None, state=State.PAUSED)
    assert not world.is_used()
    assert world.idle_for() == 0
    world.tell(link, 1)  # said before the observer heard of it
    assert not world.is_used()
    world.registry.remove(route.key, "u1", 3)
    assert len(world.activity) <= 1


async def test_another_of_the_same_name_begins_anew(world: World) -> None:
    world.add()
    link = await world.connect()
    world.tell(link, 1)
    key = Key("native", "default", "u1")
    reborn = Route(
        key=key, uid="u9", id="x", version=5, state=State.RUNNING, incarnation="j", address=ADDRESS
    )
    world.registry.apply(reborn)
    assert not world.is_used("u1")
    world.tell(link, 1)
    assert world.is_used("u9")


# ---- what observers are asked for ---------------------------------------------------------------


async def test_observers_are_asked_for_the_addresses_that_sandboxes_have(world: World) -> None:
    world.add()
    link = await world.observers.connect("node-1")
    assert await world.answer(link) == [Watch(add=(ADDRESS,))]
    world.add("u2", "fd00:0:0:0::7")
    world.add("u3", "not-an-address.example")
    world.add("u1", None, version=2)
    assert await link.next() == Watch(add=("fd00::7",), drop=(ADDRESS,))


async def test_very_many_addresses_are_asked_for_in_parts(world: World) -> None:
    for number in range(MAX_ENTRIES + 1):
        world.add(f"u{number}", f"10.2.{number // 250}.{number % 250 + 1}")
    link = await world.observers.connect("node-1")
    wishes = await world.answer(link)
    assert [len(wish.add) for wish in wishes] == [MAX_ENTRIES, 1]


async def test_an_address_that_is_given_away_and_back_is_asked_for_once_more(world: World) -> None:
    world.add()
    link = await world.connect()
    world.tell(link, 1)
    world.add(version=2, address=None)
    world.add(version=3)
    assert await link.next() == Watch(add=(ADDRESS,))
    world.tell(link, 1)
    assert world.is_used()


# ---- what is not known --------------------------------------------------------------------------


async def test_until_its_node_has_told_all_a_sandbox_is_not_seen(world: World) -> None:
    route = world.add()
    assert not world.observers.active(route).connected
    await world.connect("node-2")
    assert not world.observers.active(route).connected
    link = await world.observers.connect("node-1")
    assert not world.observers.active(route).connected
    await world.answer(link)
    assert world.observers.active(route).connected
    await world.observers.disconnect(link)
    assert not world.observers.active(route).connected


async def test_one_without_an_address_that_observers_know_is_not_seen(world: World) -> None:
    await world.connect()
    assert not world.observers.active(world.add("u1", None)).connected
    assert not world.observers.active(world.add("u2", "sandbox.example")).connected


async def test_one_whose_node_is_not_known_is_seen_if_all_observers_are_there(
    world: World,
) -> None:
    route = world.add(node=None)
    one = await world.connect("node-1")
    await world.connect("node-2")
    assert not world.observers.active(route).connected, "others may be about to come"
    world.now += SETTLING
    assert world.observers.active(route).connected
    await world.observers.disconnect(one)
    assert not world.observers.active(route).connected
    world.now += MISSED - 1
    assert not world.observers.active(route).connected
    world.now += 2
    assert world.observers.active(route).connected, "its node is gone for good"


async def test_no_observer_at_all_sees_nothing(world: World) -> None:
    route = world.add(node=None)
    world.now += 2 * MISSED
    assert not world.observers.active(route).connected


async def test_an_observer_that_is_away_ends_what_it_told(world: World) -> None:
    world.add()
    link = await world.connect()
    world.tell(link, 1)
    world.now += 50
    await world.observers.disconnect(link)
    await world.observers.disconnect(link)
    assert not world.is_used()
    world.now += 5
    assert world.idle_for() == 5


async def test_the_time_that_an_observer_was_away_counts_as_used(world: World) -> None:
    world.add()
    world.add("u2", "10.2.0.3", node="node-2")
    link = await world.connect()
    await world.connect("node-2")
    await world.observers.disconnect(link)
    world.now += 20
    back = await world.observers.connect("node-1")
    world.now += 3
    await world.answer(back)
    assert world.idle_for("u1") == 0
    assert world.idle_for("u2") == 23
    counts = {metric.name: metric for metric in world.instruments.collect()}
    assert counts["sandbox_gateway_observer_gaps"].samples[0].value == 1


async def test_a_gateway_that_begins_goes_by_what_objects_say_not_by_when_observers_come(
    world: World,
) -> None:
    world.now = 1010.0
    world.add(idle=IdleRules(idle_since=910.0))
    await world.connect()
    assert world.idle_for() == 100


async def test_an_observer_of_long_after_the_start_may_have_missed_what_it_did_not_see(
    world: World,
) -> None:
    world.add()
    world.now += SETTLING + 1
    await world.connect()
    assert world.idle_for() == 0


async def test_a_second_observer_of_a_node_takes_the_place_of_the_first(world: World) -> None:
    route = world.add()
    first = await world.connect()
    world.tell(first, 5)
    second = await world.connect()
    assert await first.next() is None
    world.tell(first, 7)
    assert world.observers.active(route).count == 0
    world.tell(second, 1)
    assert world.observers.active(route).count == 1
    await world.observers.disconnect(first)
    assert world.observers.active(route).connected


# ---- asking again -------------------------------------------------------------------------------


async def test_confirm_returns_once_the_observer_has_told_all(world: World) -> None:
    route = world.add()
    link = await world.connect()
    asking = asyncio.create_task(world.observers.confirm([route]))
    said = await link.next()
    assert isinstance(said, Sync)
    world.tell(link, 1)
    assert not asking.done()
    world.observers.synced(link, said.number)
    await asking
    assert world.observers.active(route).count == 1


async def test_an_answer_to_an_earlier_question_is_none_to_a_later_one(world: World) -> None:
    route = world.add()
    link = await world.connect()
    first = asyncio.create_task(world.observers.confirm([route]))
    said = await link.next()
    second = asyncio.create_task(world.observers.confirm([route]))
    await asyncio.sleep(0)
    assert isinstance(said, Sync)
    world.observers.synced(link, said.number)
    await first
    assert not second.done()
    await world.answer(link)
    await second


async def test_an_observer_cannot_answer_what_it_was_not_asked(world: World) -> None:
    route = world.add()
    link = await world.connect()
    asking = asyncio.create_task(world.observers.confirm([route]))
    for _ in range(10):
        await asyncio.sleep(0)
    world.observers.synced(link, 1000)  # The question is not said yet.
    for _ in range(10):
        await asyncio.sleep(0)
    assert not asking.done()
    await world.answer(link)
    await asking


async def test_who_does_not_answer_in_time_is_not_connected_until_it_does() -> None:
    world = World(confirm_within=0.01)
    route = world.add()
    link = await world.connect()
    await world.observers.confirm([route])
    assert not world.observers.active(route).connected
    await world.answer(link)
    assert world.observers.active(route).connected


async def test_who_leaves_ends_the_waiting_for_it(world: World) -> None:
    route = world.add()
    link = await world.connect()
    asking = asyncio.create_task(world.observers.confirm([route]))
    await asyncio.sleep(0)
    await world.observers.disconnect(link)
    await asking
    assert not world.observers.active(route).connected
    await world.observers.confirm([route])
