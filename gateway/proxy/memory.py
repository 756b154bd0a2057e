"""What all client connections keep in memory together, and the bound of it.

Each connection bounds itself: a head, a read, a body's first bytes, what a slow reader has not
taken. Twenty thousand times that is more than a machine has, so the sum is bounded as well. Only
what stays is counted: a request that comes whole and goes on at once never is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.proxy.body import RequestBody
from gateway.proxy.message import RequestHead
from gateway.proxy.request import Request

if TYPE_CHECKING:
    from gateway.telemetry.instruments import Instruments


@dataclass(slots=True)
class Share:
    """What one connection keeps, in bytes, when it was counted last."""

    bytes: int = 0


def kept_by(head: object, body: object) -> int:
    """Return about how many bytes a request keeps, as the server queues it or in its own form."""
    if isinstance(head, Request):
        head = head.head
    size = head.size if isinstance(head, RequestHead) else 0
    return size + (body.kept_bytes if isinstance(body, RequestBody) else 0)


class Memory:
    """The sum over all connections."""

    def __init__(self, limit: int, instruments: Instruments) -> None:
        """`limit` in bytes."""
        self._limit = limit
        self.held = 0
        let_go = instruments.counter(
            "client_connections_shed",
            "Clients let go because too many were connected or too much memory was held.",
            "cause",
        )
        self.too_many = let_go.cell("connections")
        self._too_much = let_go.cell("memory")
        instruments.gauge(
            "client_buffered_bytes",
            "What is kept of unfinished requests and of what slow clients have not taken.",
            lambda: self.held,
        )

    def count(self, share: Share, now: int) -> bool:
        """Take down what a connection keeps now; return whether there is room for it.

        Who keeps less than before is never the one that there is no room for.
        """
        grown = now > share.bytes
        self.held += now - share.bytes
        share.bytes = now
        if grown and self.held > self._limit:
            self._too_much.count += 1
            return False
        return True
