"""One exchange between a client and a sandbox, driven by hand: bytes in, bytes out, how it ends."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.body import NO_BODY, RequestBody
from gateway.proxy.exchange import ClientGone, Exchange, ResponseBrokenOff, Stage, Timeouts
from gateway.proxy.request import Request
from gateway.proxy.websocket import SERVICE_RESTART, Frames
from gateway.sandbox.errors import (
    BadRequest,
    RequestTimeout,
    UpstreamProtocolError,
    UpstreamReset,
    UpstreamTimeout,
)
from gateway.upstream.connection import UpstreamConnection
from tests.upstream.doubles import RecordingTransport

from .heads import cut, make_head

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.proxy.client import Connection
    from gateway.proxy.message import RequestHead

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: t\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nok"
SWITCHING = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
TIMEOUTS = Timeouts(progress=10.0, response_head=20.0, tunnel_idle=30.0)


class Client:
    """The client's connection: keeps what it is sent and what is asked of it."""

    def __init__(self) -> None:
        self.sent = b""
        self.broken = False
        self.front = SimpleNamespace(draining=False, keeps_cookie=False)
        self.writing_paused = False
        self.deadline = math.inf
        self.exchange: Exchange | None = None
        self.holds: list[bool] = []
        self.take: Callable[[bytes], None] | None = None
        self.loop = asyncio.get_running_loop()

    def send(self, data: bytes) -> None:
        if not self.broken:
            self.sent += data

    def send_pieces(self, pieces: list[bytes]) -> None:
        self.send(b"".join(pieces))

    def break_off(self) -> None:
        self.broken = True

    def hold_body(self, held: bool) -> None:
        self.holds.append(held)

    def start_tunnel(self, take: Callable[[bytes], None]) -> None:
        self.take = take


class Scene:
    """An exchange under way."""

    def __init__(
        self,
        head: RequestHead | None = None,
        *,
        client: Client | None = None,
        request: Request | None = None,
        extra: bytes = b"",
    ) -> None:
        self.head = head or make_head()
        self.client = client or Client()
        body = NO_BODY if self.head.length == 0 else RequestBody(self.client.hold_body)
        connection = cast("Connection", self.client)
        self.request = request or Request(self.head, body, connection)
        self.body = self.request.body
        self.upstream = UpstreamConnection("life-1", 80, lambda _: None)
        self.transport = RecordingTransport()
        self.upstream.connection_made(self.transport)
        frames = Frames() if self.head.upgrade == b"websocket" else None
        self.exchange = Exchange(self.request, self.head, self.upstream, TIMEOUTS, extra, frames)
        self.running: asyncio.Task[None] = asyncio.create_task(self.exchange.run(REQUEST))

    async def started(self) -> Scene:
        await asyncio.sleep(0)
        assert self.client.exchange is self.exchange
        return self

    @property
    def patience(self) -> float:
        """Return the time until the deadline that was armed last."""
        return self.client.deadline - asyncio.get_running_loop().time()

    async def end(self) -> None:
        """Wait for the end, whatever it is."""
        try:
            await self.running
        finally:
            assert self.client.exchange is None
            assert self.client.deadline == math.inf


async def scene(head: RequestHead | None = None, **how: Any) -> Scene:
    return await Scene(head, **how).started()


def upload(length: int | None) -> RequestHead:
    return make_head(method=b"POST", length=length)


WEBSOCKET = make_head(upgrade=b"websocket", special={b"upgrade": [b"websocket"]})


# ---- to the end ----------------------------------------------------------------------------------


async def test_a_request_is_sent_and_its_response_relayed() -> None:
    one = await scene(extra=b"X-Cold: 1\r\n")
    assert one.transport.sent == REQUEST
    one.upstream.data_received(OK)
    await one.end()
    assert one.client.sent == (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Cold: 1\r\n\r\nok")
    exchange = one.exchange
    assert (exchange.stage, one.request.status, exchange.keep_alive) == (Stage.ANSWERED, 200, True)
    assert (one.request.bytes_up, one.request.bytes_down) == (0, 2)
    assert one.upstream.reusable


async def test_two_tries_of_a_request_add_up_to_its_bytes() -> None:
    one = await scene(upload(4))
    one.body.feed(b"ab")
    one.upstream.connection_lost(None)
    with pytest.raises(UpstreamReset):
        await one.end()
    two = await Scene(one.head, client=one.client, request=one.request).started()
    two.body.feed(b"cd")
    two.body.feed_end([])
    two.upstream.data_received(OK)
    await two.end()
    assert (one.request.status, one.request.bytes_up, one.request.bytes_down) == (200, 4, 2)


async def test_a_body_of_known_length_goes_on_as_it_comes() -> None:
    one = await scene(upload(4))
    one.body.feed(b"ab")
    one.body.feed(b"cd")
    assert one.transport.sent == REQUEST + b"abcd"
    one.body.feed_end([])
    one.upstream.data_received(OK)
    await one.end()
    assert one.request.bytes_up == 4
    assert one.exchange.keep_alive
    assert one.upstream.reusable


async def test_a_chunked_body_is_chunked_again_and_keeps_its_trailers() -> None:
    one = Scene(upload(None))
    one.body.feed(b"early ")
    one.body.feed(b"bytes")
    await one.started()
    one.body.feed(b"x" * 17)
    one.body.feed_end([b"X-T: 1\r\n"])
    assert one.transport.sent == (
        REQUEST + b"b\r\nearly bytes\r\n" + b"11\r\n" + b"x" * 17 + b"\r\n0\r\nX-T: 1\r\n\r\n"
    )
    one.upstream.data_received(OK)
    await one.end()


@pytest.mark.parametrize("response", [CHUNKED, UNTIL_CLOSE])
async def test_a_body_without_length_is_chunked_for_http_1_1(response: bytes) -> None:
    one = await scene()
    one.upstream.data_received(response)
    if response is UNTIL_CLOSE:
        one.upstream.connection_lost(None)
    await one.end()
    trailers = b"X-T: t\r\n" if response is CHUNKED else b""
    assert one.client.sent == (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
        + trailers
        + b"\r\n"
    )
    assert one.exchange.keep_alive
    assert one.upstream.reusable is (response is CHUNKED)


@pytest.mark.parametrize("response", [CHUNKED, UNTIL_CLOSE])
async def test_a_body_without_length_ends_with_the_connection_for_http_1_0(
    response: bytes,
) -> None:
    one = await scene(make_head(http_1_1=False))
    one.upstream.data_received(response)
    if response is UNTIL_CLOSE:
        one.upstream.connection_lost(None)
    await one.end()
    assert one.client.sent == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"
    assert not one.exchange.keep_alive


@pytest.mark.parametrize(
    ("http_1_1", "line"),
    [(True, b"Transfer-Encoding: chunked\r\n"), (False, b"Connection: keep-alive\r\n")],
)
async def test_the_answer_to_head_says_chunked_to_http_1_1_alone(
    http_1_1: bool, line: bytes
) -> None:
    one = await scene(make_head(method=b"HEAD", http_1_1=http_1_1))
    one.upstream.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await one.end()
    assert one.client.sent == b"HTTP/1.1 200 OK\r\n" + line + b"\r\n"


async def test_interim_responses_are_for_http_1_1_alone() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    for http_1_1 in (True, False):
        one = await scene(make_head(http_1_1=http_1_1))
        one.upstream.data_received(early)
        assert one.client.sent == (early if http_1_1 else b"")
        assert one.exchange.stage is Stage.SENT
        one.upstream.data_received(OK)
        await one.end()
        assert one.client.sent.endswith(b"ok")


@pytest.mark.parametrize("why", ["close", "draining"])
async def test_the_connection_is_not_kept_where_either_side_ends_it(why: str) -> None:
    one = await scene(make_head(keep_alive=why != "close"))
    one.client.front.draining = why == "draining"
    one.upstream.data_received(OK)
    await one.end()
    assert b"Connection: close\r\n" in one.client.sent
    assert not one.exchange.keep_alive
    assert one.upstream.reusable


async def test_an_early_answer_ends_the_upload_and_both_connections() -> None:
    one = await scene(upload(1000))
    one.body.feed(b"x" * 10)
    one.upstream.data_received(OK.replace(b"200 OK", b"413 No"))
    await one.end()
    assert one.client.sent.startswith(b"HTTP/1.1 413 No\r\n")
    assert b"Connection: close\r\n" in one.client.sent
    assert not one.exchange.keep_alive
    assert not one.upstream.reusable
    before = one.transport.sent
    one.body.feed(b"more")
    assert one.transport.sent == before


async def test_an_upload_may_go_on_after_the_head_of_its_answer() -> None:
    one = await scene(upload(4))
    one.body.feed(b"ab")
    one.upstream.data_received(OK[:-1])
    one.body.feed(b"cd")
    one.body.feed_end([])
    assert one.exchange.stage is Stage.ANSWERED
    assert one.client.deadline == math.inf
    one.upstream.data_received(b"k")
    await one.end()
    assert one.transport.sent == REQUEST + b"abcd"
    assert one.upstream.reusable


async def test_without_a_task_the_end_is_told_once_when_both_sides_have_been_given_back() -> None:
    client, upstream = Client(), UpstreamConnection("life-1", 80, lambda _: None)
    upstream.connection_made(RecordingTransport())
    ends: list[tuple[Exception | None, bool, Exchange | None]] = []
    head = make_head()
    request = Request(head, NO_BODY, cast("Connection", client))
    exchange = Exchange(request, head, upstream, TIMEOUTS)
    exchange.start(
        REQUEST, 0.0, lambda _, error: ends.append((error, upstream.reusable, client.exchange))
    )
    assert client.exchange is exchange
    upstream.data_received(OK)
    assert ends == [(None, True, None)]
    exchange.client_gone()
    exchange.expire()
    upstream.connection_lost(None)
    assert len(ends) == 1


# ---- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("untouched", [True, False])
async def test_a_loss_before_the_head_is_told_and_how_far_it_got(untouched: bool) -> None:
    one = await scene()
    one.transport.info.acked += 0 if untouched else 1
    one.upstream.connection_lost(ConnectionResetError())
    with pytest.raises(UpstreamReset):
        await one.end()
    assert one.exchange.untouched is untouched
    assert one.client.sent == b""
    assert not one.client.broken


@pytest.mark.parametrize("response", [OK[:-1], CHUNKED[:-1]])
async def test_a_loss_after_the_head_breaks_the_client_off(response: bytes) -> None:
    one = await scene()
    one.upstream.data_received(response)
    before = one.client.sent
    one.upstream.connection_lost(None)
    with pytest.raises(ResponseBrokenOff):
        await one.end()
    assert one.client.broken
    assert one.client.sent == before


@pytest.mark.parametrize("answered", [True, False])
async def test_an_illegal_rest_of_the_body_is_answered_or_breaks_off(answered: bool) -> None:
    one = await scene(upload(None))
    one.body.feed(b"ab")
    if answered:
        one.upstream.data_received(OK[:-1])
    one.body.feed_error(BadRequest())
    with pytest.raises(ResponseBrokenOff if answered else BadRequest):
        await one.end()
    assert one.client.broken is answered
    assert not one.upstream.reusable


async def test_a_101_that_nobody_asked_for_is_an_illegal_response() -> None:
    one = await scene()
    one.upstream.data_received(SWITCHING + b"early")
    with pytest.raises(UpstreamProtocolError):
        await one.end()
    assert one.client.sent == b""
    assert not one.upstream.reusable


@pytest.mark.parametrize("response", [b"", OK[:-1]])
async def test_a_client_that_leaves_ends_the_sandboxs_connection_at_once(response: bytes) -> None:
    one = await scene()
    if response:
        one.upstream.data_received(response)
    one.exchange.client_gone()
    assert one.transport.aborted
    with pytest.raises(ClientGone):
        await one.end()
    assert not one.upstream.reusable


async def test_a_client_that_leaves_a_tunnel_only_ends_it() -> None:
    one = await scene(WEBSOCKET)
    one.upstream.data_received(SWITCHING)
    one.exchange.client_gone()
    assert one.transport.aborted
    await one.end()


async def test_a_client_that_leaves_may_cancel_at_the_same_time() -> None:
    one = await scene()
    one.exchange.client_gone()
    one.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one.end()


async def test_a_client_that_leaves_after_the_end_costs_no_connection() -> None:
    one = await scene()
    one.upstream.data_received(OK)
    one.exchange.client_gone()
    await one.end()
    assert one.upstream.reusable


async def test_an_exchange_that_is_cancelled_leaves_nothing_behind() -> None:
    one = await scene(upload(1000))
    one.upstream.pause_writing()
    one.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one.end()
    assert one.client.holds == [True, False]
    assert not one.upstream.reusable


# ---- tunnels -------------------------------------------------------------------------------------


async def test_after_a_101_bytes_go_both_ways_early_ones_too() -> None:
    one = await scene(WEBSOCKET, extra=b"X-Cold: 1\r\n")
    one.upstream.data_received(SWITCHING + b"\x81\x02hi")
    assert one.client.sent == (
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"X-Cold: 1\r\n\r\n\x81\x02hi"
    )
    assert one.client.take is not None
    one.client.take(b"up")
    assert one.transport.sent == REQUEST + b"up"
    one.upstream.data_received(b"down")
    assert one.client.sent.endswith(b"down")
    assert (one.exchange.stage, one.request.status) == (Stage.TUNNEL, 101)
    assert 29 < one.patience <= 30
    one.upstream.connection_lost(None)
    await one.end()
    assert (one.request.bytes_up, one.request.bytes_down) == (2, 4)
    assert not one.exchange.keep_alive
    assert not one.upstream.reusable


@pytest.mark.parametrize(
    ("upgrade", "down", "told"),
    [
        (b"websocket", b"\x81\x02hi", True),
        (b"websocket", b"", True),
        (b"websocket", b"\x81\x02h", False),
        (b"spdy/3.1", b"\x81\x02hi", False),
    ],
)
async def test_a_tunnel_is_ended_politely_where_it_can_be(
    upgrade: bytes, down: bytes, told: bool
) -> None:
    one = await scene(make_head(upgrade=upgrade))
    one.upstream.data_received(SWITCHING.replace(b"websocket", upgrade) + down)
    before = one.client.sent
    one.exchange.end_tunnel()
    await one.end()
    assert one.client.sent == before + (SERVICE_RESTART if told else b"")


async def test_ending_tunnels_leaves_other_exchanges_alone() -> None:
    one = await scene()
    one.exchange.end_tunnel()
    one.upstream.data_received(OK)
    await one.end()
    assert one.exchange.keep_alive


async def test_a_silent_tunnel_ends() -> None:
    one = await scene(WEBSOCKET)
    one.upstream.data_received(SWITCHING)
    one.exchange.expire()
    await one.end()
    assert not one.client.broken


# ---- time ----------------------------------------------------------------------------------------


async def test_each_stage_has_its_own_deadline() -> None:
    one = await scene(upload(4))
    assert 9 < one.patience <= 10
    one.client.deadline = 0.0
    one.body.feed(b"ab")
    assert 9 < one.patience <= 10
    one.body.feed(b"cd")
    one.body.feed_end([])
    assert 19 < one.patience <= 20
    one.upstream.data_received(OK[:-1])
    assert one.client.deadline == math.inf
    one.exchange.client_full(True)
    assert 9 < one.patience <= 10
    one.exchange.client_full(False)
    assert one.client.deadline == math.inf
    one.upstream.data_received(b"k")
    await one.end()


async def test_a_request_that_stands_still_is_the_clients_fault_or_the_sandboxs() -> None:
    one = await scene(upload(4))
    one.exchange.expire()
    with pytest.raises(RequestTimeout):
        await one.end()

    one = await scene(upload(4))
    one.upstream.pause_writing()
    one.exchange.expire()
    with pytest.raises(UpstreamTimeout):
        await one.end()


async def test_a_response_that_does_not_come_is_a_timeout_and_one_that_stalls_breaks_off() -> None:
    one = await scene()
    one.exchange.expire()
    with pytest.raises(UpstreamTimeout):
        await one.end()
    assert not one.client.broken

    one = await scene()
    one.upstream.data_received(OK[:-1])
    one.exchange.expire()
    with pytest.raises(ResponseBrokenOff):
        await one.end()
    assert one.client.broken


async def test_what_happens_after_the_end_changes_nothing_of_it() -> None:
    one = await scene(WEBSOCKET)
    one.upstream.data_received(SWITCHING)
    one.exchange.expire()
    one.exchange.end_tunnel()
    one.exchange.lost(UpstreamReset(), untouched=False)
    await one.end()

    one = await scene()
    one.exchange.expire()
    one.exchange.lost(UpstreamReset(), untouched=False)
    with pytest.raises(UpstreamTimeout):
        await one.end()


@pytest.mark.parametrize(("wished", "given_time"), [(5.0, 5.0), (20.0, 20.0), (21.0, 20.0)])
def test_a_clients_wish_can_only_shorten(wished: float, given_time: float) -> None:
    timeouts = TIMEOUTS.with_response_head(wished)
    assert timeouts == Timeouts(progress=10.0, response_head=given_time, tunnel_idle=30.0)


# ---- pressure ------------------------------------------------------------------------------------


async def test_a_full_side_pauses_the_other() -> None:
    one = await scene(upload(4))
    one.upstream.pause_writing()
    one.upstream.resume_writing()
    assert one.client.holds == [True, False]
    one.exchange.client_full(True)
    one.exchange.client_full(False)
    assert one.transport.readings == [False, True]
    one.body.feed(b"abcd")
    one.body.feed_end([])
    one.upstream.data_received(OK)
    await one.end()


# ---- any bodies, any reads -----------------------------------------------------------------------

PIECES = st.lists(st.binary(min_size=1, max_size=50), max_size=4)


async def _relay(
    pieces: list[bytes], length: int | None, response: list[bytes], *, http_1_1: bool
) -> tuple[bytes, bytes]:
    """Relay one exchange; return what the sandbox got after the head, and what the client got."""
    one = await scene(make_head(method=b"POST", length=length, http_1_1=http_1_1))
    for piece in pieces:
        one.body.feed(piece)
    if length != 0:
        one.body.feed_end([])
    for piece in response:
        if piece:
            one.upstream.data_received(piece)
    await one.end()
    return one.transport.sent.removeprefix(REQUEST), one.client.sent


def _in_a_loop(coroutine: Coroutine[Any, Any, tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    with asyncio.Runner() as runner:
        return runner.run(coroutine)


def _read_body(connection: h11.Connection, raw: bytes) -> bytes:
    body = b""
    connection.receive_data(raw)
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Request | h11.Response | h11.Data)
        body += bytes(event.data) if isinstance(event, h11.Data) else b""
    assert connection.trailing_data[0] == b""
    return body


@settings(deadline=None, max_examples=60)
@given(
    up=PIECES,
    down=PIECES,
    chunked_up=st.booleans(),
    chunked_down=st.booleans(),
    http_1_1=st.booleans(),
    at=st.lists(st.integers(0, 300), max_size=6),
)
def test_any_two_bodies_arrive_whole_on_the_other_side(
    up: list[bytes],
    down: list[bytes],
    chunked_up: bool,
    chunked_down: bool,
    http_1_1: bool,
    at: list[int],
) -> None:
    whole_up, whole_down = b"".join(up), b"".join(down)
    if chunked_down:
        framed = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in down) + b"0\r\n\r\n"
        response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed
    else:
        response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole_down) + whole_down
    length = None if chunked_up else len(whole_up)
    got_up, got_down = _in_a_loop(_relay(up, length, cut(response, at), http_1_1=http_1_1))

    framing = b"Transfer-Encoding: chunked" if chunked_up else b"Content-Length: %d" % len(whole_up)
    head = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing
    assert _read_body(h11.Connection(h11.SERVER), head + got_up) == whole_up

    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    if chunked_down and not http_1_1:
        assert got_down.partition(b"\r\n\r\n")[2] == whole_down
    else:
        assert _read_body(client, got_down) == whole_down
