"""The store as the runtime sees it: oldest first, then changes, and losses made up for."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.local.api import (
    EVENTS,
    SANDBOXES,
    ListOptions,
    ObjectStore,
    load_native_crd,
)
from gateway.local.bridge import COMPONENT, StoredSandboxes
from gateway.local.runtime import ObjectGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.local.api import JsonObject


@contextmanager
def opened(history_limit: int = 1000) -> Iterator[ObjectStore]:
    """A store whose clock goes on by a second a look."""
    moments = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(10**6))
    store = ObjectStore(
        ":memory:", [load_native_crd()], history_limit=history_limit, now=lambda: next(moments)
    )
    try:
        yield store
    finally:
        store.close()


def create(store: ObjectStore, name: str) -> JsonObject:
    return store.create(
        SANDBOXES,
        "default",
        {
            "apiVersion": "sandbox-gateway.dev/v1alpha1",
            "kind": "Sandbox",
            "metadata": {"name": name},
            "spec": {},
        },
    )


async def take(changes: AsyncIterator[tuple[str, Any]], count: int) -> list[tuple[str, str]]:
    taken = []
    for _ in range(count):
        kind, obj = await asyncio.wait_for(anext(changes), 5)
        taken.append((kind, obj["metadata"]["name"]))
    return taken


async def test_what_is_there_comes_oldest_first_and_then_each_change() -> None:
    with opened() as store:
        for name in ("zebra", "ant", "mole"):
            create(store, name)
        changes = aiter(StoredSandboxes(store).subscribe())
        assert await take(changes, 3) == [("ADDED", "zebra"), ("ADDED", "ant"), ("ADDED", "mole")]
        store.patch(SANDBOXES, "default", "ant", lambda obj: obj["spec"].update(ports=[80]))
        store.delete(SANDBOXES, "default", "zebra")
        create(store, "bee")
        following = [("MODIFIED", "ant"), ("DELETED", "zebra"), ("ADDED", "bee")]
        assert await take(changes, 3) == following


async def test_a_history_that_is_lost_is_made_up_for_deletions_included() -> None:
    with opened() as store:
        for name in ("one", "two"):
            create(store, name)
        changes = aiter(StoredSandboxes(store).subscribe())
        await take(changes, 2)
        create(store, "three")
        await take(changes, 1)
        store.delete(SANDBOXES, "default", "one")
        create(store, "four")
        store.compact()
        seen = await take(changes, 4)
        assert seen[0] == ("DELETED", "one")
        assert set(seen[1:]) == {("ADDED", "two"), ("ADDED", "three"), ("ADDED", "four")}


async def test_a_status_is_replaced_whole_and_only_that_of_the_very_sandbox() -> None:
    with opened() as store:
        uid = create(store, "box")["metadata"]["uid"]
        bridge = StoredSandboxes(store)
        bridge.update_status("default", "box", uid, {"phase": "Running", "podIP": "127.0.0.1"})
        bridge.update_status("default", "box", uid, {"phase": "Paused"})
        assert store.get(SANDBOXES, "default", "box")["status"] == {"phase": "Paused"}
        store.delete(SANDBOXES, "default", "box")
        create(store, "box")
        with pytest.raises(ObjectGoneError):
            bridge.update_status("default", "box", uid, {"phase": "Running"})


async def test_an_event_is_about_its_sandbox() -> None:
    with opened() as store:
        box = create(store, "box")
        StoredSandboxes(store).record_event(box, "Warning", "ProcessExited", "It ended with 3.")
        (event,) = store.list(EVENTS, ListOptions("default")).items
        told = (event["type"], event["reason"], event["message"], event["source"]["component"])
        assert told == ("Warning", "ProcessExited", "It ended with 3.", COMPONENT)
        assert event["involvedObject"]["uid"] == box["metadata"]["uid"]
