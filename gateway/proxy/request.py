"""A request on its way through the proxy, and what the server is told when it is done with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from gateway.proxy.body import RequestBody
    from gateway.proxy.client import Connection
    from gateway.proxy.message import RequestHead
    from gateway.sandbox.errors import GatewayError


class Done:
    """What aiohttp's server wants back for a request: here, only whether to go on."""

    __slots__ = ("keep_alive",)

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: object) -> None:
        """Do nothing: the response has been written."""

    async def write_eof(self) -> None:
        """Do nothing: the response has been written."""


KEPT: Final = Done(keep_alive=True)
CLOSED: Final = Done(keep_alive=False)


class Request:
    """A request as the proxy gets it: a head (or the error that answers it), body, connection.

    `again`: it has been sent in vain before.
    """

    __slots__ = ("_task", "again", "body", "connection", "head")

    def __init__(
        self,
        head: RequestHead | GatewayError,
        body: RequestBody,
        connection: Connection,
        task: asyncio.Task[None] | None = None,
    ) -> None:
        self.again = False
        self.head = head
        self.body = body
        self.connection = connection
        self._task = task

    def _finish(self) -> None:
        """Called by aiohttp when the handler has returned."""

    def _cancel(self, exc: BaseException) -> None:
        """Called by aiohttp when the client left; `Connection.connection_lost` sees to it."""
