"""Routes and keys as values."""

from __future__ import annotations

import gc

import pytest
from msgspec.structs import replace

from gateway.sandbox.model import Credential, Key, State, WakePolicy
from gateway.sandbox.standby import DISABLED, StandbyCheck

from .routes import make_route


@pytest.mark.parametrize(
    ("expires_at", "now", "state"),
    [
        (None, 1e12, State.RUNNING),
        (100.0, 99.999, State.RUNNING),
        (100.0, 100.0, State.DEAD),
        (100.0, 100.001, State.DEAD),
        (0.0, 0.0, State.DEAD),
    ],
)
def test_a_sandbox_is_dead_from_the_moment_it_expires(
    expires_at: float | None, now: float, state: State
) -> None:
    assert make_route(expires_at=expires_at).state_at(now) is state


@pytest.mark.parametrize("state", State)
def test_expiry_beats_every_state_and_without_it_the_state_stands(state: State) -> None:
    assert make_route(state=state, expires_at=5.0).state_at(5.0) is State.DEAD
    assert make_route(state=state, expires_at=5.0).state_at(4.0) is state


@pytest.mark.parametrize(
    ("ports", "port", "allowed"),
    [
        (None, 1, True),
        (None, 65535, True),
        (frozenset({8080}), 8080, True),
        (frozenset({8080}), 8081, False),
        (frozenset(), 8080, False),
    ],
)
def test_no_list_of_ports_allows_any_and_an_empty_one_allows_none(
    ports: frozenset[int] | None, port: int, allowed: bool
) -> None:
    assert make_route(ports=ports).allows_port(port) is allowed


def test_a_credential_never_shows_in_a_log() -> None:
    credential = Credential(token="hunter2", sha256="ab" * 32)
    for shown in (repr(credential), str(credential), repr(make_route(credential=credential))):
        assert "hunter2" not in shown
        assert "abab" not in shown


def test_a_key_prints_as_namespace_and_name_and_sorts() -> None:
    assert str(Key("native", "b", "a")) == "b/a"
    assert Key("native", "a", "b") < Key("native", "b", "a") < Key("other", "a", "a")


def test_a_route_cannot_be_changed() -> None:
    route = make_route()
    with pytest.raises(AttributeError, match="immutable"):
        route.uid = "another"  # type: ignore[misc]


def test_equal_values_are_equal_and_hash_alike() -> None:
    route = make_route(credential=Credential(token="x"), wake=WakePolicy(enabled=True, timeout=5.0))
    again = replace(route)
    assert again is not route
    assert again == route
    assert hash(again) == hash(route)
    assert replace(route, version=2) != route


def test_equal_policies_are_one() -> None:
    policy = WakePolicy.of(True, 90.0)
    assert policy == WakePolicy(enabled=True, timeout=90.0)
    assert WakePolicy.of(True, 90.0) is policy
    assert WakePolicy.of(False, 90.0) != policy
    assert WakePolicy.of(True, None) == WakePolicy(enabled=True)


def test_no_value_is_for_the_garbage_collector_to_look_at() -> None:
    route = make_route(credential=Credential(token="x"), wake=WakePolicy(enabled=True))
    assert not any(map(gc.is_tracked, (route, route.key, route.wake, route.credential)))
    assert not any(map(gc.is_tracked, (route.idle, DISABLED, StandbyCheck(80, "/"))))
