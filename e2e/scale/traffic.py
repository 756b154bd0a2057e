"""Requests at a fixed rate to the busy sandboxes, as a process of its own.

`python -m e2e.scale.traffic DATA_PORT SERVER_PORT RATE FILE` says "sending" once it does, and at
SIGTERM writes what came of them to the file (`Heard`).

Requests fall due at times that were fixed beforehand, whatever the answers before do, and each
latency counts from then. Each answer tells at which address the server was reached, and so whether
it was the one that was asked for. A failure is noted, and does not end anything.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import uvloop

from e2e.bench.model import rank
from e2e.scale.figures import Served
from e2e.scale.objects import BUSY, address_of, request

if TYPE_CHECKING:
    from collections.abc import Iterable

CONNECTIONS: Final = 32

#: How often it is seen what is due, in seconds.
_TICK: Final = 0.001
#: How long an answer may take, in seconds.
_PATIENCE: Final = 30.0
#: How much of what a failure was is kept.
_SHOWN: Final = 300
_LENGTH: Final = b"content-length:"


@dataclass(slots=True)
class Heard:
    """When each request was due, on the monotonic clock, and how long after that it was answered.

    `wrong`, `failed`: when those were due that another server answered, or nobody.
    """

    answered: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[float] = field(default_factory=list)
    failed: list[tuple[float, str]] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    def served(self, begin: float, end: float) -> Served:
        """Return how those fared that fell due in a stretch of time."""
        took = sorted(took for due, took in self.answered if begin <= due < end)
        failures = [why for due, why in self.failed if begin <= due < end]
        wrong = sum(begin <= due < end for due in self.wrong)
        return Served(
            requests=len(took) + len(failures),
            seconds=end - begin,
            p50=rank(took, 0.5) if took else 0.0,
            p99=rank(took, 0.99) if took else 0.0,
            worst=took[-1] if took else 0.0,
            failed=len(failures),
            wrong=wrong,
            failure=failures[0] if failures else "",
        )

    @property
    def lateness(self) -> float:
        """Return the lateness of the load itself that one in a hundred exceeds, in seconds."""
        return rank(sorted(self.late), 0.99)


class FailedError(Exception):
    """A request was not answered with status 200; the text says what came instead."""


class Connection:
    """One request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, message: bytes) -> str:
        """Return the body of the answer; raise FailedError, OSError or EOFError."""
        self._writer.write(message)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [int(line[len(_LENGTH) :]) for line in lines if line.startswith(_LENGTH)]
        body = await self._reader.readexactly(lengths[0]) if lengths else b""
        if not lines[0].startswith(b"http/1.1 200 ") or not lengths:
            raise FailedError((head + body).decode("latin-1"))
        return body.decode().strip()

    def close(self) -> None:
        self._writer.close()


class Load:
    """The requests, and who sends them."""

    def __init__(self, port: int, server_port: int, rate: float) -> None:
        self.heard = Heard()
        self._port = port
        self._interval = 1.0 / rate
        self._messages = [(address_of(one), request(one, server_port)) for one in BUSY]
        self._due: asyncio.Queue[tuple[float, int]] = asyncio.Queue()

    async def pace(self) -> None:
        """Let requests fall due until cancelled."""
        following, turn = time.monotonic(), 0
        while True:
            now = time.monotonic()
            if following <= now:
                self.heard.late.append(now - following)
            while following <= now:
                self._due.put_nowait((following, turn % len(self._messages)))
                following, turn = following + self._interval, turn + 1
            await asyncio.sleep(_TICK)

    async def send(self) -> None:
        """Send what is due over one connection, which is opened anew after a failure."""
        connection: Connection | None = None
        try:
            while True:
                due, number = await self._due.get()
                try:
                    connection = connection or await Connection.open(self._port)
                    await self._ask(connection, due, *self._messages[number])
                except (FailedError, OSError, EOFError) as error:  # a TimeoutError is an OSError
                    why = f"{type(error).__name__}: {error}"[:_SHOWN]
                    self.heard.failed.append((due, why))
                    _close(connection)
                    connection = None
                finally:
                    self._due.task_done()
        finally:
            _close(connection)

    async def _ask(self, connection: Connection, due: float, address: str, message: bytes) -> None:
        async with asyncio.timeout(_PATIENCE):
            told = await connection.ask(message)
        self.heard.answered.append((due, time.monotonic() - due))
        if told != address:
            self.heard.wrong.append(due)

    async def drained(self) -> None:
        """Return once all that fell due is answered, or has failed."""
        await self._due.join()


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()


async def main(port: int, server_port: int, rate: float, out: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    load = Load(port, server_port, rate)
    gc.freeze()
    senders = [asyncio.create_task(load.send()) for _ in range(CONNECTIONS)]
    pacer = asyncio.create_task(load.pace())
    print("sending", flush=True)
    await stop.wait()
    await _end([pacer])
    await load.drained()
    await _end(senders)
    out.write_bytes(msgspec.json.encode(load.heard))


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks; raise what one of them failed with before."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


if __name__ == "__main__":
    data, server = map(int, sys.argv[1:3])
    uvloop.run(main(data, server, float(sys.argv[3]), Path(sys.argv[4])))
