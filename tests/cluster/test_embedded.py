"""The cluster layer against the embedded API of local mode: another server, the same contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cluster.cluster import Cluster
from gateway.cluster.config import ClusterConfig
from gateway.cluster.errors import ApiNotInstalled
from gateway.cluster.recovery import Phase
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.local.api import (
    EVENTS,
    SANDBOXES,
    EmbeddedApi,
    ObjectStore,
    load_native_crd,
    write_kubeconfig,
)
from gateway.sandbox.model import Key, State
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments

from .conftest import eventually, names

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_sandbox_is_listed_woken_paused_and_deleted_over_the_embedded_api(
    tmp_path: Path,
) -> None:
    store = ObjectStore(":memory:", [load_native_crd()])
    api = EmbeddedApi(store, "a-token-for-tests")
    await api.start()
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, api.address, "a-token-for-tests")
    registry, key = Registry(), Key("native", "default", "box")
    try:
        made = store.create(SANDBOXES, "default", sandbox("box"))
        uid = made["metadata"]["uid"]
        config = ClusterConfig(kubeconfig=str(path), backoff_min=0.01, backoff_max=0.1)
        async with Cluster(config, [Native(), Kruise()], registry, Instruments()) as cluster:
            await cluster.wait_synced()
            _, kruise = cluster.statuses
            assert kruise.phase is Phase.NOT_INSTALLED
            assert kruise.last_error.startswith(ApiNotInstalled.__name__)
            assert registry.by_id("default--box").state is State.CREATING

            store.update_status(
                SANDBOXES, "default", "box", uid, lambda status: status.update(phase="Paused")
            )
            await eventually(lambda: registry.by_id("default--box").state is State.PAUSED)
            woken = await cluster.writer.wake(key, uid)
            assert woken.state is State.RESUMING
            stored = store.get(SANDBOXES, "default", "box")
            assert stored["spec"]["desiredState"] == "Running"
            assert (await cluster.writer.sleep(key, uid, lambda _: True, 5.0)).state is State.PAUSED

            store.compact()
            store.create(SANDBOXES, "default", sandbox("other"))
            await eventually(lambda: names(registry) == {"box", "other"})
            store.delete(SANDBOXES, "default", "box")
            await eventually(lambda: names(registry) == {"other"})
        events = store.list(EVENTS).items
        # Both may be of one second, and their names are drawn.
        assert {event["reason"] for event in events} == {"Woken", "Standby"}
    finally:
        await api.stop()
        store.close()


def sandbox(name: str) -> dict[str, object]:
    return {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"desiredState": "Paused", "wakeOnTraffic": {"enabled": True}},
    }
