"""Pauses put off over an API: the real writer, watch and dialect, and time that really passes."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import e2e
from gateway.cluster.cluster import Cluster
from gateway.cluster.config import ClusterConfig
from gateway.dialects.kruise import Kruise
from gateway.local.api import EmbeddedApi, GroupResource, ObjectStore, write_kubeconfig
from gateway.sandbox.activity import Activity
from gateway.sandbox.registry import Registry
from gateway.sandbox.texts import format_time
from gateway.standby.postponer import Postponer, PostponerConfig
from gateway.telemetry.instruments import Instruments
from tests.cluster.conftest import eventually
from tests.dialects.objects import kruise_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.cluster.writer import SandboxWriter

CRD = Path(e2e.__file__).with_name("kruise_crd.yaml")
KRUISE = GroupResource("agents.kruise.io", "sandboxes")


@dataclass
class Gateway:
    """What a test uses sandboxes through, and the API behind it."""

    store: ObjectStore
    api: EmbeddedApi
    registry: Registry
    activity: Activity
    instruments: Instruments
    writer: SandboxWriter

    def create(self, name: str, pauses_in: float) -> str:
        """Make a sandbox that runs; return its uid."""
        raw = kruise_object()
        raw["metadata"] = {"name": name, "namespace": "team-a"}
        pauses = format_time(time.time() + pauses_in)
        rule = {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}}
        raw["spec"] = {"autoPausePolicy": rule, "pauseTime": pauses}
        uid: str = self.store.create(KRUISE, "team-a", raw)["metadata"]["uid"]
        self.store.update_status(KRUISE, "team-a", name, uid, lambda now: now.update(raw["status"]))
        return uid

    def spec(self, name: str) -> dict[str, Any]:
        spec: dict[str, Any] = self.store.get(KRUISE, "team-a", name)["spec"]
        return spec

    async def knows(self, name: str) -> None:
        await eventually(lambda: any(route.key.name == name for route in self.registry))

    def count(self, metric: str, **labels: str) -> float:
        (family,) = (
            one for one in self.instruments.collect() if one.name == f"sandbox_gateway_{metric}"
        )
        return sum(one.value for one in family.samples if one.labels == labels)


@asynccontextmanager
async def gateway(home: Path) -> AsyncIterator[Gateway]:
    store = ObjectStore(":memory:", [yaml.safe_load(CRD.read_text())])
    api = EmbeddedApi(store, "a-token-for-tests")
    await api.start()
    path = home / "kubeconfig"
    write_kubeconfig(path, api.address, "a-token-for-tests")
    registry, activity, instruments = Registry(), Activity(), Instruments()
    loop = asyncio.get_running_loop()
    registry.subscribe(lambda before, after: activity.heed(before, after, loop.time(), time.time()))
    config = ClusterConfig(kubeconfig=str(path), backoff_min=0.01, backoff_max=0.1)
    try:
        async with Cluster(config, [Kruise()], registry, instruments) as cluster:
            await cluster.wait_synced()
            postponer = Postponer(
                PostponerConfig(),
                registry,
                activity,
                cluster.writer,
                lambda: True,
                instruments,
                clock=loop.time,
            )
            running = asyncio.create_task(postponer.run())
            yield Gateway(store, api, registry, activity, instruments, cluster.writer)
            running.cancel()
            await asyncio.wait({running})
    finally:
        await api.stop()
        store.close()


def seconds_until(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() - time.time()


async def test_only_the_sandbox_that_is_used_is_put_off_and_by_one_write(tmp_path: Path) -> None:
    async with gateway(tmp_path) as made:
        used = made.create("used", 3)
        made.create("unused", 3)
        before = made.spec("unused")
        await made.knows("used")
        await made.knows("unused")
        made.activity.enter(used, asyncio.get_running_loop().time())
        await eventually(lambda: seconds_until(made.spec("used")["pauseTime"]) > 500)
        assert made.spec("unused") == before
        # Counted is what was answered, which comes after what is stored.
        await eventually(lambda: made.count("pause_postponements", outcome="done") == 1)
        assert made.count("cluster_writes", verb="mark", outcome="written") == 1


async def test_an_api_that_is_away_is_asked_again_when_it_is_back(tmp_path: Path) -> None:
    async with gateway(tmp_path) as made:
        uid = made.create("used", 6)
        await made.knows("used")
        made.activity.enter(uid, asyncio.get_running_loop().time())
        port = made.api.port
        await made.api.stop()
        await eventually(lambda: made.count("pause_postponements", outcome="failed") > 0)
        await made.api.start(port=port)
        await eventually(lambda: made.count("pause_postponements", outcome="done") > 0)
        assert seconds_until(made.spec("used")["pauseTime"]) > 500
