"""From an admitted request to a connection: waiting, dialling, and never the wrong sandbox."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from gateway.proxy.admission import Admitted
from gateway.proxy.body import RequestBody
from gateway.proxy.claims import Claims
from gateway.proxy.reach import Journey, ReachConfig, Reacher
from gateway.proxy.target import Target
from gateway.replicas.gate import Gate
from gateway.replicas.sleep import Word
from gateway.sandbox.activity import Activity
from gateway.sandbox.errors import (
    ApiUnavailable,
    GatewayError,
    SandboxBlocked,
    SandboxDead,
    SandboxNotWakeable,
    SandboxUnreachable,
    StillWaking,
    WakeFailed,
    WakeTimeout,
)
from gateway.sandbox.model import Key, Route, State, WakePolicy
from gateway.sandbox.policy import NeverWake
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments
from gateway.telemetry.tracing import NO_SPAN, Span
from gateway.tls.client import TlsClient
from gateway.tls.contexts import ClientFiles, Context
from gateway.upstream.addresses import AddressGuard
from gateway.upstream.pool import Pool

from .heads import make_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

NOW = 1_700_000_000.0
RUNNING = Route(
    key=Key("native", "team", "box"),
    uid="uid-1",
    id="team--box",
    version=1,
    state=State.RUNNING,
    incarnation="life-1",
    address="127.0.0.1",
    wake=WakePolicy(enabled=True),
)
PAUSED = structs.replace(RUNNING, state=State.PAUSED, incarnation="life-0", address=None)
AWAKE = structs.replace(RUNNING, version=2, incarnation="life-2")
QUICK = ReachConfig(wait_timeout=60.0, dial_timeout=0.05, port_retry_timeout=0.1)


@dataclass
class Waker:
    """Brings a sandbox to running by what the test says; keeps what it was asked."""

    wake: Callable[[], Any] = lambda: None
    asked: list[tuple[State, float, int]] = field(default_factory=list)

    async def read(self, key: Key, uid: str) -> Route:
        raise ApiUnavailable("nothing here needs to be read")

    async def ready(
        self, route: Route, *, timeout: float, held_bytes: int = 0, span: Span = NO_SPAN
    ) -> None:
        self.asked.append((route.state, timeout, held_bytes))
        await asyncio.sleep(0)
        self.wake()


@dataclass
class World:
    """A registry, a pool and a waker around one reacher."""

    registry: Registry
    pool: Pool
    waker: Waker
    reacher: Reacher
    instruments: Instruments
    gate: Gate

    def shut_gate(self) -> None:
        """Ask whether the sandbox may sleep that nobody has used for long."""
        usage = self.gate.activity.of(RUNNING.uid)
        assert usage is not None
        usage.last = -1e9
        assert self.gate.ask("question", RUNNING.uid, 10.0) is Word.UNUSED

    def settle_gate(self, version: int | None = None, *, known: bool = True) -> None:
        self.gate.settle("question", RUNNING.key, RUNNING.uid, version, known)

    async def refused(self) -> None:
        """Wait until a port has refused."""
        async with asyncio.timeout(5):
            while not self._refusals():
                await asyncio.sleep(0.001)

    def _refusals(self) -> float:
        return sum(
            sample.value
            for metric in self.instruments.collect()
            for sample in metric.samples
            if sample.labels.get("cause") == "refused"
        )

    def journey(self, port: int, *, route: Route = PAUSED, **changes: Any) -> Journey:
        target = Target(
            port=port,
            default_port=80,
            path=changes.pop("path", b"/"),
            id=route.id,
            timeout=changes.pop("timeout", None),
        )
        body = changes.pop("body", RequestBody(lambda _held: None))
        return Journey(make_head(**changes), body, Admitted(route, port, target, []))


@asynccontextmanager
async def world(*routes: Route, config: ReachConfig = QUICK, **wake: Any) -> AsyncIterator[World]:
    registry = Registry()
    for route in routes:
        registry.apply(route)
    instruments = Instruments()
    pool = Pool(
        AddressGuard(allow=(ipaddress.ip_network("127.0.0.0/8"),)),
        instruments,
        tls=TlsClient(Context(ClientFiles())),
        connect_timeout=5.0,
        idle_timeout=60.0,
        max_idle_per_sandbox=8,
        max_idle=8,
        dead_after=30.0,
    )
    waker = Waker(**wake)
    try:
        claims = Claims(registry, waker.read)
        loop = asyncio.get_running_loop()
        gate = Gate(Activity(), registry, waker.read, loop.time)
        gate.activity.heed(None, RUNNING, 0.0, NOW)
        registry.subscribe(gate.heed)
        reacher = Reacher(registry, pool, waker, claims, config, lambda: NOW, gate)
        yield World(registry, pool, waker, reacher, instruments, gate)
    finally:
        pool.close()
        async with asyncio.timeout(5):
            while pool.open_connections:
                await asyncio.sleep(0.001)


@pytest.fixture
def port() -> Iterator[int]:
    """A port where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, and where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


# ---- running -------------------------------------------------------------------------------------


async def test_a_running_sandbox_is_dialled_without_asking_the_waker(port: int) -> None:
    async with world(RUNNING) as all_of_it:
        journey = all_of_it.journey(port, route=RUNNING)
        connection = await all_of_it.reacher.reach(journey)
        assert (connection.incarnation, connection.port) == ("life-1", port)
        assert not journey.cold
        assert all_of_it.waker.asked == []


async def test_an_idle_connection_of_this_life_is_taken_first(port: int) -> None:
    async with world(RUNNING) as all_of_it:
        journey = all_of_it.journey(port, route=RUNNING)
        connection = await all_of_it.reacher.reach(journey)
        all_of_it.pool.give_back(connection, 0.0)
        assert await all_of_it.reacher.reach(journey) is connection
        all_of_it.pool.give_back(connection, 0.0)
        all_of_it.registry.apply(AWAKE)
        assert await all_of_it.reacher.reach(journey) is not connection


async def test_only_an_idle_connection_to_a_running_sandbox_is_to_be_had_at_once(port: int) -> None:
    async with world(RUNNING) as all_of_it:
        journey = all_of_it.journey(port, route=RUNNING)
        pooled = all_of_it.reacher.pooled
        assert pooled(journey.admitted, NOW) is None
        connection = await all_of_it.reacher.reach(journey)
        all_of_it.pool.give_back(connection, 0.0)
        for change in ({"state": State.PAUSING}, {"state": State.DEAD}, {"expires_at": NOW}):
            route = structs.replace(RUNNING, **change)
            assert pooled(journey.admitted._replace(route=route), NOW) is None
        assert pooled(journey.admitted._replace(port=1), NOW) is None
        assert pooled(journey.admitted, NOW) is connection


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"state": State.BLOCKED}, SandboxBlocked),
        ({"state": State.DEAD}, SandboxDead),
        ({"expires_at": NOW}, SandboxDead),
        ({"state": State.PAUSED, "wake": WakePolicy()}, SandboxNotWakeable),
        ({"address": None}, SandboxUnreachable),
        ({"address": "169.254.169.254"}, SandboxUnreachable),
    ],
)
async def test_what_cannot_be_reached_is_refused_by_its_state(
    port: int, changes: dict[str, Any], error: type[GatewayError]
) -> None:
    route = structs.replace(RUNNING, **changes)
    async with world(route) as all_of_it:
        with pytest.raises(error):
            await all_of_it.reacher.reach(all_of_it.journey(port, route=route))
        assert all_of_it.waker.asked == []
        assert all_of_it.pool.open_connections == 0


# ---- waking --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.PAUSED, State.PAUSING, State.CREATING, State.RESUMING])
async def test_a_request_waits_for_its_sandbox_and_takes_the_route_anew(
    port: int, state: State
) -> None:
    async with world(structs.replace(PAUSED, state=state)) as all_of_it:
        all_of_it.waker.wake = lambda: all_of_it.registry.apply(AWAKE)
        journey = all_of_it.journey(port)
        connection = await all_of_it.reacher.reach(journey)
        assert connection.incarnation == "life-2"
        assert journey.cold
        assert journey.wake_seconds is not None
        assert [asked[0] for asked in all_of_it.waker.asked] == [state]


async def test_what_a_waiting_request_keeps_in_memory_is_told(port: int) -> None:
    async with world(PAUSED) as all_of_it:
        all_of_it.waker.wake = lambda: all_of_it.registry.apply(AWAKE)
        body = RequestBody(lambda _held: None)
        body.feed(b"x" * 100)
        journey = all_of_it.journey(port, body=body, lines=[b"X: y\r\n"])
        await all_of_it.reacher.reach(journey)
        assert all_of_it.waker.asked == [
            (State.PAUSED, 60.0, 100 + len(b"/X: y\r\ngateway.example"))
        ]


@pytest.mark.parametrize(("wished", "given_time"), [(None, 60.0), (5.0, 5.0), (90.0, 60.0)])
async def test_a_request_waits_as_long_as_it_may_or_wishes(
    port: int, wished: float | None, given_time: float
) -> None:
    async with world(PAUSED) as all_of_it:
        all_of_it.waker.wake = lambda: all_of_it.registry.apply(AWAKE)
        await all_of_it.reacher.reach(all_of_it.journey(port, timeout=wished))
        assert all_of_it.waker.asked[0][1] == given_time


async def test_the_time_of_all_waits_counts_together(port: int) -> None:
    async with world(PAUSED) as all_of_it:
        all_of_it.waker.wake = lambda: all_of_it.registry.apply(AWAKE)
        journey = all_of_it.journey(port)
        journey.woke(59.0)
        await all_of_it.reacher.reach(journey)
        assert all_of_it.waker.asked[0][1] == pytest.approx(1.0)
        journey.woke(100.0)
        all_of_it.registry.apply(structs.replace(PAUSED, version=3))
        all_of_it.waker.wake = lambda: all_of_it.registry.apply(structs.replace(AWAKE, version=4))
        await all_of_it.reacher.reach(journey)
        assert all_of_it.waker.asked[1][1] == 0.0


async def test_what_the_waker_raises_is_the_answer(port: int) -> None:
    def fail() -> None:
        raise WakeTimeout

    async with world(PAUSED, wake=fail) as all_of_it:
        journey = all_of_it.journey(port)
        with pytest.raises(WakeTimeout):
            await all_of_it.reacher.reach(journey)
        assert all_of_it.pool.open_connections == 0


@pytest.mark.parametrize("gone", ["deleted", "another uid"])
async def test_a_request_never_reaches_another_sandbox_of_the_name(port: int, gone: str) -> None:
    async with world(PAUSED) as all_of_it:
        registry = all_of_it.registry

        def recreate() -> None:
            registry.remove(PAUSED.key, PAUSED.uid, 5)
            if gone == "another uid":
                registry.apply(structs.replace(AWAKE, uid="uid-2", version=6))

        all_of_it.waker.wake = recreate
        with pytest.raises(WakeFailed):
            await all_of_it.reacher.reach(all_of_it.journey(port))
        assert all_of_it.pool.open_connections == 0


async def test_a_sandbox_that_falls_asleep_again_is_waited_for_again(port: int) -> None:
    async with world(PAUSED) as all_of_it:
        turns = iter([structs.replace(PAUSED, version=2), structs.replace(AWAKE, version=3)])
        all_of_it.waker.wake = lambda: all_of_it.registry.apply(next(turns))
        await all_of_it.reacher.reach(all_of_it.journey(port))
        assert len(all_of_it.waker.asked) == 2


# ---- the gate ------------------------------------------------------------------------------------


async def test_a_request_passes_a_gate_only_when_it_is_open_again(port: int) -> None:
    async with world(RUNNING) as all_of_it:
        all_of_it.shut_gate()
        journey = all_of_it.journey(port, route=RUNNING)
        reaching = asyncio.create_task(all_of_it.reacher.reach(journey))
        await asyncio.sleep(0.01)
        assert all_of_it.pool.open_connections == 0
        all_of_it.settle_gate()
        connection = await reaching
        assert connection.incarnation == "life-1"
        assert not journey.cold
        assert journey.gate_seconds >= 0.01


async def test_behind_a_gate_a_request_goes_by_what_is_known_then(port: int) -> None:
    async with world(RUNNING) as all_of_it:
        all_of_it.shut_gate()
        all_of_it.waker.wake = lambda: all_of_it.registry.apply(structs.replace(AWAKE, version=3))
        reaching = asyncio.create_task(
            all_of_it.reacher.reach(all_of_it.journey(port, route=RUNNING))
        )
        await asyncio.sleep(0)
        all_of_it.settle_gate(2)
        await asyncio.sleep(0)
        all_of_it.registry.apply(structs.replace(PAUSED, version=2))
        connection = await reaching
        assert connection.incarnation == "life-2"
        assert [asked[0] for asked in all_of_it.waker.asked] == [State.PAUSED]


@pytest.mark.parametrize("wished", [None, 0.05])
async def test_a_request_waits_at_a_gate_for_as_long_as_it_may(
    port: int, wished: float | None
) -> None:
    config = replace(QUICK, wait_timeout=0.05 if wished is None else 60.0)
    async with world(RUNNING, config=config) as all_of_it:
        all_of_it.shut_gate()
        journey = all_of_it.journey(port, route=RUNNING, timeout=wished)
        async with asyncio.timeout(5):
            with pytest.raises(WakeFailed, match="put to sleep"):
                await all_of_it.reacher.reach(journey)
        assert all_of_it.pool.open_connections == 0


async def test_a_browser_is_shown_that_it_waits_at_a_gate(port: int) -> None:
    config = replace(QUICK, page_after=10.0)
    async with world(RUNNING, config=config) as all_of_it:
        all_of_it.shut_gate()
        journey = all_of_it.journey(port, route=RUNNING, lines=[b"Accept: text/html\r\n"])
        journey.woke(9.95)
        async with asyncio.timeout(5):
            with pytest.raises(StillWaking):
                await all_of_it.reacher.reach(journey)
        assert journey.until_page(config) == pytest.approx(0.0, abs=0.01)


async def test_the_time_at_a_gate_counts_with_that_of_the_wake(port: int) -> None:
    async with world(PAUSED) as all_of_it:
        all_of_it.waker.wake = lambda: all_of_it.registry.apply(AWAKE)
        journey = all_of_it.journey(port)
        journey.gate_seconds = 58.0
        journey.woke(1.0)
        await all_of_it.reacher.reach(journey)
        assert all_of_it.waker.asked[0][1] == pytest.approx(1.0)


async def test_a_dial_during_which_the_gate_is_shut_is_worth_nothing() -> None:
    """That is so only for a request that does not count: any other one keeps the gate open."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with world(RUNNING) as all_of_it, asyncio.timeout(5):
            journey = all_of_it.journey(listener.getsockname()[1], route=RUNNING)
            reaching = asyncio.create_task(all_of_it.reacher.reach(journey))
            await asyncio.sleep(0)  # the dial is under way
            all_of_it.shut_gate()
            dialled, _ = await loop.sock_accept(listener)
            with dialled:
                assert await loop.sock_recv(dialled, 1) == b""
            assert not reaching.done()
            all_of_it.settle_gate()
            assert (await reaching).incarnation == "life-1"


# ---- never wake ----------------------------------------------------------------------------------

NEVER = NeverWake(
    methods=frozenset({b"HEAD"}),
    path_prefixes=(b"/healthz",),
    user_agents=(b"kube-probe/",),
    upgrades=True,
)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": b"HEAD"},
        {"path": b"/healthz/live"},
        {"lines": [b"User-Agent: Kube-Probe/1.36\r\n"]},
        {"lines": [b"Sec-Purpose: prefetch;prerender\r\n"]},
        {"upgrade": b"websocket"},
    ],
)
async def test_some_requests_never_wake_but_are_forwarded_or_wait(
    port: int, changes: dict[str, Any]
) -> None:
    config = replace(QUICK, never_wake=NEVER)
    async with world(PAUSED, config=config) as all_of_it:
        with pytest.raises(SandboxNotWakeable):
            await all_of_it.reacher.reach(all_of_it.journey(port, **dict(changes)))
        assert all_of_it.waker.asked == []

        all_of_it.registry.apply(structs.replace(PAUSED, state=State.RESUMING, version=2))
        all_of_it.waker.wake = lambda: all_of_it.registry.apply(structs.replace(AWAKE, version=3))
        await all_of_it.reacher.reach(all_of_it.journey(port, **dict(changes)))
        assert len(all_of_it.waker.asked) == 1

        await all_of_it.reacher.reach(all_of_it.journey(port, **dict(changes)))
        assert len(all_of_it.waker.asked) == 1


# ---- dialling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cold", [True, False])
async def test_a_port_that_keeps_refusing_is_given_up_after_its_time(
    closed_port: int, cold: bool
) -> None:
    async with world(RUNNING) as all_of_it:
        journey = all_of_it.journey(closed_port, route=RUNNING)
        if cold:
            journey.woke(0.0)
        began = asyncio.get_running_loop().time()
        with pytest.raises(SandboxUnreachable):
            await all_of_it.reacher.reach(journey)
        patience = QUICK.port_retry_timeout if cold else QUICK.dial_timeout
        assert asyncio.get_running_loop().time() - began >= patience
        assert journey.probe_seconds >= patience
        assert all_of_it.pool.open_connections == 0


async def test_a_port_that_opens_late_is_reached() -> None:
    config = replace(QUICK, dial_timeout=30.0)
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        port = late.getsockname()[1]
        async with world(RUNNING, config=config) as all_of_it:
            journey = all_of_it.journey(port, route=RUNNING)
            reaching = asyncio.create_task(all_of_it.reacher.reach(journey))
            await all_of_it.refused()
            late.listen()
            async with asyncio.timeout(5):
                connection = await reaching
            assert connection.authority == f"127.0.0.1:{port}".encode()


async def test_a_sandbox_put_to_sleep_while_it_is_dialled_is_woken_and_dialled_afresh() -> None:
    """The patience with a port that refused belongs to the life that ended."""
    config = replace(QUICK, port_retry_timeout=30.0)
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        async with world(structs.replace(PAUSED, version=2), config=config) as all_of_it:
            journey = all_of_it.journey(late.getsockname()[1], route=RUNNING)
            long_ago = asyncio.get_running_loop().time() - 100.0
            assert journey.next_pause(long_ago, config) is not None
            all_of_it.waker.wake = lambda: all_of_it.registry.apply(
                structs.replace(AWAKE, version=3)
            )
            reaching = asyncio.create_task(all_of_it.reacher.reach(journey))
            await all_of_it.refused()
            late.listen()
            async with asyncio.timeout(5):
                connection = await reaching
            assert connection.incarnation == "life-2"


@pytest.mark.parametrize("change", ["another life", "asleep", "gone"])
async def test_a_dial_is_worth_nothing_once_the_life_it_was_for_is_over(
    port: int, change: str
) -> None:
    async with world(RUNNING) as all_of_it:
        registry = all_of_it.registry
        reaching = asyncio.create_task(
            all_of_it.reacher.reach(all_of_it.journey(port, route=RUNNING))
        )
        await asyncio.sleep(0)  # the dial is under way
        all_of_it.waker.wake = lambda: registry.apply(structs.replace(AWAKE, version=3))
        if change == "gone":
            registry.remove(RUNNING.key, RUNNING.uid, 2)
            with pytest.raises(WakeFailed):
                await reaching
            return
        registry.apply(AWAKE if change == "another life" else structs.replace(PAUSED, version=2))
        connection = await reaching
        assert connection.incarnation == "life-2"
        assert len(all_of_it.waker.asked) == (change == "asleep")


async def test_a_connection_is_current_only_for_the_life_that_has_an_address(port: int) -> None:
    async with world(RUNNING) as all_of_it:
        reacher, registry = all_of_it.reacher, all_of_it.registry
        connection = await reacher.reach(all_of_it.journey(port, route=RUNNING))
        assert reacher.is_current(RUNNING, connection)
        registry.apply(structs.replace(RUNNING, version=2, address=None))
        assert not reacher.is_current(RUNNING, connection)
        # The same pod elsewhere: the old address is somebody else's, or soon will be.
        registry.apply(structs.replace(RUNNING, version=3, address="127.0.0.2"))
        assert not reacher.is_current(RUNNING, connection)
        registry.apply(structs.replace(AWAKE, version=4))
        assert not reacher.is_current(RUNNING, connection)
        registry.remove(RUNNING.key, RUNNING.uid, 5)
        assert not reacher.is_current(RUNNING, connection)


# ---- the journey's own arithmetic ----------------------------------------------------------------


def a_journey() -> Journey:
    admitted = Admitted(RUNNING, 80, Target(port=80, default_port=80, path=b"/", id="x"), [])
    return Journey(make_head(), RequestBody(lambda _held: None), admitted)


def pauses(journey: Journey, config: ReachConfig, at: float = 0.0) -> list[float]:
    """Dial at once after each pause until there is none; return the pauses."""
    found = []
    while (pause := journey.next_pause(at, config)) is not None:
        found.append(pause)
        at += pause
    return found


def test_pauses_double_up_to_a_tenth_of_a_second_until_the_time_is_over() -> None:
    config = ReachConfig(dial_timeout=1.0, port_retry_timeout=2.0)
    found = pauses(a_journey(), config)
    assert found[:6] == [0.005, 0.01, 0.02, 0.04, 0.08, 0.1]
    assert set(found[5:]) == {0.1}
    assert 1.0 <= sum(found) < 1.1
    cold = a_journey()
    cold.woke(0.5)
    assert 2.0 <= sum(pauses(cold, config)) < 2.1


def test_no_time_is_no_second_try() -> None:
    assert a_journey().next_pause(5.0, ReachConfig(dial_timeout=0.0)) is None


def test_a_wake_begins_the_dialling_anew() -> None:
    config = ReachConfig(dial_timeout=1.0, port_retry_timeout=2.0)
    journey = a_journey()
    pauses(journey, config)
    assert journey.next_pause(10.0, config) is None
    journey.woke(8.0)
    assert journey.wake_seconds == 8.0
    assert journey.next_pause(10.0, config) == 0.005
    journey.woke(2.0)
    assert journey.wake_seconds == 10.0
