"""A fixed load on a gateway and a probe of its event loop, as a process of its own.

`python -m e2e.bench.scale_traffic DATA_PORT ADMIN_PORT UPSTREAM_PORT FILE ID...` says "sending"
once it does, and at SIGTERM writes what it saw to the file (`Seen`).

Requests fall due at times that were fixed beforehand, whether or not the answers before have come,
and each latency counts from then: a stall delays all that fell due in it, and all of that is seen.
The probe asks the admin listener, which shares its loop with the data path and answers in a
fraction of a millisecond. It has one connection and one question at a time: whatever falls due
before the answer would have been answered with it, and counts so, without being asked.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import uvloop

from e2e.bench.scale_samples import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Requests a second, over how many connections.
LOAD_RATE: Final = 2_000
LOAD_CONNECTIONS: Final = 128
#: Probes a second.
PROBE_RATE: Final = 200

#: How often it is seen what is due, in seconds.
_TICK: Final = 0.001
#: How long the last answers may take, in seconds.
_LAST: Final = 10.0
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One request at a time; `answered` is called with the failure if it was none with 200."""

    def __init__(self, answered: Callable[[Connection, str], None]) -> None:
        self.due = 0.0
        self._answered = answered
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._answered(self, f"connection lost: {error}")

    def ask(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head + b"\r\n")
        if length is not None and len(body) < int(length[1]):
            return
        self._received = b""
        whole = length is not None and len(body) == int(length[1])
        good = whole and head.startswith(b"HTTP/1.1 200 ")
        self._answered(self, "" if good else head.decode("latin-1"))


class Load:
    """Requests at a rate over some connections, in turn."""

    def __init__(self, requests: Sequence[bytes], rate: float) -> None:
        self.latencies: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self.late: list[float] = []
        self._requests = requests
        self._interval = 1.0 / rate
        self._connections: list[Connection] = []
        # In turn, so that none is idle for so long that the gateway closes it.
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._count = 0
        self._next = 0.0
        self._stopping = False

    async def connect(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(
                lambda: Connection(self._take), "127.0.0.1", port
            )
            self._connections.append(connection)
            self._idle.append(connection)

    def start(self) -> None:
        self._next = time.monotonic()
        self._tick()

    async def stop(self) -> None:
        """Send no more; return once all is answered, or has failed."""
        self._stopping = True
        give_up = time.monotonic() + _LAST
        while len(self._idle) < len(self._connections) and not self.failures:
            if time.monotonic() > give_up:
                self.failures.append("requests without an answer")
            await asyncio.sleep(_TICK)

    def _tick(self) -> None:
        if self._stopping or self.failures:
            return
        now = time.monotonic()
        if self._next <= now:
            self.late.append(now - self._next)
        self._fall_due(now)
        while self._due and self._idle:
            self._send(self._idle.popleft())
        asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _fall_due(self, now: float) -> None:
        while self._next <= now:
            self._due.append(self._next)
            self._next += self._interval

    def _send(self, connection: Connection) -> None:
        request = self._requests[self._count % len(self._requests)]
        self._count += 1
        connection.ask(request, self._due.popleft())

    def _take(self, connection: Connection, failure: str) -> None:
        if failure:
            self.failures.append(failure)
            return
        now = time.monotonic()
        self.latencies.append((connection.due, now - connection.due))
        self._answered_at(now)
        if self._due:
            self._send(connection)
        else:
            self._idle.append(connection)

    def _answered_at(self, now: float) -> None:
        """An answer has come."""


class Probe(Load):
    """One question at a time, which stands for all that fall due until its answer."""

    def _answered_at(self, now: float) -> None:
        self._fall_due(now)
        self.latencies.extend((due, now - due) for due in self._due)
        self._due.clear()


def requests_for(ids: Sequence[str], port: int) -> list[bytes]:
    """Return a request for each sandbox."""
    form = "GET / HTTP/1.1\r\nHost: gateway\r\ne2b-sandbox-id: {}\r\ne2b-sandbox-port: {}\r\n\r\n"
    return [form.format(one, port).encode() for one in ids]


async def main(data_port: int, admin_port: int, upstream: int, out: Path, ids: list[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    load = Load(requests_for(ids, upstream), LOAD_RATE)
    probe = Probe([b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], PROBE_RATE)
    await load.connect(data_port, LOAD_CONNECTIONS)
    await probe.connect(admin_port, 1)
    gc.freeze()
    load.start()
    probe.start()
    print("sending", flush=True)
    await stop.wait()
    await load.stop()
    await probe.stop()
    failures = load.failures + probe.failures
    seen = Seen(load.latencies, probe.latencies, load.late + probe.late, failures)
    out.write_text(json.dumps(seen.as_json()))


if __name__ == "__main__":
    data, admin, up = map(int, sys.argv[1:4])
    uvloop.run(main(data, admin, up, Path(sys.argv[4]), sys.argv[5:]))
