"""An agent as an informant meets it: an HTTP server that notes what it is told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.resize.misdeeds import Act

V2_0 = 4


@dataclass
class FakeAgent:
    """Answers as it should, but where `answers` has something else for a path."""

    id: UUID = field(default_factory=uuid4)
    sequence: int = 0
    told: list[tuple[str, Any]] = field(default_factory=list)
    answers: dict[str, Act] = field(default_factory=dict)
    address: str = ""

    @property
    def paths(self) -> list[str]:
        """What it was told, but for being asked for its id."""
        return [path for path, _ in self.told if path != "/id"]

    def next(self) -> int:
        self.sequence += 1
        return self.sequence

    def desc(self, oldest: int = 1, newest: int = V2_0) -> dict[str, Any]:
        return {
            "agentID": str(self.id),
            "agentServeAddr": self.address,
            "minProtoVersion": oldest,
            "maxProtoVersion": newest,
        }

    def size(self, cpu: str = "1", memory: str = "1Gi", number: int | None = None) -> Any:
        return {
            "data": {"cpu": cpu, "memory": memory, "id": {"agentID": str(self.id)}},
            "sequenceNumber": self.next() if number is None else number,
        }

    def identification(self, number: int | None = None) -> Any:
        return {
            "data": {"agentID": str(self.id)},
            "sequenceNumber": self.next() if number is None else number,
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix(f"/agents/{self.id}")
        body = await request.json() if request.method == "POST" else None
        self.told.append((path, body))
        answer = self.answers.get(path)
        if answer is not None:
            return await answer(request)
        if body is not None and body["expectedID"] != str(self.id):
            return web.Response(status=404)
        return web.json_response(self.identification())


@asynccontextmanager
async def serving(agent: FakeAgent | None = None) -> AsyncIterator[FakeAgent]:
    """Serve an agent on loopback, below a path of its own."""
    agent = agent or FakeAgent()
    application = web.Application()
    base = f"/agents/{agent.id}"
    for path in ("/id", "/moved"):
        application.router.add_get(base + path, agent.handle, allow_head=False)
    for path in ("/suspend", "/resume", "/try-upscale", "/moved"):
        application.router.add_post(base + path, agent.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    agent.address = f"127.0.0.1:{runner.addresses[0][1]}{base}"
    try:
        yield agent
    finally:
        await runner.cleanup()
