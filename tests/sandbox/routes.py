"""Routes for tests, with only what a test is about spelled out."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from gateway.sandbox.model import Key, Route, State

KEY = Key("kruise", "team-a", "box")

_ROUTE = Route(
    key=KEY,
    uid="uid-1",
    id="team-a--box",
    version=1,
    state=State.RUNNING,
    incarnation="uid-1/pod-1",
    address="10.0.0.7",
)


def make_route(**changes: Any) -> Route:
    """Return a running sandbox, changed as told."""
    return replace(_ROUTE, **changes)
