"""The span of each request, begun and ended where it is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.proxy.journal import Journal
from gateway.proxy.request import BROKEN, CLIENT_CLOSED, REFUSED
from gateway.sandbox.errors import GatewayError, UpstreamReset
from gateway.telemetry.access_log import MAX_PATH
from gateway.telemetry.tracing import of_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.proxy.request import Request
    from gateway.telemetry.access_log import AccessLog
    from gateway.telemetry.instruments import Instruments
    from gateway.telemetry.tracing import Tracer

#: Methods that OpenTelemetry's conventions name; any other is _OTHER there.
_METHODS: Final = frozenset(
    {b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"}
)

#: The outcome of a request whose connection broke and which is begun anew, in a span below.
SENT_AGAIN: Final = "sent_again"

_NO_FIELDS: Final[Mapping[bytes, list[bytes]]] = {}


class TracedJournal(Journal):
    """A journal that also gives each request its span."""

    def __init__(
        self,
        instruments: Instruments,
        access_log: AccessLog | None,
        clock: Callable[[], float],
        tracer: Tracer,
    ) -> None:
        super().__init__(instruments, access_log, clock)
        self._tracer = tracer

    def begin(self, request: Request) -> None:
        super().begin(request)
        head = request.head
        if request.again:
            request.span = request.span.child("request")
        else:
            fields = _NO_FIELDS if isinstance(head, GatewayError) else head.special
            request.span = self._tracer.request(fields)

    def forget(self, request: Request) -> None:
        super().forget(request)
        request.span.note(_attributes(request) | {"gateway.outcome": SENT_AGAIN})
        request.span.end(UpstreamReset.reason)

    def end(self, request: Request, now: float) -> None:
        super().end(request, now)
        request.span.note(_attributes(request))
        request.span.end(_failure(request))


def _failure(request: Request) -> str | None:
    """Return what went wrong, if it was the gateway that had to say so."""
    if request.outcome is BROKEN:
        return BROKEN
    return request.reason if request.outcome is REFUSED and request.status >= 500 else None


def _attributes(request: Request) -> dict[str, str | int | float | bool]:
    head, admitted = request.head, request.admitted
    told: dict[str, str | int | float | bool] = {"gateway.outcome": request.outcome}
    if not isinstance(head, GatewayError):
        known = head.method in _METHODS
        told["http.request.method"] = str(head.method, "latin-1") if known else "_OTHER"
        told["url.path"] = str(head.target.partition(b"?")[0][:MAX_PATH], "latin-1")
        told["url.scheme"] = str(request.connection.peer.scheme, "ascii")
    if request.status and request.status != CLIENT_CLOSED:
        told["http.response.status_code"] = request.status
    if request.reason:
        told["gateway.reason"] = request.reason
    if admitted is not None:
        told |= of_sandbox(admitted.route)
        told["sandbox.port"] = admitted.port
    if request.wake_seconds is not None:
        told["gateway.wake_ms"] = round(request.wake_seconds * 1000, 3)
    return told
