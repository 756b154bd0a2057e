"""List and watch over real sockets: whatever the API does, the registry ends up right."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.cluster.recovery import Phase, Reason
from gateway.sandbox.errors import SandboxNotFound

from .conftest import eventually, names
from .faultapi import LIST, WATCH, answers, fails, failure, frame, hangs, resets, watches

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.cluster import Cluster
    from gateway.sandbox.registry import Registry

    from .conftest import Watch
    from .faultapi import FaultApi, Reply


def phase(cluster: Cluster) -> Phase:
    return cluster.statuses[0].phase


def restarts(cluster: Cluster, reason: Reason) -> int:
    return cluster.statuses[0].restarts.get(reason, 0)


async def test_what_exists_and_what_comes_is_routed(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    await api.put("old")
    async with watch() as cluster:
        await cluster.wait_synced()
        assert names(registry) == {"old"}
        await api.put("new")
        await eventually(lambda: names(registry) == {"old", "new"})
        await api.put("new", status={"phase": "Resuming"})
        await api.delete("old")
        await eventually(lambda: names(registry) == {"new"})
        assert cluster.synced
        assert not cluster.stale
        assert phase(cluster) is Phase.WATCHING
    await eventually(lambda: api.open_watches == 0)


async def test_a_list_is_read_in_pages(api: FaultApi, watch: Watch, registry: Registry) -> None:
    for number in range(25):
        api.store(f"s{number:02}")
    async with watch(list_page_size=10) as cluster:
        await cluster.wait_synced()
        assert len(registry) == 25
        assert api.count(LIST) == 3
        assert cluster.statuses[0].lists == 1


async def test_a_list_that_expires_between_pages_begins_anew_and_keeps_the_old_routes(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    for number in range(20):
        api.store(f"s{number:02}")
    seen_sizes: set[int] = set()

    async def look(server: FaultApi, request: object) -> object:
        seen_sizes.add(len(registry))
        return failure(410)

    async with watch(list_page_size=10) as cluster:
        await cluster.wait_synced()
        api.discard("s19")
        api.compact()
        api.queue(LIST, FaultApiUsual.list, look)  # type: ignore[arg-type]
        await api.drop_watches()
        await eventually(lambda: len(registry) == 19)
        assert seen_sizes == {20}
        assert restarts(cluster, Reason.EXPIRED) >= 2


class FaultApiUsual:
    """The usual replies, to be queued before faulty ones."""

    @staticmethod
    async def list(server: FaultApi, request: object) -> object:
        return await server.list(request)  # type: ignore[arg-type]


async def gone_over_http(api: FaultApi) -> None:
    api.compact()
    await api.drop_watches()


async def gone_in_a_frame(api: FaultApi) -> None:
    api.queue(WATCH, watches(frame("ERROR", {"code": 410})))
    await api.drop_watches()


@pytest.mark.parametrize("expire", [gone_over_http, gone_in_a_frame])
async def test_an_expired_version_is_followed_by_a_list_that_sees_deletions(
    api: FaultApi,
    watch: Watch,
    registry: Registry,
    expire: Callable[[FaultApi], object],
) -> None:
    await api.put("kept")
    await api.put("lost")
    async with watch() as cluster:
        await cluster.wait_synced()
        api.discard("lost")
        api.log.clear()
        await expire(api)  # type: ignore[misc]
        await eventually(lambda: names(registry) == {"kept"})
        assert restarts(cluster, Reason.EXPIRED) == 1
        assert api.count(LIST) == 2


async def test_a_silent_watch_is_replaced_by_one_from_the_same_version(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    told = {"metadata": {"resourceVersion": str(api.version + 1)}}
    api.queue(WATCH, watches(frame("BOOKMARK", told), then="hang"))
    async with watch(watch_idle_timeout=0.2) as cluster:
        await cluster.wait_synced()
        await eventually(lambda: api.open_watches == 1)
        await api.bookmark()
        api.store("missed")
        await eventually(lambda: names(registry) == {"missed"})
        assert restarts(cluster, Reason.SILENCE) >= 1
        assert api.count(LIST) == 1


async def test_where_watches_stay_silent_lists_bring_the_news(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    api.queue(WATCH, *[watches(then="hang")] * 1000)
    async with watch(watch_idle_timeout=0.1, stale_after=10.0) as cluster:
        await cluster.wait_synced()
        for name in ("first", "second"):
            api.store(name)
            await eventually(lambda: name in names(registry))  # noqa: B023 - awaited here
        api.discard("first")
        await eventually(lambda: names(registry) == {"second"})
        told = cluster.statuses[0].as_json()
        assert told["last_error"] == "Silence: the watch went silent"
        assert restarts(cluster, Reason.SILENCE) >= 3
        api.replies.clear()


async def test_a_broken_watch_is_resumed_without_a_list(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    api.queue(WATCH, watches(then="reset"), watches(b'{"type":"ADD', then="reset"))
    async with watch():
        await api.put("a")
        await eventually(lambda: names(registry) == {"a"})
    assert api.count(LIST) == 1


async def test_clean_ends_that_come_at_once_are_not_answered_with_haste(
    api: FaultApi, watch: Watch
) -> None:
    api.queue(WATCH, *[watches()] * 1000)
    async with watch(backoff_min=0.02, backoff_max=1.0) as cluster:
        await eventually(lambda: restarts(cluster, Reason.ENDED) >= 4)
        counted = api.count(WATCH)
        await asyncio.sleep(0.3)
        # Backed off by now to half a second each on average; unbounded it would be hundreds.
        assert api.count(WATCH) - counted < 15
        assert api.count(LIST) == 1


async def test_a_bookmark_advances_the_version_that_the_next_watch_begins_from(
    api: FaultApi, watch: Watch
) -> None:
    async with watch() as cluster:
        await cluster.wait_synced()
        await eventually(lambda: api.open_watches == 1)
        await api.bookmark()
        before = cluster.statuses[0].last_contact
        await eventually(lambda: cluster.statuses[0].last_contact != before)
        await api.drop_watches()
        await eventually(lambda: api.count(WATCH) == 2)
        last = [one for one in api.seen if one.kind == WATCH][-1]
        assert last.query["resourceVersion"] == str(api.version)


async def test_retry_after_is_honoured(api: FaultApi, watch: Watch) -> None:
    api.queue(LIST, fails(429, {"Retry-After": "1"}))
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def timed(server: FaultApi, request: object) -> object:
        times.append(loop.time())
        return await server.list(request)  # type: ignore[arg-type]

    api.queue(LIST, timed)  # type: ignore[arg-type]
    began = loop.time()
    async with watch() as cluster:
        await eventually(lambda: phase(cluster) is Phase.BACKING_OFF)
        await cluster.wait_synced()
    assert times[0] - began >= 1.0


@pytest.mark.parametrize("status", [401, 403])
async def test_a_denial_is_seen_and_ends_by_itself(
    api: FaultApi, watch: Watch, registry: Registry, status: int
) -> None:
    await api.put("a")
    api.denied = status
    async with watch() as cluster:
        await eventually(lambda: restarts(cluster, Reason.DENIED) >= 3)
        assert phase(cluster) is Phase.DENIED
        assert not cluster.synced
        assert cluster.statuses[0].last_error.startswith("AccessDenied: ")
        api.denied = 0
        await cluster.wait_synced()
        assert names(registry) == {"a"}


async def test_an_api_not_installed_blocks_nothing_and_is_found_later(
    api: FaultApi,
    watch: Watch,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.cluster.recovery.MISSING_RETRY", 0.02)
    api.installed = False
    async with watch() as cluster:
        await cluster.wait_synced()
        assert phase(cluster) is Phase.NOT_INSTALLED
        assert not cluster.stale
        api.installed = True
        await api.put("a")
        await eventually(lambda: names(registry) == {"a"})
        await eventually(lambda: phase(cluster) is Phase.WATCHING)


async def test_an_api_that_is_uninstalled_takes_its_routes_with_it_after_a_grace(
    api: FaultApi,
    watch: Watch,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.cluster.recovery.MISSING_GRACE", 0.1)
    monkeypatch.setattr("gateway.cluster.recovery.MISSING_RETRY", 0.02)
    await api.put("a")
    async with watch() as cluster:
        await cluster.wait_synced()
        api.installed = False
        await api.drop_watches()
        await eventually(lambda: restarts(cluster, Reason.NOT_INSTALLED) >= 1)
        assert names(registry) == {"a"}
        await eventually(lambda: phase(cluster) is Phase.NOT_INSTALLED)
        assert names(registry) == set()
        # It only seemed to be gone: what has not changed since comes back.
        api.installed = True
        await eventually(lambda: names(registry) == {"a"})


async def test_a_restarted_api_server_is_found_again_and_routes_are_kept_meanwhile(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    await api.put("a")
    async with watch() as cluster:
        await cluster.wait_synced()
        await api.stop()
        await eventually(lambda: restarts(cluster, Reason.UNREACHABLE) >= 2)
        assert names(registry) == {"a"}
        api.store("b")
        await api.start()
        await eventually(lambda: names(registry) == {"a", "b"})
        assert api.count(LIST) == 1


async def test_without_contact_for_long_it_is_stale_until_contact(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    await api.put("a")
    async with watch(stale_after=0.2) as cluster:
        await cluster.wait_synced()
        await api.stop()
        await eventually(lambda: cluster.stale)
        assert names(registry) == {"a"}
        await api.start()
        await eventually(lambda: not cluster.stale)


async def test_a_watch_the_api_keeps_failing_is_given_up_for_a_list(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    api.queue(WATCH, *[fails(500)] * 8)
    async with watch() as cluster:
        await eventually(lambda: phase(cluster) is Phase.WATCHING)
        assert api.count(LIST) >= 2


@pytest.mark.parametrize("reply", [hangs, resets, fails(500), answers(b"<html>"), answers(b"{}")])
async def test_a_list_is_repeated_until_it_succeeds(
    api: FaultApi, watch: Watch, registry: Registry, reply: Reply
) -> None:
    await api.put("a")
    api.queue(LIST, *[reply] * 4)
    async with watch(list_timeout=0.05) as cluster:
        await cluster.wait_synced()
        assert names(registry) == {"a"}


async def test_what_is_not_json_in_a_watch_leads_to_a_list(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    api.queue(WATCH, watches(b"not json\n", then="hang"))
    async with watch() as cluster:
        await cluster.wait_synced()
        await eventually(lambda: restarts(cluster, Reason.GARBLED) == 1)
        await api.put("a")
        await eventually(lambda: names(registry) == {"a"})


async def test_an_object_whose_line_is_over_4_mib_is_routed(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    async with watch() as cluster:
        await eventually(lambda: phase(cluster) is Phase.WATCHING)
        await api.put("big", data="x" * (5 * 2**20))
        await eventually(lambda: names(registry) == {"big"})
        assert cluster.statuses[0].restarts == {}


async def test_another_sandbox_under_the_same_name_takes_the_place(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    first = await api.put("a")
    async with watch() as cluster:
        await cluster.wait_synced()
        api.discard("a")
        api.log.clear()  # the news of the deletion is lost
        second = await api.put("a")
        await eventually(lambda: registry.by_name("team-a", "a").uid == second["metadata"]["uid"])
        assert first["metadata"]["uid"] != second["metadata"]["uid"]


async def test_news_from_before_a_deletion_revives_nothing(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    raw = await api.put("a")
    api.queue(WATCH, watches(frame("DELETED", raw), frame("MODIFIED", raw), then="hang"))
    async with watch() as cluster:
        await cluster.wait_synced()
        await eventually(lambda: names(registry) == set())
        await asyncio.sleep(0.02)
        with pytest.raises(SandboxNotFound):
            registry.by_name("team-a", "a")


async def test_each_namespace_is_watched_and_replaced_by_itself(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    for namespace in ("team-a", "team-b", "team-c"):
        await api.put("box", namespace)
    async with watch(namespaces=("team-a", "team-b")) as cluster:
        await cluster.wait_synced()
        assert {route.key.namespace for route in registry} == {"team-a", "team-b"}
        assert [one.name for one in cluster.statuses] == ["native/team-a", "native/team-b"]
        api.discard("box", "team-a")
        api.compact()
        await api.drop_watches()
        await eventually(lambda: len(registry) == 1)
        assert registry.by_name("team-b", "box").key.namespace == "team-b"


@pytest.mark.parametrize("kind", [LIST, WATCH])
async def test_leaving_in_the_middle_leaves_no_task_and_no_connection(
    api: FaultApi, watch: Watch, kind: str
) -> None:
    api.queue(kind, hangs)
    before = asyncio.all_tasks()
    async with watch():
        await eventually(lambda: api.held == 1)
    await eventually(lambda: api.held == 0)
    await eventually(lambda: len(asyncio.all_tasks() - before) == 0)


async def test_leaving_while_it_backs_off_leaves_no_task(api: FaultApi, watch: Watch) -> None:
    api.denied = 403
    before = asyncio.all_tasks()
    async with watch(backoff_min=1000.0, backoff_max=1000.0) as cluster:
        await eventually(lambda: phase(cluster) is Phase.DENIED)
    await eventually(lambda: len(asyncio.all_tasks() - before) == 0)
