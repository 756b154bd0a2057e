"""Where a request's time goes, told as spans: what the rest of the gateway knows of tracing.

Who records them is `gateway.telemetry.opentelemetry`, which is loaded only where traces are wanted.
Query strings, header values, credentials, addresses of clients and bodies are never in a span.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from gateway.sandbox.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from gateway.sandbox.model import Route

#: What a span tells, by the names of OpenTelemetry's conventions where they have one.
Attributes: TypeAlias = "Mapping[str, str | int | float | bool]"

#: How a span ended whose work was given up: its client left, or its time was up.
CANCELLED: Final = "cancelled"


class Span:
    """Something that takes time, from its making to `end`, which must follow exactly once.

    As a context manager it ends with its body, by what the body raises. This one is recorded
    nowhere: it stands where nothing is traced.
    """

    __slots__ = ()

    @property
    def trace_id(self) -> str:
        """The trace it belongs to: 32 hexadecimal digits."""
        return ""

    @property
    def lines(self) -> bytes:
        """The header lines that make it the parent of what their receiver does (Trace Context)."""
        return b""

    def child(self, name: str, link: Span | None = None) -> Span:
        """Begin a part of this; `link` is a span of another trace that it depends on."""
        del name, link
        return self

    def note(self, attributes: Attributes) -> None:
        """Tell more about it."""

    def end(self, failure: str | None = None) -> None:
        """End it; `failure` is one of few words for what went wrong."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self.end(None if error is None else failure_of(error))


NO_SPAN: Final = Span()


class Tracer(Protocol):
    """Begins the spans that have none of ours above them."""

    @property
    def field_names(self) -> frozenset[bytes]:
        """The request header fields that it reads and replaces, in lower case."""

    def request(self, fields: Mapping[bytes, list[bytes]]) -> Span:
        """Begin the span of a request with these fields, which may name the client's span."""

    def wake(self, cause: Span) -> Span:
        """Begin the span of a wake that the request with the span `cause` set off."""


def failure_of(error: BaseException) -> str:
    """Return the word for what was raised; its text, which may hold anything, stays out."""
    if isinstance(error, GatewayError):
        return error.reason
    return CANCELLED if isinstance(error, asyncio.CancelledError) else type(error).__name__


def of_sandbox(route: Route) -> Attributes:
    """Return what tells which sandbox a span is about."""
    return {
        "sandbox.namespace": route.key.namespace,
        "sandbox.name": route.key.name,
        "sandbox.uid": route.uid,
    }
