"""What is counted and logged of each request, exactly once, whatever becomes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from gateway.sandbox.errors import GatewayError
from gateway.telemetry.access_log import MAX_PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.exchange import Exchange
    from gateway.proxy.reach import Journey
    from gateway.proxy.request import Request
    from gateway.telemetry.access_log import AccessLog
    from gateway.telemetry.instruments import Instruments

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


class Entry:
    """What is known of one request so far."""

    __slots__ = (
        "began",
        "bytes_down",
        "bytes_up",
        "journey",
        "outcome",
        "reason",
        "request",
        "status",
    )  # fmt: skip

    def __init__(self, request: Request, began: float) -> None:
        self.request = request
        self.began = began
        self.outcome = BROKEN
        self.reason = ""
        self.status = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.journey: Journey | None = None

    def admitted(self, journey: Journey) -> None:
        """The request may go to a sandbox."""
        self.journey = journey

    def answered(self) -> None:
        """The sandbox's response was relayed to its end."""
        self.outcome = ANSWERED
        self.reason = ""

    def saw(self, exchange: Exchange) -> None:
        """Take what an exchange moved, however it ended."""
        self.status = exchange.status
        self.bytes_up += exchange.bytes_up
        self.bytes_down += exchange.bytes_down

    def refused(self, error: GatewayError) -> None:
        """An error was answered."""
        self.outcome = REFUSED
        self.reason = error.reason
        self.status = error.status

    def answered_here(self, status: int) -> None:
        """The gateway answered for itself."""
        self.outcome = LOCAL
        self.status = status

    def client_gone(self) -> None:
        """The client left."""
        self.outcome = GONE
        self.status = self.status or CLIENT_CLOSED


class Journal:
    """Counts requests and writes the access log."""

    def __init__(
        self,
        instruments: Instruments,
        access_log: AccessLog | None,
        clock: Callable[[], float],
    ) -> None:
        """Without an access log nothing is formatted. `clock` tells epoch seconds."""
        self._log = access_log
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.in_flight = 0
        self._requests = instruments.counter(
            "requests", "Requests, by how they ended and why.", "outcome", "reason"
        )
        for outcome in (LOCAL, BROKEN, GONE):
            self._requests.prime(outcome, "")
        self._answered = self._requests.cell(ANSWERED, "")
        self._seconds = instruments.histogram(
            "request_duration_seconds", "From a request's head to its answer's end, in seconds."
        )
        instruments.gauge(
            "requests_in_flight", "Requests under way now.", lambda: float(self.in_flight)
        )

    def begin(self, request: Request) -> Entry:
        """Start counting a request; `end` or `forget` must follow."""
        self.in_flight += 1
        return Entry(request, self._loop.time())

    def forget(self) -> None:
        """Undo one `begin`: the request is begun anew."""
        self.in_flight -= 1

    def end(self, entry: Entry) -> None:
        """Count a request as done and log it."""
        self.in_flight -= 1
        seconds = self._loop.time() - entry.began
        if entry.outcome is ANSWERED:
            self._answered.count += 1
        else:
            self._requests.inc(entry.outcome, entry.reason)
        self._seconds.observe(seconds)
        if self._log is not None:
            self._log.write(_record(entry, seconds), self._clock() - seconds)


def _record(entry: Entry, seconds: float) -> dict[str, Any]:
    request = entry.request
    head = request.head
    record: dict[str, Any] = {
        "peer": request.connection.peer.address,
        "status": entry.status,
        "outcome": entry.outcome,
        "duration_ms": round(seconds * 1000, 3),
        "bytes_up": entry.bytes_up,
        "bytes_down": entry.bytes_down,
    }
    if not isinstance(head, GatewayError):
        path = head.target.partition(b"?")[0][:MAX_PATH]
        record |= {"method": head.method.decode("latin-1"), "path": path.decode("latin-1")}
    if entry.reason:
        record["reason"] = entry.reason
    journey = entry.journey
    if journey is not None:
        route = journey.admitted.route
        record |= {"sandbox": str(route.key), "uid": route.uid, "port": journey.admitted.port}
        if journey.wake_seconds is not None:
            record["wake_ms"] = round(journey.wake_seconds * 1000, 3)
    return record
