"""The same requirements over TLS, on both sides of the gateway; and those that TLS brings."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from e2e.pki import Pki
from gateway.proxy import listener
from gateway.proxy.reach import ReachConfig
from gateway.sandbox.model import State, UpstreamTls
from gateway.tls.contexts import ClientFiles, ServerFiles
from gateway.tls.deployment import TlsConfig

from . import (
    harness,
    test_deadlines,
    test_departure,
    test_draining,
    test_failure,
    test_framing,
    test_interim,
    test_pressure,
    test_tunnels,
)
from .harness import eventually, gateway
from .upstream import ECHO
from .wire import Client, ok

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from websockets.asyncio.server import ServerConnection

    from .harness import Gateway
    from .upstream import Leg

#: Tests of other modules that are run once more here, over TLS.
BORROWED: Final = (
    test_deadlines,
    test_departure,
    test_draining,
    test_failure,
    test_framing,
    test_interim,
    test_pressure,
    test_tunnels,
)
#: But for those whose client is a library that was told to speak plain text.
PLAIN: Final = frozenset({
    "test_31_httpx_and_its_connection_pool_are_at_home",
    "test_32_a_websocket_through_the_gateway_is_a_websocket",
    "test_32_the_clients_close_reaches_the_sandbox_with_its_code",
    "test_32_a_websocket_library_sees_a_refusal_as_such",
    "test_34_a_drain_closes_websockets_with_1012",
})  # fmt: skip

EVERY_PORT: Final = UpstreamTls.of(None, None)

for _module in BORROWED:
    globals().update(
        (name, test)
        for name, test in vars(_module).items()
        if name.startswith("test_") and name not in PLAIN
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(autouse=True)
def spoken(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> harness.Spoken:
    """Let clients and sandboxes speak TLS for a test."""
    made = harness.Spoken(
        TlsConfig(data=ServerFiles(pki.server), upstream=ClientFiles(ca=pki.ca_file)),
        pki.for_clients(),
        pki.for_servers(pki.server),
        {"tls": EVERY_PORT},
    )
    monkeypatch.setattr(harness, "spoken", made)
    return made


def ended(gw: Gateway, outcome: str) -> float:
    """Return how many handshakes of clients ended like this."""
    return gw.number("tls_handshakes_total", listener="data", outcome=outcome)


def refused_by_tls(gw: Gateway) -> float:
    return gw.number("upstream_dial_failures_total", cause="tls")


# ---- clients -------------------------------------------------------------------------------------


async def test_a_sandbox_is_told_that_the_client_spoke_tls() -> None:
    async with gateway(ECHO) as (gw, upstream):
        assert (await gw.ask(gw.get("/"))).status == 200
        assert upstream.requests[0].one("x-forwarded-proto") == b"https"


async def test_http_1_1_is_the_only_protocol_to_be_chosen(spoken: harness.Spoken) -> None:
    """RFC 7301."""
    assert spoken.by_clients is not None
    spoken.by_clients.set_alpn_protocols(["h2", "http/1.1"])
    async with gateway(ECHO) as (gw, _):
        client = await gw.client()
        assert client.chosen_protocol == "http/1.1"


async def test_httpx_is_at_home(pki: Pki) -> None:
    async with (
        gateway(ECHO) as (gw, _),
        httpx.AsyncClient(verify=pki.for_clients(), trust_env=False) as client,
    ):
        for number in range(3):
            answer = await client.post(
                f"https://127.0.0.1:{gw.address[1]}/{number}",
                headers={"e2b-sandbox-id": "box", "e2b-sandbox-port": str(gw.port)},
                content=b"x" * 100_000,
            )
            assert answer.content == b"POST /%d " % number + b"x" * 100_000


async def test_a_websocket_goes_through_tls_on_both_sides(pki: Pki) -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    sandbox = await serve(echo, "127.0.0.1", 0, ssl=pki.for_servers(pki.server))
    async with sandbox, gateway() as (gw, _):
        port = next(iter(sandbox.sockets)).getsockname()[1]
        gw.sandboxes.add("box", State.RUNNING)
        url = f"wss://127.0.0.1:{gw.address[1]}/kruise/box/{port}/"
        async with connect(url, ssl=pki.for_clients(), proxy=None) as socket:
            for size in (10, 100_000):
                await socket.send(b"m" * size)
                assert await socket.recv() == b"m" * size


async def test_plain_http_on_the_port_of_tls_is_closed_counted_and_hurts_nobody() -> None:
    async with gateway(ECHO) as (gw, upstream):
        plain = await Client.connect(gw.address)
        await plain.send(gw.get("/"))
        await plain.ended()
        plain.close()
        await eventually(lambda: ended(gw, "plain_http") == 1)
        assert upstream.requests == []
        assert (await gw.ask(gw.get("/"))).status == 200


async def test_who_does_not_shake_hands_is_cut_off_in_time_and_costs_nobody_else_anything(
    pki: Pki,
) -> None:
    config = TlsConfig(
        data=ServerFiles(pki.server),
        upstream=ClientFiles(ca=pki.ca_file),
        handshake_timeout=0.5,
    )
    async with gateway(ECHO, tls=config) as (gw, _):
        silent = [await Client.connect(gw.address) for _ in range(20)]
        await silent[0].send(b"\x16\x03\x01\x02\x00\x01")
        assert (await gw.ask(gw.get("/"))).status == 200
        for one in silent:
            await one.ended()
            one.close()
        await eventually(lambda: ended(gw, "timeout") == 20)


async def test_who_leaves_within_the_handshake_is_counted_as_gone() -> None:
    async with gateway(ECHO) as (gw, _):
        for leave in ("close", "reset"):
            client = await Client.connect(gw.address)
            await client.send(b"\x16\x03\x01")
            getattr(client, leave)()
        await eventually(lambda: ended(gw, "closed") == 2)


async def test_of_too_many_handshakes_the_oldest_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "HANDSHAKES", 3)
    async with gateway(ECHO) as (gw, _):
        silent = [await Client.connect(gw.address) for _ in range(4)]
        await silent[0].ended()
        await eventually(lambda: ended(gw, "given_up") == 1)
        assert (await gw.ask(gw.get("/"))).status == 200
        await eventually(lambda: ended(gw, "given_up") == 2)
        for one in silent:
            one.close()


async def test_handshakes_count_as_connections() -> None:
    async with gateway(ECHO, max_connections=2) as (gw, _):
        silent = [await Client.connect(gw.address) for _ in range(2)]
        third = await Client.connect(gw.address)
        await third.ended()
        third.close()
        for one in silent:
            one.close()
        await eventually(lambda: ended(gw, "closed") == 2)
        assert (await gw.ask(gw.get("/"))).status == 200


async def test_where_clients_must_prove_themselves_none_gets_in_without_a_certificate(
    pki: Pki, tmp_path: Path
) -> None:
    config = TlsConfig(
        data=ServerFiles(pki.server, client_ca=pki.ca_file), upstream=ClientFiles(ca=pki.ca_file)
    )
    stranger = Pki(tmp_path)
    strange = pki.for_clients(stranger.issue("client", "client"))
    async with gateway(ECHO, tls=config) as (gw, upstream):
        for context in (pki.for_clients(), strange):
            client = await Client.connect(gw.address)
            # To the client, hands are shaken before its certificate is judged (TLS 1.3).
            await client.encrypt(context, "127.0.0.1")
            await client.send(gw.get("/"))
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await client.response()
            client.cut()
        assert upstream.requests == []
        await eventually(lambda: ended(gw, "certificate") == 2)

        known = await Client.connect(gw.address)
        gw.clients.append(known)
        await known.encrypt(pki.for_clients(pki.issue("client", "client")), "127.0.0.1")
        await known.send(gw.get("/"))
        assert (await known.response()).status == 200


async def test_a_new_certificate_is_for_new_connections_and_the_standing_ones_go_on(
    pki: Pki, tmp_path: Path
) -> None:
    other = Pki(tmp_path)
    config = TlsConfig(data=ServerFiles(other.server), upstream=ClientFiles(ca=pki.ca_file))
    reloads: list[Callable[[], None]] = []
    async with gateway(ECHO, tls=config, watch=lambda _, __, load: reloads.append(load)) as (gw, _):
        old = await Client.connect(gw.address)
        gw.clients.append(old)
        await old.encrypt(other.for_clients(), "127.0.0.1")

        for here, there in zip(
            (other.server.certificate, other.server.key),
            (pki.server.certificate, pki.server.key),
            strict=True,
        ):
            here.write_bytes(there.read_bytes())
        reloads[0]()
        assert (await gw.ask(gw.get("/new"))).body == b"GET /new "
        await old.send(gw.get("/old"))
        assert (await old.response()).body == b"GET /old "


async def test_a_drain_waits_for_no_farewell_of_an_idle_client() -> None:
    async with gateway(ECHO) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/"))
        await client.response()
        assert await gw.plane.drain(1.0)
        assert await client.rest() == b""  # which only a farewell makes a clean end


# ---- sandboxes -----------------------------------------------------------------------------------


async def test_a_body_that_ends_without_a_farewell_is_cut_off_for_the_client_too() -> None:
    """RFC 9112 §9.8: such a body may be truncated by anybody on the way."""
    for ending in ("close", "cut"):

        async def script(leg: Leg, ending: str = ending) -> None:
            await leg.request()
            await leg.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            getattr(leg, ending)()

        async with gateway(script) as (gw, _):
            client = await gw.client()
            await client.send(gw.get("/"))
            if ending == "close":
                assert (await client.response()).body == b"until the end"
            else:
                with pytest.raises(ConnectionResetError):
                    await client.response()


async def test_a_slow_client_gets_all_that_a_sandbox_sent_before_it_left() -> None:
    size = 4 * 1024 * 1024

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * size)

    async with gateway(script) as (gw, _):
        client = await gw.client(buffer=16384)
        await client.send(gw.get("/"))
        await client.until(b"\r\n\r\n")
        await eventually(lambda: gw.pool.open_connections == 1)
        body = bytearray()
        while len(body) < size:
            body += await client.chunk()
        assert bytes(body) == b"x" * size


async def test_a_connection_that_was_cut_while_idle_is_not_used() -> None:
    """Even without a farewell its end is seen at once: even a POST goes out on a fresh one."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(ok(b"%d" % leg.number))
        leg.cut()

    async with gateway(script) as (gw, _):
        for number in range(5):
            answer = await gw.ask(gw.post("/", b"x"), "POST")
            assert answer.body == b"%d" % number
            await eventually(lambda: gw.pool.open_connections == 0)


async def unproved(gw: Gateway, caplog: pytest.LogCaptureFixture, why: str) -> None:
    """Ask twice: both are 502 at once, counted twice, told once."""
    for count in (1, 2):
        answer = await gw.ask(gw.get("/"))
        assert (answer.status, answer.reason) == (502, "sandbox_unreachable")
        assert refused_by_tls(gw) == count
    (told,) = [one.getMessage() for one in caplog.records if "by TLS" in one.getMessage()]
    assert why in told


async def test_a_sandbox_of_another_authority_is_502_and_never_sees_the_request(
    tmp_path: Path, spoken: harness.Spoken, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Pki(tmp_path)
    spoken.by_sandboxes = stranger.for_servers(stranger.server)
    async with gateway(ECHO) as (gw, upstream):
        await unproved(gw, caplog, "unable to get local issuer certificate")
        assert upstream.requests == []
        assert gw.number("upstream_dial_failures_total", cause="refused") == 0


async def test_a_port_that_speaks_no_tls_is_502_and_sees_no_request_in_plain_text(
    spoken: harness.Spoken, caplog: pytest.LogCaptureFixture
) -> None:
    spoken.by_sandboxes = None

    async def script(leg: Leg) -> None:
        await leg.fill()
        await leg.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with gateway(script) as (gw, upstream):
        await unproved(gw, caplog, "WRONG_VERSION_NUMBER")
        assert b"box" not in upstream.received


async def test_without_verification_any_certificate_will_do(
    pki: Pki, tmp_path: Path, spoken: harness.Spoken
) -> None:
    stranger = Pki(tmp_path)
    spoken.by_sandboxes = stranger.for_servers(stranger.server)
    config = TlsConfig(data=ServerFiles(pki.server), upstream=ClientFiles(verify=False))
    async with gateway(ECHO, tls=config) as (gw, _):
        assert (await gw.ask(gw.get("/"))).status == 200


async def test_a_sandbox_may_prove_a_name_in_the_place_of_its_address(
    pki: Pki, spoken: harness.Spoken, caplog: pytest.LogCaptureFixture
) -> None:
    spoken.by_sandboxes = pki.for_servers(pki.issue("named", "box.internal"))
    async with gateway(ECHO) as (gw, _):
        await unproved(gw, caplog, "IP address mismatch")
        gw.sandboxes.change("box", tls=UpstreamTls.of(None, "box.internal"))
        assert (await gw.ask(gw.get("/"))).status == 200
        gw.sandboxes.change("box", tls=UpstreamTls.of(None, "other.internal"))
        assert (await gw.ask(gw.get("/"))).status == 502


async def test_tls_is_spoken_on_the_ports_that_say_so_alone(spoken: harness.Spoken) -> None:
    spoken.by_sandboxes = None
    reach = ReachConfig(dial_timeout=0.1)
    async with gateway(ECHO, connect_timeout=0.3, reach=reach) as (gw, upstream):
        gw.sandboxes.change("box", tls=UpstreamTls.of(frozenset({gw.port ^ 1}), None))
        assert (await gw.ask(gw.get("/plain"))).body == b"GET /plain "
        gw.sandboxes.change("box", tls=UpstreamTls.of(frozenset({gw.port}), None))
        spoken_before = len(upstream.requests)
        assert (await gw.ask(gw.get("/sealed"))).status == 502
        assert len(upstream.requests) == spoken_before


async def test_a_dial_that_began_in_plain_text_is_of_no_use_once_tls_is_asked_for() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        filler = socket.create_connection(full.getsockname())
        async with gateway() as (gw, _):
            gw.sandboxes.add("box", State.RUNNING, tls=None)
            client = await gw.client()
            await client.send(gw.post("/", b"secret", port=full.getsockname()[1]))
            await eventually(lambda: gw.plane.in_flight == 1)
            gw.sandboxes.change("box", tls=EVERY_PORT)
            accepted = [full.accept()[0], full.accept()[0]]
            accepted[1].setblocking(False)
            got = await asyncio.get_running_loop().sock_recv(accepted[1], 1000)
            assert b"secret" not in got
            assert b"HTTP/1.1" not in got
            for one in (*accepted, filler):
                one.close()


async def test_a_sandbox_that_asks_for_a_certificate_gets_the_gateways(
    pki: Pki, spoken: harness.Spoken
) -> None:
    spoken.by_sandboxes = pki.for_servers(pki.server, pki.ca_file)
    pair = pki.issue("gateway", "gateway")
    config = TlsConfig(data=ServerFiles(pki.server), upstream=ClientFiles(pki.ca_file, pair))
    async with gateway(ECHO, tls=config) as (gw, _):
        assert (await gw.ask(gw.get("/"))).status == 200
    async with gateway(ECHO) as (gw, upstream):
        assert (await gw.ask(gw.get("/"))).status == 502
        assert upstream.requests == []
