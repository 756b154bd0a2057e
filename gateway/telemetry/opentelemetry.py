"""Spans recorded by OpenTelemetry and sent to a collector; nothing else here knows its libraries.

Sending is the business of a thread of the SDK: a collector that is slow or away costs spans, which
are counted, and no request waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway import __version__
from gateway.telemetry.tracing import CANCELLED, Span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry import trace
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.sdk.trace.sampling import Sampler

    from gateway.telemetry.instruments import Instruments
    from gateway.telemetry.tracing import Attributes

#: Spans that wait to be sent; what comes above that is dropped.
MAX_WAITING: Final = 4096
#: How long the last spans may take to be sent when the gateway ends, in seconds.
LAST_WORDS: Final = 2.0

#: Where a collector takes spans (OpenTelemetry Protocol, OTLP/HTTP request).
_PATH: Final = "/v1/traces"

_TRACEPARENT: Final = b"traceparent"
_TRACESTATE: Final = b"tracestate"
_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()


class RecordedSpan(Span):
    """A span of the SDK. Unsampled ones are not sent, but are parents of what follows all the same.

    Its `epoch` is the wall clock's value at monotonic time 0, in nanoseconds, shared by a whole
    tree: a wall clock that is set meanwhile does not bend it.
    """

    __slots__ = ("_epoch", "_inside", "_span", "_tracer")

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        parent: Context,
        kind: SpanKind,
        link: Span | None = None,
        epoch: int | None = None,
    ) -> None:
        self._tracer = tracer
        self._epoch = time.time_ns() - time.monotonic_ns() if epoch is None else epoch
        links = [Link(link.context)] if isinstance(link, RecordedSpan) else []
        self._span = tracer.start_span(name, parent, kind, links=links, start_time=self._now())
        self._inside = set_span_in_context(self._span, parent)

    @property
    def context(self) -> trace.SpanContext:
        """What others know it by."""
        return self._span.get_span_context()

    @property
    def trace_id(self) -> str:
        return f"{self.context.trace_id:032x}"

    @property
    def lines(self) -> bytes:
        fields: dict[str, str] = {}
        _TRACE_CONTEXT.inject(fields, self._inside)
        return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode("ascii")

    def child(self, name: str, link: Span | None = None) -> Span:
        return RecordedSpan(
            self._tracer, name, self._inside, SpanKind.INTERNAL, link, epoch=self._epoch
        )

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def end(self, failure: str | None = None) -> None:
        if failure is not None:
            self._span.set_attribute("error.type", failure)
            if failure != CANCELLED:
                self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(self._now())

    def _now(self) -> int:
        return self._epoch + time.monotonic_ns()


class OpenTelemetryTracer:
    """Records spans and hands them to a processor.

    A request is recorded if its client's span was, and `ratio` of those whose client has none.
    Every wake is: they are few, and each may be what a recorded request waited for.
    """

    field_names: Final = frozenset({_TRACEPARENT, _TRACESTATE})

    def __init__(self, processor: SpanProcessor, ratio: float) -> None:
        self._processor = processor
        self._requests = _tracer(ParentBased(TraceIdRatioBased(ratio)), processor)
        self._wakes = _tracer(ALWAYS_ON, processor)
        # It would log the header fields that it cannot read, which is for clients to decide.
        logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)

    def request(self, fields: Mapping[bytes, list[bytes]]) -> Span:
        return RecordedSpan(self._requests, "request", _parent(fields), SpanKind.SERVER)

    def wake(self, cause: Span) -> Span:
        return RecordedSpan(self._wakes, "wake", Context(), SpanKind.INTERNAL, cause)

    async def close(self) -> None:
        """Send what is left, in LAST_WORDS at most; spans that end later are lost."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._processor.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop may have ended before
                loop.call_soon_threadsafe(done.set)

        # Not in an executor, whose threads the end of the process would wait for.
        threading.Thread(target=shut_down, daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await done.wait()


def exporting(collector: str, ratio: float, instruments: Instruments) -> OpenTelemetryTracer:
    """Return a tracer whose spans are sent to the collector at this URL.

    What else the SDK's exporter takes (header fields, TLS, compression) it reads from the
    environment variables that OpenTelemetry has for that.
    """
    exporter = OTLPSpanExporter(collector.rstrip("/") + _PATH)
    return OpenTelemetryTracer(BoundedProcessor(exporter, instruments), ratio)


class CountingExporter(SpanExporter):
    """Counts what becomes of the spans that an exporter is given, in the processor's thread."""

    def __init__(self, exporter: SpanExporter, instruments: Instruments) -> None:
        self._exporter = exporter
        spans = instruments.counter(
            "trace_spans", "Spans by what became of them: sent, failed or dropped.", "outcome"
        )
        self._sent = spans.cell("sent")
        self._failed = spans.cell("failed")
        self.dropped = spans.cell("dropped")
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = self._exporter.export(spans)
        cell = self._sent if result is SpanExportResult.SUCCESS else self._failed
        cell.count += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class BoundedProcessor(BatchSpanProcessor):
    """The SDK's queue and thread; what does not fit in is dropped and counted, not logged."""

    def __init__(self, exporter: SpanExporter, instruments: Instruments) -> None:
        self._counting = CountingExporter(exporter, instruments)
        self._accepted = 0
        super().__init__(self._counting, max_queue_size=MAX_WAITING)

    def on_end(self, span: ReadableSpan) -> None:
        if self._accepted - self._counting.taken >= MAX_WAITING:
            self._counting.dropped.count += 1
            return
        self._accepted += 1
        super().on_end(span)


def _tracer(sampler: Sampler, processor: SpanProcessor) -> trace.Tracer:
    ours = {
        "service.name": "sandbox-gateway",
        "service.version": __version__,
        "service.instance.id": os.uname().nodename,
    }
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first.
    resource = Resource(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider.get_tracer("sandbox_gateway", __version__)


def _parent(fields: Mapping[bytes, list[bytes]]) -> Context:
    """Return the context of the client's span, empty if it names none that is legal.

    More than one traceparent is as illegal as an unreadable one, and without it tracestate says
    nothing (Trace Context §3.2, §3.3).
    """
    if len(fields.get(_TRACEPARENT, ())) != 1:
        return Context()
    given = {
        str(name, "ascii"): [str(value, "latin-1") for value in fields[name]]
        for name in (_TRACEPARENT, _TRACESTATE)
        if name in fields
    }
    return _TRACE_CONTEXT.extract(given, Context())
