"""Ten thousand clients that are slow on purpose, and a gateway that others do not see them in."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import select
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from .apis import Api
from .gateways import Gateway, start_serve
from .waiting import DEADLINE, soon
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from .programs import Programs

SILENT: Final = 4000
HALF_HEADS: Final = 3000
HALF_BODIES: Final = 2500
STALLED_READERS: Final = 500
ALL: Final = SILENT + HALF_HEADS + HALF_BODIES + STALLED_READERS

#: Open files of this process: the slow ones, those that reached the pod, and some.
FILES: Final = ALL + HALF_BODIES + STALLED_READERS + 2000
#: Where they come from: one address alone has too few ports where many tests ran before.
SOURCES: Final = ("127.0.0.1", "127.0.0.2")
#: ip(7), of Linux; Python 3.11 has no name for it.
IP_BIND_ADDRESS_NO_PORT: Final = 24
#: Connections made before others get their turn.
BATCH: Final = 50

#: Good requests: at least so many in all, so many at once, and the pause after each (s).
GOOD: Final = 300
GOOD_AT_ONCE: Final = 6
GOOD_PAUSE: Final = 0.05

#: What a connection may cost the gateway: one that has said little, and one that does not read
#: (what is held for it is bounded by the write buffer and one read from its sandbox).
LITTLE: Final = 16 * 1024
HELD: Final = 512 * 1024
#: The part of them that has to stand at once.
NEARLY: Final = 0.9

#: How late the loop may be (s), usually and ever; on a busy machine the gateway itself has to wait.
USUAL_LAG: Final = "0.5"
WORST_LAG: Final = "5.0"


@pytest.fixture(autouse=True)
def descriptors() -> None:
    """Let this process and the gateway have as many files as they need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


@pytest.fixture
async def world(programs: Programs, home: Path) -> AsyncIterator[World]:
    """A gateway with short deadlines over an API of its own."""
    api = Api.not_yet_running(programs, home)
    api.start()
    gateway = start_serve(
        programs,
        home,
        api.kubeconfig,
        request_head_timeout="15s",
        body_progress_timeout="12s",
        keep_alive_timeout="6s",
        linger_timeout="1s",
        access_log="false",
    )
    gateway.wait_ready()
    async with World.over(gateway) as made:
        yield made


@dataclass(slots=True)
class Slow:
    """A client; of `rest` it sends a byte now and then."""

    sock: socket.socket
    rest: bytes = b""
    sent: int = 0

    def drip(self) -> None:
        if self.sent < len(self.rest):
            with contextlib.suppress(OSError):  # it was cut
                self.sock.send(self.rest[self.sent : self.sent + 1])
            self.sent += 1

    @property
    def cut(self) -> bool:
        """Whether the gateway has ended the connection. What it sent before is not read."""
        look = select.poll()
        look.register(self.sock, select.POLLRDHUP)
        return bool(look.poll(0))


class Crowd:
    """Slow clients of four kinds."""

    def __init__(self, gateway: Gateway, naming: dict[str, str]) -> None:
        fields = "".join(f"{name}: {value}\r\n" for name, value in naming.items())
        self._head = f"Host: sandbox\r\n{fields}".encode()
        self._port = gateway.data_port
        self._sources = itertools.cycle(SOURCES)
        self.clients: list[Slow] = []

    async def gather(self) -> None:
        """Connect them all, the kinds in turn."""
        kinds = [
            *[(b"", b"")] * SILENT,
            *[(b"GET / HTTP/1.1\r\nX-Slow: ", b"drip" * 100)] * HALF_HEADS,
            *[(b"POST /echo HTTP/1.1\r\nContent-Length: 1000\r\n%b\r\n", b"d" * 999)] * HALF_BODIES,
            *[(b"GET /large/1000000 HTTP/1.1\r\n%b\r\n", b"")] * STALLED_READERS,
        ]
        step = 7919  # a prime: through all of them, and no kind comes in one block
        for n in range(ALL):
            said, rest = kinds[n * step % ALL]
            self.clients.append(self._connect(said, rest))
            if n % BATCH == 0:
                await asyncio.sleep(0)

    def _connect(self, said: bytes, rest: bytes) -> Slow:
        sock = socket.socket()
        # Small buffers, here and by the segment size there, so that little lies in the kernel.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
        # Its port is chosen by connecting, so that it is taken from nobody who means to listen.
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((next(self._sources), 0))
        sock.connect(("127.0.0.1", self._port))
        sock.setblocking(False)
        if said:
            sock.send(said % self._head if b"%b" in said else said)
        return Slow(sock, rest)

    async def drip(self) -> None:
        """Let each go on a byte every two seconds or so, until cancelled."""
        while True:
            for batch in range(0, ALL, BATCH):
                for client in self.clients[batch : batch + BATCH]:
                    client.drip()
                await asyncio.sleep(2 * BATCH / ALL)

    def close(self) -> None:
        for client in self.clients:
            client.sock.close()


class GoodTraffic:
    """Clients who ask often, on connections that are kept and on fresh ones; each gets its due."""

    def __init__(self, world: World) -> None:
        self._url = world.gateway.data
        self._headers = world.naming("box")
        self._pod = world.pod().uid
        self.answers = 0

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Ask for the body's time and to the end of what was asked then."""
        over = asyncio.Event()
        async with (
            httpx.AsyncClient(timeout=DEADLINE, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(GOOD_AT_ONCE):
                group.create_task(self._ask(client, over))
            try:
                yield
            finally:
                over.set()

    async def _ask(self, client: httpx.AsyncClient, over: asyncio.Event) -> None:
        for fresh in itertools.cycle((False, True)):
            once = {"Connection": "close"} if fresh else {}
            answer = await client.get(self._url, headers=self._headers | once)
            assert (answer.status_code, answer.json()["pod"]) == (200, self._pod)
            self.answers += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), GOOD_PAUSE)
                return


def stands(gateway: Gateway) -> bool:
    """Return whether nearly all are there: on a busy machine the first may be cut already."""
    with_a_head = gateway.metric("requests_in_flight") / (HALF_BODIES + STALLED_READERS)
    return min(gateway.metric("client_connections") / ALL, with_a_head) > NEARLY


async def slow_round(world: World) -> int:
    """Let a crowd come, stand and be cut; return the gateway's memory at its height."""
    gateway = world.gateway
    crowd = Crowd(gateway, world.naming("box"))
    dripping = asyncio.create_task(crowd.drip())
    try:
        await crowd.gather()
        await soon(lambda: stands(gateway), "they are there")
        height = gateway.program.resident_bytes
        dripping.cancel()
        await soon(lambda: all(client.cut for client in crowd.clients), "they are all cut")
    finally:
        dripping.cancel()
        crowd.close()
    return height


async def test_ten_thousand_slow_clients_are_cut_and_cost_nobody_else_anything(
    world: World,
) -> None:
    """Silence, heads and bodies that drip, responses that nobody reads: each costs only itself."""
    gateway = world.gateway
    await world.create("box")
    good = GoodTraffic(world)
    async with good.going_on():
        await soon(lambda: good.answers >= GOOD_AT_ONCE, "there is good traffic")
        before = gateway.program.resident_bytes
        height = await slow_round(world)

    bound = (ALL - STALLED_READERS) * LITTLE + STALLED_READERS * HELD
    assert height - before < bound
    assert good.answers >= GOOD
    assert gateway.metric("requests_total", outcome="answered", reason="") == good.answers
    counted = gateway.metric("requests_total", outcome="refused", reason="request_timeout")
    assert counted == HALF_HEADS + HALF_BODIES
    assert gateway.metric("requests_total", outcome="broken", reason="") == STALLED_READERS
    await soon(lambda: gateway.metric("client_connections") == 0, "nobody is left")
    assert gateway.metric("requests_in_flight") == 0

    # What they had is given back, or used again: a second crowd needs no more than the first.
    again = await slow_round(world)
    assert again - height < bound / 10

    await world.api.delete("box")
    await soon(lambda: gateway.metric("upstream_connections_open") == 0, "the sandbox is let go")
    lags = {one["le"]: count for one, count in gateway.metrics("event_loop_lag_seconds_bucket")}
    assert lags[USUAL_LAG] > 0.98 * lags["+Inf"]
    assert lags[WORST_LAG] == lags["+Inf"]
    assert "Traceback" not in gateway.program.errors
