"""Asks a guest by HTTP, just before its standby, whether it may sleep."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway.sandbox.errors import SandboxUnreachable
from gateway.upstream.pool import DialRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sandbox.errors import GatewayError
    from gateway.sandbox.model import Route
    from gateway.sandbox.standby import StandbyCheck
    from gateway.upstream.connection import UpstreamConnection
    from gateway.upstream.response import ResponseHead


class Connector(Protocol):
    """What connects to sandboxes."""

    async def connect(self, route: Route, port: int) -> UpstreamConnection:
        """Return a connection; raise DialRefused or SandboxUnreachable."""


class GuestCheck:
    """Asks for the path that the object names: 2xx means that the guest may sleep."""

    def __init__(self, connector: Connector, timeout: float) -> None:
        """`timeout`: seconds for all of it; no answer within them is a no."""
        self._connector = connector
        self._timeout = timeout

    async def may_sleep(self, route: Route, check: StandbyCheck) -> bool:
        """Return whether the guest agrees."""
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._connector.connect(route, check.port)
                try:
                    return 200 <= await _asked(connection, check) < 300
                finally:
                    connection.abort()
        except (TimeoutError, DialRefused, SandboxUnreachable):
            return False


async def _asked(connection: UpstreamConnection, check: StandbyCheck) -> int:
    """Return the status of the answer; 0: there was none."""
    answer = _Answer()
    connection.begin(answer, to_head=False)
    # RFC 9112 §3.2: Host is a must. §9.6: there is no second request.
    connection.write(
        b"GET %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: sandbox-gateway\r\nConnection: close\r\n\r\n"
        % (check.path.encode("ascii"), connection.authority)
    )
    return await answer.status


class _Answer:
    """Takes the head of an answer; nobody needs the rest."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        """A 1xx is no answer yet."""

    def received(self, head: ResponseHead | None, parts: Sequence[bytes], *, ended: bool) -> None:
        """Take the status."""
        del parts, ended
        if head is not None:
            self._tell(head.status)

    def switched(self, head: ResponseHead, early: bytes) -> None:
        """Nobody asked for another protocol: that is a no."""
        del early
        self._tell(head.status)

    def tunnelled(self, data: bytes) -> None:
        """Nothing is said in it."""

    def lost(self, error: GatewayError, *, untouched: bool) -> None:
        """Take that there is no answer."""
        del error, untouched
        self._tell(0)

    def upstream_paused(self, paused: bool) -> None:
        """The request is written already."""

    def _tell(self, status: int) -> None:
        if not self.status.done():
            self.status.set_result(status)
