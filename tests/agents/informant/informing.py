"""An informant that runs on loopback, and what an agent can ask of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from gateway.agents.informant.informant import Informant, InformantConfig
from gateway.resize.guest.sources import Place
from tests.conformance.harness import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.agents.informant.fake_agent import FakeAgent
    from tests.agents.informant.tree import Tree


@dataclass
class Reply:
    """What an informant has answered; a body that is no JSON is in the text alone."""

    status: int
    text: str
    json: Any = None


class Asker:
    """Asks an informant."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.port = port
        self._session = session

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """Send JSON, or bytes as they are."""
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self._session.request(method, url, **sent) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return Reply(response.status, text, await response.json() if is_json else None)

    async def register(self, agent: FakeAgent) -> Reply:
        return await self.ask("POST", "/register", agent.desc())

    async def unregister(self, agent: FakeAgent) -> Reply:
        return await self.ask("DELETE", "/unregister", agent.desc())

    async def is_well(self, agent: FakeAgent) -> int:
        reply = await self.ask("PUT", "/health-check", {"agentID": str(agent.id)})
        return reply.status

    async def upscale(self, agent: FakeAgent, number: int | None = None) -> Reply:
        return await self.ask("PUT", "/upscale", agent.size(number=number))

    async def downscale(self, agent: FakeAgent, memory: str) -> Reply:
        return await self.ask("PUT", "/downscale", agent.size(memory=memory))

    async def metrics(self) -> dict[str, float]:
        text = (await self.ask("GET", "/metrics")).text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


@asynccontextmanager
async def informing(
    tree: Tree, place: Place = Place.AUTO, check_every: float = 5.0, call_timeout: float = 2.0
) -> AsyncIterator[Asker]:
    """Run an informant that sees this tree."""
    informant = Informant(
        InformantConfig("127.0.0.1", 0, place, tree.root, check_every, call_timeout)
    )
    running = asyncio.create_task(informant.run())
    try:
        await eventually(lambda: informant.port or running.done())
        async with aiohttp.ClientSession() as session:
            yield Asker(informant.port, session)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
