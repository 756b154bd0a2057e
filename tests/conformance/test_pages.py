"""The page that a browser is shown while it waits (a rule of our own; the HTML standard's refresh).

It wakes like any request, gives up its place, and the load that finds the sandbox running shows it.
"""

from __future__ import annotations

import asyncio

from gateway.proxy.reach import ReachConfig
from gateway.sandbox.model import State

from .harness import Gateway, eventually, gateway
from .upstream import ECHO

BROWSER = ("Accept: text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode: navigate")
SOON = ReachConfig(page_after=0.05, port_retry_timeout=30.0)


async def reload_until_shown(gw: Gateway) -> tuple[int, bytes]:
    """Do as a browser does with Refresh; return how often, and what it is shown at last."""
    client = await gw.client()
    for loads in range(1, 1000):
        await client.send(gw.get("/app", *BROWSER))
        response = await client.response()
        if not response.all("refresh"):
            return loads, response.body
        await asyncio.sleep(0.01)  # the browser's second, shortened
    raise AssertionError("the page never went on")


async def test_a_browser_is_shown_that_it_waits_and_the_sandbox_is_woken() -> None:
    async with gateway(ECHO, state=State.PAUSED, reach=SOON) as (gw, upstream):
        gw.sandboxes.boots = False
        client = await gw.client()
        await client.send(gw.get("/app", *BROWSER))
        response = await client.response()
        assert response.status == 503
        assert response.one("content-type") == b"text/html; charset=utf-8"
        assert response.one("refresh") == b"1"
        assert response.one("cache-control") == b"no-store"
        assert gw.sandboxes.patches == ["uid-box"]
        assert gw.waiting == 0
        again = asyncio.create_task(reload_until_shown(gw))
        await eventually(lambda: gw.waiting == 1)
        gw.sandboxes.boot("box")
        _, shown = await again
        assert shown == b"GET /app "
        assert gw.sandboxes.patches == ["uid-box"]
        assert len(upstream.requests) == 1
        assert {line["reason"] for line in gw.log() if line["status"] == 503} == {"waking"}


async def test_a_sandbox_that_is_quick_is_shown_without_the_page() -> None:
    async with gateway(ECHO, state=State.PAUSED) as (gw, _):
        loads, shown = await reload_until_shown(gw)
        assert (loads, shown) == (1, b"GET /app ")


async def test_a_server_that_does_not_listen_yet_is_waited_for_by_the_page() -> None:
    async with gateway(ECHO, state=State.PAUSED, reach=SOON) as (gw, upstream):
        port = upstream.port
        await upstream.close_listener()
        client = await gw.client()
        await client.send(gw.get("/app", *BROWSER))
        assert (await client.response()).one("refresh") == b"1"
        await upstream.start(port)
        assert (await reload_until_shown(gw))[1] == b"GET /app "


async def test_a_failed_wake_is_a_page_that_stays() -> None:
    async with gateway(ECHO, state=State.PAUSED, reach=ReachConfig(page_after=30.0)) as (gw, _):
        gw.sandboxes.boots = False
        (client,) = await gw.wait_with(gw.get("/app", *BROWSER))
        await gw.sandboxes.patched.wait()
        gw.sandboxes.change("box", state=State.DEAD)
        response = await client.response()
        assert response.status == 503
        assert response.one("content-type") == b"text/html; charset=utf-8"
        assert response.all("refresh") == []


async def test_whoever_is_no_browser_waits_for_the_answer_itself() -> None:
    requests = (("Accept: */*",), (BROWSER[0], "Sec-Fetch-Mode: cors"))
    async with gateway(ECHO, state=State.PAUSED, reach=SOON) as (gw, _):
        gw.sandboxes.boots = False
        clients = await gw.wait_with(*(gw.get("/data", *lines) for lines in requests))
        clients += await gw.wait_with(gw.post("/data", b"x", *BROWSER))
        await asyncio.sleep(3 * SOON.page_after)
        assert gw.waiting == len(clients)
        gw.sandboxes.boot("box")
        for client in clients:
            assert (await client.response()).status == 200


async def test_the_page_can_be_switched_off() -> None:
    never = ReachConfig(page_after=0.0)
    async with gateway(ECHO, state=State.PAUSED, reach=never) as (gw, _):
        gw.sandboxes.boots = False
        (client,) = await gw.wait_with(gw.get("/app", *BROWSER))
        gw.sandboxes.boot("box")
        assert (await client.response()).status == 200


async def test_a_page_keeps_the_connection_in_step() -> None:
    async with gateway(ECHO, state=State.PAUSED, reach=SOON) as (gw, _):
        gw.sandboxes.boots = False
        client = await gw.client()
        await client.send(gw.get("/app", *BROWSER) + gw.post("/later", b"body"))
        assert (await client.response()).status == 503
        await eventually(lambda: gw.waiting == 1)
        gw.sandboxes.boot("box")
        assert (await client.response("POST")).body == b"POST /later body"
