"""The sandboxes of one namespace, their controller and their pods, behind a gateway."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from .clusters import fresh_name
from .controller import Controller, Gates
from .kube_api import Object, SandboxApi
from .platforms import KruisePlatform, Stage
from .pods import SeparatePods
from .waiting import DEADLINE, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .gateways import Gateway
    from .platforms import Platform
    from .pods import Pod, Pods


@dataclass(slots=True)
class World:
    """What a test of sandboxes works with."""

    namespace: str
    gateway: Gateway
    api: SandboxApi
    platform: Platform
    pods: Pods
    controller: Controller

    @classmethod
    @asynccontextmanager
    async def over(
        cls,
        gateway: Gateway,
        pods: Pods | None = None,
        platform: Platform | None = None,
        namespace: str = "",
    ) -> AsyncIterator[World]:
        """Begin with no sandbox; without a platform they are OpenKruise's."""
        platform = platform or KruisePlatform()
        namespace = namespace or fresh_name(platform.dialect)
        pods = pods or SeparatePods()
        kubeconfig = gateway.kubeconfig
        async with SandboxApi.connect(kubeconfig, namespace, platform.version) as api:
            controller = Controller(api, platform, pods, namespace)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(controller.run())
                try:
                    yield cls(namespace, gateway, api, platform, pods, controller)
                finally:
                    running.cancel()
                    # It may be about to open a pod.
                    await asyncio.wait({running})
                    await pods.close()

    async def create(self, name: str = "box", state: str = "running", **parts: Any) -> Object:
        """Create a sandbox; return it once the gateway knows it in this state."""
        created = await self.api.create(self.platform.manifest(name, **parts))
        await self.reaches(name, state)
        return created

    async def create_paused(self, name: str = "box", **parts: Any) -> int:
        """Create a sandbox that ran and was paused; return its generation then."""
        await self.create(name, **parts)
        await self.pause(name)
        await self.reaches(name, "paused")
        return await self.generation(name)

    async def pause(self, name: str = "box") -> None:
        """Ask for the pause of a sandbox."""
        await self.api.patch(name, **self.platform.wanting(sleep=True))

    async def reaches(self, name: str, state: str) -> None:
        await soon(
            lambda: self.gateway.state_of(self.namespace, name) == state,
            f"the gateway knows {name} as {state}",
        )

    def explains(self, words: str, name: str = "box") -> bool:
        """Return whether the gateway says this when it explains a sandbox."""
        return words in str(self.gateway.told(self.namespace, name))

    async def waited_for(self, name: str = "box", count: int = 1) -> None:
        """Return once so many requests wait for a sandbox."""
        await soon(
            lambda: self.gateway.waiters(self.namespace, name) == count,
            f"{count} requests wait for {name}",
        )

    async def is_written(self, generation: int, name: str = "box") -> None:
        """Return once the spec was written after this generation."""

        async def written() -> bool:
            return await self.generation(name) > generation

        await soon(written, "the gateway has written its wake")

    def gates(self, name: str = "box") -> Gates:
        return self.controller.gates(name)

    def pod(self, name: str = "box") -> Pod:
        return self.controller.pod(name)

    def is_up(self, name: str) -> bool:
        """Return whether the controller has told that a sandbox is ready."""
        lives = self.controller.lives.values()
        return any(life.name == name and life.stage is Stage.READY for life in lives)

    async def generation(self, name: str = "box") -> int:
        """Return how often the spec of a sandbox was written."""
        obj = await self.api.get(name)
        generation: int = obj["metadata"]["generation"]
        return generation

    async def ask(
        self, name: str = "box", method: str = "GET", path: str = "/", **options: Any
    ) -> httpx.Response:
        """Send one request through the gateway, once."""
        headers = options.pop("naming", None) or self.naming(name)
        headers = headers | options.pop("headers", {})
        transport = httpx.AsyncHTTPTransport(retries=0, verify=False)
        async with httpx.AsyncClient(transport=transport, timeout=DEADLINE) as client:
            url = self.gateway.data + path
            return await client.request(method, url, headers=headers, **options)

    def naming(self, name: str = "box") -> dict[str, str]:
        """Return the headers that name a sandbox by its id, and its port."""
        return {
            "e2b-sandbox-id": f"{self.namespace}--{name}",
            "e2b-sandbox-port": str(self.pods.port),
        }

    def naming_by_name(self, name: str = "box") -> dict[str, str]:
        """Return the headers that name it as agent-sandbox's clients do."""
        return {
            "X-Sandbox-ID": name,
            "X-Sandbox-Namespace": self.namespace,
            "X-Sandbox-Port": str(self.pods.port),
        }
