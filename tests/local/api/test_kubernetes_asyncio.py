"""kubernetes_asyncio, the client library that the gateway itself uses, against the API."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes_asyncio import client, config, watch

from gateway.local.api import SANDBOXES, EmbeddedApi, ObjectStore, write_kubeconfig

from .support import MERGE, TOKEN, sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GROUP = ("sandbox-gateway.dev", "v1alpha1")


@pytest.fixture
async def connection(api: EmbeddedApi, tmp_path: Path) -> AsyncIterator[Any]:
    write_kubeconfig(tmp_path / "kubeconfig", api.address, TOKEN)
    settings = client.Configuration()
    await config.load_kube_config(
        str(tmp_path / "kubeconfig"), client_configuration=settings, persist_config=False
    )
    async with client.ApiClient(settings) as opened:
        yield opened


@asynccontextmanager
async def following(objects: Any, version: str) -> AsyncIterator[Any]:
    watcher = watch.Watch().stream(
        objects.list_cluster_custom_object,
        *GROUP,
        "sandboxes",
        resource_version=version,
        allow_watch_bookmarks=True,
        timeout_seconds=10,
    )
    async with watcher as stream:
        yield aiter(stream)


async def test_custom_objects_are_listed_watched_and_patched(
    connection: Any, store: ObjectStore
) -> None:
    # The stubs leave out `_content_type`, which every method takes.
    objects: Any = client.CustomObjectsApi(connection)
    created = await objects.create_namespaced_custom_object(
        *GROUP, "default", "sandboxes", sandbox()
    )
    listed = await objects.list_cluster_custom_object(*GROUP, "sandboxes")
    assert listed["items"] == [created]
    patched = await objects.patch_namespaced_custom_object(
        *GROUP,
        "default",
        "sandboxes",
        "demo",
        {"metadata": created["metadata"], "spec": {"desiredState": "Paused"}},
        _content_type=MERGE,
    )
    version = listed["metadata"]["resourceVersion"]
    async with asyncio.timeout(10), following(objects, version) as stream:
        event = await anext(stream)
    assert (event["type"], event["object"]) == ("MODIFIED", patched)
    with pytest.raises(client.ApiException) as conflict:
        await objects.patch_namespaced_custom_object(
            *GROUP, "default", "sandboxes", "demo", created, _content_type=MERGE
        )
    assert conflict.value.status == 409


async def test_a_compacted_version_is_gone(connection: Any, store: ObjectStore) -> None:
    for name in "abc":
        store.create(SANDBOXES, "default", sandbox(name))
    store.compact()
    objects = client.CustomObjectsApi(connection)
    with pytest.raises(client.ApiException) as gone:
        async with asyncio.timeout(10), following(objects, "1") as stream:
            await anext(stream)
    assert gone.value.status == 410


async def test_typed_leases_and_events(connection: Any) -> None:
    leases = client.CoordinationV1Api(connection)
    lease = client.V1Lease(
        metadata=client.V1ObjectMeta(name="leader"),
        spec=client.V1LeaseSpec(holder_identity="a", lease_duration_seconds=15),
    )
    created = await leases.create_namespaced_lease("default", lease)
    created.spec.holder_identity = "b"
    replaced = await leases.replace_namespaced_lease("leader", "default", created)
    assert replaced.spec.holder_identity == "b"
    with pytest.raises(client.ApiException) as conflict:
        await leases.replace_namespaced_lease("leader", "default", created)
    assert conflict.value.status == 409
    events = client.CoreV1Api(connection)
    await events.create_namespaced_event(
        "default",
        client.CoreV1Event(
            metadata=client.V1ObjectMeta(generate_name="demo."),
            involved_object=client.V1ObjectReference(kind="Sandbox", name="demo"),
            reason="Woken",
            type="Normal",
        ),
    )
    found = await events.list_namespaced_event("default", field_selector="reason=Woken")
    assert [event.involved_object.name for event in found.items] == ["demo"]


async def test_discovery_is_understood(connection: Any) -> None:
    groups = await client.ApisApi(connection).get_api_versions()
    assert [group.name for group in groups.groups] == ["coordination.k8s.io", GROUP[0]]
    resources = await client.CoreV1Api(connection).get_api_resources()
    assert {resource.name for resource in resources.resources} == {"events", "namespaces"}
    version = await client.VersionApi(connection).get_code()
    assert version.major == "1"


async def test_a_large_list_arrives_whole_and_in_pages(connection: Any, store: ObjectStore) -> None:
    note = {"note": "x" * 10_000}
    for index in range(300):
        store.create(SANDBOXES, "default", sandbox(f"s{index:04}", annotations=note))
    objects = client.CustomObjectsApi(connection)
    whole = await objects.list_cluster_custom_object(*GROUP, "sandboxes")
    assert len(whole["items"]) == 300
    page = await objects.list_cluster_custom_object(*GROUP, "sandboxes", limit=200)
    rest = await objects.list_cluster_custom_object(
        *GROUP, "sandboxes", limit=200, _continue=page["metadata"]["continue"]
    )
    assert page["items"] + rest["items"] == whole["items"]
