"""Where workloads are: what slices and Services tell, news in any order, which place is taken."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from itertools import permutations
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.cluster.decoding import decode_frame
from gateway.cluster.places import Place, Table, join, read_service, read_slice
from gateway.dialects.deployment import DEPLOYMENT
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.model import Route, State
from tests.dialects.objects import Path, json_values, paths_of, with_field

from .backed import RawObject, awake, deployment, endpoint, endpoint_slice, service_object
from .conftest import patient

WEB = ("team-a", "web")


def places_of(table: Table, service: tuple[str, str] = WEB) -> list[Place]:
    return [place for entry in table.of(service) for place in entry.places]


def addresses_of(table: Table, service: tuple[str, str] = WEB) -> set[str]:
    return {place.address for place in places_of(table, service)}


# ---- one object ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        ({"ready": True}, True),
        ({"ready": None}, True),
        ({"ready": True, "serving": True, "terminating": False}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": True}, False),
        ({"ready": True, "serving": False}, False),
        ({"ready": True, "terminating": True}, False),
    ],
)
def test_an_endpoint_counts_where_it_is_ready_and_does_not_terminate(
    conditions: dict[str, Any], ready: bool
) -> None:
    entry = read_slice(endpoint_slice(7, endpoint("10.0.0.1", "pod-1", **conditions)))
    assert entry.places == ((Place("10.0.0.1", 7, "pod-1"),) if ready else ())


@pytest.mark.parametrize("conditions", [None, {}])
def test_an_endpoint_without_conditions_is_ready(conditions: object) -> None:
    entry = read_slice(endpoint_slice(7, endpoint("10.0.0.1") | {"conditions": conditions}))
    assert entry.places == (Place("10.0.0.1", 7, None),)


def test_a_slice_tells_of_its_service_in_its_namespace() -> None:
    entry = read_slice(endpoint_slice(7, name="web-x7f"))
    assert (entry.name, entry.service, entry.version) == (("team-a", "web-x7f"), WEB, 7)


@pytest.mark.parametrize("kind", ["FQDN", "odd", None])
def test_names_are_no_addresses(kind: str | None) -> None:
    named = endpoint("web.example.com")
    assert read_slice(endpoint_slice(7, named, addressType=kind)).places == ()


def test_addresses_are_canonical_and_only_the_first_of_an_endpoint_counts() -> None:
    both = endpoint("FD00:0::7") | {"addresses": ["FD00:0::7", "fd00::8"]}
    assert read_slice(endpoint_slice(7, both, addressType="IPv6")).places[0].address == "fd00::7"


@pytest.mark.parametrize("address", ["None", "", None])
def test_a_service_without_an_address_is_no_place(address: str | None) -> None:
    assert read_service(service_object(7, address)).places == ()


def test_a_service_is_where_its_address_is() -> None:
    entry = read_service(service_object(7, "10.1.0.1"))
    assert entry.places == (Place("10.1.0.1", 7),)
    assert entry.service == entry.name == ("team-a", "front")


def test_what_is_read_is_also_what_a_watch_decodes() -> None:
    for read, raw in (
        (read_slice, endpoint_slice(7, endpoint("10.0.0.1", "pod-1"))),
        (read_service, service_object(7, "10.1.0.1")),
    ):
        decoded = decode_frame(orjson.dumps({"type": "ADDED", "object": raw}))["object"]
        assert read(decoded) == read(raw)


SLICE = endpoint_slice(7, endpoint("10.0.0.1", "pod-1"))
SERVICE = service_object(7, "10.1.0.1")
FIELDS = [
    (read, raw, path)
    for read, raw in ((read_slice, SLICE), (read_service, SERVICE))
    for path in paths_of(raw)
]


@patient
@given(st.sampled_from(FIELDS), json_values)
def test_whatever_is_sent_is_read_or_malformed(
    field: tuple[Any, RawObject, Path], value: object
) -> None:
    read, raw, path = field
    with suppress(MalformedObject):
        hash(read(with_field(raw, path, value)))


@patient
@given(json_values)
def test_a_table_takes_whatever_is_sent(value: Any) -> None:
    for read in (read_slice, read_service):
        table = Table(read)
        table.put(value)
        table.drop(value)
        table.name_of(value)


# ---- a table ------------------------------------------------------------------------------------


def test_the_newest_state_of_a_slice_counts_in_whatever_order_it_comes() -> None:
    states = [endpoint_slice(version, endpoint(f"10.0.0.{version}")) for version in (5, 6, 7)]
    for order in permutations(states):
        table = Table(read_slice)
        for raw in order:
            table.put(raw)
        assert addresses_of(table) == {"10.0.0.7"}


def test_the_slices_of_a_service_add_up_and_go_one_by_one() -> None:
    table = Table(read_slice)
    first = endpoint_slice(5, endpoint("10.0.0.1"), name="a")
    second = endpoint_slice(6, endpoint("10.0.0.2"), name="b")
    assert table.put(first) == table.put(second) == {WEB}
    assert table.put(first) == set()
    assert addresses_of(table) == {"10.0.0.1", "10.0.0.2"}
    assert table.drop(endpoint_slice(9, name="a")) == {WEB}
    assert addresses_of(table) == {"10.0.0.2"}
    assert table.drop(endpoint_slice(5, name="b")) == set()
    assert table.drop(endpoint_slice(9, name="c")) == set()
    assert addresses_of(table) == {"10.0.0.2"}


def test_a_slice_that_changes_its_service_concerns_both() -> None:
    table = Table(read_slice)
    table.put(endpoint_slice(5, endpoint("10.0.0.1"), name="a"))
    moved = endpoint_slice(6, endpoint("10.0.0.1"), name="a", service="other")
    assert table.put(moved) == {WEB, ("team-a", "other")}
    assert addresses_of(table) == set()


def test_what_cannot_be_read_any_more_tells_of_no_place() -> None:
    table = Table(read_slice)
    table.put(endpoint_slice(5, endpoint("10.0.0.1")))
    assert table.put(endpoint_slice(6, endpoint("odd"))) == {WEB}
    assert addresses_of(table) == set()


def test_a_complete_list_removes_what_it_lacked_and_no_more() -> None:
    table = Table(read_slice)
    for number, name in enumerate(("listed", "gone", "newer"), 5):
        table.put(endpoint_slice(number, endpoint(f"10.0.0.{number}"), name=name))
    deque(table.sweep({("team-a", "listed")}, 6, "team-b"), maxlen=0)
    assert len(addresses_of(table)) == 3
    deque(table.sweep({("team-a", "listed")}, 6, "team-a"), maxlen=0)
    assert addresses_of(table) == {"10.0.0.5", "10.0.0.7"}


def test_what_is_renewed_between_two_steps_of_a_list_is_kept() -> None:
    table = Table(read_slice)
    for name in ("a", "b"):
        table.put(endpoint_slice(5, endpoint("10.0.0.5"), name=name))
    steps = table.sweep((), 6, None)
    assert next(steps) == {WEB}
    table.put(endpoint_slice(8, endpoint("10.0.0.8"), name="b"))
    deque(steps, maxlen=0)
    assert addresses_of(table) == {"10.0.0.8"}


def test_what_was_read_at_once_is_not_undone_by_a_watch_that_lags() -> None:
    table = Table(read_slice)
    table.put(endpoint_slice(5, endpoint("10.0.0.5"), name="a"))
    table.put(endpoint_slice(12, endpoint("10.0.0.12"), name="newer"))
    fresh = [endpoint_slice(9, endpoint("10.0.0.9"), name="b")]
    assert table.renew(WEB, fresh, 10) == {WEB}
    assert addresses_of(table) == {"10.0.0.9", "10.0.0.12"}
    assert table.put(endpoint_slice(8, endpoint("10.0.0.8"), name="a")) == set()
    assert addresses_of(table) == {"10.0.0.9", "10.0.0.12"}
    assert table.put(endpoint_slice(11, endpoint("10.0.0.11"), name="a")) == {WEB}


def test_further_news_of_a_place_makes_it_no_newer() -> None:
    table = Table(read_slice)
    table.put(endpoint_slice(5, endpoint("10.0.0.1", "pod-1")))
    table.put(endpoint_slice(9, endpoint("10.0.0.1", "pod-1"), endpoint("10.0.0.2", "pod-2")))
    (entry,) = table.of(WEB)
    assert [(one.address, one.version) for one in entry.places] == [
        ("10.0.0.1", 5),
        ("10.0.0.2", 9),
    ]
    table.put(endpoint_slice(12, endpoint("10.0.0.1", "pod-9")))
    (entry,) = table.of(WEB)
    assert [(one.pod, one.version) for one in entry.places] == [("pod-9", 12)]


# ---- joining ------------------------------------------------------------------------------------

BARE = DEPLOYMENT.route(awake(20, generation=4))


def joined(*places: Place, now_at: str | None = None, slept_at: int = -1) -> Route:
    return join(BARE, places, now_at, slept_at)


def test_what_is_available_runs_where_a_pod_is_ready() -> None:
    route = joined(Place("10.0.0.1", 7, "pod-1"))
    assert (route.state, route.address) == (State.RUNNING, "10.0.0.1")
    assert route.incarnation == "uid-web/pod-1"


def test_without_a_place_it_does_not_run() -> None:
    assert joined() == BARE
    assert join(joined(Place("10.0.0.1", 7, "pod-1")), ()) == BARE


@pytest.mark.parametrize(
    "raw", [deployment(20), deployment(20, wanted=1), deployment(20, left=1)], ids=str
)
def test_what_is_not_available_has_no_place(raw: RawObject) -> None:
    bare = DEPLOYMENT.route(raw)
    assert join(bare, [Place("10.0.0.1", 7, "pod-1")]) is bare


def test_an_address_without_a_pod_lives_as_long_as_the_spec_stays() -> None:
    place = Place("10.1.0.1", 7)
    route = joined(place)
    told = join(DEPLOYMENT.route(awake(21, generation=4)), [place])
    assert told.incarnation == route.incarnation
    woken = join(DEPLOYMENT.route(awake(22, generation=6)), [place])
    assert woken.incarnation != route.incarnation
    moved = joined(replace(place, address="10.1.0.2"))
    assert moved.incarnation != route.incarnation


def test_of_several_places_the_present_one_is_kept_else_the_smallest_taken() -> None:
    places = [Place(f"10.0.0.{number}", 7, f"pod-{number}") for number in (3, 1, 2)]
    for order in permutations(places):
        assert joined(*order).address == "10.0.0.1"
        assert joined(*order, now_at="10.0.0.2").address == "10.0.0.2"
        assert joined(*order, now_at="10.0.0.9").address == "10.0.0.1"


def test_the_older_family_is_preferred() -> None:
    assert joined(Place("2001:db8::1", 7, "p"), Place("203.0.113.1", 7, "p")).address == (
        "203.0.113.1"
    )


def test_a_pod_from_before_the_last_sleep_is_none_of_this_life() -> None:
    old, new = Place("10.0.0.1", 7, "pod-1"), Place("10.0.0.2", 9, "pod-2")
    assert joined(old, slept_at=7).state is State.RESUMING
    assert joined(old, new, now_at="10.0.0.1", slept_at=7).address == "10.0.0.2"
    assert joined(Place("10.1.0.1", 3), slept_at=7).state is State.RUNNING
