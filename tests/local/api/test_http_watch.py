"""Watches over HTTP."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from gateway.local.api import SANDBOXES, EmbeddedApi, JsonObject, ObjectStore, WatchTimes

from .support import COLLECTION, TABLE, TOKEN, Client, connected, sandbox, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK = WatchTimes(longest=60.0, bookmark=0.05, write=0.2)


async def following(lines: AsyncIterator[JsonObject], count: int) -> list[JsonObject]:
    async with asyncio.timeout(5):
        return [await anext(lines) for _ in range(count)]


def shape(events: list[JsonObject]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


@pytest.mark.parametrize("version", ["", "resourceVersion=0"])
async def test_without_a_version_the_present_comes_first(
    client: Client, store: ObjectStore, version: str
) -> None:
    store.create(SANDBOXES, "default", sandbox("a"))
    async with client.watch(version) as lines:
        assert shape(await following(lines, 1)) == [("ADDED", "a")]
        store.create(SANDBOXES, "default", sandbox("b"))
        store.delete(SANDBOXES, "default", "a")
        assert shape(await following(lines, 2)) == [("ADDED", "b"), ("DELETED", "a")]


async def test_a_version_replays_and_goes_on(client: Client, store: ObjectStore) -> None:
    for name in "ab":
        store.create(SANDBOXES, "default", sandbox(name))
    async with client.watch("resourceVersion=1") as lines:
        assert shape(await following(lines, 1)) == [("ADDED", "b")]
        deleted = store.delete(SANDBOXES, "default", "b")
        event = (await following(lines, 1))[0]
        assert event["object"] == deleted
        assert event["object"]["metadata"]["resourceVersion"] == "3"


async def test_a_watch_under_a_selector(client: Client, store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox("other"))
    async with client.watch("fieldSelector=metadata.name%3Ddemo") as lines:
        store.create(SANDBOXES, "default", sandbox("demo"))
        assert shape(await following(lines, 1)) == [("ADDED", "demo")]


@pytest.mark.parametrize(("version", "code"), [("1", 410), ("99", 504)])
async def test_a_version_out_of_the_window_is_an_error_event(
    client: Client, store: ObjectStore, version: str, code: int
) -> None:
    for name in "abc":
        store.create(SANDBOXES, "default", sandbox(name))
    store.compact(2)
    async with client.watch(f"resourceVersion={version}") as lines:
        events = [event async for event in lines]
    assert [(event["type"], event["object"]["code"]) for event in events] == [("ERROR", code)]


async def test_a_watcher_that_falls_behind_gets_410_in_the_stream(store: ObjectStore) -> None:
    async with serving(store) as api, connected(api) as client, client.watch("") as lines:
        for name in "abc":
            store.create(SANDBOXES, "default", sandbox(name))
        store.compact()
        events = [event async for event in lines]
    assert events[-1]["object"]["reason"] == "Expired"


async def test_bookmarks_carry_the_version_and_one_ends_the_watch(store: ObjectStore) -> None:
    async with serving(store, QUICK) as api, connected(api) as client:
        store.create(SANDBOXES, "default", sandbox())
        query = "resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=3"
        async with client.watch(query) as lines:
            first = (await following(lines, 1))[0]
            assert first["type"] == "BOOKMARK"
            assert first["object"]["kind"] == "Sandbox"
            assert first["object"]["metadata"]["resourceVersion"] == "1"
            store.create(SANDBOXES, "other", sandbox())
            rest = [event async for event in lines]
    assert rest[-1]["type"] == "BOOKMARK"
    assert rest[-1]["object"]["metadata"]["resourceVersion"] == "2"


async def test_a_watch_ends_at_its_timeout_without_bookmarks_it_did_not_ask_for(
    client: Client,
) -> None:
    async with asyncio.timeout(10), client.watch("timeoutSeconds=1") as lines:
        assert [event async for event in lines] == []


async def test_a_watch_that_begins_with_a_list_tells_where_it_ends(
    client: Client, store: ObjectStore
) -> None:
    store.create(SANDBOXES, "default", sandbox("first"))
    wanted = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with client.watch(f"{wanted}&resourceVersion=1") as lines:
        first, mark = await following(lines, 2)
        store.create(SANDBOXES, "default", sandbox("second"))
        (second,) = await following(lines, 1)
    assert [first["type"], mark["type"], second["type"]] == ["ADDED", "BOOKMARK", "ADDED"]
    assert mark["object"]["metadata"] == {
        "resourceVersion": "1",
        "annotations": {"k8s.io/initial-events-end": "true"},
    }


async def test_what_leaves_a_selection_is_shown_as_it_was_in_it(
    client: Client, store: ObjectStore
) -> None:
    store.create(SANDBOXES, "default", sandbox(labels={"in": "yes"}))
    async with client.watch("labelSelector=in%3Dyes&resourceVersion=1") as lines:
        await client.patch(f"{COLLECTION}/demo", {"metadata": {"labels": {"in": "no"}}})
        (left,) = await following(lines, 1)
    metadata = left["object"]["metadata"]
    assert (left["type"], metadata["labels"]) == ("DELETED", {"in": "yes"})
    assert metadata["resourceVersion"] == "2"


@pytest.mark.parametrize("value", ["false", "False", "0"])
async def test_a_watch_parameter_that_is_false_is_a_list(client: Client, value: str) -> None:
    assert (await client.get(f"{COLLECTION}?watch={value}")).body["kind"] == "SandboxList"


async def test_tables_in_a_watch_name_their_columns_once(store: ObjectStore) -> None:
    async with serving(store, QUICK) as api, connected(api) as client:
        store.create(SANDBOXES, "default", sandbox("a"))
        store.create(SANDBOXES, "default", sandbox("b"))
        async with client.watch("allowWatchBookmarks=1", Accept=TABLE) as lines:
            events = await following(lines, 3)
    first, second, bookmark = (event["object"]["columnDefinitions"] for event in events)
    assert (len(first), second, bookmark) == (5, None, None)
    assert [len(event["object"]["rows"]) for event in events] == [1, 1, 1]
    assert events[2]["object"]["metadata"]["resourceVersion"] == "2"


async def test_stopping_ends_open_watches(store: ObjectStore) -> None:
    async with serving(store) as api, connected(api) as client, client.watch("") as lines:
        async with asyncio.timeout(5):
            await api.stop()
            assert [event async for event in lines] == []


async def test_a_client_that_takes_nothing_is_cut_off(store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox(annotations={"note": "x" * 200_000}))
    async with serving(store, QUICK) as api:
        with _silent_watcher(api):
            async with asyncio.timeout(20):
                while not store.subscriptions:
                    await asyncio.sleep(0.01)
                await _write_until_cut_off(store)


def _silent_watcher(api: EmbeddedApi) -> socket.socket:
    host, port = api.address.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall(
        f"GET {COLLECTION}?watch=1 HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
    )
    return connection


async def _write_until_cut_off(store: ObjectStore) -> None:
    port = 0
    while store.subscriptions:
        port += 1
        changed = store.get(SANDBOXES, "default", "demo") | {"spec": {"ports": [port]}}
        store.update(SANDBOXES, "default", "demo", changed)
        await asyncio.sleep(0.01)


async def test_a_client_that_leaves_takes_its_subscription_along(
    api: EmbeddedApi, store: ObjectStore
) -> None:
    before = store.subscriptions
    async with connected(api) as client, client.watch("") as lines:
        store.create(SANDBOXES, "default", sandbox())
        await following(lines, 1)
        assert store.subscriptions == before + 1
    async with asyncio.timeout(5):
        while store.subscriptions > before:
            await asyncio.sleep(0.01)
