"""The registry behind a watch that fails in every way, seen through the gateway (line 49).

Each way by itself stands in tests/cluster/test_reflector.py; here requests go on meanwhile.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.cluster.cluster import Cluster
from gateway.cluster.config import ClusterConfig
from gateway.dialects.native import Native
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments
from tests.cluster.faultapi import LIST, WATCH, FaultApi, fails, frame, hangs, resets, watches

from .harness import Gateway, eventually, gateway
from .upstream import ECHO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: The scripted API server needs asyncio's own transports.
pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])

SPEC = {"desiredState": "Running", "wakeOnTraffic": {"enabled": True}}


def running(uid: str) -> dict[str, object]:
    ready = [{"type": "Ready", "status": "True"}]
    return {
        "phase": "Running", "podIP": "127.0.0.1", "podUID": f"pod-{uid}", "conditions": ready,
    }  # fmt: skip


@asynccontextmanager
async def watched(tmp_path: Path) -> AsyncIterator[tuple[Gateway, FaultApi, Cluster]]:
    """Run a gateway whose registry and writer are a cluster's; sandbox `box` runs."""
    api = FaultApi()
    await api.start()
    config = ClusterConfig(
        kubeconfig=api.kubeconfig(tmp_path / "kubeconfig"),
        backoff_min=0.001,
        backoff_max=0.01,
        request_timeout=1.0,
        list_timeout=1.0,
        watch_idle_timeout=0.3,
        stale_after=0.8,
    )
    registry = Registry()
    try:
        await api.put("box", spec=SPEC, status=running("1"))
        async with Cluster(config, (Native(),), registry, Instruments()) as cluster:
            await cluster.wait_synced()
            async with gateway(
                ECHO, registry=registry, writer=cluster.writer, synced=lambda: cluster.synced
            ) as (gw, _):
                gw.sandboxes.delete("box")
                yield gw, api, cluster
                await api.delete("box")
                await eventually(lambda: len(registry) == 0)
    finally:
        await api.stop()


async def asked(gw: Gateway, name: str = "box") -> int:
    return int((await gw.ask(gw.get("/", to=f"team-a--{name}"))).status)


async def test_49_requests_go_on_through_every_fault_and_the_registry_converges(
    tmp_path: Path,
) -> None:
    """410, an ERROR frame, a break, silence: each time what changed meanwhile is seen."""
    gone = frame("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
    faults = [fails(410), watches(gone), watches(then="reset"), watches(then="hang"), resets]
    async with watched(tmp_path) as (gw, api, _):
        for n, fault in enumerate(faults):
            api.queue(WATCH, fault)
            await api.drop_watches()
            assert await asked(gw) == 200
            api.store(f"new-{n}", spec=SPEC, status=running(f"new-{n}"))
            if n:
                api.discard(f"new-{n - 1}")
            api.compact()
            await api.notify()
            await eventually(lambda: names(gw) == {"box", f"new-{n}"})  # noqa: B023 - awaited here
            assert await asked(gw, f"new-{n}") == 200
            assert await asked(gw) == 200
        await api.delete(f"new-{len(faults) - 1}")


async def test_49_routes_are_kept_while_the_api_is_away_and_that_is_shown(tmp_path: Path) -> None:
    """Stale is told (metric, readiness), running sandboxes are served on, and it ends by itself."""
    async with watched(tmp_path) as (gw, api, cluster):
        await api.stop()
        await eventually(lambda: cluster.stale)
        assert cluster.synced
        assert await asked(gw) == 200
        await api.start()
        await eventually(lambda: not cluster.stale)
        await api.put("late", spec=SPEC, status=running("late"))
        await eventually(lambda: "late" in names(gw))
        assert await asked(gw, "late") == 200
        await api.delete("late")


async def test_49_a_wake_goes_through_although_the_watch_hangs(tmp_path: Path) -> None:
    """What the watch does not say is read: a request does not wait for a silent stall to end."""
    async with watched(tmp_path) as (gw, api, _):
        await api.put("box", spec=SPEC | {"desiredState": "Paused"}, status={"phase": "Paused"})
        await eventually(lambda: gw.registry.by_id("team-a--box").address is None)
        api.queue(WATCH, *[hangs] * 100)
        api.queue(LIST, *[fails(503)] * 1000)
        await api.drop_watches()
        client = await gw.client()
        await client.send(gw.get("/", to="team-a--box"))
        await eventually(lambda: api.objects["team-a", "box"]["spec"]["desiredState"] == "Running")
        await api.put("box", status=running("2"))
        response = await client.response()
        assert response.status == 200
        assert response.has("x-sandbox-cold-start")
        api.replies.clear()


def names(gw: Gateway) -> set[str]:
    return {route.key.name for route in gw.registry}
