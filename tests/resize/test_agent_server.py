"""Where informants find their agents: what is asked of the listener, and what is done to it."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from gateway.resize import agent_server
from gateway.resize.agent_server import CALLS_AT_ONCE, LIFETIME, MOST_OF_ONE, AgentServer
from gateway.resize.link_state import Mode, Running
from gateway.resize.messages import MAX_MESSAGE
from tests.conformance.harness import eventually

from .fake_informant import FakeInformant
from .linked import linked, on_the_wire, owner

if TYPE_CHECKING:
    from uuid import UUID

    from gateway.resize.link_state import LinkEvent

    from .linked import Owned, Owner


class Answer:
    """An answer as it is on the wire."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])
        }

    @property
    def shape(self) -> tuple[object, ...]:
        """Everything by which two answers could be told apart."""
        known = {name: value for name, value in self.headers.items() if name != "date"}
        return self.status, sorted(known.items()), self.body


async def connect(own: Owner) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = own.server.address_towards("127.0.0.1").split(":")
    return await asyncio.open_connection(host, int(port))


async def exchange(own: Owner, sent: bytes) -> Answer:
    """Send something, and read until the connection is closed."""
    reader, writer = await connect(own)
    writer.write(sent)
    try:
        return Answer(await reader.read())
    finally:
        writer.close()


def call(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: agent\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def meant_for(agent: UUID, **more: object) -> bytes:
    return json.dumps({"expectedID": str(agent)} | more).encode()


def path(owned: Owned, what: str) -> str:
    return f"/agents/{owned.link.id}/{what}"


# ---- calls --------------------------------------------------------------------------------------


@on_the_wire
async def test_an_agent_says_who_it_is_with_a_number_that_grows() -> None:
    async with linked() as (_, own, owned):
        for number in (3, 4):
            answer = await exchange(own, call("GET", path(owned, "id")))
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["connection"] == "close"
            assert json.loads(answer.body) == {
                "data": {"agentID": str(owned.link.id)},
                "sequenceNumber": number,
            }


@on_the_wire
async def test_each_call_has_one_method() -> None:
    async with linked() as (_, own, owned):
        for what in ("suspend", "resume", "try-upscale"):
            for method in ("GET", "PUT", "DELETE"):
                answer = await exchange(own, call(method, path(owned, what)))
                assert (answer.status, answer.headers["allow"]) == (405, "POST")
        for method in ("POST", "PUT", "HEAD"):
            answer = await exchange(own, call(method, path(owned, "id")))
            assert (answer.status, answer.headers["allow"]) == (405, "GET")
        assert owned.events == [Running()]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{}", b'{"expectedID": 7}', b"\xff", b'"' * 1000, b"[" * 9000],
)
@on_the_wire
async def test_what_is_no_message_is_refused_and_changes_nothing(body: bytes) -> None:
    async with linked() as (_, own, owned):
        for what in ("suspend", "resume", "try-upscale"):
            assert (await exchange(own, call("POST", path(owned, what), body))).status == 400
        assert owned.link.mode is Mode.RUNNING


@on_the_wire
async def test_a_message_has_a_limit() -> None:
    async with linked() as (_, own, owned):
        wanted = meant_for(owned.link.id, cpu=True, memory=False)
        fits = wanted.ljust(MAX_MESSAGE)
        assert (await exchange(own, call("POST", path(owned, "try-upscale"), fits))).status == 200
        for what in ("try-upscale", "suspend"):
            long = await exchange(own, call("POST", path(owned, what), fits + b" "))
            assert long.status == 413
        # Who is still sending hears of it as well.
        far_too_long = await exchange(own, call("POST", path(owned, "resume"), bytes(2**22)))
        assert far_too_long.status == 413
        assert owned.link.mode is Mode.RUNNING


@on_the_wire
async def test_nothing_is_unpacked() -> None:
    async with linked() as (_, own, owned):
        packed = gzip.compress(meant_for(owned.link.id))
        sent = call("POST", path(owned, "suspend"), packed)
        named = sent.replace(b"Host: agent", b"Host: agent\r\nContent-Encoding: gzip")
        assert (await exchange(own, named)).status == 400
        assert owned.link.mode is Mode.RUNNING


@on_the_wire
async def test_a_body_may_come_in_chunks_but_no_longer_for_that() -> None:
    async with linked() as (_, own, owned):
        head = f"POST {path(owned, 'suspend')} HTTP/1.1\r\nHost: a\r\n".encode()
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
        body = meant_for(owned.link.id)
        whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        assert (await exchange(own, chunked + whole)).status == 200
        endless = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        assert (await exchange(own, chunked + endless * 2)).status == 413


# ---- who does not know an agent -----------------------------------------------------------------


@on_the_wire
async def test_who_guesses_learns_nothing() -> None:
    async with linked() as (informant, own, owned):
        ended = await own.reach(informant)
        ended.running.cancel()
        await asyncio.wait([ended.running])
        own.server.add(ended.link)  # as if it were not removed yet
        body = meant_for(uuid4())
        refused = [
            await exchange(own, call("POST", one, body))
            for one in (
                f"/agents/{uuid4()}/resume",
                path(owned, "resume"),  # which is meant for another agent
                path(ended, "resume"),
                path(owned, "register"),
                f"/agents/{owned.link.id}",
                f"/agents/{owned.link.id}/resume/",
                "/agents//resume",
                "/agents/x/resume",
                "/agents/..%2f../resume",
                "/",
                "//",
                "/metrics",
            )
        ]
        assert {one.status for one in refused} == {404}
        assert len({str(one.shape) for one in refused}) == 1
        assert owned.link.mode is Mode.RUNNING


@on_the_wire
async def test_a_guest_that_names_another_guests_agent_would_have_to_know_its_path() -> None:
    async with FakeInformant() as one, FakeInformant() as other, owner() as own:
        first, second = await own.reach(one), await own.reach(other)
        body = meant_for(second.link.id)
        assert (await exchange(own, call("POST", path(first, "suspend"), body))).status == 404
        assert second.link.mode is Mode.RUNNING
        assert first.link.id != second.link.id


@on_the_wire
async def test_no_id_of_an_agent_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with linked() as (informant, own, owned):
        await informant.want()
        await exchange(own, call("POST", path(owned, "suspend"), b"{"))
        await exchange(own, f"GET {path(owned, 'id')} HTTP/1.1\r\nbroken\r\n\r\n".encode())
        await informant.resume()
        await owned.end()
    logged = "\n".join(
        logging.Formatter().format(one) + str(vars(one))
        for one in caplog.records
        if one.name != "asyncio" and not one.name.startswith("aiohttp")
    )
    assert "more of nothing" in logged
    assert str(owned.link.id) not in logged


# ---- guests that mean no good -------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /agents",
        b"GET / HTTP/1.1\r\nX: y\r\n",
        call("POST", "/agents/ID/suspend", b"{}")[:-1],
    ],
)
@on_the_wire
async def test_who_does_not_go_on_is_cut_off_after_ten_seconds(sent: bytes) -> None:
    async with linked() as (_, own, owned):
        reader, writer = await connect(own)
        began = asyncio.get_running_loop().time()
        writer.write(sent.replace(b"ID", str(owned.link.id).encode()))
        async with asyncio.timeout(60):
            await reader.read()
        passed = asyncio.get_running_loop().time() - began
        assert passed == pytest.approx(LIFETIME, abs=0.1)
        writer.close()


@pytest.mark.parametrize("where", ["head", "body"])
@on_the_wire
async def test_who_drips_is_cut_off_as_well(where: str) -> None:
    async with linked() as (_, own, owned):
        whole = call("POST", path(owned, "suspend"), meant_for(owned.link.id))
        at = 10 if where == "head" else len(whole) - 40
        reader, writer = await connect(own)
        writer.write(whole[:at])
        began = asyncio.get_running_loop().time()
        ended = asyncio.create_task(reader.read())
        for byte in whole[at : at + 30]:
            if ended.done():
                break
            writer.write(bytes([byte]))
            await asyncio.wait([ended], timeout=0.9)
        assert await ended == b""
        passed = asyncio.get_running_loop().time() - began
        assert LIFETIME - 0.1 <= passed <= LIFETIME + 1.0
        writer.close()
        assert owned.link.mode is Mode.RUNNING


@on_the_wire
async def test_one_address_has_so_many_connections_and_no_more_until_one_ends() -> None:
    async with linked() as (_, own, owned):
        held = [await connect(own) for _ in range(MOST_OF_ONE)]
        await asyncio.sleep(0.1)
        reader, writer = await connect(own)
        assert await reader.read() == b""
        writer.close()
        assert not any(one.at_eof() for one, _ in held)
        held[0][1].close()
        await asyncio.sleep(0.1)
        assert (await exchange(own, call("GET", path(owned, "id")))).status == 200
        for _, writer in held[1:]:
            writer.close()


@on_the_wire
async def test_all_addresses_together_have_so_many_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_server, "MOST_OF_ALL", 3)
    async with owner() as own:
        held = [await connect(own) for _ in range(3)]
        await asyncio.sleep(0.1)
        reader, writer = await connect(own)
        assert await reader.read() == b""
        writer.close()
        assert not any(one.at_eof() for one, _ in held)
        for _, one in held:
            one.close()
        await eventually(lambda: not connections(own))
        assert (await exchange(own, call("GET", "/"))).status == 404


@on_the_wire
async def test_who_calls_too_often_is_not_heard_and_delays_nobody_else() -> None:
    async with FakeInformant() as one, FakeInformant() as other, owner() as own:
        first, second = await own.reach(one), await own.reach(other)
        wanted = call(
            "POST", path(first, "try-upscale"), meant_for(first.link.id, cpu=True, memory=False)
        )
        answered = [(await exchange(own, wanted)).status for _ in range(int(CALLS_AT_ONCE) + 5)]
        assert answered.count(429) >= 5
        assert answered.count(200) == len(first.events) - 1 <= CALLS_AT_ONCE
        assert first.link.mode is Mode.RUNNING
        assert (await exchange(own, call("GET", path(second, "id")))).status == 200
        await asyncio.sleep(1.0)
        assert (await exchange(own, wanted)).status == 200


@on_the_wire
async def test_what_arrives_broken_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with linked() as (_, own, owned):
        head = f"POST {path(owned, 'suspend')} HTTP/1.1\r\nHost: a\r\n".encode()
        for sent, status in (
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
            (b"GET / HTTP/1.1\r\nno field\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 400),
            (head + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        ):
            assert (await exchange(own, sent)).status == status
        reader, writer = await connect(own)
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"xyz\r\n")
        assert await reader.read() == b""
        writer.close()
        _, writer = await connect(own)
        writer.write(head + b"Content-Length: 5\r\n\r\n{")
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await eventually(lambda: own.server._runner is not None and not connections(own))
        assert owned.link.mode is Mode.RUNNING
    assert [one.getMessage() for one in caplog.records if one.levelno > logging.INFO] == []


def connections(own: Owner) -> int:
    assert own.server._runner is not None
    assert own.server._runner.server is not None
    return len(own.server._runner.server.connections)


class Deaf:
    """Cannot be told anything."""

    def append(self, event: LinkEvent) -> None:
        raise RuntimeError("it does not listen")


@on_the_wire
async def test_a_failure_of_our_own_is_answered_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with linked() as (_, own, owned):
        owned.link._on_event = Deaf().append
        answer = await exchange(own, call("POST", path(owned, "suspend"), meant_for(owned.link.id)))
        assert answer.status == 500
        assert b"Traceback" not in answer.body
    assert "an agent failed to answer its informant" in caplog.messages


# ---- the listener -------------------------------------------------------------------------------


@on_the_wire
async def test_it_ends_with_its_connections_and_only_once() -> None:
    async with owner() as own:
        reader, writer = await connect(own)
        await own.server.stop()
        await own.server.stop()
        assert await reader.read() == b""
        writer.close()


async def test_a_port_that_is_taken_is_an_error() -> None:
    first, second = AgentServer("127.0.0.1", 0), AgentServer("127.0.0.1", 0)
    _, second._port = await first.start()
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.stop()
    await first.stop()


async def test_an_address_of_its_own_is_where_it_is_found_from_everywhere() -> None:
    server = AgentServer("127.0.0.1", 0)
    host, port = await server.start()
    assert host == "127.0.0.1"
    assert server.address_towards("192.0.2.1") == f"127.0.0.1:{port}"
    await server.stop()


async def test_on_all_addresses_it_is_found_at_the_one_that_leads_there() -> None:
    server = AgentServer("0.0.0.0", 0)
    _, port = await server.start()
    assert server.address_towards("127.0.0.1") == f"127.0.0.1:{port}"
    for towards in ("example.org", "", "127.0.0.1:80"):
        with pytest.raises(ValueError, match="does not appear to be an"):
            server.address_towards(towards)
    await server.stop()


async def test_an_address_of_version_six_is_put_in_brackets() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = AgentServer("::", 0)
    _, port = await server.start()
    assert server.address_towards("::1") == f"[::1]:{port}"
    await server.stop()
