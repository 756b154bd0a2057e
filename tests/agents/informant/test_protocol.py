"""The protocol between agents and the informant, on the wire."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiohttp import web

from gateway.agents.informant.agents import MAX_AGENTS
from gateway.resize.messages import MAX_MESSAGE
from tests.agents.informant.fake_agent import FakeAgent, serving
from tests.agents.informant.informing import Asker, informing
from tests.agents.informant.tree import ContainerTree, MachineTree
from tests.conformance.harness import eventually
from tests.resize.linked import on_the_wire
from tests.resize.misdeeds import cut, hang

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.resize.misdeeds import Act


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Asker]:
    async with informing(ContainerTree(tmp_path)) as running:
        yield running


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    async with serving() as served:
        yield served


@pytest.fixture
async def newer() -> AsyncIterator[FakeAgent]:
    async with serving() as served:
        yield served


async def registered(asker: Asker, *agents: FakeAgent) -> None:
    """Register them one after the other; return when each was resumed."""
    for one in agents:
        assert (await asker.register(one)).status == 200
        await told(one, "/resume")


async def told(agent: FakeAgent, path: str) -> None:
    await eventually(lambda: path in agent.paths, f"{path}, not {agent.paths}")


# ---- /register ----------------------------------------------------------------------------------


async def test_an_agent_registers_and_is_resumed(asker: Asker, agent: FakeAgent) -> None:
    reply = await asker.register(agent)
    assert reply.status == 200
    assert reply.json == {
        "protoVersion": 4,
        "metricsMethod": {"prometheus": {"port": asker.port}},
    }
    await told(agent, "/resume")
    assert agent.told == [("/id", None), ("/resume", {"expectedID": str(agent.id)})]


@pytest.mark.parametrize(("oldest", "newest"), [(1, 3), (5, 6), (0, 0)])
async def test_other_versions_are_refused_and_ours_is_named(
    asker: Asker, agent: FakeAgent, oldest: int, newest: int
) -> None:
    reply = await asker.ask("POST", "/register", agent.desc(oldest, newest))
    assert reply.status == 400
    assert reply.text.startswith("v2.0 of the protocol is spoken here, not ")
    assert agent.told == []


async def test_an_id_that_is_known_is_refused(asker: Asker, agent: FakeAgent) -> None:
    await registered(asker, agent)
    assert (await asker.register(agent)).status == 409
    assert await asker.is_well(agent) == 200


async def test_an_id_that_is_being_asked_for_is_known(asker: Asker, agent: FakeAgent) -> None:
    going_on = asyncio.Event()
    agent.answers["/id"] = waiting_for(going_on, agent)
    first = asyncio.create_task(asker.register(agent))
    await eventually(lambda: agent.told)
    assert await asker.is_well(agent) == 404
    assert (await asker.register(agent)).status == 409
    going_on.set()
    assert (await first).status == 200


def waiting_for(event: asyncio.Event, agent: FakeAgent) -> Act:
    async def answer(_: web.Request) -> web.Response:
        await event.wait()
        return web.json_response(agent.identification())

    return answer


async def test_an_agent_with_another_id_is_refused(asker: Asker, agent: FakeAgent) -> None:
    other = FakeAgent(address=agent.address)
    reply = await asker.register(other)
    assert reply.status == 400
    assert "another agent answers there" in reply.text
    assert str(agent.id) not in reply.text
    assert await asker.is_well(other) == 404


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "user@10.0.0.1:80", "10.0.0.1:80?a=b", "10.0.0.1:80/a#b", "10.0.0.1:0",
        "10.0.0.1:65536", "http://10.0.0.1:80", "10.0.0.1:80/a b", "10.0.0.1:80/%zz", ":80",
        "10.0.0.1:80\n", "::1:80", "10.0.0.1:80/\u00e4",
    ],
)  # fmt: skip
async def test_an_address_that_is_none_is_refused(
    asker: Asker, agent: FakeAgent, address: str
) -> None:
    agent.address = address
    reply = await asker.register(agent)
    assert reply.status == 400
    assert reply.text.startswith("agentServeAddr: ")


async def test_an_agent_that_is_not_there_is_refused(asker: Asker) -> None:
    async with serving() as agent:
        pass
    assert (await asker.register(agent)).status == 400


# ---- who is listened to -------------------------------------------------------------------------


async def test_the_newest_agent_takes_over_and_the_older_one_waits(
    asker: Asker, agent: FakeAgent, newer: FakeAgent
) -> None:
    await registered(asker, agent, newer)
    await told(agent, "/suspend")
    assert agent.told[-1] == ("/suspend", {"expectedID": str(agent.id)})
    assert newer.paths == ["/resume"]
    reply = await asker.upscale(agent)
    assert reply.status == 400
    assert reply.text == "this is not the current agent"
    assert (await asker.upscale(newer)).status == 200
    assert await asker.is_well(agent) == 200


async def test_the_older_one_is_resumed_when_the_newer_one_goes(
    asker: Asker, agent: FakeAgent, newer: FakeAgent
) -> None:
    await registered(asker, agent, newer)
    await told(agent, "/suspend")
    reply = await asker.unregister(newer)
    assert (reply.status, reply.json) == (200, {"wasActive": True})
    await eventually(lambda: agent.paths == ["/resume", "/suspend", "/resume"])
    assert (await asker.upscale(agent)).status == 200
    assert await asker.is_well(newer) == 404


async def test_an_agent_that_waits_may_go(asker: Asker, agent: FakeAgent, newer: FakeAgent) -> None:
    await registered(asker, agent, newer)
    assert (await asker.unregister(agent)).json == {"wasActive": False}
    assert (await asker.upscale(newer)).status == 200


async def test_an_agent_that_does_not_answer_any_more_gives_way(
    tmp_path: Path, agent: FakeAgent
) -> None:
    async with informing(ContainerTree(tmp_path), check_every=0.05) as asker:
        await registered(asker, agent)
        async with serving() as newer:
            await registered(asker, newer)
            await eventually(lambda: agent.paths == ["/resume", "/suspend"])
        await eventually(lambda: agent.paths == ["/resume", "/suspend", "/resume"])
        assert await asker.is_well(newer) == 404


async def test_an_agent_that_is_slow_to_take_our_answer_is_told_again(
    asker: Asker, agent: FakeAgent
) -> None:
    refusals = iter([web.Response(status=400), web.Response(status=400)])

    async def resume(_: web.Request) -> web.Response:
        return next(refusals, None) or web.json_response(agent.identification())

    agent.answers["/resume"] = resume
    await asker.register(agent)
    await eventually(lambda: agent.paths == ["/resume"] * 3)
    assert (await asker.upscale(agent)).status == 200


async def test_an_agent_that_is_suspended_already_stays(
    asker: Asker, agent: FakeAgent, newer: FakeAgent
) -> None:
    agent.answers["/suspend"] = with_status(400)
    await registered(asker, agent, newer)
    await told(agent, "/suspend")
    await asker.unregister(newer)
    await eventually(lambda: agent.paths == ["/resume", "/suspend", "/resume"])


async def test_too_many_agents_push_out_the_oldest(asker: Asker) -> None:
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(serving()) for _ in range(MAX_AGENTS + 1)]
        await registered(asker, *agents)
        assert [await asker.is_well(one) for one in agents] == [404] + [200] * MAX_AGENTS
        assert (await asker.metrics())["informant_agents"] == MAX_AGENTS


# ---- agents that fail ---------------------------------------------------------------------------


def with_status(status: int, **headers: str) -> Act:
    """Answer with a body that is as it should be."""

    async def answer(request: web.Request) -> web.Response:
        agent_id = request.path.split("/")[2]
        body = {"data": {"agentID": agent_id}, "sequenceNumber": 1}
        return web.json_response(body, status=status, headers=headers)

    return answer


def with_body(body: bytes) -> Act:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return answer


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with suppress(ConnectionError):
        while True:
            await response.write(b" " * MAX_MESSAGE)
    return response


async def closed(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


#: What an agent may do instead of answering, and how that is told.
BROKEN: dict[str, tuple[Act, str]] = {
    "garbage": (with_body(b"garbage"), "cannot be read"),
    "other JSON": (with_body(b'{"agentID": 5}'), "cannot be read: data, sequenceNumber"),
    "nothing": (with_body(b""), "cannot be read"),
    "an id of another": (
        with_body(f'{{"data": {{"agentID": "{uuid4()}"}}, "sequenceNumber": 99}}'.encode()),
        "another agent answers there",
    ),
    "a redirect": (with_status(307, Location="moved"), "status 307"),
    "an error": (with_status(500), "status 500"),
    "not found": (with_status(404), "status 404"),
    "a little too much": (
        with_body(b" " * (MAX_MESSAGE + 1)),
        "an answer of more than 16384 bytes",
    ),
    "too much": (endless, "an answer of more than 16384 bytes"),
    "half an answer": (cut, "payload is not completed"),
    "a close": (closed, "Server disconnected"),
    "silence": (hang, "no answer within 2 s"),
}


@pytest.mark.parametrize("broken", BROKEN)
@on_the_wire
async def test_an_agent_that_answers_otherwise_is_not_registered(
    tmp_path: Path, broken: str
) -> None:
    async with serving() as agent, informing(ContainerTree(tmp_path)) as asker:
        agent.answers["/id"], said = BROKEN[broken]
        reply = await asker.register(agent)
        assert reply.status == 400
        assert reply.text.startswith("the agent does not answer to its id: /id: ")
        assert said in reply.text
        assert await asker.is_well(agent) == 404
        assert {path for path, _ in agent.told} == {"/id"}
        del agent.answers["/id"]
        assert (await asker.register(agent)).status == 200


@pytest.mark.parametrize("broken", BROKEN)
@on_the_wire
async def test_an_agent_that_cannot_be_resumed_gives_way_to_the_one_before(
    tmp_path: Path, broken: str
) -> None:
    async with serving() as agent, serving() as newer:
        newer.answers["/resume"], _ = BROKEN[broken]
        async with informing(ContainerTree(tmp_path)) as asker:
            await registered(asker, agent, newer)
            async with asyncio.timeout(60.0):
                while agent.paths != ["/resume", "/suspend", "/resume"]:
                    await asyncio.sleep(0.1)
            assert await asker.is_well(newer) == 404


async def test_what_comes_of_an_agents_past_does_not_count(asker: Asker, agent: FakeAgent) -> None:
    failing = asyncio.Event()

    async def fail(_: web.Request) -> web.Response:
        await failing.wait()
        return web.Response(status=500)

    agent.answers["/resume"] = fail
    await registered(asker, agent)
    await asker.unregister(agent)
    del agent.answers["/resume"]
    agent.told.clear()
    await registered(asker, agent)
    failing.set()
    assert [await asker.is_well(agent) for _ in range(20)] == [200] * 20


async def test_an_agent_that_hangs_holds_up_no_other(
    tmp_path: Path, agent: FakeAgent, newer: FakeAgent
) -> None:
    agent.answers["/suspend"] = hang
    async with informing(ContainerTree(tmp_path), call_timeout=60.0) as asker:
        await registered(asker, agent, newer)
        assert (await asker.upscale(newer)).status == 200


# ---- commands -----------------------------------------------------------------------------------


async def test_numbers_must_grow(asker: Asker, agent: FakeAgent) -> None:
    await registered(asker, agent)
    assert (await asker.upscale(agent, number=10)).status == 200
    for number in (10, 9):
        reply = await asker.upscale(agent, number=number)
        assert reply.status == 400
        assert reply.text == f"sequence number {number}: wanted more than 10"
    assert (await asker.ask("PUT", "/downscale", agent.size(number=10))).status == 400
    assert (await asker.upscale(agent, number=11)).json == {}


async def test_a_guest_agrees_to_what_leaves_it_room(asker: Asker, agent: FakeAgent) -> None:
    """It uses 200 MiB, which is 90 % of 222.2 MiB."""
    await registered(asker, agent)
    reply = await asker.downscale(agent, "223Mi")
    assert reply.json == {"Ok": True, "Status": "209715200 bytes of memory are in use"}
    reply = await asker.downscale(agent, "222Mi")
    assert reply.json == {
        "Ok": False,
        "Status": "209715200 bytes of memory are in use, too much for 222Mi",
    }
    counted = await asker.metrics()
    assert counted['informant_downscales_total{outcome="agreed"}'] == 1
    assert counted['informant_downscales_total{outcome="refused"}'] == 1


async def test_less_cpu_is_never_refused(asker: Asker, agent: FakeAgent) -> None:
    await registered(asker, agent)
    reply = await asker.ask("PUT", "/downscale", agent.size(cpu="1m", memory="1Gi"))
    assert reply.json["Ok"] is True


async def test_less_cpu_is_not_refused_for_the_memory_that_runs_short(
    tmp_path: Path, asker: Asker, agent: FakeAgent
) -> None:
    await registered(asker, agent)
    ContainerTree(tmp_path).set_memory(current=500, limit=512)
    reply = await asker.ask("PUT", "/downscale", agent.size(cpu="1m", memory="512Mi"))
    assert reply.json["Ok"] is True
    reply = await asker.ask("PUT", "/downscale", agent.size(cpu="1m", memory="511Mi"))
    assert reply.json["Ok"] is False


# ---- what is no request -------------------------------------------------------------------------

PATHS = {
    "/register": "POST",
    "/health-check": "PUT",
    "/downscale": "PUT",
    "/upscale": "PUT",
    "/unregister": "DELETE",
}


@pytest.mark.parametrize(("path", "method"), PATHS.items())
async def test_another_method_is_refused(asker: Asker, path: str, method: str) -> None:
    for other in {"GET", "POST", "PUT", "DELETE", "PATCH"} - {method}:
        assert (await asker.ask(other, path)).status == 405


@pytest.mark.parametrize(("path", "method"), PATHS.items())
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"agentID": "x"}', b"\xff"])
async def test_a_body_that_is_no_message_is_refused(
    asker: Asker, path: str, method: str, body: bytes
) -> None:
    reply = await asker.ask(method, path, body)
    assert reply.status == 400
    assert reply.text.startswith("the message cannot be read: ")


@pytest.mark.parametrize(("path", "method"), PATHS.items())
async def test_a_body_that_is_too_long_is_refused(asker: Asker, path: str, method: str) -> None:
    assert (await asker.ask(method, path, b" " * (MAX_MESSAGE + 1))).status == 413


async def test_another_path_is_not_found(asker: Asker) -> None:
    for path in ("/", "/id", "/register/", "/try-upscale"):
        assert (await asker.ask("GET", path)).status == 404


async def test_a_body_that_does_not_come_is_not_waited_for(asker: Asker) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", asker.port)
    writer.write(b"POST /register HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{")
    async with asyncio.timeout(10.0):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    await writer.wait_closed()


async def test_who_is_unknown_is_told_so(asker: Asker, agent: FakeAgent) -> None:
    assert await asker.is_well(agent) == 404
    assert (await asker.unregister(agent)).status == 404
    assert (await asker.upscale(agent)).status == 400


async def test_an_agent_goes_from_where_it_came(asker: Asker, agent: FakeAgent) -> None:
    await registered(asker, agent)
    desc: Any = agent.desc() | {"agentServeAddr": "127.0.0.1:1/x"}
    assert (await asker.ask("DELETE", "/unregister", desc)).status == 400
    assert await asker.is_well(agent) == 200


async def test_an_id_is_nowhere_in_the_log(
    asker: Asker, agent: FakeAgent, newer: FakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await registered(asker, agent, newer)
    newer.answers["/try-upscale"] = with_status(500)
    for command in (asker.upscale(newer), asker.upscale(agent), asker.register(agent)):
        await command
    await asker.unregister(newer)
    fields = [str(vars(record)) for record in caplog.records if record.name.startswith("gateway")]
    assert any("refused" in one for one in fields)
    assert not [one for one in fields for who in (agent, newer) if str(who.id) in one]


# ---- /metrics -----------------------------------------------------------------------------------


async def test_a_machine_tells_its_load_from_the_start(tmp_path: Path) -> None:
    async with informing(MachineTree(tmp_path)) as asker:
        assert await asker.metrics() == {
            "host_load1": 0.52,
            "host_load5": 0.58,
            "host_memory_total_bytes": 8192 * 1024**2,
            "host_memory_available_bytes": 6144 * 1024**2,
            "informant_agents": 0,
            "informant_upscale_requests_total": 0,
        }


async def test_a_container_tells_no_load_before_it_is_measured(asker: Asker) -> None:
    told_first = await asker.metrics()
    assert "host_load1" not in told_first
    assert told_first["host_memory_total_bytes"] == 512 * 1024**2
    assert told_first["host_memory_available_bytes"] == 312 * 1024**2
