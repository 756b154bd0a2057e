"""Clients that ask the fleet for things through faults, and what must hold whatever happens.

What a client takes for a whole answer is the one that its own request asked for, from its own
sandbox; a request that is not idempotent comes to a sandbox once at most, any other twice; no
byte of a request comes to another sandbox than its own; nobody waits for ever; afterwards nothing
is left. With garbage in the bytes an answer may be spoilt and a client may wait in vain: it still
holds that no answer has anything of another request or sandbox in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from gateway.proxy.reach import ReachConfig
from gateway.sandbox.registry import Registry
from tests.conformance.harness import eventually, gateway
from tests.conformance.wire import Client, chunked

from .faults import HONEST, Fault, FaultProxy
from .fleet import MARKER, NAMES, Fleet, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conformance.harness import Gateway
    from tests.conformance.wire import Message

#: Methods that a gateway may send again (RFC 9110 §9.2.2).
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT"})
_NAME: Final = re.compile(rb"sb-[a-z]")
#: Seconds that a client waits where garbage may have made an answer endless.
_SHORT: Final = 0.5
#: What a gateway says of a sandbox that is away, or died with the request.
_FAILURES: Final = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is done. Everything in it is drawn from the seed."""

    seed: int
    garbage: bool = False
    clients: int = 24
    #: Of each client.
    exchanges: int = 25
    harmless: float = 0.75

    @property
    def faults(self) -> tuple[Fault, ...]:
        return (*HONEST, Fault.GARBAGE, Fault.GARBAGE, Fault.GARBAGE) if self.garbage else HONEST


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    marker: str
    sandbox: str
    kind: str
    method: str
    size: int
    body: bytes
    in_chunks: bool

    @property
    def answer(self) -> bytes:
        whole = answer(self.sandbox, self.marker, self.method, self.body, self.size)
        return b"" if self.method == "HEAD" else whole


@dataclass
class World:
    """All of one run, and how its exchanges ended."""

    schedule: Schedule
    gateway: Gateway
    fleet: Fleet
    front: FaultProxy
    asked: dict[bytes, Asked] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)

    @property
    def faults(self) -> Counter[Fault]:
        return sum((pod.counts for pod in self.fleet.pods), self.front.counts)

    @property
    def connections(self) -> int:
        return self.front.connections + sum(pod.connections for pod in self.fleet.pods)


async def run(schedule: Schedule) -> World:
    """Run a schedule and judge it; what fails says where in the schedule that was."""
    before = _sockets()
    async with _world(schedule) as world:
        stirring = asyncio.create_task(_stir(world))
        try:
            async with asyncio.TaskGroup() as clients:
                for number in range(schedule.clients):
                    clients.create_task(_be_client(world, number))
        finally:
            stirring.cancel()
            await asyncio.gather(stirring, return_exceptions=True)
        await eventually(lambda: world.fleet.settled)
        await _assert_rest(world)
    await eventually(lambda: _sockets() == before, "sockets are left")
    _assert_deliveries(world)
    return world


def _sockets() -> int:
    """Return how many sockets this process has open."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was that of the directory itself
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return sum(link.startswith("socket:") for link in links)


@asynccontextmanager
async def _world(schedule: Schedule) -> AsyncIterator[World]:
    seed, registry = f"{schedule.seed}", Registry()
    fleet = Fleet(registry, Random(f"{seed}/fleet"), schedule.faults, schedule.harmless)
    reach = ReachConfig(wait_timeout=5.0, dial_timeout=0.2, port_retry_timeout=0.4)
    front = FaultProxy(f"{seed}/front", schedule.faults, schedule.harmless)
    await fleet.start()
    try:
        async with gateway(registry=registry, writer=fleet, reach=reach) as (gw, _):
            front.target = gw.address
            await front.start("127.0.0.1")
            try:
                yield World(schedule, gw, fleet, front)
            finally:
                await front.stop()
                fleet.delete_all()
    finally:
        await fleet.stop()


async def _stir(world: World) -> None:
    """Let things happen to the sandboxes all the time."""
    random = Random(f"{world.schedule.seed}/stir")
    while True:
        await asyncio.sleep(random.uniform(0, 0.03))
        world.fleet.disturb()


async def _assert_rest(world: World) -> None:
    """Nobody asks any more: connections that serve nobody are all that may be left."""
    gw = world.gateway
    await eventually(lambda: not gw.plane.client_connections, "connections of clients stand")
    await eventually(lambda: gw.plane.in_flight == 0, "requests are still under way")
    assert gw.number("requests_in_flight") == gw.number("client_connections") == gw.waiting == 0
    assert gw.number("upstream_connections_awaited") == 0


def _assert_deliveries(world: World) -> None:
    for marker, times in world.fleet.delivered().items():
        one = world.asked.get(marker)
        assert one is not None or world.schedule.garbage, marker
        if one is not None:
            assert times <= (2 if one.method in _IDEMPOTENT else 1), (world.schedule, one, times)
    for name, markers in world.fleet.seen_at().items():
        for marker in markers & world.asked.keys():
            assert world.asked[marker].sandbox == name, (world.schedule, world.asked[marker], name)


# ---- one client ----------------------------------------------------------------------------------


async def _be_client(world: World, number: int) -> None:
    """Do so many exchanges, on as many connections as it takes."""
    random = Random(f"{world.schedule.seed}/client/{number}")
    step = 0
    while step < world.schedule.exchanges:
        try:
            client = await Client.connect(world.front.address)
        except ConnectionError:
            continue
        try:
            for _ in range(random.randint(1, 8)):
                count = random.choice((1, 1, 1, 3, 6))
                batch = [_draw(random, number * 10_000 + step + n) for n in range(count)]
                step += count
                try:
                    ended = await _exchange(world, random, client, batch)
                except AssertionError as failure:
                    failure.add_note(f"{world.schedule}, client {number}, step {step}: {batch}")
                    raise
                if ended:
                    break
        finally:
            client.close()


def _draw(random: Random, number: int) -> Asked:
    kind = random.choice(
        ("plain", "plain", "plain", "plain", "chunks", "chunks", "events", "tunnel")
    )
    method = random.choice(("GET", "GET", "HEAD", "POST", "POST", "PUT"))
    method = "GET" if kind == "tunnel" else method
    body = random.randbytes(random.choice((0, 1, 100, 5000, 70_000)))
    return Asked(
        f"m{number:07d}",
        random.choice(NAMES),
        kind,
        method,
        random.choice((0, 100, 3000, 100_000)),
        body.replace(b"m", b"n") if method in {"POST", "PUT"} else b"",
        random.random() < 0.5,
    )


async def _exchange(world: World, random: Random, client: Client, batch: list[Asked]) -> bool:
    """Send some requests at once and take what comes; return whether the connection is done."""
    batch = [one for one in batch if one.kind == "tunnel"][:1] or batch
    world.asked.update({one.marker.encode(): one for one in batch})
    sending = asyncio.create_task(client.send(b"".join(_request(world, one) for one in batch)))
    taken = 0
    try:
        if random.random() < 0.03:
            world.ended["left"] += len(batch)
            return True
        async with asyncio.timeout(_SHORT if world.schedule.garbage else None):
            for one in batch:
                if not await _take(world, client, one):
                    return True
                taken += 1
        return False
    except (EOFError, ConnectionError):
        world.ended["broken"] += len(batch) - taken
        return True
    except (TimeoutError, ValueError, IndexError):
        if not world.schedule.garbage:
            raise AssertionError("an answer never came, or could not be read") from None
        world.ended["spoilt"] += len(batch) - taken
        return True
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _take(world: World, client: Client, one: Asked) -> bool:
    """Take one answer; return whether the next one can follow."""
    response = await _read(world, client, one)
    if response.has("proxy-status"):
        if not world.schedule.garbage:
            assert response.status in _FAILURES, (response, one)
        world.ended[f"refused {response.status}"] += 1
        return response.all("connection") != [b"close"]
    if response.status == 101:
        await _talk(world, client, one)
        return False
    if world.schedule.garbage:
        _assert_only_own(response, one)
    else:
        assert (response.status, response.body) == (200, one.answer), (response.start, one)
    world.ended["whole"] += 1
    return response.all("connection") != [b"close"]


async def _read(world: World, client: Client, one: Asked) -> Message:
    try:
        return await client.response(one.method)
    except AssertionError as unreadable:
        if world.schedule.garbage:
            raise ValueError from unreadable
        raise


def _assert_only_own(response: Message, one: Asked) -> None:
    assert {*MARKER.findall(response.body)} <= {one.marker.encode()}, one
    assert {*_NAME.findall(response.body)} <= {one.sandbox.encode()}, one


async def _talk(world: World, client: Client, one: Asked) -> None:
    """Talk through a tunnel: it says who it is, and then repeats everything."""
    early = f"{one.sandbox} {one.marker}\n".encode()
    said = one.answer[:200]
    got = await client.exactly(len(early))
    await client.send(said)
    got += await client.exactly(len(said))
    if not world.schedule.garbage:
        assert got == early + said, (got, one)
    world.ended["tunnel"] += 1


def _request(world: World, one: Asked) -> bytes:
    """Return the bytes of a request."""
    fields, body = [], b""
    if one.kind == "tunnel":
        fields = ["Connection: Upgrade", "Upgrade: echo"]
    elif one.method in {"POST", "PUT"} and one.in_chunks:
        fields, body = ["Transfer-Encoding: chunked"], chunked(*filter(None, [one.body]))
    elif one.method in {"POST", "PUT"}:
        fields, body = [f"Content-Length: {len(one.body)}"], one.body
    target = f"/{one.kind}/{one.marker}/{one.size}"
    port = world.fleet.port
    return world.gateway.head(one.method, target, *fields, to=one.sandbox, port=port) + body
