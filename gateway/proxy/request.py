"""A request on its way through the proxy, and what the server is told when it is done with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gateway.telemetry.tracing import NO_SPAN

if TYPE_CHECKING:
    import asyncio

    from gateway.proxy.admission import Admitted
    from gateway.proxy.body import RequestBody
    from gateway.proxy.client import Connection
    from gateway.proxy.message import RequestHead
    from gateway.sandbox.errors import GatewayError
    from gateway.telemetry.tracing import Span


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


#: How requests end. `answered`: the sandbox answered; `local`: the gateway did, as asked;
#: `refused`: an error was answered, by its reason; `broken`: a response was broken off;
#: `gone`: the client left first.
ANSWERED: Final = "answered"
LOCAL: Final = "local"
REFUSED: Final = "refused"
BROKEN: Final = "broken"
GONE: Final = "gone"

#: What is logged for a client that left before it was answered; no such status is ever sent.
CLIENT_CLOSED: Final = 499


class Use(Protocol):
    """What a request that uses its sandbox holds, and gives back once."""

    def leave(self, now: float) -> None:
        """End it; `now` is by the loop's clock."""


class Request:
    """A request as the proxy gets it, and what is known of its fate so far.

    `head` is an error where the bytes were no request: it answers it. `again`: it has been sent in
    vain before. `began` is in seconds of the loop's clock. `wake_seconds` None: it did not wait.
    `usage` None: it counts as no use of its sandbox, or not yet, or not any more.
    """

    __slots__ = (
        "_task",
        "admitted",
        "again",
        "began",
        "body",
        "bytes_down",
        "bytes_up",
        "connection",
        "head",
        "outcome",
        "reason",
        "span",
        "status",
        "usage",
        "wake_seconds",
    )

    def __init__(
        self,
        head: RequestHead | GatewayError,
        body: RequestBody,
        connection: Connection,
        task: asyncio.Task[None] | None = None,
    ) -> None:
        self.head = head
        self.body = body
        self.connection = connection
        self.again = False
        self.began = 0.0
        self.admitted: Admitted | None = None
        self.usage: Use | None = None
        self.wake_seconds: float | None = None
        self.outcome = BROKEN
        self.reason = ""
        self.span: Span = NO_SPAN
        self.status = self.bytes_up = self.bytes_down = 0
        self._task = task

    def answered(self) -> None:
        """The sandbox's response was relayed to its end."""
        self.outcome = ANSWERED

    def refused(self, error: GatewayError) -> None:
        """An error was answered."""
        self.outcome = REFUSED
        self.reason = error.reason
        self.status = error.status

    def answered_here(self, status: int) -> None:
        """The gateway answered for itself."""
        self.outcome = LOCAL
        self.status = status

    def leave(self, now: float) -> None:
        """Give back the use that it counts as, if it does; `now` is by the loop's clock."""
        usage, self.usage = self.usage, None
        if usage is not None:
            usage.leave(now)

    def client_gone(self) -> None:
        """The client left."""
        self.outcome = GONE
        self.status = self.status or CLIENT_CLOSED

    def _finish(self) -> None:
        """Called by aiohttp when the handler has returned."""

    def _cancel(self, exc: BaseException) -> None:
        """Called by aiohttp when the client left; `Connection.connection_lost` sees to it."""
