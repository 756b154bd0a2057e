"""Spans: whose children they are, which of them are recorded, and what becomes of them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from e2e.collector import Collector as RealCollector
from e2e.collector import facts as told_by
from gateway.sandbox.errors import WakeTimeout
from gateway.telemetry import opentelemetry as recording
from gateway.telemetry.instruments import Instruments
from gateway.telemetry.opentelemetry import BoundedProcessor, OpenTelemetryTracer, exporting
from gateway.telemetry.tracing import CANCELLED, NO_SPAN

from .spans import Spans, facts, id_of, parent_of, seconds, trace_of, within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01".encode()
UNSAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00".encode()


def fields(*traceparent: bytes, state: bytes | None = None) -> dict[bytes, list[bytes]]:
    found = {b"traceparent": list(traceparent)} if traceparent else {}
    return found if state is None else found | {b"tracestate": [state]}


@pytest.fixture
def spans() -> Spans:
    return Spans()


# ---- the client's span ---------------------------------------------------------------------------


def test_a_request_is_a_child_of_its_clients_span_and_the_sandbox_gets_its_own(
    spans: Spans,
) -> None:
    span = spans.tracer(0).request(fields(PARENT, state=b"a=1,b=2"))
    span.end()
    recorded = spans.only("request")
    assert recorded.kind is SpanKind.SERVER
    assert f"{trace_of(recorded):032x}" == span.trace_id == TRACE
    assert f"{parent_of(recorded):016x}" == "00f067aa0ba902b7"
    assert span.lines == (
        f"traceparent: 00-{TRACE}-{id_of(recorded):016x}-01\r\ntracestate: a=1,b=2\r\n".encode()
    )


@pytest.mark.parametrize(
    "given",
    [
        fields(),
        fields(b""),
        fields(b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"),
        fields(f"00-{TRACE}-{'0' * 16}-01".encode()),
        fields(b"ff" + PARENT[2:]),
        fields(PARENT + b"-more"),
        fields(PARENT.upper()),
        fields(PARENT[:-1]),
        fields(b"\xff" * 55),
        fields(PARENT, PARENT),
        fields(PARENT + b"-" + b"x" * 10_000),
    ],
)
def test_what_is_no_trace_context_begins_a_trace_and_is_not_sent_on(
    spans: Spans, given: dict[bytes, list[bytes]]
) -> None:
    span = spans.tracer().request(given | {b"tracestate": [b"a=1"]})
    span.end()
    assert spans.only("request").parent is None
    assert span.trace_id != TRACE
    assert span.lines.startswith(f"traceparent: 00-{span.trace_id}-".encode())
    assert b"tracestate" not in span.lines


def test_a_later_version_is_read_as_far_as_it_is_known(spans: Spans) -> None:
    span = spans.tracer().request(fields(b"cc" + PARENT[2:] + b"-what-the-future-brings"))
    assert span.trace_id == TRACE
    assert span.lines.startswith(b"traceparent: 00-")
    span.end()


@pytest.mark.parametrize(
    "state", [b"\xc3\xa4=1", b"no member", b"a=1,a=2", b"a=\x00", b"a=1," * 600, b""]
)
def test_a_trace_state_that_is_none_is_dropped_without_a_word(
    spans: Spans, state: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    span = spans.tracer().request(fields(PARENT, state=state))
    span.end()
    assert span.lines.count(b"\r\n") == 1
    assert span.trace_id == TRACE
    assert caplog.records == []


# ---- which are recorded --------------------------------------------------------------------------


def test_what_the_client_decided_holds_whatever_the_ratio(spans: Spans) -> None:
    sampled, not_sampled = spans.tracer(0), spans.tracer(1)
    sampled.request(fields(PARENT)).end()
    assert len(spans.ended) == 1
    not_sampled.request(fields(UNSAMPLED)).end()
    assert len(spans.ended) == 1


def test_an_unsampled_request_still_hands_on_a_legal_parent(spans: Spans) -> None:
    span = spans.tracer(0).request(fields())
    named = span.lines.decode().removeprefix("traceparent: ").strip().split("-")
    assert named[:2] == ["00", span.trace_id]
    assert int(named[1], 16)
    assert int(named[2], 16)
    assert not int(named[3], 16) & 1
    below = span.child("dial")
    assert below.trace_id == span.trace_id
    below.end()
    span.end()
    assert spans.ended == []


def test_the_ratio_decides_for_who_has_not_decided(spans: Spans) -> None:
    tracer = spans.tracer(0.5)
    for _ in range(400):
        tracer.request(fields()).end()
    assert 120 < len(spans.ended) < 280  # 8 standard deviations: once in 10^15 runs


def test_each_wake_is_recorded_and_names_the_request_that_began_it(spans: Spans) -> None:
    tracer = spans.tracer(0)
    request = tracer.request(fields(PARENT))
    wake = tracer.wake(request)
    wait = request.child("wait", wake)
    for span in (wake, wait, request):
        span.end()
    recorded = spans.only("wake")
    assert recorded.parent is None
    assert recorded.links[0].context.span_id == id_of(spans.only("request"))
    assert spans.only("wait").links[0].context.span_id == id_of(recorded)
    tracer.wake(NO_SPAN).end()
    assert not spans.ended[-1].links


# ---- what they tell ------------------------------------------------------------------------------


def test_children_are_within_their_parents_time_even_if_the_wall_clock_is_set(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = spans.tracer().request(fields())
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3600 * 10**9)
    dial = request.child("dial")
    dial.end()
    request.end()
    assert within(spans.only("dial"), spans.only("request"))
    assert 0 <= seconds(spans.only("dial")) < 60


@pytest.mark.parametrize(
    ("raised", "word", "status"),
    [
        (WakeTimeout("the text"), "wake_timeout", StatusCode.ERROR),
        (RuntimeError("the text"), "RuntimeError", StatusCode.ERROR),
        (asyncio.CancelledError("the text"), CANCELLED, StatusCode.UNSET),
    ],
)
def test_what_is_raised_ends_a_span_by_its_kind_and_never_by_its_text(
    spans: Spans, raised: BaseException, word: str, status: StatusCode
) -> None:
    with pytest.raises(type(raised)), spans.tracer().request(fields()):
        raise raised
    ended = spans.only("request")
    assert facts(ended) == {"error.type": word}
    assert (ended.status.status_code, ended.status.description) == (status, None)
    assert ended.events == ()


def test_where_nothing_is_traced_nothing_is_to_be_known() -> None:
    with NO_SPAN.child("wait", NO_SPAN) as span:
        span.note({"a": 1})
        span.end("failure")
    assert (span.lines, span.trace_id) == (b"", "")


# ---- sending -------------------------------------------------------------------------------------


class Sink(SpanExporter):
    """Takes spans once it is `open`; `result` is what it says of them."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.result = SpanExportResult.SUCCESS
        self.got: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.open.wait(30)
        self.got += [span.name for span in spans]
        return self.result


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.open.set()


def outcomes(instruments: Instruments) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in instruments.collect()
        for sample in family.samples
        if sample.name == "sandbox_gateway_trace_spans_total"
    }


async def test_the_last_spans_are_sent_and_counted(sink: Sink) -> None:
    instruments = Instruments()
    tracer = OpenTelemetryTracer(BoundedProcessor(sink, instruments), 1.0)
    sink.open.set()
    tracer.request(fields()).end()
    await tracer.close()
    assert sink.got == ["request"]
    assert outcomes(instruments) == {"sent": 1, "failed": 0, "dropped": 0}


async def test_what_the_collector_does_not_take_is_counted(sink: Sink) -> None:
    instruments = Instruments()
    tracer = OpenTelemetryTracer(BoundedProcessor(sink, instruments), 1.0)
    sink.result = SpanExportResult.FAILURE
    sink.open.set()
    tracer.request(fields()).end()
    await tracer.close()
    assert outcomes(instruments) == {"sent": 0, "failed": 1, "dropped": 0}


async def test_a_collector_that_hangs_costs_spans_and_nothing_else(
    sink: Sink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recording, "MAX_WAITING", 600)
    monkeypatch.setattr(recording, "LAST_WORDS", 0.05)
    caplog.set_level(logging.INFO)
    instruments = Instruments()
    tracer = OpenTelemetryTracer(BoundedProcessor(sink, instruments), 1.0)
    for _ in range(512):
        tracer.request(fields()).end()
    assert await asyncio.to_thread(sink.entered.wait, 30)
    for _ in range(1000):
        tracer.request(fields()).end()
    assert outcomes(instruments)["dropped"] == 400
    assert caplog.records == []
    await tracer.close()
    assert not sink.open.is_set()
    assert sink.got == []


async def test_spans_reach_a_collector_with_what_the_environment_adds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=stage")
    instruments = Instruments()
    async with RealCollector.listening() as real:
        tracer = exporting(real.url + "/", 1.0, instruments)
        span = tracer.request(fields())
        span.note({"url.path": "/"})
        span.end()
        await tracer.close()
    (sent,) = real.spans
    assert (sent.name, sent.trace_id.hex()) == ("request", span.trace_id)
    assert told_by(sent.attributes) == {"url.path": "/"}
    assert real.headers["Authorization"] == "Bearer secret"
    assert real.resource["service.name"] == "sandbox-gateway"
    assert real.resource["deployment.environment.name"] == "stage"
    assert outcomes(instruments) == {"sent": 1, "failed": 0, "dropped": 0}


def test_the_environment_may_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    spans = Spans()
    spans.tracer().request(fields()).end()
    assert spans.only("request").resource.attributes["service.name"] == "edge"
