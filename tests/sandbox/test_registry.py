"""The registry, rule by rule: order of news, names that collide, lists, listeners."""

from __future__ import annotations

from collections import deque
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace as altered

from gateway.sandbox.errors import AmbiguousTarget, SandboxNotFound
from gateway.sandbox.model import Backing, Key, Route, State
from gateway.sandbox.registry import FENCES, Registry

from .routes import KEY, make_route

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER = Key("kruise", "team-a", "other")


def filled(*routes: Route) -> Registry:
    registry = Registry()
    for route in routes:
        assert registry.apply(route)
    return registry


def other(**changes: Any) -> Route:
    return make_route(**{"key": OTHER, "uid": "uid-2", "id": "team-a--other", **changes})


def test_a_route_is_found_by_key_id_and_name() -> None:
    route = make_route()
    registry = filled(route)
    assert registry.get(KEY) is route
    assert registry.by_id("team-a--box") is route
    assert registry.by_name("team-a", "box") is route
    assert list(registry) == [route]
    assert len(registry) == 1


def test_what_is_not_there_is_not_found() -> None:
    registry = filled(make_route())
    assert registry.get(OTHER) is None
    with pytest.raises(SandboxNotFound):
        registry.by_id("box")
    for namespace, name in (("team-b", "box"), ("team-a", "team-a--box")):
        with pytest.raises(SandboxNotFound):
            registry.by_name(namespace, name)


def test_newer_news_replaces_and_older_or_repeated_news_is_dropped() -> None:
    newer = make_route(version=5, state=State.PAUSED)
    registry = filled(make_route(version=4), newer)
    assert not registry.apply(make_route(version=4))
    assert not registry.apply(make_route(version=5, state=State.DEAD))
    assert registry.by_id("team-a--box") is newer


def test_a_deletion_removes_from_every_index() -> None:
    registry = filled(make_route(version=4))
    assert registry.remove(KEY, "uid-1", 5)
    assert len(registry) == 0
    assert registry.get(KEY) is None
    with pytest.raises(SandboxNotFound):
        registry.by_id("team-a--box")
    with pytest.raises(SandboxNotFound):
        registry.by_name("team-a", "box")


@pytest.mark.parametrize(("version", "believed"), [(4, False), (5, False), (6, True)])
def test_a_deletion_fences_what_came_before_it(version: int, believed: bool) -> None:
    registry = filled(make_route(version=3))
    registry.remove(KEY, "uid-1", 5)
    assert registry.apply(make_route(version=version)) is believed
    assert len(registry) == int(believed)


def test_a_deletion_that_comes_before_its_object_still_fences_it() -> None:
    registry = Registry()
    assert not registry.remove(KEY, "uid-1", 5)
    assert not registry.apply(make_route(version=4))
    assert registry.apply(make_route(version=6))


def test_an_older_deletion_never_lowers_a_fence() -> None:
    registry = Registry()
    registry.remove(KEY, "uid-1", 5)
    registry.remove(KEY, "uid-1", 2)
    assert not registry.apply(make_route(version=4))


def test_a_deletion_older_than_what_is_known_changes_nothing() -> None:
    registry = filled(make_route(version=6))
    assert not registry.remove(KEY, "uid-1", 5)
    assert registry.get(KEY) is not None
    assert registry.remove(KEY, "uid-1", 6)


def test_the_deletion_of_another_uid_leaves_the_one_that_is_there() -> None:
    registry = filled(make_route(uid="uid-2", version=6))
    assert not registry.remove(KEY, "uid-1", 7)
    assert registry.by_id("team-a--box").uid == "uid-2"
    assert registry.apply(make_route(uid="uid-2", version=7))


def test_another_uid_under_a_key_takes_its_place_if_it_is_newer() -> None:
    registry = filled(make_route(uid="uid-1", version=4, id="old"))
    assert not registry.apply(make_route(uid="uid-0", version=3))
    assert registry.apply(make_route(uid="uid-2", version=5))
    assert registry.by_id("team-a--box").uid == "uid-2"
    with pytest.raises(SandboxNotFound):
        registry.by_id("old")


@pytest.mark.parametrize("late", [4, 5, 6])
def test_a_replaced_uid_never_comes_back_once_its_successor_is_gone(late: int) -> None:
    registry = filled(make_route(uid="uid-1", version=3), make_route(uid="uid-2", version=7))
    registry.remove(KEY, "uid-2", 8)
    assert not registry.apply(make_route(uid="uid-1", version=late))


def test_a_uid_that_was_first_heard_of_too_late_never_comes_back_either() -> None:
    registry = filled(make_route(uid="uid-2", version=7))
    assert not registry.apply(make_route(uid="uid-1", version=5))
    registry.remove(KEY, "uid-2", 8)
    assert not registry.apply(make_route(uid="uid-1", version=6))


def test_an_id_that_changes_is_found_under_the_new_one_only() -> None:
    registry = filled(make_route(id="old"), make_route(id="new", version=2))
    assert registry.by_id("new").version == 2
    with pytest.raises(SandboxNotFound):
        registry.by_id("old")


# ---- names that collide -----------------------------------------------------------------------


def test_two_live_sandboxes_of_one_id_are_both_unreachable_by_it_and_reported() -> None:
    registry = filled(make_route(id="same"), other(id="same"))
    with pytest.raises(AmbiguousTarget):
        registry.by_id("same")
    assert registry.ambiguous() == {(KEY, OTHER)}
    assert registry.by_name("team-a", "box").uid == "uid-1"


def test_one_name_in_two_dialects_is_ambiguous_by_name() -> None:
    native = Key("native", "team-a", "box")
    registry = filled(make_route(id="a"), make_route(key=native, uid="uid-2", id="b"))
    with pytest.raises(AmbiguousTarget):
        registry.by_name("team-a", "box")
    assert registry.by_id("a").key == KEY
    assert registry.by_id("b").key == native
    assert registry.ambiguous() == {(KEY, native)}


def test_a_dead_namesake_is_no_rival() -> None:
    registry = filled(make_route(id="same"), other(id="same", state=State.DEAD))
    assert registry.by_id("same").uid == "uid-1"
    assert registry.ambiguous() == set()


def test_of_dead_namesakes_any_tells_that_it_is_dead() -> None:
    registry = filled(make_route(id="same", state=State.DEAD), other(id="same", state=State.DEAD))
    assert registry.by_id("same").state is State.DEAD
    assert registry.ambiguous() == set()


ENDS: dict[str, Callable[[Registry], bool]] = {
    "goes": lambda registry: registry.remove(OTHER, "uid-2", 9),
    "dies": lambda registry: registry.apply(other(id="same", version=9, state=State.DEAD)),
    "is renamed": lambda registry: registry.apply(other(id="apart", version=9)),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_ambiguity_ends_when_one_of_the_two(end: str) -> None:
    registry = filled(make_route(id="same"), other(id="same"))
    assert ENDS[end](registry)
    assert registry.by_id("same").uid == "uid-1"
    assert registry.ambiguous() == set()


def test_news_of_one_of_three_namesakes_is_kept_up_to_date() -> None:
    third = Key("kruise", "team-b", "box")
    registry = filled(make_route(id="same"), other(id="same"))
    registry.apply(make_route(key=third, uid="uid-3", id="same"))
    assert registry.ambiguous() == {(KEY, OTHER, third)}
    registry.apply(other(id="same", version=2, state=State.DEAD))
    registry.remove(KEY, "uid-1", 2)
    assert registry.by_id("same").uid == "uid-3"
    registry.remove(third, "uid-3", 2)
    assert registry.by_id("same").state is State.DEAD


def replace(
    registry: Registry,
    dialect: str,
    listed: list[Route],
    version: int,
    namespace: str | None = None,
) -> None:
    """Enter a complete list and take all steps."""
    for route in listed:
        registry.apply(route)
    uids = {route.uid for route in listed}
    deque(registry.retain(dialect, uids, version, namespace), maxlen=0)


# ---- lists ------------------------------------------------------------------------------------


def test_a_list_adds_changes_and_deletes() -> None:
    registry = filled(make_route(version=2), other(version=3))
    replace(registry, "kruise", [make_route(version=4, state=State.PAUSED)], 10)
    assert registry.by_id("team-a--box").state is State.PAUSED
    assert registry.get(OTHER) is None
    assert not registry.apply(other(version=10))


def test_a_list_keeps_what_is_newer_than_itself() -> None:
    registry = filled(make_route(version=11), other(version=12))
    replace(registry, "kruise", [make_route(version=4)], 11)
    assert registry.by_id("team-a--box").version == 11
    assert registry.by_id("team-a--other").version == 12


def test_a_list_does_not_bring_back_what_was_deleted_after_it_was_read() -> None:
    registry = filled(make_route(version=4))
    registry.remove(KEY, "uid-1", 12)
    replace(registry, "kruise", [make_route(version=4)], 10)
    assert len(registry) == 0


def test_a_list_of_one_dialect_leaves_the_others() -> None:
    native = make_route(key=Key("native", "team-a", "n"), uid="uid-3", id="n")
    registry = filled(make_route(), native)
    replace(registry, "kruise", [], 10)
    assert list(registry) == [native]


def test_a_list_of_one_namespace_leaves_the_others() -> None:
    elsewhere = make_route(key=Key("kruise", "team-b", "box"), uid="uid-3", id="b")
    registry = filled(make_route(), elsewhere)
    replace(registry, "kruise", [], 10, "team-a")
    assert list(registry) == [elsewhere]


def test_news_between_two_steps_of_a_list_is_heeded() -> None:
    third = make_route(key=Key("kruise", "team-a", "third"), uid="uid-3", id="third")
    registry = filled(make_route(version=2), other(version=3), third)
    steps = registry.retain("kruise", set(), 10)
    assert len(registry) == 3
    next(steps)
    assert list(registry) == [other(version=3), third]
    registry.apply(other(version=11))
    registry.remove(third.key, third.uid, 12)
    late = make_route(key=Key("kruise", "team-a", "late"), uid="uid-4", id="late", version=9)
    registry.apply(late)
    deque(steps, maxlen=0)
    assert list(registry) == [other(version=11), late]


def test_what_is_forgotten_can_come_back_as_it_was() -> None:
    elsewhere = make_route(key=Key("kruise", "team-b", "box"), uid="uid-3", id="b")
    native = make_route(key=Key("native", "team-a", "n"), uid="uid-4", id="n")
    registry = filled(make_route(version=4), elsewhere, native)
    registry.forget("kruise", "team-a")
    assert list(registry) == [elsewhere, native]
    registry.forget("kruise")
    assert list(registry) == [native]
    with pytest.raises(SandboxNotFound):
        registry.by_id("team-a--box")
    assert registry.apply(make_route(version=4))


def test_a_list_replaces_a_uid_under_its_key() -> None:
    registry = filled(make_route(uid="uid-1", version=2))
    replace(registry, "kruise", [make_route(uid="uid-2", version=5)], 10)
    assert registry.by_id("team-a--box").uid == "uid-2"
    assert not registry.apply(make_route(uid="uid-1", version=4))


# ---- amendments ---------------------------------------------------------------------------------


def test_what_was_made_of_the_known_route_takes_its_place() -> None:
    known = make_route(version=4)
    registry = filled(known)
    heard: list[tuple[Route | None, Route | None]] = []
    registry.subscribe(lambda before, after: heard.append((before, after)))
    moved = altered(known, address="10.0.0.9")
    assert registry.amend(known, moved)
    assert registry.get(KEY) is moved
    assert registry.by_id("team-a--box") is moved
    assert registry.rival(make_route(key=OTHER, address="10.0.0.9")) is moved
    assert registry.rival(make_route(key=OTHER, address="10.0.0.7")) is None
    assert heard == [(known, moved)]


def test_what_was_made_of_another_route_changes_nothing() -> None:
    early, late = make_route(version=4), make_route(version=5)
    registry = filled(early, late)
    assert not registry.amend(early, altered(early, address="10.0.0.9"))
    assert registry.get(KEY) is late
    registry.remove(KEY, "uid-1", 6)
    assert not registry.amend(late, altered(late, address="10.0.0.9"))
    assert len(registry) == 0


# ---- fences and listeners ---------------------------------------------------------------------


def test_fences_are_bounded_and_the_oldest_go_first() -> None:
    registry = Registry()
    for number in range(FENCES + 1):
        registry.remove(KEY, f"uid-{number}", 5)
    assert registry.apply(make_route(uid="uid-0", version=4))
    registry.remove(KEY, "uid-0", 6)
    assert not registry.apply(make_route(uid=f"uid-{FENCES}", version=4))


def test_a_fence_that_is_renewed_outlives_the_others() -> None:
    registry = Registry()
    registry.remove(KEY, "uid-0", 5)
    for number in range(1, FENCES):
        registry.remove(KEY, f"uid-{number}", 5)
    registry.remove(KEY, "uid-0", 6)
    registry.remove(KEY, "one-more", 5)
    assert not registry.apply(make_route(uid="uid-0", version=6))
    assert registry.apply(make_route(uid="uid-1", version=5))


def test_listeners_hear_of_changes_after_they_were_made_and_of_nothing_else() -> None:
    registry = Registry()
    heard: list[tuple[Route | None, Route | None, int]] = []
    registry.subscribe(lambda before, after: heard.append((before, after, len(registry))))
    first, second = make_route(version=4), make_route(version=5)
    successor = make_route(uid="uid-2", version=6)
    registry.apply(first)
    registry.apply(make_route(version=3))
    registry.apply(second)
    registry.remove(KEY, "uid-9", 6)
    registry.apply(successor)
    registry.remove(KEY, "uid-2", 7)
    assert heard == [
        (None, first, 1),
        (first, second, 1),
        (second, None, 0),
        (None, successor, 1),
        (successor, None, 0),
    ]


def test_a_listener_that_left_hears_nothing_and_the_others_go_on() -> None:
    registry = Registry()
    one: list[object] = []
    two: list[object] = []
    leave = registry.subscribe(lambda before, after: one.append(after))
    registry.subscribe(lambda before, after: two.append(after))
    registry.apply(make_route(version=1))
    leave()
    leave()
    registry.apply(make_route(version=2))
    assert (len(one), len(two)) == (1, 2)


# ---- addresses ----------------------------------------------------------------------------------

BACKING = Backing("web", named=False, available=True, life="1")


def at(name: str, version: int, address: str | None = "10.0.0.1") -> Route:
    key = Key("native", "team-a", name)
    return make_route(key=key, uid=f"uid-{name}", id=name, version=version, address=address)


def coming(*names_and_versions: tuple[str, int]) -> Registry:
    """Return a registry that knew all of these before each came to the address."""
    registry = Registry()
    for name, version in names_and_versions:
        registry.apply(at(name, version - 1, None))
    for name, version in names_and_versions:
        registry.apply(at(name, version))
    return registry


def rivals(registry: Registry) -> dict[str, str]:
    """Return who is in doubt, and because of whom."""
    found = {route.key.name: registry.rival(route) for route in registry}
    return {name: one.key.name for name, one in found.items() if one is not None}


def test_who_was_seen_to_come_last_is_in_no_doubt_whatever_order_the_news_comes_in() -> None:
    for order in permutations([("a", 5), ("b", 9), ("c", 7)]):
        assert rivals(coming(*order)) == {"a": "b", "c": "b"}


def test_who_is_alone_is_in_no_doubt() -> None:
    assert rivals(filled(at("a", 5), at("b", 9, "10.0.0.2"), at("c", 7, None))) == {}


def test_where_nobody_was_seen_to_come_all_are_in_doubt() -> None:
    # As in the first list of a new gateway: the last to change is not the last to come.
    assert rivals(filled(at("stale", 50), at("there", 20))) == {
        "stale": "there",
        "there": "stale",
    }


def test_who_comes_to_where_one_was_already_is_in_no_doubt() -> None:
    registry = filled(at("old", 50), at("new", 20, None), at("new", 60))
    assert rivals(registry) == {"old": "new"}
    registry.apply(at("old", 70))
    assert rivals(registry) == {"old": "new"}


def test_when_a_list_brings_the_news_nobody_was_seen_to_come() -> None:
    registry = coming(("old", 5), ("new", 9))
    registry.unseen(at("new", 9).key)
    assert rivals(registry) == {"old": "new", "new": "old"}


def test_an_address_that_was_left_is_no_matter_any_more() -> None:
    for end in ("pauses", "moves", "goes"):
        registry = coming(("a", 5), ("b", 9))
        if end == "goes":
            registry.remove(at("b", 9).key, "uid-b", 10)
        else:
            registry.apply(at("b", 10, None if end == "pauses" else "10.0.0.2"))
        assert rivals(registry) == {}


def test_further_news_of_one_who_was_there_before_is_no_new_claim() -> None:
    registry = coming(("a", 5), ("b", 9))
    registry.apply(at("a", 10))
    registry.apply(at("a", 11))
    assert rivals(registry) == {"a": "b"}
    registry.apply(at("b", 12))
    assert rivals(registry) == {"a": "b"}


def test_who_left_and_came_back_or_lives_anew_claims_anew() -> None:
    for between in (at("a", 10, None), altered(at("a", 10), incarnation="another/life")):
        registry = coming(("a", 5), ("b", 9))
        registry.apply(between)
        registry.apply(at("a", 11))
        assert rivals(registry) == {"b": "a"}


def test_where_another_object_tells_of_the_address_nobody_knows_who_came_last() -> None:
    registry = coming(("a", 5), ("b", 9))
    backed = altered(at("a", 5), backing=BACKING)
    assert registry.amend(at_home(registry, "a"), backed)
    assert rivals(registry) == {"a": "b", "b": "a"}


def at_home(registry: Registry, name: str) -> Route:
    found = registry.get(Key("native", "team-a", name))
    assert found is not None
    return found


def test_where_addresses_are_shared_there_are_no_rivals() -> None:
    registry = Registry(addresses_shared=True)
    registry.apply(at("a", 5))
    registry.apply(at("b", 6))
    assert rivals(registry) == {}
