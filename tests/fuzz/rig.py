"""One gateway in front of two sandboxes, over which many examples are tried.

After each example it proves that nothing is left of it, and hands out what the sandboxes got.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fcntl import ioctl
from hashlib import sha256
from logging.handlers import BufferingHandler
from struct import unpack
from termios import FIONREAD
from typing import TYPE_CHECKING, Any, Final

from gateway.sandbox.model import State
from tests.conformance.harness import Gateway, eventually, gateway
from tests.conformance.upstream import Upstream
from tests.conformance.wire import Client, ok

from .readers import Reading, requests_by_h11, requests_by_httptools
from .strategies import MARKER, PORTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from tests.conformance.upstream import Leg, Script
    from tests.conformance.wire import Message

#: Turns of the loop without a byte that moves, after which nothing more will.
_STILL: Final = 12

MAX_MARKER: Final = 10**7


@dataclass
class Totals:
    """What was tried so far."""

    examples: int = 0
    connections: int = 0
    requests: int = 0
    forwarded: int = 0


@dataclass
class Rig:
    """The gateway, its sandboxes and a judge of what they got."""

    gateway: Gateway
    upstreams: dict[bytes, Upstream]
    totals: Totals = field(default_factory=Totals)
    errors: BufferingHandler = field(default_factory=lambda: BufferingHandler(1000))
    _clients: list[Client] = field(default_factory=list)
    _marked: int = 0

    # ---- what is sent

    def mark(self, sent: bytes) -> tuple[bytes, bytes]:
        """Return the bytes with a marker and the port put in, and the marker."""
        self._marked += 1
        marker = b"m%07d" % (self._marked % MAX_MARKER)
        return self.placed(sent, marker), marker

    def mark_each(self, sent: bytes) -> bytes:
        """Return the bytes with a marker of its own in each place."""
        while MARKER in sent:
            begin, _, rest = sent.partition(MARKER)
            sent = self.mark(begin + MARKER)[0] + rest
        return self.placed(sent, b"")

    def placed(self, sent: bytes, marker: bytes) -> bytes:
        sent = sent.replace(MARKER, marker)
        for name, place in PORTS.items():
            sent = sent.replace(place, b"%05d" % self.upstreams[name].port)
        return sent

    async def client(self) -> Client:
        client = await Client.connect(self.gateway.address)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients.append(client)
        self.totals.connections += 1
        return client

    # ---- one example

    async def judged(self, example: Coroutine[Any, Any, None]) -> None:
        """Run one example; afterwards nothing of it may be left."""
        await self._rest()
        for upstream in self.upstreams.values():
            upstream.requests.clear()
            upstream.legs = [leg for leg in upstream.legs if leg.sock.fileno() >= 0]
            for leg in upstream.legs:
                leg.received.clear()
        self.totals.examples += 1
        await example
        await self._rest()

    async def _rest(self) -> None:
        """Close the clients; everything must come to rest by itself."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        plane, pool = self.gateway.plane, self.gateway.pool
        await eventually(lambda: plane.in_flight == 0, "requests are still under way")
        await eventually(lambda: not plane.client_connections, "connections of clients stand")
        assert self.gateway.waiting == 0, "places to wait were not given back"
        await eventually(
            lambda: pool.open_connections == len(self.standing) and not self._unread(),
            "connections to sandboxes are out of step",
        )
        for leg in self.standing:
            assert not leg._unread, (leg._unread, "is left over on a connection that is kept")
        assert not self.errors.buffer, [one.getMessage() for one in self.errors.buffer]
        for upstream in self.upstreams.values():
            assert not upstream._failures, upstream._failures

    @property
    def legs(self) -> list[Leg]:
        return [leg for upstream in self.upstreams.values() for leg in upstream.legs]

    @property
    def standing(self) -> list[Leg]:
        return [leg for leg in self.legs if leg.sock.fileno() >= 0]

    def _unread(self) -> bool:
        return any(unpack("i", ioctl(leg.sock, FIONREAD, bytes(4)))[0] for leg in self.standing)

    async def stillness(self) -> None:
        """Return when no byte moves any more. (If that is judged too soon, the client leaves.)"""
        before, still = -1, 0
        while still < _STILL:
            moved = sum(len(one.received) for one in (*self.legs, *self._clients))
            moved += self.gateway.plane.in_flight + self.gateway.pool.open_connections
            still = still + 1 if moved == before else 0
            before = moved
            await asyncio.sleep(0.0005)

    # ---- what the sandboxes got

    def forwarded(self) -> dict[bytes, list[Reading]]:
        """Return, for each sandbox, what both parsers see on each of its connections.

        They must agree; and only a connection that was closed may hold half a request.
        """
        return {name: [self._read(leg) for leg in up.legs] for name, up in self.upstreams.items()}

    def _read(self, leg: Leg) -> Reading:
        received = bytes(leg.received)
        reading = requests_by_h11(received)
        assert reading == requests_by_httptools(received), received
        assert not reading.broken, received
        assert reading.clean or leg.sock.fileno() < 0, received
        self.totals.forwarded += len(reading.whole)
        return reading


def stamp(sandbox: bytes, request: Message) -> bytes:
    """Return what a sandbox answers: who it is and what it was asked."""
    digest = sha256(request.body).hexdigest().encode()
    return b" ".join((sandbox, request.method, request.target, digest))


def stamping(name: bytes) -> Script:
    """Answer each request with a stamp."""

    async def script(leg: Leg) -> None:
        while True:
            request = await leg.request()
            body = stamp(name, request)
            answer = ok(body)
            await leg.send(answer.removesuffix(body) if request.method == b"HEAD" else answer)

    return script


@asynccontextmanager
async def rig(script: Callable[[bytes], Script] = stamping) -> AsyncIterator[Rig]:
    """Run a rig whose sandboxes each follow `script` of their names."""
    async with gateway(script(b"box"), linger_timeout=0.02) as (gw, box):
        other = Upstream(script(b"other"))
        await other.start()
        gw.sandboxes.add("other", State.RUNNING)
        made = Rig(gw, {b"box": box, b"other": other})
        made.errors.setLevel(logging.ERROR)
        logging.getLogger().addHandler(made.errors)
        try:
            yield made
        finally:
            logging.getLogger().removeHandler(made.errors)
            gw.sandboxes.delete_all()
            await eventually(lambda: not made.standing)
            await other.stop()
