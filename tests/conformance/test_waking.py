"""Waking and the registry (lines 44 to 51).

The waker and the registry are the real ones. Stand-ins are only the Kubernetes API (`Sandboxes`)
and the sandboxes themselves.
"""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.proxy.reach import ReachConfig
from gateway.sandbox.model import State
from gateway.wake.config import WakeConfig

from .harness import Gateway, eventually, gateway
from .upstream import ECHO, Leg, Upstream
from .wire import ok


async def test_44_a_thousand_requests_to_one_sleeper_are_one_patch_and_keep_their_bodies() -> None:
    """One episode a uid; every waiter is answered, each with its own body."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, upstream):
        gw.sandboxes.boots = False
        bodies = [b"body-%d-" % n * (1 + n % 7) for n in range(1000)]
        clients = await gw.wait_with(*(gw.post(f"/{n}", body) for n, body in enumerate(bodies)))
        await gw.sandboxes.patched.wait()
        assert upstream.legs == []
        gw.sandboxes.boot("box")
        responses = await asyncio.gather(*(client.response("POST") for client in clients))
        for n, (body, response) in enumerate(zip(bodies, responses, strict=True)):
            assert response.status == 200
            assert response.body == b"POST /%d %b" % (n, body)
            assert response.one("x-sandbox-cold-start") == b"true"
        assert gw.sandboxes.patches == ["uid-box"]
        assert len(upstream.requests) == 1000


@pytest.mark.parametrize(("backlog", "count"), [(128, 1000), (5, 200)])
async def test_44_a_crowd_does_not_overrun_the_backlog_of_a_server_that_just_began(
    backlog: int, count: int
) -> None:
    """What a listener cannot queue it loses or resets; a POST that is lost is lost for good."""

    async def slowly(leg: Leg) -> None:
        await asyncio.sleep(0.001)
        await ECHO(leg)

    async with gateway(slowly, state=State.PAUSED) as (gw, upstream):
        port = upstream.port
        await upstream.close_listener()
        upstream.backlog = backlog
        gw.sandboxes.boots = False
        posts = [gw.post(f"/{n}", b"%d" % n) for n in range(count)]
        clients = await gw.wait_with(*posts)
        await upstream.start(port)
        gw.sandboxes.boot("box")
        responses = await asyncio.gather(*(client.response("POST") for client in clients))
        told = [one.body for one in responses]
        assert told == [b"POST /%d %d" % (n, n) for n in range(count)]


async def test_44_the_woken_request_is_the_one_that_was_sent_body_included() -> None:
    """Head and body wait unread with the request and arrive whole, larger than is kept back."""
    body = bytes(range(256)) * 4096
    async with gateway(ECHO, state=State.PAUSED) as (gw, upstream):
        gw.sandboxes.boots = False
        client = await gw.client()
        sending = asyncio.create_task(client.send(gw.post("/big", body)))
        await eventually(lambda: gw.waiting == 1)
        gw.sandboxes.boot("box")
        response = await client.response("POST")
        await sending
        assert response.body == b"POST /big " + body
        assert len(upstream.requests) == 1


async def test_45_who_finds_no_place_to_wait_gets_503_and_others_are_unaffected() -> None:
    """RFC 9110 §15.6.4: 503 with Retry-After, at once; the bound is the sandbox's own."""
    wake = WakeConfig(waiters_per_sandbox=2)
    async with gateway(ECHO, state=State.PAUSED, wake=wake) as (gw, _):
        gw.sandboxes.boots = False
        gw.sandboxes.add("other", State.PAUSED)
        gw.sandboxes.add("awake", State.RUNNING)
        waiting = await gw.wait_with(gw.get("/1"), gw.get("/2"))
        refused = await gw.ask(gw.get("/3"))
        assert (refused.status, refused.reason) == (503, "wake_overloaded")
        assert int(refused.one("retry-after")) >= 1
        waiting += await gw.wait_with(gw.get("/4", to="other"))
        assert (await gw.ask(gw.get("/5", to="awake"))).body == b"GET /5 "
        gw.sandboxes.boot("box")
        gw.sandboxes.boot("other")
        answers = [await client.response() for client in waiting]
        assert [one.body for one in answers] == [b"GET /1 ", b"GET /2 ", b"GET /4 "]


async def test_45_a_refused_request_leaves_its_connection_in_step() -> None:
    """A request without a body that found no place does not cost the connection."""
    wake = WakeConfig(waiters_per_sandbox=1)
    async with gateway(ECHO, state=State.PAUSED, wake=wake) as (gw, _):
        gw.sandboxes.boots = False
        gw.sandboxes.add("awake", State.RUNNING)
        (first,) = await gw.wait_with(gw.get("/1"))
        client = await gw.client()
        await client.send(gw.get("/2") + gw.get("/3", to="awake"))
        assert (await client.response()).status == 503
        assert (await client.response()).body == b"GET /3 "
        gw.sandboxes.boot("box")
        assert (await first.response()).status == 200


async def test_45_bytes_that_waiting_requests_hold_are_bounded() -> None:
    """What unread bodies keep in memory is bounded over all sandboxes."""
    wake = WakeConfig(waiting_bytes_total=40_000)
    async with gateway(ECHO, state=State.PAUSED, wake=wake) as (gw, _):
        gw.sandboxes.boots = False
        (first,) = await gw.wait_with(gw.post("/1", b"a" * 30_000))
        refused = await gw.ask(gw.post("/2", b"b" * 30_000), "POST")
        assert (refused.status, refused.reason) == (503, "wake_overloaded")
        gw.sandboxes.boot("box")
        assert (await first.response("POST")).body == b"POST /1 " + b"a" * 30_000


async def test_46_never_ready_is_503_at_the_deadline_and_the_next_attempt_is_backed_off() -> None:
    """The episode's time ends all who wait; the breaker then answers at once, without a patch."""
    wake = WakeConfig(timeout=0.3, breaker_min=30.0)
    async with gateway(ECHO, state=State.PAUSED, wake=wake) as (gw, upstream):
        gw.sandboxes.boots = False
        clients = await gw.wait_with(gw.get("/1"), gw.get("/2"))
        for client in clients:
            response = await client.response()
            assert (response.status, response.reason) == (503, "wake_timeout")
        assert gw.waiting == 0
        backed_off = await gw.ask(gw.get("/3"))
        assert (backed_off.status, backed_off.reason) == (503, "wake_overloaded")
        assert 1 < int(backed_off.one("retry-after")) <= 30
        assert gw.sandboxes.patches == ["uid-box"]
        assert upstream.legs == []


async def test_46_a_requests_own_time_ends_its_wait_alone() -> None:
    """The clock of the episode and that of each waiting request are separate."""
    reach = ReachConfig(wait_timeout=0.2)
    async with gateway(ECHO, state=State.PAUSED, reach=reach) as (gw, _):
        gw.sandboxes.boots = False
        response = await gw.ask(gw.get())
        assert (response.status, response.reason) == (503, "wake_timeout")
        assert gw.number("wake_episodes_active") == 1
        (later,) = await gw.wait_with(gw.get("/later"))
        gw.sandboxes.boot("box")
        assert (await later.response()).body == b"GET /later "
        assert gw.sandboxes.patches == ["uid-box"]


async def test_47_a_request_while_the_pause_is_under_way_wakes_the_sandbox_after_it() -> None:
    """Pausing is waited out, then patched: the request is answered, never 502."""
    async with gateway(ECHO, state=State.PAUSING) as (gw, upstream):
        (client,) = await gw.wait_with(gw.post("/", b"once"))
        assert gw.sandboxes.patches == []
        gw.sandboxes.pause("box")
        assert (await client.response("POST")).body == b"POST / once"
        assert gw.sandboxes.patches == ["uid-box"]
        assert len(upstream.requests) == 1


async def test_47_a_port_that_closes_because_of_a_pause_is_a_wake_and_not_an_error() -> None:
    """The route still says running, the port refuses already, then the news of the pause comes."""
    async with gateway(ECHO) as (gw, upstream):
        await upstream.close_listener()
        client = await gw.client()
        await client.send(gw.post("/", b"once"))
        await eventually(lambda: gw.number("upstream_dial_failures_total", cause="refused") >= 1)
        gw.sandboxes.change("box", state=State.PAUSING, address=None)
        await eventually(lambda: gw.waiting == 1)
        await upstream.start(gw.port)
        gw.sandboxes.pause("box")
        assert (await client.response("POST")).body == b"POST / once"
        assert gw.sandboxes.patches == ["uid-box"]


async def test_47_the_pause_closes_idle_connections_so_that_no_request_meets_a_dead_one() -> None:
    """The moment the pause is known, what was pooled is gone: the next request is a wake."""
    async with gateway(ECHO) as (gw, upstream):
        assert (await gw.ask(gw.get("/1"))).status == 200
        assert gw.pool.open_connections == 1
        gw.sandboxes.pause("box")
        await eventually(lambda: gw.pool.open_connections == 0)
        assert (await gw.ask(gw.post("/2", b"x"), "POST")).body == b"POST /2 x"
        assert len(upstream.legs) == 2


def neighbours(gw: Gateway, port: int) -> None:
    """`old` and `new`: the second gets the address of the first in the tests below."""
    gw.sandboxes.add("old", State.RUNNING, ports=frozenset({port}))
    gw.sandboxes.add("new", State.PAUSED, ports=frozenset({port}))


async def test_50_a_pooled_connection_serves_no_other_sandbox_at_the_same_address() -> None:
    """Idle connections belong to one life, not to an address."""
    async with gateway(ECHO) as (gw, upstream):
        neighbours(gw, gw.port)
        await gw.ask(gw.get("/old", to="old"))
        gw.sandboxes.boot("new")
        await gw.ask(gw.get("/new", to="new"))
        assert len(upstream.legs) == 2
        assert b"/new" not in upstream.legs[0].received
        assert b"/old" not in upstream.legs[1].received


async def test_50_a_request_that_died_with_the_old_life_is_not_sent_to_the_new_tenant() -> None:
    """The pod dies with a request it had; its address answers for another one; nothing is told."""
    newcomer = Upstream(ECHO)

    async def dying(leg: Leg) -> None:
        await leg.request()
        await leg.send(ok())
        await leg.request()
        await leg.upstream.close_listener()
        await newcomer.start(leg.upstream.port)
        leg.reset()

    async with gateway(dying) as (gw, upstream):
        client = await gw.client()
        await client.send(gw.get("/1"))
        assert (await client.response()).status == 200
        await client.send(gw.post("/2", b"secret"))
        response = await client.response()
        assert (response.status, response.reason) == (502, "upstream_reset")
        assert len(upstream.requests) == 2
        assert newcomer.received == b""
        await newcomer.stop()


async def test_50_a_dial_that_took_its_time_checks_the_route_again() -> None:
    """The connection stood only after the address was somebody else's: nothing is sent on it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    filler = socket.create_connection(listener.getsockname())
    try:
        async with gateway(ECHO) as (gw, upstream):
            gw.sandboxes.add("moving", State.RUNNING)
            client = await gw.client()
            await client.send(gw.post("/", b"secret", to="moving", port=port))
            await eventually(lambda: gw.plane.in_flight == 1)
            gw.sandboxes.change("moving", state=State.PAUSING, address=None)
            accepted = [listener.accept()[0], listener.accept()[0]]
            accepted[1].settimeout(5)
            await eventually(lambda: gw.waiting == 1)
            assert accepted[1].recv(1000) == b""
            gw.sandboxes.delete("moving")
            assert (await client.response("POST")).status == 503
            assert upstream.received == b""
            for sock in accepted:
                sock.close()
    finally:
        filler.close()
        listener.close()


async def test_50_a_claim_that_comes_while_an_address_is_dialled_counts_too() -> None:
    """The connection stands, but the address is claimed since: nothing is sent unconfirmed."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.create_connection(listener.getsockname()):
            async with gateway(ECHO) as (gw, _):
                gw.sandboxes.add("old", State.RUNNING)
                client = await gw.client()
                await client.send(gw.post("/", b"secret", to="old", port=port))
                await eventually(lambda: gw.plane.in_flight == 1)
                gw.sandboxes.away = True
                gw.sandboxes.add("new", State.RUNNING)
                accepted = [listener.accept()[0], listener.accept()[0]]
                accepted[1].settimeout(5)
                response = await client.response("POST")
                assert (response.status, response.reason) == (502, "sandbox_unreachable")
                assert accepted[1].recv(1000) == b""
                for sock in accepted:
                    sock.close()


async def test_50_an_address_that_another_sandbox_claims_is_looked_up_before_a_dial() -> None:
    """The watch lags: both are at one address. What was sent there would reach the new tenant."""
    async with gateway(ECHO) as (gw, upstream):
        gw.sandboxes.add("old", State.RUNNING)
        gw.sandboxes.watching = False
        gw.sandboxes.pause("old")
        gw.sandboxes.watching = True
        gw.sandboxes.add("new", State.RUNNING)
        gw.sandboxes.boots = False
        (client,) = await gw.wait_with(gw.post("/", b"secret", to="old"))
        assert upstream.received == b""
        gw.sandboxes.delete("new")
        gw.sandboxes.boot("old")
        assert (await client.response("POST")).body == b"POST / secret"


async def test_50_two_that_share_their_address_in_truth_are_both_reached() -> None:
    """Pods in the network of their node do: once looked up, the claim stands."""
    async with gateway(ECHO) as (gw, _):
        gw.sandboxes.add("one", State.RUNNING)
        gw.sandboxes.add("two", State.RUNNING)
        for name in ("one", "two", "box"):
            assert (await gw.ask(gw.get("/", to=name))).status == 200


async def test_50_the_api_is_not_believed_at_once_about_an_address_that_is_claimed_twice() -> None:
    """The old one's controller may be slow to tell that its pod is gone."""
    async with gateway(ECHO, reach=ReachConfig(address_doubt=3600.0)) as (gw, upstream):
        gw.sandboxes.add("old", State.RUNNING)
        gw.sandboxes.add("new", State.PAUSED)
        gw.sandboxes.boot("new")
        client = await gw.client()
        await client.send(gw.post("/", b"secret", to="old"))
        await eventually(lambda: gw.plane.in_flight == 1)
        assert (await gw.ask(gw.get("/", to="new"))).status == 200
        assert b"secret" not in upstream.received
        gw.sandboxes.pause("old")
        assert (await client.response("POST")).body == b"POST / secret"
        assert len(gw.sandboxes.patches) == 1, "it was found to sleep, and woken"


async def test_50_with_the_api_away_an_address_in_doubt_is_not_dialled() -> None:
    """To guess could give one tenant's bytes to another."""
    async with gateway(ECHO) as (gw, upstream):
        gw.sandboxes.add("new", State.PAUSED)
        gw.sandboxes.boot("new")
        gw.sandboxes.away = True
        response = await gw.ask(gw.post("/", b"secret"), "POST")
        assert (response.status, response.reason) == (502, "sandbox_unreachable")
        assert upstream.legs == []
        assert (await gw.ask(gw.get("/", to="new"))).status == 200


async def test_51_a_waiting_request_is_not_delivered_to_a_new_sandbox_of_the_same_name() -> None:
    """A request is bound to the uid it was admitted to."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, upstream):
        gw.sandboxes.boots = False
        (client,) = await gw.wait_with(gw.post("/", b"for the old one"))
        gw.sandboxes.delete("box")
        gw.sandboxes.add("box", State.RUNNING, uid="uid-new")
        response = await client.response("POST")
        assert (response.status, response.reason) == (503, "wake_failed")
        assert upstream.legs == []
        assert (await gw.ask(gw.get("/new"))).body == b"GET /new "


async def test_51_nor_if_the_deletion_itself_was_never_seen() -> None:
    """A watch may show only the new object: another uid under a known key."""
    async with gateway(ECHO, state=State.PAUSED) as (gw, upstream):
        gw.sandboxes.boots = False
        (client,) = await gw.wait_with(gw.post("/", b"for the old one"))
        gw.sandboxes.add("box", State.RUNNING, uid="uid-new")
        response = await client.response("POST")
        assert (response.status, response.reason) == (503, "wake_failed")
        assert upstream.legs == []


async def test_51_nor_while_its_port_is_dialled_again() -> None:
    """The uid is compared before every dial, not only after a wake."""
    async with gateway(ECHO) as (gw, upstream):
        await upstream.close_listener()
        client = await gw.client()
        await client.send(gw.post("/", b"for the old one"))
        await eventually(lambda: gw.number("upstream_dial_failures_total", cause="refused") >= 1)
        gw.sandboxes.delete("box")
        gw.sandboxes.add("box", State.RUNNING, uid="uid-new")
        await upstream.start(gw.port)
        response = await client.response("POST")
        assert (response.status, response.reason) == (503, "wake_failed")
        assert upstream.legs == []
