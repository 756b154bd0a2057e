"""The same requirements with tracing on: every span that begins ends, once, whatever happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from gateway.proxy.reach import ReachConfig
from gateway.sandbox.model import State
from gateway.wake.config import WakeConfig
from tests.telemetry.spans import Spans, facts, id_of, parent_of, trace_of, within

from . import (
    harness,
    test_deadlines,
    test_departure,
    test_draining,
    test_failure,
    test_pages,
    test_tunnels,
    test_waking,
)
from .harness import eventually, gateway
from .test_failure import closes_when_told, race
from .test_tunnels import SWITCHING, UPGRADE
from .upstream import ECHO, always

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .harness import Gateway
    from .upstream import Leg
    from .wire import Message

#: Tests of other modules that are run once more here, traced: those of every way to end.
BORROWED: Final = (
    test_deadlines,
    test_departure,
    test_draining,
    test_failure,
    test_pages,
    test_tunnels,
    test_waking,
)
for _module in BORROWED:
    globals().update(
        (name, test) for name, test in vars(_module).items() if name.startswith("test_")
    )

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT: Final = f"Traceparent: 00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED: Final = f"Traceparent: 00-{TRACE}-00f067aa0ba902b7-00"


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture(autouse=True)
def traced(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Trace every request of a test; at its end no span may be open, nor have ended twice."""
    monkeypatch.setattr(harness, "spoken", harness.Spoken(tracer=spans.tracer()))
    yield
    assert spans.open == []
    said = [one for one in caplog.get_records("call") if one.name.startswith("opentelemetry")]
    assert said == []


def sent_parent(message: Message) -> tuple[str, str, str]:
    """Return trace, span and flags that a sandbox was told."""
    version, trace, span, flags = message.one("traceparent").decode().split("-")
    assert version == "00"
    return trace, span, flags


# ---- the request's own span ----------------------------------------------------------------------


async def test_a_request_that_needs_no_waiting_is_one_span(spans: Spans) -> None:
    async with gateway(ECHO) as (gw, upstream):
        client = await gw.client()
        for path in ("/first?secret=1", "/second?secret=2"):
            await client.send(gw.get(path, PARENT, "X-Secret: secret", "Cookie: secret=1"))
            assert (await client.response()).status == 200
        await eventually(lambda: len(spans.called("request")) == 2)
        second = spans.called("request")[1]
        assert second.kind is SpanKind.SERVER
        assert facts(second) == {
            "gateway.outcome": "answered",
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "sandbox.name": "box",
            "sandbox.namespace": "team",
            "sandbox.port": gw.port,
            "sandbox.uid": "uid-box",
            "url.path": "/second",
            "url.scheme": "http",
        }
        assert second.status.status_code is StatusCode.UNSET
        assert len(upstream.legs) == 1
        assert spans.only("dial") is spans.ended[0], "the second request reused the connection"
        assert not any("secret" in one.to_json() for one in spans.ended)
        assert [one["trace_id"] for one in gw.log()] == [TRACE, TRACE]


async def test_what_is_no_request_and_what_the_gateway_answers_itself_are_spans_too(
    spans: Spans,
) -> None:
    async with gateway(ECHO) as (gw, _):
        assert (await gw.ask(b"GET / HTTP/1.1\r\nHost: \x01\r\n\r\n")).status == 400
        assert (await gw.ask(gw.get("/", to="nobody"))).status == 502
        assert (await gw.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    told = [facts(one) for one in spans.called("request")]
    assert [(one.get("gateway.reason"), one["http.response.status_code"]) for one in told] == [
        ("bad_request", 400),
        ("sandbox_not_found", 502),
        (None, 200),
    ]
    statuses = [one.status.status_code for one in spans.called("request")]
    assert statuses == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert told[1]["error.type"] == "sandbox_not_found"


async def test_an_error_of_the_sandbox_is_none_of_the_gateways(spans: Spans) -> None:
    async with gateway(always(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")) as (gw, _):
        assert (await gw.ask(gw.get("/"))).status == 500
    request = spans.only("request")
    assert facts(request)["http.response.status_code"] == 500
    assert request.status.status_code is StatusCode.UNSET


async def test_a_method_that_nobody_knows_is_not_shown(spans: Spans) -> None:
    async with gateway(ECHO) as (gw, _):
        await gw.ask(gw.head("PROPFIND", "/"))
    assert facts(spans.only("request"))["http.request.method"] == "_OTHER"


async def test_a_request_that_is_sent_again_is_one_trace(spans: Spans) -> None:
    """The connection that dies in the moment it is reused costs a span of its own.

    At which turn of the loop it has to die for that is not the same everywhere.
    """
    for turns in [*range(10)] * 3:
        spans.ended.clear()
        async with gateway(closes_when_told) as (gw, upstream):
            await race(gw, upstream.legs, gw.get("/2", PARENT), turns)
            await eventually(lambda: not spans.open)
        _, broken, *repeated = spans.called("request")
        if repeated:
            break
    (last,) = repeated
    assert facts(broken)["gateway.outcome"] == "sent_again"
    assert facts(broken)["error.type"] == "upstream_reset"
    assert f"{trace_of(broken):032x}" == f"{trace_of(last):032x}" == TRACE
    assert parent_of(last) == id_of(broken)
    assert facts(last)["gateway.outcome"] == "answered"
    assert int(sent_parent(upstream.requests[-1])[1], 16) == id_of(last)
    assert gw.number("requests_total", outcome="answered", reason="") == 2


async def test_the_span_of_a_tunnel_ends_with_the_tunnel(spans: Spans) -> None:
    async def tunnel(leg: Leg) -> None:
        await leg.request()
        await leg.send(SWITCHING)
        await leg.until(b"bye")

    async with gateway(tunnel) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/", *UPGRADE))
        assert (await client.response()).status == 101
        assert spans.open == ["request"]
        await client.send(b"bye")
        await eventually(lambda: spans.open == [])
        assert facts(spans.only("request"))["http.response.status_code"] == 101


async def test_a_client_that_leaves_ends_its_span_without_a_status(spans: Spans) -> None:
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        (client,) = await gw.wait_with(gw.get("/"))
        client.close()
        await eventually(lambda: spans.called("request"))
        told = facts(spans.only("request"))
        assert told["gateway.outcome"] == "gone"
        assert "http.response.status_code" not in told
        assert facts(spans.only("wait"))["error.type"] == "cancelled"
        assert spans.open == ["wake"], "the wake goes on"
        gw.sandboxes.boot("box")
        await eventually(lambda: spans.open == [])


# ---- what the sandbox is told --------------------------------------------------------------------


@pytest.mark.parametrize("parent", [(), (PARENT,), (UNSAMPLED,), ("Traceparent: none",)])
async def test_each_of_many_requests_alike_tells_the_sandbox_its_own_span(
    parent: tuple[str, ...], spans: Spans
) -> None:
    """What is remembered of a connection's fields must not hold the span of one request."""
    async with gateway(ECHO) as (gw, upstream):
        client = await gw.client()
        request = gw.get("/", *parent, "Tracestate: a=1", "Baggage: b=2")
        for _ in range(3):
            await client.send(request)
            await client.response()
        await client.send(request * 3)
        for _ in range(3):
            await client.response()
        told = [sent_parent(one) for one in upstream.requests]
        assert len({span for _, span, _ in told}) == 6
        assert "00f067aa0ba902b7" not in {span for _, span, _ in told}
        follows = parent in {(PARENT,), (UNSAMPLED,)}
        assert {trace == TRACE for trace, _, _ in told} == {follows}
        assert {int(flags, 16) & 1 for _, _, flags in told} == {int(parent != (UNSAMPLED,))}
        for message in upstream.requests:
            assert message.all("tracestate") == ([b"a=1"] if follows else [])
            assert message.all("baggage") == [b"b=2"]
        if parent != (UNSAMPLED,):
            await eventually(lambda: len(spans.called("request")) == 6)
            recorded = [f"{id_of(one):016x}" for one in spans.called("request")]
            assert recorded == [span for _, span, _ in told]


@pytest.mark.parametrize("nominated", ["Connection: traceparent", "Traceparent: second"])
async def test_the_sandbox_gets_one_parent_whatever_the_client_sends(nominated: str) -> None:
    async with gateway(ECHO) as (gw, upstream):
        await gw.ask(gw.post("/", b"body", PARENT, nominated))
        sent_parent(upstream.requests[0])
        assert upstream.requests[0].body == b"body"


async def test_without_tracing_all_of_it_passes_as_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(harness, "spoken", harness.Spoken())
    lines = ("TraceParent: 00-none", "traceparent: again", "TraceState: a=1", "Baggage: b=2")
    async with gateway(ECHO) as (gw, upstream):
        await gw.ask(gw.get("/", *lines))
        assert "\r\n".join(lines).encode() in upstream.received
        assert "trace_id" not in gw.log()[0]


# ---- waking and dialling -------------------------------------------------------------------------


async def test_a_wait_leads_to_the_wake_that_another_request_began(spans: Spans) -> None:
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        clients = await gw.wait_with(*(gw.get(f"/{n}", PARENT) for n in range(5)))
        await gw.sandboxes.patched.wait()
        gw.sandboxes.boot("box")
        for client in clients:
            assert (await client.response()).status == 200
        await eventually(lambda: len(spans.called("request")) == 5)
    wake, patch = spans.only("wake"), spans.only("patch")
    assert parent_of(patch) == id_of(wake)
    assert facts(wake) == {
        "gateway.outcome": "woken",
        "gateway.wake.attempts": 1,
        "sandbox.name": "box",
        "sandbox.namespace": "team",
        "sandbox.uid": "uid-box",
    }
    waits = spans.called("wait")
    assert {one.links[0].context.span_id for one in waits} == {id_of(wake)}
    assert sorted(bool(facts(one)["gateway.wait.joined"]) for one in waits) == [False] + [True] * 4
    requests = {id_of(one): one for one in spans.called("request")}
    (beginner,) = (one for one in waits if not facts(one)["gateway.wait.joined"])
    assert wake.links[0].context.span_id == parent_of(beginner)
    for wait in waits:
        request = requests[parent_of(wait) or 0]
        assert within(wait, request)
        assert facts(request)["gateway.wake_ms"]


async def test_each_try_to_patch_is_a_span_of_its_own(spans: Spans) -> None:
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.sandboxes.away = True
        (client,) = await gw.wait_with(gw.get("/"))
        await eventually(lambda: spans.called("patch"))
        gw.sandboxes.away = False
        assert (await client.response()).status == 200
        await eventually(lambda: spans.called("wake"))
    failed, *others = spans.called("patch")
    assert facts(failed) == {"error.type": "ApiUnavailable"}
    assert failed.status.status_code is StatusCode.ERROR
    assert facts(others[-1]) == {}
    assert facts(spans.only("wake"))["gateway.wake.attempts"] == 1 + len(others)


async def test_a_wake_that_fails_says_how(spans: Spans) -> None:
    async with gateway(ECHO, state=State.PAUSED, wake=WakeConfig(timeout=0.05)) as (gw, _):
        gw.sandboxes.boots = False
        assert (await gw.ask(gw.get("/"))).reason == "wake_timeout"
    assert facts(spans.only("wake"))["gateway.outcome"] == "timeout"
    for name in ("wake", "wait", "request"):
        assert spans.only(name).status.status_code is StatusCode.ERROR
    assert facts(spans.only("wait"))["error.type"] == "wake_timeout"


async def test_a_gateway_that_ends_ends_its_wakes(spans: Spans) -> None:
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        (client,) = await gw.wait_with(gw.get("/"))
        await gw.waker.close()
        assert (await client.response()).reason == "not_ready"
        assert facts(spans.only("wake"))["gateway.outcome"] == "closed"


async def test_dials_that_are_refused_are_counted_in_one_span(spans: Spans) -> None:
    async with gateway(ECHO, state=State.PAUSED) as (gw, upstream):
        await upstream.close_listener()
        client = await gw.client()
        await client.send(gw.get("/"))
        await eventually(lambda: gw.number("upstream_dial_failures_total", cause="refused") >= 3)
        await upstream.start(upstream.port)
        assert (await client.response()).status == 200
        await eventually(lambda: spans.called("request"))
        refused = gw.number("upstream_dial_failures_total", cause="refused")
    dial = spans.only("dial")
    assert facts(dial) == {"gateway.dial.attempts": refused + 1}
    assert within(dial, spans.only("request"))
    assert trace_of(dial) == trace_of(spans.only("request"))


async def test_a_port_that_never_answers_fails_its_dial(spans: Spans) -> None:
    async with gateway(ECHO, reach=ReachConfig(dial_timeout=0.02)) as (gw, upstream):
        await upstream.close_listener()
        assert (await gw.ask(gw.get("/"))).status == 502
    dial = spans.only("dial")
    assert facts(dial)["error.type"] == "sandbox_unreachable"
    assert dial.status.status_code is StatusCode.ERROR


async def test_a_dial_that_finds_its_sandbox_asleep_ends_before_the_wait(spans: Spans) -> None:
    async with gateway(ECHO) as (gw, upstream):
        await upstream.close_listener()
        client = await gw.client()
        await client.send(gw.get("/"))
        await eventually(lambda: gw.number("upstream_dial_failures_total", cause="refused") >= 1)
        gw.sandboxes.boots = False
        gw.sandboxes.pause("box")
        await eventually(lambda: gw.waiting == 1)
        assert facts(spans.only("dial"))["error.type"] == "not_running"
        await upstream.start(upstream.port)
        gw.sandboxes.boot("box")
        assert (await client.response()).status == 200
        await eventually(lambda: spans.called("request"))
        told = [one.name for one in spans.ended if one.name not in {"patch", "wake"}]
        assert told == ["dial", "wait", "dial", "request"]


# ---- whenever a client leaves --------------------------------------------------------------------


@pytest.mark.parametrize("turns", range(12))
async def test_a_client_may_leave_at_any_turn_of_the_loop(turns: int, spans: Spans) -> None:
    """Each request is one span, ended once, wherever between its parts its client went."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        clients = [await gw.client() for _ in range(4)]
        for number, client in enumerate(clients):
            client.send_now(gw.get("/") if number % 2 else gw.post("/", b"x" * number))
        await turn(turns)
        for client in clients:
            client.close()
        await eventually(lambda: gw.plane.in_flight == 0 and not spans.open)
        counted = requests_counted(gw)
        assert len(spans.called("request")) == counted


async def turn(times: int) -> None:
    """Let the loop run so many times."""
    for _ in range(times):
        await asyncio.sleep(0)


def requests_counted(gw: Gateway) -> int:
    return sum(
        int(sample.value)
        for family in gw.instruments.collect()
        for sample in family.samples
        if sample.name == "sandbox_gateway_requests_total"
    )
