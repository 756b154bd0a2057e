"""What agents ask of the informant, over HTTP."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.agents.informant.agents import SPOKEN
from gateway.agents.informant.errors import Refused
from gateway.agents.informant.metrics import CONTENT_TYPE
from gateway.resize.messages import (
    MAX_MESSAGE,
    AgentDesc,
    AgentIdentification,
    DownscaleResult,
    HealthCheck,
    InformantDesc,
    Message,
    MessageT,
    MetricsMethod,
    Prometheus,
    SizeMessage,
    Unreadable,
    UnregisterAgent,
    decode,
)
from gateway.sandbox.quantities import format_cpu, format_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

    from gateway.agents.informant.metrics import Counts, Metrics
    from gateway.agents.informant.roster import Roster
    from gateway.resize.guest.pressure import Memory

_LOG = logging.getLogger(__name__)

#: Seconds within which a request's body must have come, and requests have to end at the stop.
_BODY_TIMEOUT: Final = 2.0
_STOP_TIMEOUT: Final = 1.0


class Server:
    """Serves the protocol and the metrics on one port."""

    def __init__(
        self,
        roster: Roster,
        metrics: Metrics,
        counts: Counts,
        memory: Callable[[], Memory | None],
        on_upscale: Callable[[], None],
    ) -> None:
        """`memory` reads how much is in use; `on_upscale` is called when there is more."""
        self._roster = roster
        self._metrics = metrics
        self._counts = counts
        self._memory = memory
        self._on_upscale = on_upscale
        self._runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=_STOP_TIMEOUT
        )
        self._port = 0

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; return the address in fact (port 0 takes a free one). Raise OSError."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        taken = self._runner.addresses[0]
        self._port = int(taken[1])
        return str(taken[0]), self._port

    async def stop(self) -> None:
        """Close the listener and all its connections."""
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_as_answers], client_max_size=MAX_MESSAGE)
        application.router.add_post("/register", self._register)
        application.router.add_put("/health-check", self._check_health)
        application.router.add_put("/downscale", self._downscale)
        application.router.add_put("/upscale", self._upscale)
        application.router.add_delete("/unregister", self._unregister)
        application.router.add_get("/metrics", self._show_metrics)
        return application

    async def _register(self, request: web.Request) -> web.Response:
        await self._roster.register(await _read(request, AgentDesc))
        method = MetricsMethod(prometheus=Prometheus(port=self._port))
        return _answer(InformantDesc(proto_version=SPOKEN.max, metrics_method=method))

    async def _check_health(self, request: web.Request) -> web.Response:
        self._roster.check((await _read(request, AgentIdentification)).agent_id)
        return _answer(HealthCheck())

    async def _downscale(self, request: web.Request) -> web.Response:
        """Agree unless the memory in use would not have room. CPU only makes slower."""
        message = await _read(request, SizeMessage)
        self._roster.command(message)
        agreed, status = _may_become(self._memory(), message.data.memory)
        self._counts.downscales["agreed" if agreed else "refused"] += 1
        _LOG.info("less is asked for: %s", status, extra=_size(message) | {"agreed": agreed})
        return _answer(DownscaleResult(ok=agreed, status=status))

    async def _upscale(self, request: web.Request) -> web.Response:
        message = await _read(request, SizeMessage)
        self._roster.command(message)
        self._on_upscale()
        _LOG.info("there is more", extra=_size(message))
        return web.json_response({})

    async def _unregister(self, request: web.Request) -> web.Response:
        was_active = self._roster.unregister(await _read(request, AgentDesc))
        return _answer(UnregisterAgent(was_active=was_active))

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})


def _may_become(memory: Memory | None, wanted: int) -> tuple[bool, str]:
    """Return whether there may be so many bytes of memory, and how it stands."""
    if memory is None:
        return False, "how much memory is in use cannot be measured"
    status = f"{memory.used} bytes of memory are in use"
    if memory.can_become(wanted):
        return True, status
    return False, f"{status}, too much for {format_memory(wanted)}"


@web.middleware
async def _as_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals into answers."""
    try:
        return await handler(request)
    except Unreadable as error:
        return web.Response(status=400, text=str(error))
    except Refused as refused:
        _LOG.info("refused: %s", refused, extra={"path": request.path, "from": request.remote})
        return web.Response(status=refused.status, text=str(refused))


async def _read(request: web.Request, kind: type[MessageT]) -> MessageT:
    """Read a message; raise Unreadable, and what aiohttp answers to a body that is too long."""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            body = await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    return decode(body, kind)


def _answer(message: Message) -> web.Response:
    return web.Response(body=message.encode(), content_type="application/json")


def _size(message: SizeMessage) -> dict[str, str]:
    return {"cpu": format_cpu(message.data.cpu), "memory": format_memory(message.data.memory)}
