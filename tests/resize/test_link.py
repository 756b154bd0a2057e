"""One agent's conversation with an informant, on real sockets; the clock is virtual."""

from __future__ import annotations

import asyncio
import gzip
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from aiohttp import web

from gateway.resize.informant_client import LinkFailed
from gateway.resize.link import Link
from gateway.resize.link_state import EndReason, Mode, Running, Suspended, UpscaleWanted
from gateway.resize.messages import MAX_MESSAGE, DownscaleResult
from gateway.resize.scrape import MAX_METRICS, BadMetrics, Scraped
from gateway.sandbox.scaling import Size
from tests.conformance.harness import eventually

from .fake_informant import METRICS, V1_1, Agent, FakeInformant
from .linked import linked, on_the_wire, owner
from .misdeeds import answers, cut, drip, hang

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .misdeeds import Act

SIZE = Size(cpu=1250, memory=3 * 1024**3)
#: What a link is asked for, by the path that this goes by; it looks after the health by itself.
SAID: dict[str, Callable[[Link], Awaitable[object]]] = {
    "/downscale": lambda link: link.downscale(SIZE),
    "/upscale": lambda link: link.upscale(SIZE),
    "/metrics": lambda link: link.metrics(),
}
ZIPPED = gzip.compress(METRICS.format(load1=1, load5=1, total=2, available=1).encode())


def now() -> float:
    return asyncio.get_running_loop().time()


# ---- the registration ---------------------------------------------------------------------------


@on_the_wire
async def test_an_agent_registers_and_is_listened_to() -> None:
    async with linked() as (informant, own, owned):
        assert owned.link.mode is Mode.RUNNING
        (desc,) = informant.said("/register")
        where = own.server.address_towards("127.0.0.1")
        assert desc == {
            "agentID": str(owned.link.id),
            "agentServeAddr": f"{where}/agents/{owned.link.id}",
            "minProtoVersion": 4,
            "maxProtoVersion": 4,
        }
        assert informant.current.numbers == [1, 2]


@on_the_wire
async def test_what_is_at_an_address_of_no_sandbox_is_not_called() -> None:
    async with FakeInformant() as informant, owner() as own:
        link = Link(informant.address, own.server, lambda _: None, may_call=False)
        end = await link.run()
        assert end.reason is EndReason.FORBIDDEN
        assert end.retry_after >= 60.0
        assert not informant.said("/register")
        assert not informant.said("/unregister")


@on_the_wire
async def test_until_it_is_resumed_an_agent_says_nothing() -> None:
    async with FakeInformant(resumes=False) as informant, owner() as own:
        owned = own.begin(informant.address)
        await eventually(lambda: owned.link.mode is Mode.SUSPENDED)
        with pytest.raises(LinkFailed, match="does not listen"):
            await owned.link.downscale(SIZE)
        with pytest.raises(LinkFailed, match="does not listen"):
            await owned.link.upscale(SIZE)
        assert informant.numbers() == []


@on_the_wire
async def test_to_be_resumed_before_the_answer_to_the_registration_is_no_slip() -> None:
    async with FakeInformant(resumes=False) as informant, owner() as own:
        statuses: list[int] = []

        async def resume_first(request: web.Request) -> web.StreamResponse:
            agent = Agent(
                (await request.json())["agentID"], (await request.json())["agentServeAddr"]
            )
            informant.agents.append(agent)
            await informant.identify()
            resuming = asyncio.create_task(informant.resume())
            await asyncio.sleep(0.1)
            assert not resuming.done()
            informant._later(resuming_into(statuses, resuming))
            return web.json_response(
                {"protoVersion": 4, "metricsMethod": {"prometheus": {"port": informant.port}}}
            )

        informant.instead["/register"] = resume_first
        owned = own.begin(informant.address)
        await owned.resumed()
        await eventually(lambda: statuses == [200])


async def resuming_into(statuses: list[int], resuming: asyncio.Task[int]) -> int:
    statuses.append(await resuming)
    return statuses[-1]


@on_the_wire
async def test_an_informant_that_speaks_but_does_not_confirm_is_left_at_once() -> None:
    async with FakeInformant() as informant, owner() as own:
        informant.instead["/register"] = hang
        owned = own.begin(informant.address)
        await eventually(lambda: informant.said("/register"))
        (desc,) = informant.said("/register")
        agent = Agent(desc["agentID"], desc["agentServeAddr"])
        began = now()
        assert await informant.resume(agent) == 400
        end = await owned.end()
        assert end.reason is EndReason.OUT_OF_STEP
        assert 1.5 <= now() - began < 2
        assert owned.events == []


@on_the_wire
async def test_who_does_not_answer_a_registration_is_tried_again_soon() -> None:
    async with FakeInformant() as informant, owner() as own:
        informant.instead["/register"] = hang
        began = now()
        end = await own.begin(informant.address).end()
        assert (end.reason, end.why) == (EndReason.UNREACHABLE, "no answer within 5 s")
        assert 5 <= now() - began < 6


@on_the_wire
async def test_where_nobody_listens_somebody_may_soon() -> None:
    async with FakeInformant() as informant:
        gone = informant.address
    async with owner() as own:
        began = now()
        end = await own.begin(gone).end()
        assert end.reason is EndReason.UNREACHABLE
        assert end.why.startswith("no connection")
        assert end.retry_after < 60
        assert now() - began < 1


@pytest.mark.parametrize("host", ["", "example.invalid", "127.0.0.1.", "999.0.0.1"])
@on_the_wire
async def test_what_is_no_address_is_not_looked_up(host: str) -> None:
    async with owner() as own:
        own.server._host = "0.0.0.0"
        end = await own.begin((host, 10301)).end()
        assert end.reason is EndReason.UNREACHABLE


@on_the_wire
async def test_an_informant_that_speaks_older_versions_alone_is_left_for_long() -> None:
    async with FakeInformant(version=V1_1) as informant, owner() as own:
        owned = own.begin(informant.address)
        end = await owned.end()
        assert end.reason is EndReason.REFUSED
        assert "spoken is v2.0" in end.why
        assert "it says 'version 2 is spoken here'" in end.why
        assert end.retry_after == 300
        assert owned.link.mode is Mode.ENDED


@on_the_wire
async def test_an_informant_that_chooses_an_older_version_is_left_for_long() -> None:
    async with FakeInformant() as informant, owner() as own:
        method = {"prometheus": {"port": 1}}
        body = web.json_response({"protoVersion": V1_1, "metricsMethod": method}).body
        assert isinstance(body, bytes)
        informant.instead["/register"] = answers(200, body)
        end = await own.begin(informant.address).end()
        assert (end.reason, end.retry_after) == (EndReason.INCOMPATIBLE, 300)
        assert end.why == "the informant chose v1.1, and spoken is v2.0"


@on_the_wire
async def test_an_informant_that_does_not_ask_who_the_agent_is_is_not_trusted() -> None:
    async with FakeInformant(asks_id=False, resumes=False) as informant, owner() as own:
        end = await own.begin(informant.address).end()
        assert (end.reason, end.retry_after) == (EndReason.IMPROPER, 300)
        await eventually(lambda: informant.agents == [], "it was not told")


@on_the_wire
async def test_an_informant_without_metrics_is_of_no_use() -> None:
    async with FakeInformant(resumes=False) as informant, owner() as own:
        informant.metrics_method = {}
        end = await own.begin(informant.address).end()
        assert (end.reason, end.retry_after) == (EndReason.IMPROPER, 300)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (answers(200, b"<html>"), EndReason.IMPROPER),
        (answers(200, b"{}"), EndReason.IMPROPER),
        (answers(200, b"{" + b" " * MAX_MESSAGE + b"}"), EndReason.IMPROPER),
        (answers(200, gzip.compress(b"{}"), Content_Encoding="gzip"), EndReason.IMPROPER),
        (answers(302, Location="/health-check"), EndReason.IMPROPER),
        (answers(404), EndReason.IMPROPER),
        (answers(409), EndReason.OUT_OF_STEP),
        (answers(500, b"\x1b[31m\xff\n" * 500), EndReason.UNREACHABLE),
        (drip, EndReason.UNREACHABLE),
        (cut, EndReason.UNREACHABLE),
    ],
)
@on_the_wire
async def test_whatever_is_answered_to_a_registration_ends_the_link_in_time(
    act: Act, reason: EndReason
) -> None:
    async with FakeInformant() as informant, owner() as own:
        informant.instead["/register"] = act
        began = now()
        end = await own.begin(informant.address).end()
        assert end.reason is reason
        assert end.why.isascii()
        assert end.why.isprintable()
        assert len(end.why) < 400
        assert now() - began < 6
        assert informant.said("/health-check") == []


# ---- what the informant says --------------------------------------------------------------------


@on_the_wire
async def test_an_informant_says_whether_it_listens() -> None:
    async with linked() as (informant, _, owned):
        assert await informant.suspend() == 200
        assert owned.link.mode is Mode.SUSPENDED
        assert await informant.resume() == 200
        assert owned.events == [Running(), Suspended(), Running()]


@pytest.mark.parametrize("path", ["/resume", "/suspend"])
@on_the_wire
async def test_the_same_twice_is_refused_and_ends_the_link(path: str) -> None:
    async with linked() as (informant, _, owned):
        agent = informant.current
        if path == "/suspend":
            assert await informant.call(path) == 200
        assert await informant.call(path) == 400
        end = await owned.end()
        assert end.reason is EndReason.OUT_OF_STEP
        assert end.retry_after < 60
        assert informant.agents == []
        for other in ("/resume", "/suspend", "/try-upscale"):
            assert await informant.call(other, agent, cpu=True, memory=True) == 404
        assert await informant.identify(agent) == 404


@on_the_wire
async def test_what_is_said_to_another_agent_is_not_taken() -> None:
    async with linked() as (informant, _, owned):
        assert await informant.call("/suspend", expectedID=str(UUID(int=7))) == 404
        assert owned.link.mode is Mode.RUNNING


@on_the_wire
async def test_a_guest_may_want_more_while_it_is_listened_to() -> None:
    async with linked() as (informant, _, owned):
        assert await informant.want(memory=True) == 200
        assert owned.events[1:] == [UpscaleWanted(cpu=False, memory=True)]
        await informant.suspend()
        assert await informant.want(memory=True) == 400
        assert await informant.resume() == 200, "that was no reason to end"


@on_the_wire
async def test_one_who_wants_more_of_nothing_is_answered_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with linked() as (informant, _, owned):
        for _ in range(3):
            assert await informant.want() == 200
        assert owned.events == [Running()]
    warnings = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [one.getMessage() for one in warnings] == ["an informant asks for more of nothing"]


@on_the_wire
async def test_the_newest_agent_is_listened_to_and_the_one_before_it_when_that_goes() -> None:
    async with linked() as (informant, own, first):
        second = await own.reach(informant)
        await eventually(lambda: first.link.mode is Mode.SUSPENDED)
        with pytest.raises(LinkFailed):
            await first.link.upscale(SIZE)
        second.running.cancel()
        await first.resumed()
        await first.link.upscale(SIZE)
        assert first.events == [Running(), Suspended(), Running()]
        assert second.events == [Running()]


# ---- what is said to the informant --------------------------------------------------------------


@on_the_wire
async def test_sizes_are_told_as_the_protocol_has_them() -> None:
    async with linked() as (informant, _, owned):
        agreed = await owned.link.downscale(SIZE)
        assert agreed == DownscaleResult(ok=True, status="there is room")
        informant.refusal = "no"
        assert await owned.link.downscale(SIZE) == DownscaleResult(ok=False, status="no")
        await owned.link.upscale(Size(cpu=2000, memory=1024**3))
        told = {"cpu": "1250m", "memory": "3Gi", "id": {"agentID": str(owned.link.id)}}
        # The answers to /id and /resume were the first and the second word.
        assert informant.said("/downscale") == [
            {"data": told, "sequenceNumber": 3},
            {"data": told, "sequenceNumber": 4},
        ]
        (more,) = informant.said("/upscale")
        assert more == {"data": told | {"cpu": "2", "memory": "1Gi"}, "sequenceNumber": 5}


@on_the_wire
async def test_no_answer_overtakes_a_request() -> None:
    async with linked() as (informant, _, owned):
        arrived, answered = asyncio.Event(), asyncio.Event()

        async def gated(_: web.Request) -> web.StreamResponse:
            arrived.set()
            await answered.wait()
            return web.json_response({})

        informant.instead["/upscale"] = gated
        telling = asyncio.create_task(owned.link.upscale(SIZE))
        await arrived.wait()
        asking = asyncio.create_task(informant.identify())
        await asyncio.sleep(1)
        assert not asking.done()
        answered.set()
        await telling
        assert await asking == 200
        assert informant.said("/upscale")[0]["sequenceNumber"] == 3
        assert informant.current.numbers == [1, 2, 4]


@on_the_wire
async def test_whatever_is_said_at_once_each_request_has_a_greater_number_than_all_before() -> None:
    async with linked() as (informant, _, owned):
        seen = [0]

        async def ordered(request: web.Request) -> web.StreamResponse:
            number = (await request.json())["sequenceNumber"]
            late = number <= max(*informant.current.numbers, *seen)
            seen.append(number)
            return web.Response(status=400 if late else 200, body=b"{}")

        informant.instead["/upscale"] = ordered
        told = (owned.link.upscale(SIZE) for _ in range(15))
        asked = (informant.identify() for _ in range(15))
        await asyncio.gather(*(one for pair in zip(told, asked, strict=True) for one in pair))
        everything = sorted(seen[1:] + informant.current.numbers)
        assert everything == list(range(1, 33))


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (answers(400, b"not the current agent"), "status 400: it says 'not the current agent'"),
        (answers(500), "status 500"),
        (answers(200, b"{"), "cannot be read"),
        (answers(200, b"[]"), "cannot be read"),
        (answers(307, Location="/upscale"), "status 307"),
        (hang, "no answer within 5 s"),
        (drip, "no answer within 5 s"),
        (cut, "no answer"),
    ],
)
@on_the_wire
async def test_a_request_that_fails_says_why_and_the_next_one_may_go_well(
    act: Act, why: str
) -> None:
    async with linked() as (informant, _, owned):
        informant.instead["/downscale"] = act
        began = now()
        with pytest.raises(LinkFailed, match=why):
            await owned.link.downscale(SIZE)
        assert now() - began < 6
        assert informant.said("/upscale") == []
        await owned.link.upscale(SIZE)
        assert informant.numbers() == [3, 4]


@on_the_wire
async def test_a_request_that_is_given_up_holds_up_no_other() -> None:
    async with linked() as (informant, _, owned):
        informant.instead["/downscale"] = hang
        asking = asyncio.create_task(owned.link.downscale(SIZE))
        await eventually(lambda: informant.said("/downscale"))
        asking.cancel()
        await owned.link.upscale(SIZE)
        assert await informant.identify() == 200


# ---- health -------------------------------------------------------------------------------------


@on_the_wire
async def test_an_informant_is_asked_every_five_seconds_whether_it_is_well() -> None:
    async with linked() as (informant, _, owned):
        await asyncio.sleep(61)
        assert informant.said("/health-check") == [{"agentID": str(owned.link.id)}] * 12
        assert owned.link.mode is Mode.RUNNING


@on_the_wire
async def test_who_tells_its_metrics_and_asks_for_the_id_is_well() -> None:
    async with linked() as (informant, _, owned):
        for _ in range(15):
            await asyncio.sleep(4)
            await owned.link.metrics()
            assert await informant.identify() == 200
        assert informant.said("/health-check") == []
        assert owned.link.mode is Mode.RUNNING


@pytest.mark.parametrize("told", ["metrics", "id"])
@on_the_wire
async def test_who_does_one_of_the_two_is_still_asked(told: str) -> None:
    async with linked() as (informant, _, owned):
        for _ in range(10):
            await asyncio.sleep(4)
            await (owned.link.metrics() if told == "metrics" else informant.identify())
        assert len(informant.said("/health-check")) >= 7


@on_the_wire
async def test_one_that_tells_metrics_but_has_forgotten_the_agent_is_met_again() -> None:
    async with linked() as (informant, _, owned):
        informant.agents.clear()
        while not owned.running.done():
            await owned.link.metrics()
            await asyncio.sleep(1)
        assert (await owned.end()).reason is EndReason.FORGOTTEN


@pytest.mark.parametrize("act", [hang, drip, cut, answers(500), answers(400), answers(200, b"x")])
@on_the_wire
async def test_after_twenty_seconds_of_silence_the_link_ends(act: Act) -> None:
    async with linked() as (informant, _, owned):
        began = now()
        informant.instead["/health-check"] = act
        end = await owned.end()
        assert end.reason is EndReason.SILENT
        assert end.retry_after < 60
        assert 19.9 < now() - began < 27
        assert informant.agents == []


@on_the_wire
async def test_silence_that_ends_in_time_is_forgiven() -> None:
    async with linked() as (informant, _, owned):
        await asyncio.sleep(1)
        for _ in range(4):
            informant.instead["/health-check"] = answers(500)
            await asyncio.sleep(17)
            del informant.instead["/health-check"]
            await asyncio.sleep(3)
        assert owned.link.mode is Mode.RUNNING


@on_the_wire
async def test_any_answer_is_a_sign_of_life() -> None:
    async with linked() as (informant, _, owned):
        informant.instead["/health-check"] = answers(500)
        for _ in range(8):
            await asyncio.sleep(10)
            await owned.link.upscale(SIZE)
        assert owned.link.mode is Mode.RUNNING


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/health-check", MAX_MESSAGE),
        ("/downscale", MAX_MESSAGE),
        ("/upscale", MAX_MESSAGE),
        ("/metrics", MAX_METRICS),
    ],
)
@on_the_wire
async def test_an_informant_that_answers_more_than_it_may_is_left_for_long(
    path: str, most: int
) -> None:
    async with linked() as (informant, _, owned):
        informant.instead[path] = answers(200, b" " * (most + 1))
        if path in SAID:
            with pytest.raises(LinkFailed, match="longer than"):
                await SAID[path](owned.link)
        end = await owned.end(within=8)
        assert (end.reason, end.retry_after) == (EndReason.IMPROPER, 300)
        assert f"longer than {most} bytes" in end.why
        assert informant.agents == []


@pytest.mark.parametrize("path", ["/health-check", "/downscale", "/upscale"])
@on_the_wire
async def test_an_informant_that_has_restarted_is_met_again_soon(path: str) -> None:
    async with linked() as (informant, _, owned):
        informant.agents.clear()
        if path in SAID:
            with pytest.raises(LinkFailed, match="status 404"):
                await SAID[path](owned.link)
        end = await owned.end(within=8)
        assert end.reason is EndReason.FORGOTTEN
        assert end.retry_after < 60


# ---- the end ------------------------------------------------------------------------------------


@on_the_wire
async def test_an_informant_is_told_of_the_end_as_it_was_told_of_the_beginning() -> None:
    async with linked() as (informant, _, owned):
        owned.running.cancel()
        await asyncio.wait([owned.running])
        assert informant.said("/unregister") == informant.said("/register")
        assert informant.agents == []
        assert owned.link.mode is Mode.ENDED
        with pytest.raises(LinkFailed, match="does not listen"):
            await owned.link.upscale(SIZE)


@on_the_wire
async def test_an_informant_that_hangs_delays_the_end_by_two_seconds_at_most() -> None:
    async with linked() as (informant, _, owned):
        informant.instead["/unregister"] = hang
        began = now()
        owned.running.cancel()
        await asyncio.wait([owned.running])
        assert owned.running.cancelled()
        assert 2 <= now() - began < 3


@pytest.mark.parametrize("turns", [*range(40), 60, 80, 120, 200])
@on_the_wire
async def test_a_link_can_be_cancelled_at_any_moment_and_leaves_nothing(turns: int) -> None:
    async with FakeInformant() as informant, owner() as own:
        before = asyncio.all_tasks()
        owned = own.begin(informant.address)
        for _ in range(turns):
            await asyncio.sleep(0)
        owned.running.cancel()
        await asyncio.wait([owned.running])
        assert owned.running.cancelled()
        assert own.server._links == {}
        events = len(owned.events)
        # An informant that is still about to take the agent in finds it gone.
        await eventually(lambda: informant.agents == [])
        await eventually(lambda: all(one.done() for one in informant._tasks))
        ours = {
            one
            for one in asyncio.all_tasks() - before
            if "Link" in (getattr(one.get_coro(), "__qualname__", ""))
        }
        assert ours == set()
        assert len(owned.events) == events


# ---- metrics ------------------------------------------------------------------------------------


@on_the_wire
async def test_metrics_are_had_from_where_the_informant_says() -> None:
    async with FakeInformant() as informant, owner() as own:
        owned = own.begin(informant.address)
        with pytest.raises(LinkFailed, match="not taken this agent yet"):
            await owned.link.metrics()
        await owned.resumed()
        informant.load1 = 1.5
        assert await owned.link.metrics() == Scraped(1.5, 0.25, 4 * 1024**3, 1024**3)


@pytest.mark.parametrize(
    ("act", "error", "why"),
    [
        (hang, LinkFailed, "within 2 s"),
        (drip, LinkFailed, "within 2 s"),
        (cut, LinkFailed, "no answer"),
        (answers(404), LinkFailed, "404"),
        (answers(302, Location="/health-check"), LinkFailed, "302"),
        (answers(200, b"x" * MAX_METRICS), BadMetrics, "missing"),
        (answers(200, ZIPPED, Content_Encoding="gzip"), BadMetrics, "missing"),
    ],
)
@on_the_wire
async def test_bad_metrics_are_told_and_the_link_goes_on(
    act: Act, error: type[Exception], why: str
) -> None:
    async with linked() as (informant, _, owned):
        informant.instead["/metrics"] = act
        began = now()
        with pytest.raises(error, match=why):
            await owned.link.metrics()
        assert now() - began < 3
        assert owned.link.mode is Mode.RUNNING
        await owned.link.upscale(SIZE)


@on_the_wire
async def test_informants_that_hang_delay_no_other() -> None:
    async with FakeInformant() as bad, FakeInformant() as good, owner() as own:
        hanging, well = own.begin(bad.address), own.begin(good.address)
        await hanging.resumed()
        await well.resumed()
        bad.instead["/metrics"] = hang
        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(hanging.link.metrics()) for _ in range(120)
        ]
        await eventually(lambda: len(bad.said("/metrics")) == 120, "some wait for others")
        assert (await well.link.metrics()).load1 == 0.5
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
