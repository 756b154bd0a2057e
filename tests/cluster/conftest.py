"""A scripted API server, the real client against it, and patience that fits tests."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from hypothesis import HealthCheck, settings

from gateway.cluster.client import KubeClient
from gateway.cluster.cluster import Cluster
from gateway.cluster.config import ClusterConfig
from gateway.cluster.intake import Intake
from gateway.cluster.metrics import ClusterCounters
from gateway.cluster.writer import SandboxWriter
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments

from .faultapi import FaultApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from gateway.dialects.base import Dialect


class Configure(Protocol):
    def __call__(self, **changes: Any) -> ClusterConfig: ...


class Watch(Protocol):
    def __call__(
        self, dialects: tuple[Dialect, ...] = ..., **changes: Any
    ) -> AbstractAsyncContextManager[Cluster]: ...


@pytest.fixture
async def api() -> AsyncIterator[FaultApi]:
    server = FaultApi()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def configure(api: FaultApi, tmp_path: Path) -> Configure:
    def make(**changes: Any) -> ClusterConfig:
        settings: dict[str, Any] = {
            "kubeconfig": api.kubeconfig(tmp_path / "kubeconfig", token="secret"),
            "backoff_min": 0.001,
            "backoff_max": 0.01,
            "request_timeout": 2.0,
            "list_timeout": 2.0,
        }
        return ClusterConfig(**(settings | changes))

    return make


@pytest.fixture
async def client(configure: Configure) -> AsyncIterator[KubeClient]:
    async with KubeClient.connect(configure(watch_idle_timeout=1.0)) as made:
        yield made


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def instruments() -> Instruments:
    return Instruments()


@pytest.fixture
def counters(instruments: Instruments) -> ClusterCounters:
    return ClusterCounters(instruments)


@pytest.fixture
async def writer(
    client: KubeClient, registry: Registry, counters: ClusterCounters
) -> AsyncIterator[SandboxWriter]:
    intakes = {one.name: Intake(one, registry, counters) for one in (Native(), Kruise())}
    made = SandboxWriter(client, intakes, time.time, counters)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def watch(configure: Configure, registry: Registry, instruments: Instruments) -> Watch:
    """Open a Cluster over the scripted API; keywords change its configuration."""

    @asynccontextmanager
    async def opened(
        dialects: tuple[Dialect, ...] = (Native(),), **changes: Any
    ) -> AsyncIterator[Cluster]:
        async with Cluster(configure(**changes), dialects, registry, instruments) as cluster:
            yield cluster

    return opened


#: For hypothesis: examples are judged by what they show, never by how long a busy machine takes.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


async def eventually(check: Callable[[], object], within: float = 10.0) -> None:
    """Return once `check` is true; fail after `within` seconds."""
    async with asyncio.timeout(within):
        while not check():
            await asyncio.sleep(0.002)


def names(registry: Registry) -> set[str]:
    return {route.key.name for route in registry}
