"""An informant on a real socket. It keeps to the protocol, unless a test has it do otherwise."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from types import TracebackType

    from .misdeeds import Act

V1_1: Final = 2
V2_0: Final = 4

#: How much a guest says that it uses.
METRICS: Final = """\
# HELP host_load1 Busy CPUs over one minute.
# TYPE host_load1 gauge
host_load1 {load1}
# TYPE host_load5 gauge
host_load5 {load5}
# TYPE host_memory_total_bytes gauge
host_memory_total_bytes {total}
# TYPE host_memory_available_bytes gauge
host_memory_available_bytes {available}
"""


@dataclass
class Agent:
    """An agent that has registered: how it is called, and the numbers of its answers."""

    id: str
    serve_addr: str
    numbers: list[int] = field(default_factory=list)


class FakeInformant:
    """An async context: inside it it listens on a port of loopback.

    The newest agent is listened to. `heard` is what agents said, by path. `instead` has a path
    answered by a test. `refusal`: why a downscale is refused; None: it is not. With `asks_id` off
    it takes an agent without asking who that is; with `resumes` off it listens to none.
    """

    def __init__(self, *, asks_id: bool = True, resumes: bool = True, version: int = V2_0) -> None:
        self.asks_id, self.resumes, self.version = asks_id, resumes, version
        self.agents: list[Agent] = []
        self.heard: list[tuple[str, Any]] = []
        self.instead: dict[str, Act] = {}
        self.refusal: str | None = None
        self.load1, self.load5, self.total, self.available = 0.5, 0.25, 4 * 1024**3, 1024**3
        self.metrics_method: dict[str, Any] | None = None
        self.port = 0
        self._tasks: set[asyncio.Task[int]] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        application = web.Application()
        for method, path, act in (
            ("POST", "/register", self._register),
            ("PUT", "/health-check", self._check_health),
            ("PUT", "/downscale", self._downscale),
            ("PUT", "/upscale", self._upscale),
            ("DELETE", "/unregister", self._unregister),
            ("GET", "/metrics", self._show_metrics),
        ):
            application.router.add_route(method, path, self._scripted(path, act))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
        await self._runner.cleanup()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    @property
    def current(self) -> Agent:
        """The agent that is listened to."""
        return self.agents[-1]

    def said(self, path: str) -> list[Any]:
        """Return what agents said by a path."""
        return [body for heard, body in self.heard if heard == path]

    def numbers(self) -> list[int]:
        """Return the sequence numbers of all commands."""
        commands = self.said("/downscale") + self.said("/upscale")
        return sorted(one["sequenceNumber"] for one in commands)

    # ---- what it says to agents -----------------------------------------------------------------

    async def call(
        self, path: str, agent: Agent | None = None, method: str = "POST", **said: Any
    ) -> int:
        """Say something to an agent, the current one unless told; return the status."""
        agent = agent or self.current
        said = {"expectedID": agent.id} | said
        async with self._session.request(
            method, f"http://{agent.serve_addr}{path}", json=None if method == "GET" else said
        ) as response:
            if response.status == 200:
                answer = await response.json()
                assert answer["data"] == {"agentID": agent.id}
                agent.numbers.append(answer["sequenceNumber"])
            return response.status

    async def identify(self, agent: Agent | None = None) -> int:
        """Ask an agent who it is."""
        return await self.call("/id", agent, "GET")

    async def resume(self, agent: Agent | None = None) -> int:
        """Tell an agent that it is listened to."""
        return await self.call("/resume", agent)

    async def suspend(self, agent: Agent | None = None) -> int:
        """Tell an agent that another one is listened to."""
        return await self.call("/suspend", agent)

    async def want(self, *, cpu: bool = False, memory: bool = False) -> int:
        """Ask the current agent for more."""
        return await self.call("/try-upscale", cpu=cpu, memory=memory)

    # ---- what agents say to it ------------------------------------------------------------------

    def _scripted(self, path: str, usual: Act) -> Act:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            self.heard.append((path, json.loads(body) if body else None))
            return await self.instead.get(path, usual)(request)

        return handle

    async def _register(self, request: web.Request) -> web.StreamResponse:
        desc = await request.json()
        agent = Agent(desc["agentID"], desc["agentServeAddr"])
        if not desc["minProtoVersion"] <= self.version <= desc["maxProtoVersion"]:
            raise web.HTTPBadRequest(text=f"version {self.version} is spoken here")
        if self._find(agent.id) is not None:
            raise web.HTTPConflict
        if self.asks_id and await self.identify(agent) != 200:
            raise web.HTTPBadRequest(text="it does not answer to its id")
        former = self.agents[-1] if self.agents else None
        self.agents.append(agent)
        if self.resumes:
            self._later(self.resume(agent))
            if former is not None:
                self._later(self.suspend(former))
        method = {"prometheus": {"port": self.port}}
        if self.metrics_method is not None:
            method = self.metrics_method
        return web.json_response({"protoVersion": self.version, "metricsMethod": method})

    async def _check_health(self, request: web.Request) -> web.StreamResponse:
        self._known(await request.json())
        return web.json_response({})

    async def _downscale(self, request: web.Request) -> web.StreamResponse:
        self._known((await request.json())["data"]["id"])
        status = "there is room" if self.refusal is None else self.refusal
        return web.json_response({"Ok": self.refusal is None, "Status": status})

    async def _upscale(self, request: web.Request) -> web.StreamResponse:
        self._known((await request.json())["data"]["id"])
        return web.json_response({})

    async def _unregister(self, request: web.Request) -> web.StreamResponse:
        agent = self._known(await request.json())
        was_active = agent is self.current
        self.agents.remove(agent)
        if was_active and self.agents and self.resumes:
            self._later(self.resume(self.current))
        return web.json_response({"wasActive": was_active})

    async def _show_metrics(self, _: web.Request) -> web.StreamResponse:
        return web.Response(
            text=METRICS.format(
                load1=self.load1, load5=self.load5, total=self.total, available=self.available
            )
        )

    def _known(self, identification: dict[str, Any]) -> Agent:
        agent = self._find(identification["agentID"])
        if agent is None:
            raise web.HTTPNotFound
        return agent

    def _find(self, agent_id: str) -> Agent | None:
        return next((one for one in self.agents if one.id == agent_id), None)

    def _later(self, call: Any) -> None:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
