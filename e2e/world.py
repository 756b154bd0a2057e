"""OpenKruise sandboxes, their controller and their pods, in one namespace behind a gateway."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from .kruise import Controller, Gates
from .kube_api import Object, SandboxApi
from .manifests import kruise
from .pods import SeparatePods
from .waiting import DEADLINE, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .gateways import Gateway
    from .pods import Pod, Pods


@dataclass(slots=True)
class World:
    """What a test of OpenKruise sandboxes works with."""

    namespace: str
    gateway: Gateway
    api: SandboxApi
    pods: Pods
    controller: Controller

    @classmethod
    @asynccontextmanager
    async def over(cls, gateway: Gateway, pods: Pods | None = None) -> AsyncIterator[World]:
        namespace = f"kruise-{uuid.uuid4().hex[:8]}"
        pods = pods or SeparatePods()
        async with SandboxApi.connect(gateway.kubeconfig, namespace) as api:
            controller = Controller(api, pods, namespace)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(controller.run())
                try:
                    yield cls(namespace, gateway, api, pods, controller)
                finally:
                    running.cancel()
                    await pods.close()

    async def create(self, name: str, state: str = "running", **parts: Any) -> Object:
        """Create a sandbox; return it once the gateway knows it in this state."""
        created = await self.api.create(kruise(name, **parts))
        await self.reaches(name, state)
        return created

    async def create_paused(self, name: str = "box", **parts: Any) -> int:
        """Create a sandbox that ran and was paused; return its generation then."""
        await self.create(name, **parts)
        await self.api.patch(name, paused=True)
        await self.reaches(name, "paused")
        return await self.generation(name)

    async def reaches(self, name: str, state: str) -> None:
        await soon(
            lambda: self.gateway.state_of(self.namespace, name) == state,
            f"the gateway knows {name} as {state}",
        )

    async def waited_for(self, name: str, count: int = 1) -> None:
        """Return once so many requests wait for a sandbox."""
        await soon(
            lambda: self.gateway.waiters(self.namespace, name) == count,
            f"{count} requests wait for {name}",
        )

    def gates(self, name: str = "box") -> Gates:
        return self.controller.gates(name)

    def pod(self, name: str = "box") -> Pod:
        return self.controller.pod(name)

    async def generation(self, name: str = "box") -> int:
        """Return how often the spec of a sandbox was written."""
        obj = await self.api.get(name)
        generation: int = obj["metadata"]["generation"]
        return generation

    async def ask(
        self, name: str = "box", method: str = "GET", path: str = "/", **options: Any
    ) -> httpx.Response:
        """Send one request through the gateway, once."""
        headers = self.naming(name) | options.pop("headers", {})
        transport = httpx.AsyncHTTPTransport(retries=0, verify=False)
        async with httpx.AsyncClient(transport=transport, timeout=DEADLINE) as client:
            url = self.gateway.data + path
            return await client.request(method, url, headers=headers, **options)

    def naming(self, name: str) -> dict[str, str]:
        """Return the headers that name a sandbox and its port."""
        return {
            "e2b-sandbox-id": f"{self.namespace}--{name}",
            "e2b-sandbox-port": str(self.pods.port),
        }
