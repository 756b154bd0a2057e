"""Requests are uses of their sandboxes, and wait while one may be falling asleep (57 to 59)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway.proxy.exchange import Timeouts
from gateway.proxy.reach import ReachConfig
from gateway.proxy.uses import CountConfig
from gateway.replicas.sleep import FENCE, Used, Word
from gateway.sandbox.model import State, WakePolicy
from gateway.sandbox.policy import NeverCount

from .harness import eventually, gateway
from .sandboxes import key_of
from .test_credentials import by_browser, scoped, visit
from .test_tunnels import SWITCHING, UPGRADE, open_tunnel, tunnel_echo, url, websocket_server
from .upstream import ECHO
from .wire import ok

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

    from gateway.replicas.sleep import Answer
    from gateway.sandbox.activity import Usage

    from .harness import Gateway
    from .upstream import Leg, Upstream
    from .wire import Client

UID: Final = "uid-box"
QUESTION: Final = "leader/1"
LONG: Final = 1000.0


def usage(gw: Gateway) -> Usage:
    found = gw.activity.of(UID)
    assert found is not None
    return found


def unused(gw: Gateway) -> float:
    """Return for how long the sandbox has not been used."""
    return usage(gw).unused_for(asyncio.get_running_loop().time())


def forsake(gw: Gateway) -> None:
    """Let it be long ago that anybody used the sandbox."""
    usage(gw).last -= LONG


def ask(gw: Gateway, question: str = QUESTION) -> Answer:
    """Ask whether it may sleep."""
    return gw.gate.ask(question, UID, LONG / 2)


def shut(gw: Gateway) -> None:
    forsake(gw)
    assert ask(gw) is Word.UNUSED


def settle(gw: Gateway, version: int | None = None, *, known: bool = True) -> None:
    gw.gate.settle(QUESTION, key_of("box"), UID, version, known)


class Stage:
    """A sandbox that does what the target says, but not before it is told to go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, leg: Leg) -> None:
        while True:
            target = (await leg.head()).target
            if target != b"/warm":
                await self.go_on.wait()
            await self._act(leg, target)

    async def _act(self, leg: Leg, target: bytes) -> None:
        if target == b"/nonsense":
            await leg.send(b"nonsense\r\n\r\n")
        elif target == b"/half":
            await leg.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
        elif target == b"/switch":
            await leg.send(SWITCHING)
        if target in (b"/warm", b"/whole"):
            await leg.send(ok(target))
        elif target == b"/silent":
            await leg.ended()
        else:
            leg.reset()


async def connected(gw: Gateway, *, direct: bool) -> Client:
    """Return a client whose next request is begun at once, or in a task."""
    client = await gw.client()
    if direct:
        await client.send(gw.get("/warm"))
        assert (await client.response()).status == 200
        await eventually(lambda: usage(gw).count == 0)
    return client


# ---- 57: what is used, and until when ------------------------------------------------------------


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("target", ["/whole", "/reset", "/half", "/nonsense", "/switch"])
async def test_57_a_request_is_one_use_until_the_sandbox_ends_it(target: str, direct: bool) -> None:
    """By its answer, by a reset before or amid that, by nonsense, by a switch (own rule)."""
    stage = Stage()
    async with gateway(stage) as (gw, upstream):
        client = await connected(gw, direct=direct)
        forsake(gw)
        await client.send(gw.post(target, b"body"))
        await eventually(lambda: b"body" in upstream.received)
        assert usage(gw).count == 1
        assert isinstance(ask(gw), Used)
        stage.go_on.set()
        await client.until(b"\r\n\r\n") if target != "/half" else await client.ended()
        await eventually(lambda: usage(gw).count == 0)
        assert unused(gw) < LONG / 2


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("body", ["", "Content-Length: 10"])
async def test_57_a_client_that_leaves_uses_nothing_any_more(
    leave: str, direct: bool, body: str
) -> None:
    """In the middle of its upload, or while it waits for an answer (own rule)."""
    async with gateway(Stage()) as (gw, upstream):
        client = await connected(gw, direct=direct)
        await client.send(gw.head("POST", "/silent", *filter(None, [body])) + b"12"[: len(body)])
        await eventually(lambda: b"/silent" in upstream.received)
        assert usage(gw).count == 1
        getattr(client, leave)()
        await eventually(lambda: usage(gw).count == gw.plane.in_flight == 0)


async def test_57_a_client_that_leaves_a_port_that_refuses_uses_nothing_any_more() -> None:
    """While it is dialled again and again (own rule)."""
    async with gateway(ECHO, reach=ReachConfig(dial_timeout=30.0)) as (gw, upstream):
        await upstream.close_listener()
        client = await gw.client()
        await client.send(gw.get("/"))
        await eventually(
            lambda: gw.number("upstream_dial_failures_total", cause="refused") > 1,
        )
        assert usage(gw).count == 1
        client.close()
        await eventually(lambda: usage(gw).count == gw.plane.in_flight == 0)


async def test_57_a_stream_is_a_use_until_its_last_byte() -> None:
    """However long nothing passes in it (own rule)."""
    more = asyncio.Event()

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await more.wait()

    async with gateway(script) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/"))
        await client.until(b"data: 1\n\n")
        forsake(gw)
        assert unused(gw) == 0.0
        more.set()
        assert (await client.until(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
        await eventually(lambda: usage(gw).count == 0)


async def test_57_who_waits_for_a_sandbox_uses_it() -> None:
    """And no more, when it leaves or is woken (own rule)."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        gw.sandboxes.boots = False
        one, two = await gw.wait_with(gw.get("/1"), gw.get("/2"))
        assert usage(gw).count == 2
        one.close()
        await eventually(lambda: usage(gw).count == 1)
        gw.sandboxes.boot("box")
        assert (await two.response()).status == 200
        await eventually(lambda: usage(gw).count == 0)


async def test_57_a_request_sent_again_is_still_one_use() -> None:
    """Its first connection broke before anything came (own rule)."""

    async def script(leg: Leg) -> None:
        target = (await leg.request()).target
        await leg.send(ok(target))
        await leg.request()
        leg.reset()

    async with gateway(script) as (gw, upstream):
        client = await gw.client()
        for target in ("/1", "/2"):
            await client.send(gw.get(target))
            assert (await client.response()).body == target.encode()
        assert len(upstream.legs) == 2
        await eventually(lambda: usage(gw).count == 0)


async def test_57_a_request_that_times_out_or_is_refused_has_been_a_use() -> None:
    """Somebody wanted the sandbox (own rule)."""
    async with gateway(Stage(), timeouts=Timeouts(response_head=0.1)) as (gw, _):
        forsake(gw)
        assert (await gw.ask(gw.get("/silent"))).status == 504
        await eventually(lambda: usage(gw).count == 0)
        assert unused(gw) < LONG / 2
    asleep = {"wake": WakePolicy(enabled=False)}
    async with gateway(ECHO, state=State.PAUSED, route=asleep) as (gw, _):
        forsake(gw)
        assert (await gw.ask(gw.get("/"))).reason == "sandbox_not_wakeable"
        await eventually(lambda: usage(gw).count == 0)
        assert unused(gw) < LONG / 2


async def test_57_who_is_not_admitted_or_only_logs_in_uses_nothing() -> None:
    """Nothing of it reaches the sandbox (own rule)."""
    async with gateway(ECHO, route={"ports": frozenset({1})}) as (gw, _):
        forsake(gw)
        assert (await gw.ask(gw.get("/"))).status == 403
        assert unused(gw) >= LONG
    async with by_browser() as (gw, _):
        forsake(gw)
        token = scoped().decode()
        assert (await gw.ask(visit(gw, f"/?sandbox_token={token}"))).status == 303
        assert unused(gw) >= LONG


@pytest.mark.parametrize("by", ["client", "sandbox", "drain"])
async def test_57_a_tunnel_is_a_use_as_long_as_it_is_open(by: str) -> None:
    """Whichever side ends it (own rule)."""
    async with gateway(tunnel_echo) as (gw, upstream):
        client = await open_tunnel(gw)
        forsake(gw)
        assert unused(gw) == 0.0
        if by == "client":
            client.close()
        elif by == "sandbox":
            upstream.legs[0].half_close()
        else:
            assert await gw.plane.drain(10.0)
        await eventually(lambda: usage(gw).count == 0)
        assert unused(gw) < LONG / 2


async def test_57_a_drain_gives_back_what_it_breaks_off() -> None:
    """The gateway ends before its requests do (own rule)."""
    async with gateway(Stage(), state=State.PAUSED) as (gw, upstream):
        gw.sandboxes.boots = False
        await gw.wait_with(gw.get("/silent"))
        gw.sandboxes.boot("box")
        await eventually(lambda: b"/silent" in upstream.received)
        gw.sandboxes.pause("box")
        await gw.wait_with(gw.get("/silent"))
        assert usage(gw).count == 2
        assert not await gw.plane.drain(0.05)
        await gw.plane.close()
        await eventually(lambda: usage(gw).count == 0)


async def test_57_without_a_gate_nothing_is_counted() -> None:
    """Nothing is put to sleep then (own rule)."""
    async with gateway(tunnel_echo, gated=False, count=CountConfig(pings=False)) as (gw, _):
        client = await open_tunnel(gw)
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        assert usage(gw).count == 0
    async with gateway(Stage(), gated=False) as (gw, upstream):
        client = await connected(gw, direct=True)
        await client.send(gw.get("/silent"))
        await eventually(lambda: b"/silent" in upstream.received)
        assert usage(gw).count == 0
        gw.sandboxes.pause("box")


# ---- 58: the gate --------------------------------------------------------------------------------


async def at_the_gate(gw: Gateway, upstream: Upstream, *, direct: bool = False) -> Client:
    """Return a client whose request waits at a shut gate."""
    client = await connected(gw, direct=direct)
    shut(gw)
    before = upstream.received
    await client.send(gw.get("/asked"))
    await eventually(lambda: usage(gw).count == 1)
    await client.assert_silent(0.05)
    assert upstream.received == before
    return client


@pytest.mark.parametrize("direct", [True, False])
async def test_58_a_request_waits_until_it_is_known_that_its_sandbox_did_not_sleep(
    direct: bool,
) -> None:
    """It is forwarded then, with nothing to show that it waited (own rule)."""
    async with gateway(ECHO) as (gw, upstream):
        client = await at_the_gate(gw, upstream, direct=direct)
        settle(gw)
        response = await client.response()
        assert response.body == b"GET /asked "
        assert not response.has("x-sandbox-cold-start")
        assert gw.sandboxes.patches == []


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("news", ["before", "after", "none", "unsettled"])
async def test_58_a_request_wakes_the_sandbox_that_was_put_to_sleep_before_it(
    direct: bool, news: str
) -> None:
    """Whether the watch, the leader or only the API tells of it; never 502 (own rule)."""
    async with gateway(ECHO) as (gw, upstream):
        client = await at_the_gate(gw, upstream, direct=direct)
        gw.sandboxes.watching = news == "before"
        gw.sandboxes.pause("box")
        if news == "unsettled":
            settle(gw, known=False)
        else:
            settle(gw, gw.sandboxes["box"].version)
        if news == "after":
            gw.sandboxes.tell("box")
        gw.sandboxes.watching = True
        response = await client.response()
        assert response.status == 200
        assert response.has("x-sandbox-cold-start")
        assert gw.sandboxes.patches == [UID]


async def test_58_whoever_uses_the_sandbox_keeps_its_gate_open() -> None:
    """The answer is a no, and tells for how long nobody used it (own rule)."""
    stage = Stage()
    async with gateway(stage) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.get("/whole"))
        await eventually(lambda: b"/whole" in upstream.received)
        forsake(gw)
        assert ask(gw) == Used(0.0)
        stage.go_on.set()
        assert (await client.response()).status == 200
        await eventually(lambda: usage(gw).count == 0)
        answer = ask(gw)
        assert isinstance(answer, Used)
        assert answer.seconds_ago < LONG / 2


async def test_58_it_is_503_where_it_does_not_become_known_in_time() -> None:
    """To forward it could be to lose it (own rule)."""
    async with gateway(ECHO, reach=ReachConfig(wait_timeout=0.3)) as (gw, upstream):
        shut(gw)
        settle(gw, known=False)
        gw.sandboxes.away = True
        response = await gw.ask(gw.get("/"))
        assert (response.status, response.reason) == (503, "wake_failed")
        assert upstream.legs == []
        assert gw.sandboxes.patches == []
        gw.sandboxes.away = False
        assert (await gw.ask(gw.get("/"))).status == 200


async def test_58_a_sandbox_that_was_deleted_meanwhile_is_not_dialled() -> None:
    """Nor its namesake (own rule)."""
    async with gateway(ECHO) as (gw, upstream):
        client = await at_the_gate(gw, upstream)
        gw.sandboxes.delete("box")
        gw.sandboxes.add("box", State.RUNNING, uid="uid-other")
        settle(gw)
        response = await client.response()
        assert (response.status, response.reason) == (503, "wake_failed")
        assert upstream.legs == []


async def test_58_a_client_that_leaves_the_gate_uses_nothing_any_more() -> None:
    """It is asked again as if it had not come, but for the time (own rule)."""
    async with gateway(ECHO) as (gw, upstream):
        client = await at_the_gate(gw, upstream)
        client.close()
        await eventually(lambda: usage(gw).count == gw.plane.in_flight == 0)
        settle(gw)
        assert isinstance(ask(gw, "leader/2"), Used)


async def test_58_a_fence_whose_asker_is_gone_is_lifted_by_what_the_api_says() -> None:
    """A leader that died has told nobody what it did (own rule)."""
    async with gateway(ECHO) as (gw, _):
        shut(gw)
        gw.sandboxes.watching = False
        gw.sandboxes.pause("box")
        gw.sandboxes.watching = True
        gw.later += FENCE
        assert (await gw.ask(gw.get("/"))).status == 200
        assert gw.sandboxes.patches == [UID]


# ---- 59: what is no use --------------------------------------------------------------------------

NEVER: Final = NeverCount(frozenset({b"HEAD"}), (b"/healthz",), (b"kube-probe/",))


@pytest.mark.parametrize(
    ("method", "target", "agent", "counts"),
    [
        ("GET", "/healthz/live", "curl", False),
        ("HEAD", "/", "curl", False),
        ("GET", "/", "Kube-Probe/1.36", False),
        ("GET", "/", "curl", True),
    ],
)
@pytest.mark.parametrize("direct", [True, False])
async def test_59_what_does_not_count_neither_holds_nor_touches(
    method: str, target: str, agent: str, counts: bool, direct: bool
) -> None:
    """Whether its fields are new or were seen before (own rule)."""
    sent = asyncio.Event()

    async def script(leg: Leg) -> None:
        while True:
            head = await leg.head()
            if head.target != b"/warm":
                await sent.wait()
            await leg.send(ok() if head.method == b"GET" else b"HTTP/1.1 200 OK\r\n\r\n")
            if head.method == b"HEAD":
                return

    count = CountConfig(never_count=NEVER)
    async with gateway(script, count=count) as (gw, upstream):
        client = await connected(gw, direct=direct)
        before = upstream.received.count(b"\r\n\r\n")
        for number in (1, 2):
            forsake(gw)
            sent.clear()
            await client.send(gw.head(method, target, f"User-Agent: {agent}"))
            await eventually(lambda: upstream.received.count(b"\r\n\r\n") == before + number)  # noqa: B023
            assert usage(gw).count == counts
            sent.set()
            assert (await client.response(method)).status == 200
            await eventually(lambda: gw.plane.in_flight == 0)
            assert (unused(gw) < LONG / 2) is counts


async def test_59_fields_that_were_seen_do_not_speak_for_others() -> None:
    """One connection may carry both kinds (own rule)."""
    async with gateway(ECHO, count=CountConfig(never_count=NEVER)) as (gw, _):
        client = await gw.client()
        for agent, counts in (("kube-probe/1", False), ("curl", True), ("kube-probe/1", False)):
            for _ in range(2):
                forsake(gw)
                await client.send(gw.get("/", f"User-Agent: {agent}"))
                await client.response()
                await eventually(lambda: gw.plane.in_flight == 0)
                assert (unused(gw) < LONG / 2) is counts


@pytest.mark.parametrize("direct", [True, False])
async def test_59_what_does_not_count_waits_at_a_shut_gate_too(direct: bool) -> None:
    """Else it could be lost with the sandbox (own rule)."""
    count = CountConfig(never_count=NEVER)
    async with gateway(ECHO, count=count) as (gw, upstream):
        client = await connected(gw, direct=direct)
        shut(gw)
        await client.send(gw.get("/healthz"))
        await eventually(lambda: gw.plane.in_flight == 1)
        await client.assert_silent(0.05)
        assert b"/healthz" not in upstream.received
        gw.sandboxes.pause("box")
        settle(gw, gw.sandboxes["box"].version)
        assert (await client.response()).status == 200
        assert gw.sandboxes.patches == [UID]


async def test_59_a_silent_websocket_need_not_count_and_is_told_when_its_sandbox_sleeps() -> None:
    """Data of either side counts, pings and pongs do not (RFC 6455 §5.5, §7.4: 1012)."""
    inside: list[ServerConnection] = []

    async def echo(socket: ServerConnection) -> None:
        inside.append(socket)
        with suppress(ConnectionClosed):
            async for message in socket:
                await socket.send(message)

    async with (
        websocket_server(echo) as port,
        gateway(ECHO, count=CountConfig(pings=False)) as (gw, _),
    ):
        gw.port = port
        async with connect(url(gw), proxy=None, ping_interval=None) as socket:
            await eventually(lambda: inside)
            assert usage(gw).count == 0
            forsake(gw)
            await (await socket.ping(b"up"))
            await (await inside[0].ping(b"down"))
            assert unused(gw) >= LONG
            await inside[0].send("from the sandbox")
            assert await socket.recv() == "from the sandbox"
            assert unused(gw) < LONG / 2
            forsake(gw)
            await socket.send("from the client")
            assert await socket.recv() == "from the client"
            assert unused(gw) < LONG / 2
            shut(gw)
            gw.sandboxes.pause("box")
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(5):
                    await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        await eventually(lambda: gw.plane.in_flight == 0)


async def test_59_a_client_s_data_counts_even_if_it_is_not_answered() -> None:
    """RFC 6455 §5.2: its frames are masked."""
    frame = b"\x82\x84\x01\x02\x03\x04data"
    ping = b"\x89\x80\x01\x02\x03\x04"

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.send(SWITCHING)
        await leg.ended()

    async with gateway(script, count=CountConfig(pings=False)) as (gw, upstream):
        client = await open_tunnel(gw)
        forsake(gw)
        await client.send(ping)
        await eventually(lambda: upstream.received.endswith(ping))
        assert unused(gw) >= LONG
        await client.send(frame)
        await eventually(lambda: upstream.received.endswith(frame))
        assert unused(gw) < LONG / 2


@pytest.mark.parametrize("pings", [True, False])
async def test_59_other_tunnels_are_not_ended_by_a_sandbox_that_sleeps(pings: bool) -> None:
    """Not those that count as long as they are open, nor those into other sandboxes (own rule)."""
    async with gateway(tunnel_echo, count=CountConfig(pings=pings)) as (gw, _):
        gw.sandboxes.add("other", State.RUNNING)
        client = await gw.client()
        to = "box" if pings else "other"
        await client.send(gw.get("/", *UPGRADE, to=to))
        assert (await client.response()).status == 101
        gw.sandboxes.pause("box")
        await client.send(b"x")
        assert await client.exactly(1) == b"x"


async def test_59_a_tunnel_of_another_protocol_counts_as_long_as_it_is_open() -> None:
    """Nobody can tell its pings (own rule)."""

    async def script(leg: Leg) -> None:
        await leg.head()
        await leg.send(SWITCHING.replace(b"websocket", b"raw/1"))
        await leg.ended()

    async with gateway(script, count=CountConfig(pings=False)) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/", "Connection: upgrade", "Upgrade: raw/1"))
        assert (await client.response()).status == 101
        assert usage(gw).count == 1
        client.close()
        await eventually(lambda: usage(gw).count == 0)
