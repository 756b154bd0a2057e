"""What the registry costs: as many steps at twenty thousand routes as at ten, and a kilobyte each.

Steps are counted, not timed: Python calls and lines, and calls into C.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from gateway.dialects.kruise import Kruise
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import FENCES, Registry

from .routes import make_route

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

#: Bytes of one route with its place in every index.
MOST_BYTES = 1536


def numbered(number: int, **changes: Any) -> Route:
    name = f"box-{number}"
    return make_route(
        **{"key": Key("kruise", "team-a", name), "uid": f"uid-{number}", "id": name, **changes}
    )


def filled(size: int) -> Registry:
    registry = Registry()
    for number in range(size):
        registry.apply(numbered(number))
    return registry


def steps(work: Callable[[], object]) -> int:
    """Return how many lines and calls, Python's and C's, `work` takes.

    Collection of garbage is put off: it would call whoever asked to be told of it.
    """
    count = 0

    def on_call(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    def on_line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return on_line

    profile, trace = sys.getprofile(), sys.gettrace()
    gc.disable()
    sys.settrace(on_line)
    sys.setprofile(on_call)
    try:
        work()
    finally:
        sys.setprofile(profile)
        sys.settrace(trace)
        gc.enable()
    return count


EVENTS: dict[str, Callable[[Registry], object]] = {
    "addition": lambda registry: registry.apply(numbered(-1)),
    "change": lambda registry: registry.apply(numbered(5, version=2, state=State.PAUSED)),
    "changed id": lambda registry: registry.apply(numbered(5, version=2, id="new")),
    "colliding id": lambda registry: registry.apply(numbered(5, version=2, id="box-6")),
    "another uid": lambda registry: registry.apply(numbered(5, version=2, uid="uid-x")),
    "old news": lambda registry: registry.apply(numbered(5)),
    "deletion": lambda registry: registry.remove(numbered(5).key, "uid-5", 2),
    "unknown deletion": lambda registry: registry.remove(numbered(-1).key, "uid-x", 2),
    "found by id": lambda registry: registry.by_id("box-5"),
    "found by name": lambda registry: registry.by_name("team-a", "box-5"),
}


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_takes_as_many_steps_at_twenty_thousand_routes_as_at_ten(event: str) -> None:
    small, large = filled(10), filled(20_000)
    counts = [steps(lambda of=registry: EVENTS[event](of)) for registry in (small, large)]  # type: ignore[misc]
    assert counts[0] == counts[1]
    assert counts[0] > 0


def test_counting_steps_tells_a_scan_from_a_look_up() -> None:
    small, large = filled(10), filled(100)
    few, many = (steps(lambda of=registry: of.ambiguous()) for registry in (small, large))  # type: ignore[misc]
    assert many > few


def test_deletions_cost_the_same_once_the_fences_are_full() -> None:
    registry = filled(10)
    for number in range(FENCES):
        registry.remove(numbered(-1).key, f"gone-{number}", 1)
    full = [
        steps(lambda uid=uid: registry.remove(numbered(-1).key, uid, 1))  # type: ignore[misc]
        for uid in ("one", "two")
    ]
    assert full[0] == full[1]


def kruise_sandbox(number: int) -> dict[str, Any]:
    """Return an object as a cluster has it; each text is its own, as after decoding."""
    return {
        "metadata": {
            "namespace": f"tenant-{number % 50:05d}",
            "name": f"code-interpreter-{number:08x}-7f9c6d5b8",
            "uid": f"{number:08x}-1c2d-4e5f-8a9b-0123456789ab",
            "resourceVersion": str(900_000_000 + number),
            "labels": {"agents.kruise.io/sandbox-id": f"i{number:019x}"},
            "annotations": {
                "agents.kruise.io/runtime-access-token": f"{number:064x}",
                "sandbox-gateway.dev/ports": "8080,49983",
            },
        },
        "spec": {
            "shutdownTime": "2026-11-23T00:00:00Z",
            "autoPausePolicy": {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}},
        },
        "status": {
            "phase": "Running",
            "podInfo": {
                "podIP": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",
                "podUID": f"{number:08x}-9a8b-4c7d-8e6f-ba9876543210",
            },
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def test_a_route_and_its_places_in_the_index_take_a_kilobyte_and_a_half_at_most() -> None:
    count = 10_000
    dialect = Kruise()
    registry = Registry()
    registry.apply(dialect.route(kruise_sandbox(count)))
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count):
            registry.apply(dialect.route(kruise_sandbox(number)))
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(registry) == count + 1
    assert used / count <= MOST_BYTES
    assert used / count > 100, "the measurement saw no route at all"
