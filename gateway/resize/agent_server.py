"""Where informants find the agents of their sandboxes: one listener for all agents.

Any guest can connect to it. Which agent is meant the path says, by an id that only the agent's own
informant was told; so it is never logged. Who does not know one learns nothing here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from aiohttp import web

from gateway.resize.link import Call, Reply
from gateway.resize.messages import MAX_MESSAGE
from gateway.sandbox.token_bucket import TokenBucket

if TYPE_CHECKING:
    from gateway.resize.link import Link

_LOG = logging.getLogger(__name__)
#: For what arrives broken, which is each guest's own affair: none of it is to fill the log.
_UNHEARD: Final = logging.getLogger(f"{__name__}.unheard")
_UNHEARD.setLevel(logging.CRITICAL + 1)

#: Seconds that a connection lasts at most: there is one call in it.
LIFETIME: Final = 10.0
#: Connections of one address at a time. An informant needs one or two, for milliseconds; but a
#: network may have many of them come from one address.
MOST_OF_ONE: Final = 128
#: Connections at a time all in all.
MOST_OF_ALL: Final = 4096
#: Calls of one informant in a second, and at once. It needs one in five seconds, and a few more
#: when it has to choose between agents.
CALLS_A_SECOND: Final = 5.0
CALLS_AT_ONCE: Final = 20.0
_BACKLOG: Final = 1024
_STOP: Final = 1.0

_REFUSALS: Final = {
    400: b"That cannot be done.\n",
    404: b"There is no such agent.\n",
    405: b"That is done by another method.\n",
    413: b"That is too long.\n",
    429: b"That is asked too often.\n",
    500: b"The agent failed.\n",
}


class AgentServer:
    """Serves the agents that were added."""

    def __init__(self, host: str, port: int) -> None:
        """Where to listen; port 0 takes a free one."""
        self._host = host
        self._port = port
        self._links: dict[UUID, Link] = {}
        self._pace: dict[UUID, TokenBucket] = {}
        self._runner: web.ServerRunner | None = None

    async def start(self) -> tuple[str, int]:
        """Listen; return the address in fact. Raise OSError."""
        runner = web.ServerRunner(_Server(self._handle), shutdown_timeout=_STOP)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, backlog=_BACKLOG).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._host, self._port = runner.addresses[0][:2]
        return self._host, self._port

    async def stop(self) -> None:
        """Close the listener and all its connections; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def add(self, link: Link) -> None:
        """Have an agent answer from now on."""
        self._links[link.id] = link
        self._pace[link.id] = TokenBucket(CALLS_A_SECOND, CALLS_AT_ONCE, _now())

    def remove(self, link: Link) -> None:
        """Have it answer no more."""
        self._links.pop(link.id, None)
        self._pace.pop(link.id, None)

    def address_towards(self, host: str) -> str:
        """Return where this listener is found from there, as `host:port`.

        Raise OSError if there is no way from there, ValueError if that is no address.
        """
        listening = ipaddress.ip_address(self._host)
        own = str(_source_address(host) if listening.is_unspecified else listening)
        return f"[{own}]:{self._port}" if ":" in own else f"{own}:{self._port}"

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            reply, allowed = await self._answer(request)
        except Exception:  # noqa: BLE001 - the edge: every failure is answered
            _LOG.exception("an agent failed to answer its informant")
            reply, allowed = Reply(500), None
        response = web.Response(
            status=reply.status,
            body=reply.body or _REFUSALS[reply.status],
            content_type="application/json" if reply.body else "text/plain",
            headers={} if allowed is None else {"Allow": allowed},
        )
        response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> tuple[Reply, str | None]:
        """Return the reply, and the method that should have been used if it is about that."""
        link, call = self._find(request.path)
        if link is None or call is None:
            return Reply(404), None
        if request.method != call.method:
            return Reply(405), call.method
        if not self._pace[link.id].take(_now()):
            return Reply(429), None
        try:
            body = await _read(request)
        except (web.RequestPayloadError, ConnectionError):
            return Reply(400), None
        return (Reply(413) if body is None else await link.answer(call, body)), None

    def _find(self, path: str) -> tuple[Link | None, Call | None]:
        match path.split("/"):
            case ["", "agents", agent, call]:
                try:
                    return self._links.get(UUID(agent)), Call(call)
                except ValueError:
                    pass
        return None, None


class _Server(web.Server):
    """Its connections are few for each peer, and short."""

    def __init__(self, handler: Any) -> None:
        super().__init__(
            handler,
            logger=_UNHEARD,
            access_log=None,
            auto_decompress=False,
            lingering_time=_STOP,
            tcp_keepalive=False,
        )
        self._peers: dict[web.RequestHandler, tuple[str, asyncio.TimerHandle]] = {}
        self._of_one: Counter[str] = Counter()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        name = transport.get_extra_info("peername")
        peer = name[0] if name else ""
        self._of_one[peer] += 1
        has_room = len(self._peers) < MOST_OF_ALL and self._of_one[peer] <= MOST_OF_ONE
        lasts = LIFETIME if has_room else 0.0
        end = asyncio.get_running_loop().call_later(lasts, handler.force_close)
        self._peers[handler] = (peer, end)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        if handler in self._peers:
            peer, end = self._peers.pop(handler)
            end.cancel()  # else it would keep what is over for so long
            self._of_one[peer] -= 1
            if not self._of_one[peer]:
                del self._of_one[peer]


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _read(request: web.BaseRequest) -> bytes | None:
    """Return the body; None if it is too long."""
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > MAX_MESSAGE:
            return None
    return bytes(body)


def _source_address(towards: str) -> str:
    """Return the address of this machine that packets to there come from; none is sent."""
    address = ipaddress.ip_address(towards)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(address), 9))
        return str(probe.getsockname()[0])
