"""Workloads joined with their places: news of three watches in any order, and what is looked up."""

from __future__ import annotations

from collections import deque
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cluster.answers import EventType, Page
from gateway.cluster.feed import Feed
from gateway.cluster.intake import Intake
from gateway.cluster.metrics import ClusterCounters
from gateway.cluster.placing import PlaceFeed, Placing
from gateway.dialects.deployment import DEPLOYMENT
from gateway.proxy.claims import Claims
from gateway.sandbox.errors import ApiUnavailable
from gateway.sandbox.model import Key, State
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments

from .backed import RawObject, awake, deployment, endpoint, endpoint_slice, service_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.reflector import Sink
    from gateway.cluster.selection import Selection
    from gateway.sandbox.model import Route

Step = tuple[str, EventType, RawObject]

ADDED, MODIFIED, DELETED = EventType.ADDED, EventType.MODIFIED, EventType.DELETED


class Watched:
    """A registry with the three feeds of one gateway, and an API that can be asked."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.placing = Placing(self.registry)
        counters = ClusterCounters(Instruments())
        self.intake = Intake(DEPLOYMENT, self.registry, counters, self.placing.joined)
        places = self.placing.places
        self.feeds: dict[str, Sink] = {
            "workload": Feed(self.intake),
            "slice": PlaceFeed(self.placing, places.slices),
            "service": PlaceFeed(self.placing, places.services),
        }
        self.listed: dict[str, Page | Exception] = {}
        self.asked: list[tuple[str, str | None, dict[str, str | int]]] = []

    def tell(self, *steps: Step) -> None:
        for feed, kind, raw in steps:
            self.feeds[feed].event(kind, raw)

    def relist(self, feed: str, version: int, *raws: RawObject) -> None:
        """Take a complete list."""
        self.feeds[feed].begin()
        self.feeds[feed].page(raws)
        deque(self.feeds[feed].complete(version), maxlen=0)

    def route(self, name: str = "web") -> Route:
        route = self.registry.get(Key("deployment", "team-a", name))
        assert route is not None
        return route

    def address(self, name: str = "web") -> str | None:
        route = self.route(name)
        assert (route.address is not None) is (route.state is State.RUNNING)
        return route.address

    async def list_page(self, selection: Selection, token: str | None) -> Page:
        plural = selection.resource.plural
        self.asked.append((plural, selection.namespace, dict(selection.query())))
        page = self.listed[plural if token is None else f"{plural} {token}"]
        if isinstance(page, Exception):
            raise page
        return page


@pytest.fixture
def watched() -> Watched:
    return Watched()


def seen(raw: RawObject) -> Step:
    return ("workload", MODIFIED, raw)


def sliced(version: int, *endpoints: RawObject, **changes: Any) -> Step:
    return ("slice", MODIFIED, endpoint_slice(version, *endpoints, **changes))


def front(version: int, address: str | None) -> Step:
    return ("service", MODIFIED, service_object(version, address))


POD_1, POD_2 = endpoint("10.0.0.1", "pod-1"), endpoint("10.0.0.2", "pod-2")

HISTORIES: dict[str, tuple[list[Step], str | None]] = {
    "woken": ([seen(deployment(5)), seen(awake(7)), sliced(6, POD_1)], "10.0.0.1"),
    "woken before its pod is told of": ([seen(awake(5)), sliced(4), sliced(6, POD_1)], "10.0.0.1"),
    "paused": ([seen(awake(5)), sliced(6, POD_1), seen(deployment(8))], None),
    "without an endpoint": ([seen(awake(5)), sliced(6, POD_1), sliced(7)], None),
    "moved": ([seen(awake(5)), sliced(6, POD_1), sliced(8, POD_2)], "10.0.0.2"),
    "two slices": (
        [seen(awake(5)), sliced(6, POD_2, name="a"), sliced(7, endpoint("odd"), name="b")],
        "10.0.0.2",
    ),
    "behind an address": (
        [seen(awake(5, service="front")), front(4, "10.1.0.1"), sliced(6, POD_1, service="front")],
        "10.1.0.1",
    ),
    "behind a headless Service": (
        [seen(awake(5, service="front")), front(4, "None"), sliced(6, POD_1, service="front")],
        "10.0.0.1",
    ),
    "behind one that became headless": (
        [
            seen(awake(5, service="front")),
            front(4, "10.1.0.1"),
            front(7, "None"),
            sliced(6, POD_1, service="front"),
        ],
        "10.0.0.1",
    ),
    "behind a Service that is not there": (
        [seen(awake(5, service="front")), sliced(6, POD_1, service="front")],
        None,
    ),
    "behind another Service than before": (
        [
            seen(awake(5)),
            sliced(4, POD_1),
            seen(awake(7, service="front")),
            front(6, "None"),
            sliced(8, POD_2, service="front"),
        ],
        "10.0.0.2",
    ),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_in_whatever_order_news_comes_it_ends_alike(history: str) -> None:
    steps, address = HISTORIES[history]
    for order in permutations(steps):
        watched = Watched()
        watched.tell(*order)
        assert watched.address() == address, order


LOSSES: dict[str, Callable[[Watched], None]] = {
    "deleted": lambda watched: watched.tell(("slice", DELETED, endpoint_slice(9))),
    "missing in a list": lambda watched: watched.relist("slice", 9),
    "API gone": lambda watched: watched.feeds["slice"].forget(),
    "not ready": lambda watched: watched.tell(
        sliced(9, endpoint("10.0.0.1", "pod-1", ready=False))
    ),
    "terminating": lambda watched: watched.tell(
        sliced(9, endpoint("10.0.0.1", "pod-1", terminating=True))
    ),
    "of another Service": lambda watched: watched.tell(
        sliced(9, POD_1, service="other", name="web-1")
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_each_way_of_losing_a_place_ends_the_route_to_it(watched: Watched, loss: str) -> None:
    watched.tell(seen(awake(5)), sliced(6, POD_1))
    assert watched.address() == "10.0.0.1"
    LOSSES[loss](watched)
    assert watched.address() is None


def test_a_relist_that_has_the_slice_changes_nothing(watched: Watched) -> None:
    watched.tell(seen(awake(5)), sliced(6, POD_1))
    before = watched.route()
    watched.relist("slice", 9, endpoint_slice(6, POD_1))
    watched.relist("workload", 9, awake(5))
    assert watched.route() is before


def test_the_place_that_is_routed_is_kept_while_it_is_ready(watched: Watched) -> None:
    watched.tell(seen(awake(5)), sliced(6, POD_2))
    life = watched.route().incarnation
    watched.tell(sliced(7, POD_1, POD_2), seen(awake(8)))
    assert (watched.address(), watched.route().incarnation) == ("10.0.0.2", life)
    watched.tell(sliced(9, POD_1))
    assert watched.address() == "10.0.0.1"
    assert watched.route().incarnation != life


def test_a_pod_of_the_life_before_is_not_taken_for_one_of_this(watched: Watched) -> None:
    """The slices' watch may lag, and the address belong to somebody else by then."""
    watched.tell(seen(awake(5)), sliced(6, POD_1), seen(deployment(8)), seen(awake(10)))
    assert watched.address() is None
    watched.tell(sliced(11, POD_2))
    assert watched.address() == "10.0.0.2"


def test_nor_if_its_slice_was_written_while_the_workload_slept(watched: Watched) -> None:
    """By a label, or by another endpoint: what it says of the old pod is no newer for that."""
    watched.tell(seen(awake(5)), sliced(6, POD_1), seen(deployment(8)), sliced(9, POD_1))
    watched.tell(seen(awake(10)), sliced(11, POD_1))
    assert watched.address() is None
    watched.tell(sliced(12, POD_1, POD_2))
    assert watched.address() == "10.0.0.2"


ENDS: dict[str, Callable[[Watched], None]] = {
    "deleted": lambda watched: watched.tell(("workload", DELETED, deployment(9))),
    "missing in a list": lambda watched: watched.relist("workload", 9),
    "API gone": lambda watched: watched.feeds["workload"].forget(),
    "malformed": lambda watched: watched.tell(seen(deployment(9) | {"status": 7})),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_workload_is_the_end_of_what_is_kept_of_it(watched: Watched, end: str) -> None:
    watched.tell(seen(deployment(5)), seen(awake(6)), sliced(7, POD_1))
    ENDS[end](watched)
    watched.tell(sliced(10, POD_2))
    assert len(watched.registry) == 0
    assert not watched.placing._users
    assert not watched.placing._slept_at


def test_another_workload_of_the_name_begins_anew(watched: Watched) -> None:
    watched.tell(seen(deployment(5)), seen(awake(8)), sliced(6, POD_1))
    other = awake(9)
    other["metadata"]["uid"] = "uid-other"
    watched.tell(seen(other))
    assert watched.route().incarnation == "uid-other/pod-1"
    watched.tell(sliced(10, POD_2))
    assert watched.address() == "10.0.0.2"


def test_several_workloads_may_share_a_service_and_others_are_left_alone(watched: Watched) -> None:
    watched.tell(seen(awake(5)), seen(awake(5, "api", service="web")), seen(awake(5, "else")))
    watched.tell(("service", ADDED, service_object(4, "None", "web")), sliced(6, POD_1))
    assert (watched.address(), watched.address("api")) == ("10.0.0.1", "10.0.0.1")
    assert watched.address("else") is None
    watched.tell(("workload", DELETED, deployment(8)), sliced(9, POD_2))
    assert watched.address("api") == "10.0.0.2"


# ---- looking up ---------------------------------------------------------------------------------


async def test_a_look_up_asks_for_the_slices_of_that_service_alone(watched: Watched) -> None:
    watched.tell(seen(awake(5)), sliced(6, POD_1))
    watched.listed["endpointslices"] = Page([endpoint_slice(7, POD_2)], 9, None)
    await watched.placing.look_up(watched, watched.route())
    query = {"labelSelector": "kubernetes.io/service-name=web"}
    assert watched.asked == [("endpointslices", "team-a", query)]
    assert watched.address() == "10.0.0.2"


async def test_a_look_up_reads_the_named_service_too_and_every_page(watched: Watched) -> None:
    watched.tell(seen(awake(5, service="front")), front(4, "10.1.0.1"))
    watched.listed["services"] = Page([service_object(7, "None")], 9, None)
    watched.listed["endpointslices"] = Page([], 9, "next")
    second = endpoint_slice(8, POD_2, service="front")
    watched.listed["endpointslices next"] = Page([second], 9, None)
    await watched.placing.look_up(watched, watched.route())
    assert watched.asked[0] == ("services", "team-a", {"fieldSelector": "metadata.name=front"})
    assert watched.address() == "10.0.0.2"


async def test_a_watch_that_lags_does_not_undo_what_was_looked_up(watched: Watched) -> None:
    watched.tell(seen(awake(5)), sliced(6, POD_1))
    watched.listed["endpointslices"] = Page([], 9, None)
    await watched.placing.look_up(watched, watched.route())
    watched.tell(sliced(7, POD_1), sliced(8, POD_1))
    assert watched.address() is None
    watched.tell(sliced(10, POD_2))
    assert watched.address() == "10.0.0.2"


def claims_of(watched: Watched) -> Claims:
    async def read(key: Key, uid: str) -> Route:
        """Read as a gateway does: the workload, which has not changed, and then its places."""
        await watched.placing.look_up(watched, watched.route(key.name))
        return watched.route(key.name)

    return Claims(watched.registry, read)


async def test_an_address_that_went_to_another_workload_is_not_dialled_for_the_first(
    watched: Watched,
) -> None:
    """The news of the one's end is late; news of its Deployment does not speak for the address."""
    watched.tell(seen(awake(5)), sliced(6, POD_1))
    other = endpoint("10.0.0.1", "pod-9")
    watched.tell(seen(awake(7, "other")), sliced(8, other, service="other"), seen(awake(20)))
    claims, web = claims_of(watched), watched.route()
    assert web.address == "10.0.0.1"
    assert not claims.stands(web)
    assert not claims.stands(watched.route("other")), "nobody knows who came last"

    watched.listed["endpointslices"] = ApiUnavailable("no")
    with pytest.raises(Exception, match="cannot be asked"):
        await claims.settle(web)
    assert not claims.stands(watched.route())

    watched.listed["endpointslices"] = Page([endpoint_slice(9)], 10, None)
    await claims.settle(web)
    assert watched.address() is None
    assert watched.address("other") == "10.0.0.1"


async def test_workloads_that_do_share_an_address_are_confirmed(watched: Watched) -> None:
    watched.tell(seen(awake(5, service="front")), front(4, "10.1.0.1"))
    watched.tell(("service", ADDED, service_object(6, "10.1.0.1", "twin")))
    watched.tell(seen(awake(7, "other", service="twin")))
    claims, web = claims_of(watched), watched.route()
    assert not claims.stands(web)
    watched.listed["services"] = Page([service_object(4, "10.1.0.1")], 10, None)
    watched.listed["endpointslices"] = Page([], 10, None)
    await claims.settle(web)
    assert claims.stands(web)
    assert watched.address() == "10.1.0.1"
