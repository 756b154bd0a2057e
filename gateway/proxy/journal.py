"""What is counted and logged of each request, exactly once, whatever becomes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.proxy.request import ANSWERED, BROKEN, GONE, LOCAL
from gateway.sandbox.errors import GatewayError
from gateway.telemetry.access_log import MAX_PATH
from gateway.telemetry.tracing import NO_SPAN

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.request import Request
    from gateway.telemetry.access_log import AccessLog
    from gateway.telemetry.instruments import Instruments


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

    def begin(self, request: Request) -> None:
        """Start counting a request; `end` or `forget` must follow."""
        self.in_flight += 1
        request.began = self._loop.time()

    def forget(self, request: Request) -> None:
        """Undo one `begin`: the request is begun anew, and admitted anew."""
        self.in_flight -= 1
        request.leave(self._loop.time())

    def end(self, request: Request, now: float) -> None:
        """Count a request as done and log it. `now` is by the loop's clock, as `began` is."""
        self.in_flight -= 1
        usage = request.usage  # As `leave` does, without the call: this is on every request's path.
        if usage is not None:
            request.usage = None
            usage.leave(now)
        seconds = now - request.began
        if request.outcome is ANSWERED:
            self._answered.count += 1
        else:
            self._requests.inc(request.outcome, request.reason)
        self._seconds.observe(seconds)
        if self._log is not None:
            self._log.write(_record(request, seconds), self._clock() - seconds)


def _record(request: Request, seconds: float) -> dict[str, Any]:
    head, admitted = request.head, request.admitted
    record: dict[str, Any] = {
        "peer": request.connection.peer.address,
        "status": request.status,
        "outcome": request.outcome,
        "duration_ms": int(seconds * 1e6) / 1000,
        "bytes_up": request.bytes_up,
        "bytes_down": request.bytes_down,
    }
    if not isinstance(head, GatewayError):
        record["method"] = str(head.method, "latin-1")
        record["path"] = str(head.target.partition(b"?")[0][:MAX_PATH], "latin-1")
    if request.reason:
        record["reason"] = request.reason
    if admitted is not None:
        route = admitted.route
        key = route.key
        record["sandbox"] = f"{key.namespace}/{key.name}"
        record["uid"] = route.uid
        record["port"] = admitted.port
    if request.wake_seconds is not None:
        record["wake_ms"] = round(request.wake_seconds * 1000, 3)
    if request.span is not NO_SPAN:
        record["trace_id"] = request.span.trace_id
    return record
