"""Traces of a gateway as a process, sent to a collector that is there, or is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .collector import Collector, facts
from .gateways import KRUISE_CRD, start_local
from .programs import free_port
from .waiting import soon
from .world import World

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Programs

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "a=1", "baggage": "b=2"}
CROWD = 5


async def test_one_wake_is_what_the_waits_of_all_its_requests_lead_to(
    programs: Programs, home: Path
) -> None:
    async with Collector.listening() as collector:
        gateway = await asyncio.to_thread(
            start_local, programs, home, "--crd", str(KRUISE_CRD), trace_endpoint=collector.url
        )
        async with World.over(gateway) as world:
            await world.create_paused()
            world.gates().resumes.clear()
            asking = [
                asyncio.create_task(world.ask(path=f"/{number}?secret=1", headers=PARENT))
                for number in range(CROWD)
            ]
            await world.waited_for(count=CROWD)
            await soon(lambda: gateway.wakes_written == 1, "the wake is written")
            world.gates().resumes.set()
            assert [one.status_code for one in await asyncio.gather(*asking)] == [200] * CROWD
            told = [request.headers for request in world.pod().requests]
        await asyncio.to_thread(gateway.program.end)

        (wake,), (patch,) = collector.called("wake"), collector.called("patch")
        requests, waits = collector.called("request"), collector.called("wait")
        assert patch.parent_span_id == wake.span_id
        assert patch.end_time_unix_nano < wake.end_time_unix_nano
        assert facts(wake.attributes)["gateway.outcome"] == "woken"
        assert len(requests) == len(waits) == CROWD
        assert [one.links[0].span_id for one in waits] == [wake.span_id] * CROWD
        assert {one.parent_span_id for one in waits} == {one.span_id for one in requests}
        assert {one.trace_id.hex() for one in (*requests, *waits)} == {TRACE}
        assert wake.links[0].span_id in {one.span_id for one in requests}

        expected = {f"00-{TRACE}-{one.span_id.hex()}-01" for one in requests}
        assert {headers["traceparent"] for headers in told} == expected
        for headers in told:
            assert headers.getall("tracestate") == ["a=1"]
            assert headers.getall("baggage") == ["b=2"]
        assert "secret" not in str(collector.spans)
        assert collector.resource["service.name"] == "sandbox-gateway"


async def test_a_collector_that_is_away_costs_no_request_and_no_end(
    programs: Programs, home: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    gateway = await asyncio.to_thread(
        start_local, programs, home, "--crd", str(KRUISE_CRD), trace_endpoint=nobody
    )
    async with World.over(gateway) as world:
        await world.create_paused()
        for _ in range(CROWD):
            assert (await world.ask()).status_code == 200
        await soon(
            lambda: gateway.metric("trace_spans_total", outcome="failed"), "spans are given up"
        )
        assert (await world.ask()).status_code == 200
        assert gateway.metric("trace_spans_total", outcome="sent") == 0
    assert await asyncio.to_thread(gateway.program.end) == 0
    assert "Traceback" not in gateway.program.errors


async def test_without_a_collector_what_a_client_says_of_its_trace_passes_as_it_came(
    world: World,
) -> None:
    await world.create_paused()
    assert (await world.ask(headers=PARENT)).status_code == 200
    told = world.pod().requests[-1].headers
    assert {name: told.getall(name) for name in PARENT} == {
        name: [value] for name, value in PARENT.items()
    }
