"""An API that serves its objects in several versions: one of them is found out, and asked for."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cluster.direct import Access, DirectClient, connect
from gateway.cluster.errors import ApiNotInstalled
from gateway.cluster.selection import Selection
from gateway.dialects.agent_sandbox import RESOURCE, AgentSandbox
from gateway.sandbox.errors import ObjectGone
from gateway.sandbox.model import Key, State

from .conftest import eventually, names
from .faultapi import CREATE, PATCH, WATCH, FaultApi

if TYPE_CHECKING:
    from gateway.cluster.client import KubeClient
    from gateway.dialects.base import RawObject
    from gateway.sandbox.registry import Registry

    from .conftest import Watch

BETA, ALPHA = frozenset({"v1beta1"}), frozenset({"v1alpha1"})
SPECS: dict[str, tuple[RawObject, RawObject]] = {
    "v1beta1": ({"operatingMode": "Suspended"}, {"operatingMode": "Running"}),
    "v1alpha1": ({"replicas": 0}, {"replicas": 1}),
}


async def put_asleep(api: FaultApi, name: str, version: str) -> RawObject:
    """Store a suspended sandbox as this version shows it."""
    slept = {"type": "Suspended", "status": "True", "observedGeneration": 1}
    changes: dict[str, Any] = {
        "apiVersion": f"agents.x-k8s.io/{version}",
        "spec": SPECS[version][0],
        "status": {"conditions": [slept]},
    }
    known = api.objects.get(("team-a", name)) or await api.put(name)
    annotations = {"sandbox-gateway.dev/wake-on-traffic": "true"}
    metadata = known["metadata"] | {"generation": 1, "annotations": annotations}
    return await api.put(name, metadata=metadata, **changes)


def versions_asked(api: FaultApi) -> list[str]:
    """Return the version in the path of each request so far, but for events; forget them."""
    asked = [one.path.split("/")[3] for one in api.seen if one.kind != CREATE]
    api.seen.clear()
    return asked


def _watches(api: FaultApi, version: str) -> bool:
    return any(one.kind == WATCH and f"/{version}/" in one.path for one in api.seen)


async def test_where_the_newest_version_is_served_no_other_is_asked_for(
    api: FaultApi, client: KubeClient
) -> None:
    await client.list_page(Selection(RESOURCE), None)
    with pytest.raises(ObjectGone):
        await client.get(RESOURCE, "team-a", "a")
    assert versions_asked(api) == ["v1beta1", "v1beta1"]


async def test_what_a_list_found_is_what_all_else_asks_for(
    api: FaultApi, client: KubeClient
) -> None:
    api.unserved = BETA
    raw = await put_asleep(api, "a", "v1alpha1")
    await client.list_page(Selection(RESOURCE), None)
    assert versions_asked(api) == ["v1beta1", "v1alpha1"]
    await client.list_page(Selection(RESOURCE), "0@10")
    await client.get(RESOURCE, "team-a", "a")
    patch = {"metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]}, "spec": {}}
    await client.merge_patch(RESOURCE, "team-a", "a", patch)
    async with client.watch(Selection(RESOURCE), 10, 5.0):
        assert versions_asked(api) == ["v1alpha1"] * 4


async def test_a_new_list_finds_a_newer_version(api: FaultApi, client: KubeClient) -> None:
    api.unserved = BETA
    await client.list_page(Selection(RESOURCE), None)
    api.unserved = frozenset()
    await client.list_page(Selection(RESOURCE), None)
    assert versions_asked(api) == ["v1beta1", "v1alpha1", "v1beta1"]


async def test_an_api_of_which_no_version_is_served_is_not_installed(
    api: FaultApi, client: KubeClient
) -> None:
    api.unserved = BETA | ALPHA
    with pytest.raises(ApiNotInstalled, match="v1alpha1"):
        await client.list_page(Selection(RESOURCE), None)
    assert versions_asked(api) == ["v1beta1", "v1alpha1"]


@pytest.mark.parametrize(("version", "unserved"), [("v1beta1", ALPHA), ("v1alpha1", BETA)])
async def test_a_sandbox_is_woken_and_paused_in_the_version_that_is_served(
    version: str, unserved: frozenset[str], api: FaultApi, watch: Watch, registry: Registry
) -> None:
    api.unserved = unserved
    raw = await put_asleep(api, "a", version)
    async with watch((AgentSandbox(),)) as cluster:
        await cluster.wait_synced()
        assert registry.by_name("team-a", "a").state is State.PAUSED
        key, uid = Key("agent-sandbox", "team-a", "a"), raw["metadata"]["uid"]
        assert (await cluster.writer.wake(key, uid)).state is State.RESUMING
        assert (await cluster.writer.sleep(key, uid, lambda _: True, 5.0)).state is State.PAUSED
    sent = [json.loads(one.body)["spec"] for one in api.seen if one.kind == PATCH]
    assert sent == list(reversed(SPECS[version]))


async def test_a_version_that_is_withdrawn_is_replaced_by_another_and_no_route_is_lost(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    api.unserved = BETA
    raw = await put_asleep(api, "a", "v1alpha1")
    lost: list[object] = []
    registry.subscribe(lambda before, after: lost.append(before) if after is None else None)
    async with watch((AgentSandbox(),)) as cluster:
        await cluster.wait_synced()
        api.unserved = ALPHA
        await put_asleep(api, "a", "v1beta1")
        await api.drop_watches()
        await eventually(lambda: _watches(api, "v1beta1"))
        await put_asleep(api, "b", "v1beta1")
        await eventually(lambda: names(registry) == {"a", "b"})
        key = Key("agent-sandbox", "team-a", "a")
        assert (await cluster.writer.wake(key, raw["metadata"]["uid"])).state is State.RESUMING
    assert lost == []


@pytest.mark.parametrize(("version", "unserved"), [("v1beta1", ALPHA), ("v1alpha1", BETA)])
async def test_commands_read_and_write_in_the_version_that_is_served(
    version: str, unserved: frozenset[str], api: FaultApi
) -> None:
    api.unserved = unserved
    raw = await put_asleep(api, "a", version)

    def work() -> RawObject:
        with DirectClient(connect(Access(server=f"http://127.0.0.1:{api.port}"))) as client:
            assert client.list(RESOURCE, "team-a") == [raw]
            assert client.get(RESOURCE, "team-a", "a") == raw
            with pytest.raises(ObjectGone):
                client.get(RESOURCE, "team-a", "other")
            return client.change(RESOURCE, raw, lambda one: AgentSandbox().wake_patch(one, 0.0))

    changed = await asyncio.to_thread(work)
    assert changed["spec"].items() >= SPECS[version][1].items()


async def test_commands_are_told_where_no_version_is_served(api: FaultApi) -> None:
    api.unserved = BETA | ALPHA

    def work() -> None:
        with DirectClient(connect(Access(server=f"http://127.0.0.1:{api.port}"))) as client:
            client.list(RESOURCE)

    with pytest.raises(ApiNotInstalled):
        await asyncio.to_thread(work)
