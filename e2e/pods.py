"""Workloads of sandboxes: real HTTP servers on loopback addresses of their own.

Where a pod was and is no more, something listens that must never be reached.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from .programs import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_NETWORK: Final = 10
#: Connections that a pod's kernel takes before the pod does: all of a thousand that come at once.
_BACKLOG: Final = 4096
#: What a large answer is written in.
_PIECE: Final = bytes(2**18)


@dataclass(slots=True)
class Pod:
    """One life of a sandbox's workload, and what it was asked."""

    sandbox: str
    ip: str
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    requests: list[web.BaseRequest] = field(default_factory=list)
    #: Lets the second server-sent event go.
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Tell who answers and how many asked; `/echo` gives the body back, `/events` streams.

        `/large/N` is N bytes long, and `/count` tells how many bytes it was sent.
        """
        self.requests.append(request)
        if request.path == "/events":
            return await self._stream(request)
        if request.path == "/echo":
            return web.Response(body=await request.read(), headers={"X-Pod": self.uid})
        if request.path.startswith("/large/"):
            return await self._pour(request, int(request.path.rpartition("/")[2]))
        if request.path == "/count":
            count = sum([len(piece) async for piece in request.content.iter_any()])
            return web.Response(text=str(count))
        told = {"sandbox": self.sandbox, "pod": self.uid, "requests": len(self.requests)}
        return web.json_response(told)

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await self.more.wait()
        await response.write(b"data: second\n\n")
        return response

    async def _pour(self, request: web.BaseRequest, size: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        for begin in range(0, size, len(_PIECE)):
            await response.write(_PIECE[: size - begin])
        return response


class Pods(Protocol):
    """Where the workloads of a world run. `trespasses` counts what reached a pod that is over."""

    port: int
    trespasses: int

    def make(self, sandbox: str, ip: str | None = None) -> Pod:
        """Return a pod that does not listen yet; None: with an address that no other ever had."""

    async def open(self, pod: Pod) -> None:
        """Let it listen."""

    async def shut(self, pod: Pod) -> None:
        """Let it listen no more, as if its node was lost; its connections break."""

    async def retire(self, pod: Pod) -> None:
        """End it; from now on its address is somewhere nobody should go."""

    async def take_over(self, pod: Pod) -> None:
        """Let it listen where a retired one did."""

    async def close(self) -> None:
        """End everything."""


def _addresses() -> Iterator[str]:
    numbers = itertools.product(range(_FIRST_NETWORK, 250), range(1, 250), range(1, 250))
    return (f"127.{first}.{second}.{third}" for first, second, third in numbers)


_FRESH: Final = _addresses()


class SeparatePods:
    """A server for each pod."""

    def __init__(self) -> None:
        self.port = free_port()
        self.trespasses = 0
        self._open: dict[str, web.ServerRunner] = {}
        self._retired: dict[str, asyncio.Server] = {}

    def make(self, sandbox: str, ip: str | None = None) -> Pod:
        return Pod(sandbox, ip or next(_FRESH))

    async def open(self, pod: Pod) -> None:
        runner = web.ServerRunner(web.Server(pod.answer, access_log=None), shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, pod.ip, self.port, backlog=_BACKLOG).start()
        self._open[pod.uid] = runner

    async def shut(self, pod: Pod) -> None:
        runner = self._open.pop(pod.uid, None)
        if runner is not None:
            await runner.cleanup()

    async def retire(self, pod: Pod) -> None:
        await self.shut(pod)
        self._retired[pod.ip] = await asyncio.start_server(self._trespass, pod.ip, self.port)

    async def take_over(self, pod: Pod) -> None:
        retired = self._retired.pop(pod.ip)
        retired.close()
        await retired.wait_closed()
        await self.open(pod)

    async def close(self) -> None:
        for runner in self._open.values():
            await runner.cleanup()
        for server in self._retired.values():
            server.close()
            await server.wait_closed()

    def _trespass(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.trespasses += 1
        writer.close()


class SharedPods:
    """One server for all pods, which tells them apart by the address that was dialled."""

    def __init__(self) -> None:
        self.port = free_port()
        self.trespasses = 0
        self._open: dict[str, Pod] = {}
        self._runner: web.ServerRunner | None = None

    def make(self, sandbox: str, ip: str | None = None) -> Pod:
        return Pod(sandbox, ip or next(_FRESH))

    async def open(self, pod: Pod) -> None:
        self._open[pod.ip] = pod
        if self._runner is None:
            self._runner = web.ServerRunner(
                web.Server(self._answer, access_log=None), shutdown_timeout=0.5
            )
            await self._runner.setup()
            await web.TCPSite(self._runner, "0.0.0.0", self.port, backlog=_BACKLOG).start()

    async def shut(self, pod: Pod) -> None:
        self._open.pop(pod.ip, None)

    async def retire(self, pod: Pod) -> None:
        await self.shut(pod)

    async def take_over(self, pod: Pod) -> None:
        await self.open(pod)

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        pod = self._open.get(request.transport.get_extra_info("sockname")[0])
        if pod is None:
            self.trespasses += 1
            return web.Response(status=500)
        return await pod.answer(request)
