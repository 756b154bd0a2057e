"""Spans kept where tests see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

from gateway.telemetry.opentelemetry import OpenTelemetryTracer

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span


class Spans(SpanProcessor):
    """Keeps the recorded spans: how many are `open`, and those that have `ended`, in order."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.ended: list[ReadableSpan] = []

    def tracer(self, ratio: float = 1.0) -> OpenTelemetryTracer:
        return OpenTelemetryTracer(self, ratio)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.open.append(span.name)

    def on_end(self, span: ReadableSpan) -> None:
        self.open.remove(span.name)
        self.ended.append(span)

    def called(self, name: str) -> list[ReadableSpan]:
        return [one for one in self.ended if one.name == name]

    def only(self, name: str) -> ReadableSpan:
        """Return the one span of this name."""
        (span,) = self.called(name)
        return span


def facts(span: ReadableSpan) -> dict[str, object]:
    """Return what a span tells."""
    return dict(span.attributes or {})


def trace_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def seconds(span: ReadableSpan) -> float:
    """Return how long it took."""
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def within(inner: ReadableSpan, outer: ReadableSpan) -> bool:
    """Return whether one span took place within the time of another."""
    assert outer.start_time is not None
    assert outer.end_time is not None
    assert inner.start_time is not None
    assert inner.end_time is not None
    return outer.start_time <= inner.start_time <= inner.end_time <= outer.end_time
