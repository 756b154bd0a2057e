"""Objects that cannot be judged: reported once, unrouted, and never the end of a watch."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.answers import EventType
from gateway.cluster.feed import Feed
from gateway.cluster.intake import MEMORY, Intake
from gateway.cluster.metrics import ClusterCounters
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments

from .conftest import eventually, names, patient
from .faultapi import WATCH, frame, watches

if TYPE_CHECKING:
    from gateway.dialects.base import Dialect, RawObject
    from gateway.sandbox.model import Route

    from .conftest import Watch
    from .faultapi import FaultApi


def make_intake(dialect: Dialect | None = None) -> Intake:
    return Intake(dialect or Native(), Registry(), ClusterCounters(Instruments()))


def make_object(
    version: int = 1, name: str = "a", uid: str = "uid-1", **sections: Any
) -> RawObject:
    metadata = {
        "namespace": "team-a",
        "name": name,
        "uid": uid,
        "resourceVersion": str(version),
    }
    return {"metadata": metadata, "status": {"phase": "Paused"}} | sections


BROKEN: dict[str, Any] = {"status": {"phase": 7}}


def complete(feed: Feed, version: int) -> None:
    """Take all the steps that complete a list."""
    deque(feed.complete(version), maxlen=0)


def test_an_object_that_cannot_be_judged_loses_its_route() -> None:
    intake = make_intake()
    feed = Feed(intake)
    feed.event(EventType.ADDED, make_object(1))
    feed.event(EventType.MODIFIED, make_object(2, **BROKEN))
    assert names(intake.registry) == set()
    [found] = intake.malformed
    assert (found.uid, found.version, found.field) == ("uid-1", 2, "status.phase")


def test_it_gets_its_route_back_once_it_can_be_judged() -> None:
    intake = make_intake()
    feed = Feed(intake)
    feed.event(EventType.ADDED, make_object(2, **BROKEN))
    feed.event(EventType.MODIFIED, make_object(3))
    assert names(intake.registry) == {"a"}
    assert intake.malformed == ()


def test_one_without_a_readable_version_loses_its_route_too() -> None:
    intake = make_intake()
    feed = Feed(intake)
    feed.event(EventType.ADDED, make_object(5))
    raw = make_object()
    raw["metadata"]["resourceVersion"] = "five"
    feed.event(EventType.MODIFIED, raw)
    assert names(intake.registry) == set()


def test_another_sandboxs_broken_news_does_not_touch_the_route() -> None:
    intake = make_intake()
    feed = Feed(intake)
    feed.event(EventType.ADDED, make_object(5))
    feed.event(EventType.MODIFIED, make_object(3, uid="uid-0", **BROKEN))
    assert names(intake.registry) == {"a"}


def test_a_broken_object_in_a_list_is_skipped_and_loses_its_old_route() -> None:
    intake = make_intake()
    feed = Feed(intake)
    feed.event(EventType.ADDED, make_object(1))
    feed.begin()
    feed.page([make_object(4, **BROKEN), {}, [], None, make_object(3, "b", "uid-2")])  # type: ignore[list-item]
    complete(feed, 5)
    assert names(intake.registry) == {"b"}


def test_a_list_forgets_the_malformed_that_it_lacks() -> None:
    intake = make_intake()
    feed = Feed(intake)
    feed.event(EventType.ADDED, make_object(1, **BROKEN))
    feed.event(EventType.ADDED, make_object(2, "b", "uid-2", **BROKEN))
    feed.begin()
    feed.page([make_object(2, "b", "uid-2", **BROKEN)])
    complete(feed, 5)
    assert [one.uid for one in intake.malformed] == ["uid-2"]


def test_a_deleted_malformed_object_is_forgotten() -> None:
    intake = make_intake()
    feed = Feed(intake)
    feed.event(EventType.ADDED, make_object(1, **BROKEN))
    feed.event(EventType.DELETED, make_object(2, **BROKEN))
    assert intake.malformed == ()


def test_the_log_says_it_once_a_version(caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed(make_intake())
    with caplog.at_level(logging.WARNING):
        for version in (1, 1, 1, 2):
            feed.event(EventType.MODIFIED, make_object(version, **BROKEN))
    assert len(caplog.records) == 2


def test_a_problem_is_logged_once_a_sandbox(caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed(make_intake())
    annotated = {"annotations": {"sandbox-gateway.dev/wake-on-traffic": "yes"}}
    with caplog.at_level(logging.WARNING):
        for version in (1, 2, 3):
            raw = make_object(version)
            raw["metadata"] |= annotated
            feed.event(EventType.MODIFIED, raw)
    assert len(caplog.records) == 1
    assert "team-a/a" in caplog.text


def test_the_memory_of_malformed_objects_is_bounded() -> None:
    intake = make_intake()
    for number in range(MEMORY + 50):
        intake.take(make_object(1, f"s{number}", f"uid-{number}", **BROKEN))
    assert len(intake.malformed) == MEMORY


# ---- lists of what is known already ------------------------------------------------------------


class Counting(Native):
    """A dialect that tells what it had to judge."""

    def __init__(self) -> None:
        super().__init__()
        self.judged: list[str] = []

    def route(self, raw: RawObject) -> Route:
        route = super().route(raw)
        self.judged.append(route.key.name)
        return route


def test_what_a_list_repeats_is_neither_judged_again_nor_lost() -> None:
    dialect = Counting()
    intake = make_intake(dialect)
    feed = Feed(intake)
    for version, name in ((1, "a"), (2, "b"), (3, "c")):
        feed.event(EventType.ADDED, make_object(version, name, f"uid-{name}"))
    before = {route.key.name: route for route in intake.registry}
    dialect.judged.clear()
    feed.begin()
    feed.page([make_object(1, "a", "uid-a"), make_object(7, "b", "uid-b")])
    feed.page([make_object(3, "c", "uid-c"), make_object(8, "d", "uid-d")])
    complete(feed, 9)
    assert dialect.judged == ["b", "d"]
    after = {route.key.name: route for route in intake.registry}
    assert set(after) == {"a", "b", "c", "d"}
    assert [after[name] is before[name] for name in "abc"] == [True, False, True]


def test_an_object_that_took_the_name_is_judged_although_its_version_is_the_same() -> None:
    dialect = Counting()
    intake = make_intake(dialect)
    feed = Feed(intake)
    feed.event(EventType.ADDED, make_object(5))
    feed.begin()
    feed.page([make_object(5, uid="uid-2")])
    complete(feed, 9)
    assert dialect.judged == ["a", "a"]
    assert [route.uid for route in intake.registry] == ["uid-2"]


@pytest.mark.parametrize("version", ["05", 5, None, "", "five"])
def test_a_version_that_is_written_otherwise_is_left_to_the_dialect(version: object) -> None:
    dialect = Counting()
    intake = make_intake(dialect)
    feed = Feed(intake)
    feed.event(EventType.ADDED, make_object(5))
    raw = make_object()
    raw["metadata"]["resourceVersion"] = version
    assert intake.known(raw) is None
    feed.begin()
    feed.page([raw])
    complete(feed, 9)
    assert len(dialect.judged) == 1 + (version == "05")


def test_a_list_is_completed_in_steps_that_heed_what_is_heard_in_between() -> None:
    intake = make_intake()
    feed = Feed(intake)
    for version, name in ((1, "a"), (2, "b"), (3, "c")):
        feed.event(EventType.ADDED, make_object(version, name, f"uid-{name}"))
    feed.begin()
    feed.page([make_object(1, "a", "uid-a")])
    steps = feed.complete(9)
    assert names(intake.registry) == {"a", "b", "c"}
    next(steps)
    intake.take(make_object(10, "c", "uid-c"))
    deque(steps, maxlen=0)
    assert names(intake.registry) == {"a", "c"}


class Mistaken(Native):
    """A dialect with a mistake in it."""

    def __init__(self, mistake: Exception) -> None:
        super().__init__()
        self._mistake = mistake

    def route(self, raw: RawObject) -> Route:
        raise self._mistake


@pytest.mark.parametrize(
    "mistake",
    [TypeError(), KeyError(), AttributeError(), OverflowError(), RecursionError(), ValueError()],
)
def test_a_mistake_in_a_dialect_costs_one_object(
    mistake: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    intake = make_intake(Mistaken(mistake))
    Feed(intake).event(EventType.ADDED, make_object())
    assert [one.message for one in intake.malformed] == [f"object: {type(mistake).__name__}"]
    assert "dialect failed" in caplog.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
texts = st.sampled_from(["", "a", "7", "10.0.0.1", "Paused", "2026-01-01T00:00:00Z", "9" * 5000])
fields = texts | json_values
metadata = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["namespace", "name", "uid", "resourceVersion", "labels", "annotations"], fields
    )
    | {"ownerReferences": st.lists(json_values, max_size=2)},
)
sections = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["phase", "paused", "desiredState", "podIP", "podInfo", "conditions", "ports"], fields
    )
    | dict.fromkeys(["shutdownTime", "wakeOnTraffic", "autoPausePolicy", "process"], fields),
)
objects = json_values | st.fixed_dictionaries(
    {}, optional={"metadata": metadata | fields, "spec": sections | fields, "status": sections}
)


@pytest.mark.parametrize("dialect", [Native(), Native(local=True), Kruise()])
@patient
@given(news=st.lists(st.tuples(st.sampled_from(EventType), objects), max_size=5))
def test_nothing_that_an_object_contains_stops_the_feed(
    dialect: Dialect, news: list[tuple[EventType, Any]]
) -> None:
    intake = make_intake(dialect)
    feed = Feed(intake)
    for kind, raw in news:
        feed.event(kind, raw)
    feed.begin()
    feed.page([raw for _, raw in news])
    complete(feed, 1)
    good = make_object(2, "good", "uid-good")
    feed.event(EventType.ADDED, good)
    assert intake.known(good) is intake.registry.by_name("team-a", "good")


async def test_malformed_objects_in_the_middle_of_a_watch_stop_nothing(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    good, late = make_object(20), make_object(23, "late", "uid-3")
    api.queue(
        WATCH,
        watches(
            frame("ADDED", good),
            frame("MODIFIED", make_object(21, **BROKEN)),
            frame("ADDED", {"metadata": {"name": [1]}}),
            frame("DELETED", {"metadata": 7}),
            frame("ADDED", late),
            then="hang",
        ),
    )
    async with watch() as cluster:
        await eventually(lambda: names(registry) == {"late"})
        assert len(cluster.malformed) == 2
        assert api.count(WATCH) == 1


def test_a_list_tells_where_a_sandbox_is_and_not_since_when() -> None:
    """Two that came to one address while nobody watched: neither was seen to come last."""
    intake = make_intake()
    feed = Feed(intake)

    def running(version: int, name: str) -> RawObject:
        ready = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "podIP": "10.0.0.1", "podUID": name, "conditions": ready}
        return make_object(version, name, f"uid-{name}", status=status)

    for name in ("a", "b"):
        feed.event(EventType.ADDED, make_object(1, name, f"uid-{name}"))
    feed.event(EventType.MODIFIED, running(2, "a"))
    feed.begin()
    feed.page([running(2, "a"), running(9, "b")])
    complete(feed, 9)
    assert all(intake.registry.rival(route) for route in intake.registry)
