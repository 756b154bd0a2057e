"""Sandboxes that sleep, wake and change places, each with a server that says who it is."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from gateway.sandbox.model import State
from tests.conformance.sandboxes import Sandboxes
from tests.conformance.upstream import Upstream
from tests.conformance.wire import chunked, ok

from .faults import Fault, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry
    from tests.conformance.upstream import Leg, Script


#: No name is the beginning of another, nor with more bytes in it.
NAMES: Final = ("sb-a", "sb-b", "sb-c", "sb-d", "sb-e", "sb-f")
#: More pods than sandboxes: whose one was is somebody else's later.
_PODS: Final = 8
#: Below those that a kernel gives out by itself.
_PORTS: Final = range(20_000, 30_000, 7)

MARKER: Final = re.compile(rb"m\d{7}")
_HEAD_OF: Final = re.compile(rb"[A-Z]+ /[a-z]+/(m\d{7})/")


def answer(sandbox: str, marker: str, method: str, body: bytes, size: int) -> bytes:
    """Return the body that only this sandbox gives, and only to this request."""
    stamp = f"{sandbox} {marker} {method} {sha256(body).hexdigest()} "
    return stamp.encode() + marker.encode() * (size // len(marker))


def _serving(name: str) -> Script:
    """Answer `/kind/marker/size` as asked."""

    async def script(leg: Leg) -> None:
        while True:
            request = await leg.request()
            _, kind, marker, size = request.target.decode().split("/")
            method = request.method.decode()
            whole = answer(name, marker, method, request.body, int(size))
            if kind == "tunnel":
                await _echo(leg, f"{name} {marker}\n".encode())
            elif kind == "events":
                await _events(leg, whole)
            else:
                head, separator, body = _framed(kind, whole).partition(b"\r\n\r\n")
                await leg.send(head + separator + (b"" if method == "HEAD" else body))

    return script


def _forgiving(script: Script) -> Script:
    """Close where a request cannot be read."""

    async def forgiving(leg: Leg) -> None:
        with contextlib.suppress(AssertionError, ValueError, IndexError):
            await script(leg)

    return forgiving


def _framed(kind: str, body: bytes) -> bytes:
    if kind == "chunks":
        middle = len(body) // 2
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return head + chunked(body[:middle], body[middle:], trailers=b"X-T: 1\r\n")
    return ok(body)


async def _events(leg: Leg, body: bytes) -> None:
    await leg.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, len(body), 500):
        await leg.send(chunked(body[at : at + 500]).removesuffix(b"0\r\n\r\n"))
        await asyncio.sleep(0.001)
    await leg.send(b"0\r\n\r\n")


async def _echo(leg: Leg, early: bytes) -> None:
    await leg.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n" + early)
    while True:
        await leg.send(await leg.exactly(1))


class Fleet(Sandboxes):
    """The sandboxes, their servers, and the pods: addresses which lead to whom they are given."""

    def __init__(
        self, registry: Registry, random: Random, faults: Sequence[Fault], harmless: float
    ) -> None:
        super().__init__(registry)
        self.boots = False
        self._random = random
        tolerate = _forgiving if Fault.GARBAGE in faults else lambda script: script
        self._servers = {name: Upstream(tolerate(_serving(name))) for name in NAMES}
        self.pods = [
            FaultProxy(f"{random.random()}/pod/{n}", faults, harmless) for n in range(_PODS)
        ]
        self._free = list(self.pods)
        self._at: dict[str, FaultProxy] = {}
        self.port = 0
        self.moves: Counter[str] = Counter()

    async def start(self) -> None:
        """Listen everywhere; the first sandboxes run, the others sleep."""
        for server in self._servers.values():
            await server.start()
        self.port = await self._find_port()
        for at, name in enumerate(NAMES):
            self.add(name, State.PAUSED)
            if at % 2:
                self._land(name)

    async def _find_port(self) -> int:
        for port in _PORTS:
            try:
                for n, pod in enumerate(self.pods):
                    await pod.start(f"127.0.1.{n + 1}", port)
            except OSError:
                continue
            return port
        raise AssertionError("no port is free")

    async def stop(self) -> None:
        for pod in self.pods:
            await pod.stop()
        for server in self._servers.values():
            await server.stop()

    @property
    def settled(self) -> bool:
        """Whether nobody is on the way up."""
        return all(self[name].state is not State.RESUMING for name in NAMES)

    # ---- what happens to sandboxes

    async def wake(self, key: Key, uid: str) -> Route:
        """Begin to wake, as the waker asks; it takes a moment."""
        patched = len(self.patches)
        route = await super().wake(key, uid)
        if len(self.patches) > patched:
            self.moves["woken"] += 1
            delay = self._random.uniform(0, 0.02)
            asyncio.get_running_loop().call_later(delay, self._land, key.name)
        return route

    def disturb(self) -> None:
        """Let one thing happen to one sandbox that runs."""
        name = self._random.choice(NAMES)
        if self[name].state is not State.RUNNING:
            return
        what = self._random.choice(("paused", "moved", "killed"))
        self.moves[what] += 1
        if what == "killed":
            self._at[name].cut_all()
        elif what == "paused":
            self.pause(name)
            self._leave(name)
        else:
            left = self._at[name]
            self._land(name)
            self._vacate(left)

    def _land(self, name: str) -> None:
        """Run at one of the free pods, in a new life."""
        pod = self._at[name] = self._free.pop(self._random.randrange(len(self._free)))
        pod.target = "127.0.0.1", self._servers[name].port
        self.boot(name, pod.address[0])

    def _leave(self, name: str) -> None:
        self._vacate(self._at.pop(name))

    def _vacate(self, pod: FaultProxy) -> None:
        pod.cut_all()
        pod.target = None
        self._free.append(pod)

    # ---- what they got

    def delivered(self) -> Counter[bytes]:
        """Return how often the head of each marker's request came to any sandbox."""
        return Counter(
            marker
            for server in self._servers.values()
            for leg in server.legs
            for marker in _HEAD_OF.findall(bytes(leg.received))
        )

    def seen_at(self) -> dict[str, set[bytes]]:
        """Return all markers that each sandbox ever saw, wherever in the bytes."""
        return {
            name: {m for leg in server.legs for m in MARKER.findall(bytes(leg.received))}
            for name, server in self._servers.items()
        }
