"""Subscriptions: what a controller of the same process follows."""

from __future__ import annotations

import asyncio

import pytest

from gateway.local.api import (
    EVENTS,
    SANDBOXES,
    ExpiredError,
    ObjectStore,
    Subscription,
    parse_selector,
)
from gateway.local.api.errors import FutureVersionError

from .support import memory_store, sandbox


async def take(subscription: Subscription, count: int) -> list[tuple[str, str]]:
    """The next events, as (type, name); fails if they do not come."""
    taken = []
    async with asyncio.timeout(5):
        for _ in range(count):
            kind, obj = await anext(subscription)
            taken.append((kind.value, obj["metadata"]["name"]))
    return taken


def label(store: ObjectStore, value: str) -> None:
    store.patch(
        SANDBOXES,
        "default",
        "demo",
        lambda obj: obj | {"metadata": obj["metadata"] | {"labels": {"a": value}}},
    )


async def test_the_present_comes_first_then_every_change_in_order(store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox("a"))
    subscription = store.subscribe(SANDBOXES)
    assert subscription.resource_version == ""
    store.create(SANDBOXES, "default", sandbox("b"))
    store.delete(SANDBOXES, "default", "a")
    assert await take(subscription, 3) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert subscription.resource_version == "3"
    subscription.close()


async def test_a_listener_that_waits_is_woken_by_a_write(store: ObjectStore) -> None:
    subscription = store.subscribe(SANDBOXES)
    waiting = asyncio.create_task(take(subscription, 1))
    await asyncio.sleep(0)
    store.create(SANDBOXES, "default", sandbox())
    assert await waiting == [("ADDED", "demo")]
    subscription.close()


async def test_a_version_replays_what_came_after_it(store: ObjectStore) -> None:
    for name in "abc":
        store.create(SANDBOXES, "default", sandbox(name))
    subscription = store.subscribe(SANDBOXES, since=1)
    assert await take(subscription, 2) == [("ADDED", "b"), ("ADDED", "c")]
    subscription.close()


async def test_other_resources_and_namespaces_are_not_seen(store: ObjectStore) -> None:
    subscription = store.subscribe(SANDBOXES, namespace="default")
    store.create(EVENTS, "default", {"metadata": {"name": "e"}, "involvedObject": {}})
    store.create(SANDBOXES, "other", sandbox("a"))
    store.create(SANDBOXES, "default", sandbox("b"))
    assert await take(subscription, 1) == [("ADDED", "b")]
    subscription.close()


async def test_a_selector_turns_matching_into_added_and_deleted(store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox(labels={"a": "no"}))
    subscription = store.subscribe(SANDBOXES, selector=parse_selector("a=yes", "", ()))
    for value in ("yes", "no", "yes"):
        label(store, value)
    store.patch(SANDBOXES, "default", "demo", lambda obj: obj | {"spec": {"ports": [1]}})
    store.delete(SANDBOXES, "default", "demo")
    kinds = [kind for kind, _ in await take(subscription, 5)]
    assert kinds == ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]
    subscription.close()


async def test_finalizers_show_as_modified_and_at_last_deleted(store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox(finalizers=["example.dev/f"]))
    subscription = store.subscribe(SANDBOXES)
    store.delete(SANDBOXES, "default", "demo")
    store.patch(
        SANDBOXES,
        "default",
        "demo",
        lambda obj: obj | {"metadata": obj["metadata"] | {"finalizers": []}},
    )
    assert [kind for kind, _ in await take(subscription, 3)] == ["ADDED", "MODIFIED", "DELETED"]
    assert subscription.resource_version == store.resource_version == "3"
    subscription.close()


async def test_more_changes_than_a_batch_all_arrive(store: ObjectStore) -> None:
    subscription = store.subscribe(SANDBOXES)
    for index in range(200):
        store.create(SANDBOXES, "default", sandbox(f"s{index:03}"))
    taken = await take(subscription, 200)
    assert [name for _, name in taken] == [f"s{index:03}" for index in range(200)]
    subscription.close()


async def test_a_version_that_was_compacted_is_expired(store: ObjectStore) -> None:
    for name in "abc":
        store.create(SANDBOXES, "default", sandbox(name))
    store.compact(2)
    with pytest.raises(ExpiredError):
        store.subscribe(SANDBOXES, since=1)
    assert await take(store.subscribe(SANDBOXES, since=2), 1) == [("ADDED", "c")]


async def test_a_listener_that_falls_behind_the_window_is_told(store: ObjectStore) -> None:
    small = memory_store(history_limit=10)
    subscription = small.subscribe(SANDBOXES)
    for index in range(30):
        small.create(SANDBOXES, "default", sandbox(f"s{index}"))
    with pytest.raises(ExpiredError):
        await take(subscription, 1)
    recent = small.subscribe(SANDBOXES, since=int(small.resource_version) - 10)
    assert len(await take(recent, 10)) == 10
    small.close()


async def test_a_version_that_never_was_is_refused(store: ObjectStore) -> None:
    with pytest.raises(FutureVersionError):
        store.subscribe(SANDBOXES, since=7)


async def test_closing_ends_the_iteration_of_a_listener_that_waits(store: ObjectStore) -> None:
    subscription = store.subscribe(SANDBOXES)

    async def follow() -> int:
        return len([event async for event in subscription])

    waiting = asyncio.create_task(follow())
    await asyncio.sleep(0)
    subscription.close()
    subscription.close()
    async with asyncio.timeout(5):
        assert await waiting == 0


async def test_closing_the_store_ends_every_subscription() -> None:
    store = memory_store()
    subscription = store.subscribe(SANDBOXES)
    store.close()
    assert [event async for event in subscription] == []
