"""The composition: what it shows, and how it ends."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.cluster.errors import ConfigInvalid
from gateway.cluster.machines import ALL_NODES, Machines
from gateway.cluster.recovery import Phase
from gateway.dialects.deployment import DEPLOYMENT, STATEFUL_SET
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.sandbox.model import Key, State

from .backed import awake, deployment, endpoint, endpoint_slice
from .conftest import eventually
from .faultapi import LIST, PATCH, WATCH, answers, watches

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry
    from gateway.telemetry.instruments import Instruments

    from .conftest import Watch
    from .faultapi import FaultApi

EMPTY = b'{"metadata":{"resourceVersion":"5"},"items":[]}'
POD = endpoint("10.0.0.7", "pod-1")


async def test_before_the_first_list_it_is_neither_synced_nor_stale(
    api: FaultApi, watch: Watch
) -> None:
    api.denied = 403
    async with watch() as cluster:
        assert not cluster.synced
        assert not cluster.stale


async def test_nothing_is_listed_before_its_time(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    await api.put("a")
    async with watch(begin_after=0.3) as cluster:
        began = asyncio.get_running_loop().time()
        await cluster.wait_synced()
        assert asyncio.get_running_loop().time() - began >= 0.29
        assert len(registry) == 1


async def test_what_it_knows_is_shown_as_metrics(
    api: FaultApi, watch: Watch, instruments: Instruments
) -> None:
    await api.put("bad", status={"phase": 7})
    shown = CollectorRegistry()
    shown.register(instruments)
    async with watch((Native(), Kruise())) as cluster:
        await eventually(lambda: api.open_watches == 2)
        await cluster.wait_synced()
        text = generate_latest(shown).decode()
    assert 'sandbox_gateway_watch_synced{watch="native"} 1.0' in text
    assert 'sandbox_gateway_watch_stale{watch="kruise"} 0.0' in text
    assert 'sandbox_gateway_watch_restarts{reason="expired"} 0.0' in text
    assert "sandbox_gateway_unrouted_objects 2.0" in text
    assert 'sandbox_gateway_malformed_objects_total{dialect="native"} 1.0' in text


async def test_a_watch_besides_is_shown_but_no_readiness_hangs_on_it(
    api: FaultApi, watch: Watch, instruments: Instruments
) -> None:
    shown = CollectorRegistry()
    shown.register(instruments)

    def told() -> str:
        return generate_latest(shown).decode()

    api.forbidden = frozenset({"v1"})
    denied = 'sandbox_gateway_watch_restarts{reason="denied"}'
    async with watch((Native(),)) as cluster:
        await cluster.wait_synced()
        async with cluster.besides("nodes", ALL_NODES, Machines().nodes_sink) as nodes:
            await eventually(lambda: nodes.status.phase is Phase.DENIED)
            assert 'sandbox_gateway_watch_synced{watch="nodes"} 0.0' in told()
            assert f"{denied} 0.0" not in told()
            assert cluster.synced
            assert [one.name for one in cluster.statuses] == ["native"]
        assert 'watch="nodes"' not in told()
        assert f"{denied} 0.0" not in told(), "counters never fall"


@pytest.mark.parametrize(
    ("namespaces", "name"), [((), "native"), (("team-a", "team-b"), "native/team-b")]
)
async def test_a_sandbox_has_the_watch_that_brings_news_of_it(
    api: FaultApi, watch: Watch, namespaces: tuple[str, ...], name: str
) -> None:
    async with watch((Kruise(), Native()), namespaces=namespaces) as cluster:
        await cluster.wait_synced()
        told = cluster.watch_of(Key("native", "team-b", "a")).as_json()
    assert told["name"] == name
    assert (told["stale"], told["restarts"], told["last_error"]) == (False, {}, None)


async def test_places_are_watched_only_for_workloads_and_once_for_all_of_them(
    api: FaultApi, watch: Watch
) -> None:
    async with watch((Native(),)) as cluster:
        assert [one.name for one in cluster.statuses] == ["native"]
    workloads = (Native(), DEPLOYMENT, STATEFUL_SET)
    async with watch(workloads, namespaces=("team-a",), label_selector="tier=web") as cluster:
        await cluster.wait_synced()
        names = ("native", "deployment", "statefulset", "endpointslices", "services")
        assert [one.name for one in cluster.statuses] == [f"{name}/team-a" for name in names]
    asked = {one.path: one.query.get("labelSelector") for one in api.seen if one.kind == LIST}
    ours = "sandbox-gateway.dev/enabled=true"
    below = "namespaces/team-a"
    assert {path: selector for path, selector in asked.items() if below in path} == {
        f"/apis/sandbox-gateway.dev/v1alpha1/{below}/sandboxes": "tier=web",
        f"/apis/apps/v1/{below}/deployments": f"tier=web,{ours}",
        f"/apis/apps/v1/{below}/statefulsets": f"tier=web,{ours}",
        f"/apis/discovery.k8s.io/v1/{below}/endpointslices": None,
        f"/api/v1/{below}/services": None,
    }


async def test_without_the_right_to_see_places_nothing_is_synced(
    api: FaultApi, watch: Watch
) -> None:
    api.forbidden = frozenset({"discovery.k8s.io"})
    async with watch((DEPLOYMENT,)) as cluster:
        phases = {one.name: one.phase for one in cluster.statuses}
        await eventually(lambda: cluster.statuses[1].phase is Phase.DENIED)
        assert phases.keys() == {"deployment", "endpointslices", "services"}
        assert not cluster.synced


async def test_a_workload_is_read_with_the_place_where_it_is_now(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    """Neither watch has told: each hangs on what it had at first."""
    web = awake(1)
    api.objects["team-a", "web"] = web
    api.queue(LIST, *([answers(EMPTY)] * 3))
    api.queue(WATCH, *([watches(then="hang")] * 3))
    async with watch((DEPLOYMENT,)) as cluster:
        await cluster.wait_synced()
        assert len(registry) == 0
        found = {"metadata": {"resourceVersion": "9"}, "items": [endpoint_slice(8, POD)]}
        api.queue(LIST, answers(json.dumps(found).encode()))
        route = await cluster.read(Key("deployment", "team-a", "web"), "uid-web")
    assert (route.state, route.address) == (State.RUNNING, "10.0.0.7")
    assert registry.get(route.key) is route


async def test_what_is_not_available_is_nowhere_and_not_looked_for(
    api: FaultApi, watch: Watch
) -> None:
    api.objects["team-a", "web"] = deployment(1)
    api.queue(LIST, *([answers(EMPTY)] * 3))
    api.queue(WATCH, *([watches(then="hang")] * 3))
    async with watch((DEPLOYMENT,)) as cluster:
        await cluster.wait_synced()
        route = await cluster.read(Key("deployment", "team-a", "web"), "uid-web")
        assert route.state is State.PAUSED
        assert api.count(LIST) == 3


async def test_a_write_under_way_is_finished_before_it_ends(api: FaultApi, watch: Watch) -> None:
    raw = await api.put("a")
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held(server: FaultApi, request: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await server.patch(request)

    api.queue(PATCH, held)
    async with watch() as cluster:
        key, uid = Key("native", "team-a", "a"), raw["metadata"]["uid"]
        waking = asyncio.create_task(cluster.writer.wake(key, uid))
        await reached.wait()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    assert waking.done()
    assert (await waking).state is State.RESUMING


async def test_an_error_of_the_body_leaves_as_it_came(watch: Watch) -> None:
    with pytest.raises(ZeroDivisionError):
        async with watch():
            raise ZeroDivisionError


async def test_cancelling_the_body_is_a_cancellation(api: FaultApi, watch: Watch) -> None:
    async def body() -> None:
        async with watch() as cluster:
            await cluster.wait_synced()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await eventually(lambda: api.open_watches == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: api.open_watches == 0)


async def test_a_mistake_in_a_watch_ends_the_body(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    def listener(before: Route | None, after: Route | None) -> None:
        raise ZeroDivisionError

    registry.subscribe(listener)
    await api.put("a")
    with pytest.raises(ExceptionGroup) as caught:
        async with watch():
            await asyncio.Event().wait()
    assert caught.group_contains(ZeroDivisionError)


async def test_certificates_that_do_not_exist_are_a_broken_configuration(
    api: FaultApi, watch: Watch, tmp_path: Path
) -> None:
    path = api.kubeconfig(tmp_path / "odd", **{"client-certificate": "/nowhere/tls.crt"})
    text = (tmp_path / "odd").read_text().replace("http://", "https://")
    (tmp_path / "odd").write_text(text)
    with pytest.raises(ConfigInvalid):
        async with watch(kubeconfig=path):
            pass
