"""Requests that need no task: begun by the read that brought them, in turn with all the others.

The first request of a connection goes through aiohttp's loop, which is not yet waiting then; what
comes after it, alone and for a running sandbox with an idle connection, is begun at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.sandbox.model import State

from .harness import eventually, gateway
from .wire import ok

if TYPE_CHECKING:
    from .harness import Gateway
    from .upstream import Leg
    from .wire import Client


class Gate:
    """A sandbox that answers `/held…` only when it is told to, and all else at once."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, leg: Leg) -> None:
        while True:
            request = await leg.request()
            if request.target.startswith(b"/held"):
                await self.open.wait()
            await leg.send(ok(request.target + request.body))


async def warm(gw: Gateway) -> Client:
    """Return a client whose next request is begun at once."""
    client = await gw.client()
    await client.send(gw.get("/first"))
    assert (await client.response()).body == b"/first"
    return client


async def test_requests_that_come_while_one_is_answered_wait_their_turn() -> None:
    gate = Gate()
    async with gateway(gate) as (gw, upstream):
        client = await warm(gw)
        await client.send(gw.get("/held"))
        await eventually(lambda: len(upstream.requests) == 2)
        await client.send(gw.get("/second"))
        await client.send(gw.post("/third", b"!") + gw.get("/fourth")[:40])
        await client.assert_silent()
        assert len(upstream.requests) == 2
        gate.open.set()
        await client.send(gw.get("/fourth")[40:])
        bodies = [(await client.response()).body for _ in range(4)]
        assert bodies == [b"/held", b"/second", b"/third!", b"/fourth"]


async def test_one_that_is_just_given_to_its_task_is_answered_first() -> None:
    """Between aiohttp's queue and its task a request is nowhere to be seen: nothing may pass it."""
    gate = Gate()
    async with gateway(gate) as (gw, upstream):
        client = await warm(gw)
        gw.sandboxes.add("other", State.RUNNING)
        (connection,) = gw.plane.client_connections
        connection.data_received(gw.get("/held", to="other"))
        await asyncio.sleep(0)
        connection.data_received(gw.get("/second"))
        await eventually(lambda: len(upstream.requests) == 2)
        await client.assert_silent()
        gate.open.set()
        bodies = [(await client.response()).body for _ in range(2)]
        assert bodies == [b"/held", b"/second"]


async def test_a_request_begun_at_once_is_counted_and_logged_once() -> None:
    async with gateway(Gate()) as (gw, _):
        client = await warm(gw)
        await client.send(gw.post("/x?secret=1", b"12345"))
        assert (await client.response()).body == b"/x?secret=112345"
        assert gw.number("requests_total", outcome="answered", reason="") == 2
        record = gw.log()[-1]
        assert (record["path"], record["bytes_up"], record["sandbox"]) == ("/x", 5, "team/box")
        assert gw.plane.in_flight == 0


@pytest.mark.parametrize("field", ["Connection: close", "Connection: keep-alive"])
async def test_the_connection_ends_if_the_client_wants_it_so(field: str) -> None:
    async with gateway(Gate()) as (gw, _):
        client = await warm(gw)
        await client.send(gw.get("/x", field))
        assert (await client.response()).body == b"/x"
        if field == "Connection: close":
            await client.ended()
        else:
            await client.assert_silent()


async def test_a_dead_idle_connection_costs_a_get_nothing() -> None:
    """RFC 9112 §9.3.1: the sandbox cannot have had it, so it is sent on another connection."""

    async def one_answer_then_reset(leg: Leg) -> None:
        request = await leg.request()
        await leg.send(ok(request.target))
        if leg.number == 0:
            await leg.fill()
            leg.reset()
            return
        while True:
            request = await leg.request()
            await leg.send(ok(request.target))

    async with gateway(one_answer_then_reset) as (gw, _):
        client = await warm(gw)
        await client.send(gw.post("/x", b"y"))
        response = await client.response()
        assert (response.status, response.reason) == (502, "upstream_reset")
        await client.send(gw.get("/again"))
        assert (await client.response()).body == b"/again"


async def test_a_client_that_leaves_takes_nothing_with_it() -> None:
    gate = Gate()
    async with gateway(gate) as (gw, upstream):
        client = await warm(gw)
        await client.send(gw.get("/held"))
        await eventually(lambda: len(upstream.requests) == 2)
        assert gw.plane.in_flight == 1
        client.reset()
        await eventually(lambda: gw.plane.in_flight == gw.pool.open_connections == 0)
        assert gw.log()[-1]["outcome"] == "gone"


async def test_an_error_is_answered_in_its_turn_and_the_connection_goes_on() -> None:
    async with gateway(Gate()) as (gw, _):
        client = await warm(gw)
        await client.send(gw.get("/x", to="nobody"))
        assert (await client.response()).reason == "sandbox_not_found"
        await client.send(gw.get("/y"))
        assert (await client.response()).body == b"/y"


async def test_a_life_that_ends_during_an_exchange_gives_no_connection_back() -> None:
    gate = Gate()
    async with gateway(gate) as (gw, upstream):
        client = await warm(gw)
        await client.send(gw.get("/held"))
        await eventually(lambda: len(upstream.requests) == 2)
        gw.sandboxes.change("box", incarnation="another life")
        gate.open.set()
        assert (await client.response()).body == b"/held"
        await client.send(gw.get("/next"))
        assert (await client.response()).body == b"/next"
        assert len(upstream.legs) == 2
