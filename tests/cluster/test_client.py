"""The client over real sockets: what it sends, what it makes of answers, what it leaves behind."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway import __version__
from gateway.cluster.client import KubeClient
from gateway.cluster.errors import (
    ApiNotInstalled,
    ApiUnreachable,
    ConfigInvalid,
    Expired,
    Garbled,
    Silence,
)
from gateway.cluster.selection import Selection
from gateway.dialects.native import RESOURCE
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    InvalidWrite,
    ObjectGone,
)

from .conftest import eventually
from .faultapi import CREATE, GET, LIST, PATCH, WATCH, answers, fails, frame, hangs, resets, watches

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from gateway.dialects.base import RawObject

    from .conftest import Configure
    from .faultapi import FaultApi, Reply

EVERYWHERE = Selection(RESOURCE)


async def read_all(client: KubeClient, version: int = 10) -> list[RawObject]:
    found: list[RawObject] = []
    async with client.watch(EVERYWHERE, version, 5.0) as stream:
        while (frames := await stream.read()) is not None:
            found += frames
    return found


async def test_a_list_asks_for_a_page_and_says_who_asks(api: FaultApi, client: KubeClient) -> None:
    await api.put("a")
    page = await client.list_page(Selection(RESOURCE, "team-a", "tier=gold"), None)
    [seen] = api.seen
    assert seen.path == "/apis/sandbox-gateway.dev/v1alpha1/namespaces/team-a/sandboxes"
    assert seen.query == {"limit": "500", "labelSelector": "tier=gold"}
    assert seen.headers["User-Agent"] == f"sandbox-gateway/{__version__}"
    assert seen.headers["Authorization"] == "Bearer secret"
    assert (page.version, page.next_token) == (11, None)
    assert [item["metadata"]["name"] for item in page.items] == ["a"]


async def test_a_watch_asks_for_bookmarks_and_an_end(api: FaultApi, client: KubeClient) -> None:
    api.queue(WATCH, watches())
    assert await read_all(client, 42) == []
    assert api.seen[0].query == {
        "watch": "1",
        "allowWatchBookmarks": "true",
        "resourceVersion": "42",
        "timeoutSeconds": "5",
    }


async def test_a_patch_goes_out_as_a_merge_patch(api: FaultApi, client: KubeClient) -> None:
    raw = await api.put("a")
    patch = {"spec": {"desiredState": "Running"}, "metadata": raw["metadata"]}
    changed = await client.merge_patch(RESOURCE, "team-a", "a", patch)
    [seen] = api.seen
    assert seen.headers["Content-Type"] == "application/merge-patch+json"
    assert json.loads(seen.body) == patch
    assert changed["spec"]["desiredState"] == "Running"


async def test_an_object_is_created_where_it_belongs(api: FaultApi, client: KubeClient) -> None:
    assert await client.create(RESOURCE, "team-b", {"kind": "Sandbox"}) == {"kind": "Sandbox"}
    assert api.seen[0].path.endswith("/namespaces/team-b/sandboxes")
    assert api.seen[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidWrite),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, ObjectGone),
        (408, ApiUnavailable),
        (409, Conflict),
        (410, Expired),
        (415, InvalidWrite),
        (422, InvalidWrite),
        (429, ApiUnavailable),
        (500, ApiUnavailable),
        (503, ApiUnavailable),
        (302, ApiUnavailable),
    ],
)
async def test_each_status_has_its_error(
    api: FaultApi, client: KubeClient, status: int, kind: type[ClusterError]
) -> None:
    for one in (GET, PATCH, CREATE):
        api.queue(one, fails(status))
    with pytest.raises(kind):
        await client.get(RESOURCE, "team-a", "a")
    with pytest.raises(kind):
        await client.merge_patch(RESOURCE, "team-a", "a", {})
    with pytest.raises(kind):
        await client.create(RESOURCE, "team-a", {})


async def test_a_collection_that_is_not_found_is_an_api_not_installed(
    api: FaultApi, client: KubeClient
) -> None:
    api.installed = False
    with pytest.raises(ApiNotInstalled):
        await client.list_page(EVERYWHERE, None)
    with pytest.raises(ApiNotInstalled):
        await read_all(client)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("999999", 300.0), ("-1", None), ("soon", None)]
)
async def test_the_apis_hint_when_to_come_back_is_kept(
    api: FaultApi, client: KubeClient, header: str, seconds: float | None
) -> None:
    api.queue(GET, fails(429, {"Retry-After": header}))
    with pytest.raises(ApiUnavailable) as caught:
        await client.get(RESOURCE, "team-a", "a")
    assert caught.value.retry_after == seconds


async def test_a_version_of_the_future_is_an_expired_one(api: FaultApi, client: KubeClient) -> None:
    api.queue(WATCH, fails(504, causes=[{"reason": "ResourceVersionTooLarge"}]))
    with pytest.raises(Expired):
        await read_all(client)


@pytest.mark.parametrize("reply", [hangs, resets])
async def test_no_answer_is_unreachable(api: FaultApi, client: KubeClient, reply: Reply) -> None:
    for kind in (GET, WATCH, PATCH):
        # aiohttp repeats a GET, and only that, once after a reset.
        api.queue(kind, reply, *[reply] * (kind != PATCH))
    with pytest.raises(ApiUnreachable):
        await client.get(RESOURCE, "team-a", "a")
    with pytest.raises(ApiUnreachable):
        await read_all(client)
    with pytest.raises(ApiUnreachable):
        await client.merge_patch(RESOURCE, "team-a", "a", {})
    assert api.count(PATCH) == 1


async def test_a_server_that_is_not_there_is_unreachable(api: FaultApi, client: KubeClient) -> None:
    await api.stop()
    with pytest.raises(ApiUnreachable):
        await client.get(RESOURCE, "team-a", "a")
    await api.start()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"metadata":{}}',
        b'{"metadata":{"resourceVersion":"x"},"items":[]}',
        b'{"metadata":{"resourceVersion":"99999999999999999999999"},"items":[]}',
        b'{"metadata":{"resourceVersion":"1","continue":7},"items":[]}',
        b'{"metadata":{"resourceVersion":"1"},"items":{}}',
    ],
)
async def test_a_list_that_is_none_is_garbled(
    api: FaultApi, client: KubeClient, body: bytes
) -> None:
    api.queue(LIST, answers(body))
    with pytest.raises(Garbled):
        await client.list_page(EVERYWHERE, None)


async def test_frames_arrive_whole_however_the_bytes_are_cut(
    api: FaultApi, client: KubeClient
) -> None:
    wanted = [{"type": "ADDED", "object": {"spec": "käse €"}}, {"type": "ADDED", "object": {}}]
    raw = b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in wanted)
    api.queue(WATCH, watches(*(raw[i : i + 1] for i in range(len(raw)))))
    assert await read_all(client) == wanted


async def test_a_line_over_4_mib_is_just_a_line(api: FaultApi, client: KubeClient) -> None:
    big = {"spec": {"note": "x" * (5 * 2**20)}}
    api.queue(WATCH, watches(frame("ADDED", big), frame("ADDED", {"spec": {"small": True}})))
    first, second = await read_all(client)
    assert len(first["object"]["spec"]["note"]) == 5 * 2**20
    assert second["object"] == {"spec": {"small": True}}


async def test_frames_are_decoded_as_they_are_taken(api: FaultApi, client: KubeClient) -> None:
    api.queue(WATCH, watches(frame("ADDED", {}) + b"not json\n"))
    async with client.watch(EVERYWHERE, 10, 5.0) as stream:
        frames = await stream.read()
        assert frames is not None
        taken = iter(frames)
        assert next(taken) == {"type": "ADDED", "object": {}}
        with pytest.raises(Garbled):
            next(taken)


async def test_half_a_frame_at_the_end_is_not_an_event(api: FaultApi, client: KubeClient) -> None:
    api.queue(WATCH, watches(frame("ADDED", {}), b'{"type":"ADDED"'))
    assert len(await read_all(client)) == 1


async def test_a_watch_that_goes_silent_is_cut(api: FaultApi, client: KubeClient) -> None:
    api.queue(WATCH, watches(frame("ADDED", {}), then="hang"))
    with pytest.raises(Silence):
        await read_all(client)


async def test_a_watch_that_breaks_is_no_clean_end(api: FaultApi, client: KubeClient) -> None:
    api.queue(WATCH, watches(frame("ADDED", {}), then="reset"))
    with pytest.raises(ApiUnreachable):
        await read_all(client)


@pytest.mark.parametrize("name", ["..", ".", ""])
async def test_a_name_that_walks_up_reaches_nothing(
    api: FaultApi, client: KubeClient, name: str
) -> None:
    with pytest.raises(ObjectGone):
        await client.get(RESOURCE, "team-a", name)
    assert api.seen == []


async def test_a_name_with_a_slash_stays_one_segment(api: FaultApi, client: KubeClient) -> None:
    with pytest.raises(ObjectGone):
        await client.get(RESOURCE, "team-a", "../b?x=1#y")
    assert api.seen[0].query == {}
    assert api.seen[0].path.endswith("/sandboxes/../b?x=1#y")


async def test_leaving_a_watch_closes_its_connection(api: FaultApi, client: KubeClient) -> None:
    async with client.watch(EVERYWHERE, 10, 60.0):
        await eventually(lambda: api.open_watches == 1)
    await eventually(lambda: api.open_watches == 0)


@pytest.mark.parametrize("kind", [LIST, WATCH, GET, PATCH])
async def test_a_cancelled_request_leaves_nothing_open(
    api: FaultApi, client: KubeClient, kind: str
) -> None:
    api.queue(kind, hangs)
    calls: dict[str, Callable[[], Coroutine[object, object, object]]] = {
        LIST: lambda: client.list_page(EVERYWHERE, None),
        WATCH: lambda: read_all(client),
        GET: lambda: client.get(RESOURCE, "team-a", "a"),
        PATCH: lambda: client.merge_patch(RESOURCE, "team-a", "a", {}),
    }
    task = asyncio.create_task(calls[kind]())
    await eventually(lambda: api.held == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: api.held == 0)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "clusters: 3", '{"current-context":"x","contexts":[]}']
)
async def test_a_broken_kubeconfig_is_said_to_be_one(
    configure: Configure, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(ConfigInvalid):
        async with KubeClient.connect(configure(kubeconfig=str(path))):
            pass


async def test_a_context_that_does_not_exist_is_said_not_to(configure: Configure) -> None:
    with pytest.raises(ConfigInvalid):
        async with KubeClient.connect(configure(context="elsewhere")):
            pass


async def test_a_token_with_a_line_break_sends_nothing(
    api: FaultApi, configure: Configure, tmp_path: Path
) -> None:
    path = api.kubeconfig(tmp_path / "odd", token="one\r\nX-Injected: two")
    async with KubeClient.connect(configure(kubeconfig=path)) as client:
        with pytest.raises(ConfigInvalid):
            await client.get(RESOURCE, "team-a", "a")
    assert api.seen == []


async def test_a_refused_token_that_was_replaced_meanwhile_costs_no_request(
    api: FaultApi, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cluster.credentials.REJECTED_PERIOD", 0.0)
    token_file = tmp_path / "token"
    token_file.write_text("first\n")
    api.token = "first"
    path = api.kubeconfig(tmp_path / "rotating", tokenFile=str(token_file))
    async with KubeClient.connect(configure(kubeconfig=path)) as client:
        await client.list_page(EVERYWHERE, None)
        api.token = "second"
        token_file.write_text("second\n")
        await client.create(RESOURCE, "team-a", {"kind": "Sandbox"})
        assert [one.kind for one in api.seen] == [LIST, CREATE, CREATE]
        api.token = "third"
        with pytest.raises(AccessDenied):
            await client.create(RESOURCE, "team-a", {"kind": "Sandbox"})
        assert api.count(CREATE) == 3, "the same token is not tried again"
        token_file.write_text("third\n")
        await client.list_page(EVERYWHERE, None)


async def test_a_bounded_write_is_not_sent_again_with_the_time_of_the_first(
    api: FaultApi, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cluster.credentials.REJECTED_PERIOD", 0.0)
    raw = await api.put("a")
    patch = {"spec": {}, "metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]}}
    token_file = tmp_path / "token"
    token_file.write_text("first\n")
    api.token = "second"
    path = api.kubeconfig(tmp_path / "rotating", tokenFile=str(token_file))
    async with KubeClient.connect(configure(kubeconfig=path)) as client:
        token_file.write_text("second\n")
        with pytest.raises(AccessDenied):
            await client.merge_patch(RESOURCE, "team-a", "a", patch, 5.0)
        assert [one.query for one in api.seen] == [{"timeout": "5s"}]
        await client.merge_patch(RESOURCE, "team-a", "a", patch, 5.0)


async def test_an_unknown_path_says_nothing_of_an_object(api: FaultApi, client: KubeClient) -> None:
    unknown = answers(b"404 page not found\n", 404)
    api.queue(GET, unknown)
    api.queue(PATCH, unknown)
    api.queue(LIST, unknown)
    with pytest.raises(ApiUnavailable):
        await client.get(RESOURCE, "team-a", "a")
    with pytest.raises(ApiUnavailable):
        await client.merge_patch(RESOURCE, "team-a", "a", {})
    with pytest.raises(ApiNotInstalled):
        await client.list_page(EVERYWHERE, None)
