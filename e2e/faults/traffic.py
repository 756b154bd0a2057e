"""A continuous load that checks who answers: no request is ever sent twice, each is accounted for.

Sandboxes tell who they are (`pods`): `X-Sandbox` and `X-Pod` stand in each answer, in each event
and in each message. Clients keep their connections until these are closed, as behind a balancer
that only chooses where a new one goes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import h11
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from .ledger import Kind, Ledger, Outcome, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

#: Longer than a gateway lets a request wait, in seconds.
PATIENCE: Final = 150.0
#: A WebSocket's close code: come again (RFC 6455, IANA).
_SERVICE_RESTART: Final = 1012
_READ: Final = 2**16


@dataclass(frozen=True, slots=True)
class Target:
    """A sandbox that is asked on one port."""

    namespace: str
    name: str
    port: int

    @property
    def sandbox(self) -> str:
        return f"{self.namespace}/{self.name}"


class Place(Protocol):
    """A gateway that a new connection may go to."""

    @property
    def data_port(self) -> int:
        """Where it listens, on 127.0.0.1."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How many clients there are of each kind, and how a client goes about it.

    `pause`: seconds between two requests. `per_connection`: requests after which a client connects
    anew. `body`: bytes of a POST. `events` in a stream, `messages` in a WebSocket; between two of
    them the pause is the same.
    """

    gets: int = 4
    echoes: int = 2
    streams: int = 1
    sockets: int = 1
    pause: float = 0.05
    per_connection: int = 100
    body: int = 1000
    events: int = 20
    messages: int = 50


@dataclass(slots=True)
class Traffic:
    """Clients that ask `target()` through `place()` until they are stopped."""

    place: Callable[[], Place]
    target: Callable[[], Target]
    mix: Mix = field(default_factory=Mix)
    ledger: Ledger = field(default_factory=Ledger)
    patience: float = PATIENCE
    note: Callable[[Record], None] | None = None
    """Told of each record as well."""
    _load: int = field(default_factory=itertools.count().__next__)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[Ledger]:
        """Run for the body's time; afterwards each client ends what it has begun."""
        mix = self.mix
        async with asyncio.TaskGroup() as group:
            for kind, count in (
                (Kind.GET, mix.gets),
                (Kind.ECHO, mix.echoes),
                (Kind.EVENTS, mix.streams),
            ):
                for _ in range(count):
                    group.create_task(self._ask_on(kind))
            for _ in range(mix.sockets):
                group.create_task(self._talk_on())
            try:
                yield self.ledger
            finally:
                self._stopping.set()

    async def once(self, kind: Kind, target: Target, place: Place) -> Record:
        """Send one request on a connection of its own; return what became of it."""
        client = await self._connected(place, kind, target)
        if isinstance(client, Record):
            record = client
        else:
            try:
                record = await self._ask(client, kind, target)
            finally:
                client.close()
        self._note(record)
        return record

    # ---- one client

    async def _ask_on(self, kind: Kind) -> None:
        """Ask again and again, on one connection for as long as that stands."""
        while not self._stopping.is_set():
            place, target = self.place(), self.target()
            client = await self._connected(place, kind, target)
            if isinstance(client, Record):
                self._note(client)
                await self._pause()
                continue
            try:
                for _ in range(self.mix.per_connection):
                    self._note(await self._ask(client, kind, self.target()))
                    await self._pause()
                    if not client.reusable or self._stopping.is_set():
                        break
            finally:
                client.close()

    async def _talk_on(self) -> None:
        while not self._stopping.is_set():
            await self._talk(self.place(), self.target())
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self.mix.pause)

    def _note(self, record: Record) -> None:
        self.ledger.note(record)
        if self.note is not None:
            self.note(record)

    # ---- requests

    async def _connected(self, place: Place, kind: Kind, target: Target) -> _Client | Record:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.patience):
                return await _Client.connected(place.data_port)
        except OSError as error:  # TimeoutError is one
            call = _Call(kind, self._number(), target.sandbox, place.data_port, began)
            return call.ended(Outcome.UNCONNECTED, reason=type(error).__name__)

    async def _ask(self, client: _Client, kind: Kind, target: Target) -> Record:
        number = self._number()
        call = _Call(kind, number, target.sandbox, client.port, time.monotonic())
        body = os.urandom(self.mix.body) if kind is Kind.ECHO else b""
        request = h11.Request(
            method="POST" if kind is Kind.ECHO else "GET",
            target=self._path(kind),
            headers=[
                ("host", "box.example"),
                ("content-length", str(len(body))),
                *_naming(target, number),
            ],
        )
        try:
            async with asyncio.timeout(self.patience):
                response, answer = await client.exchange(request, body)
        except TimeoutError:
            return call.ended(Outcome.UNANSWERED)
        except (OSError, h11.ProtocolError) as error:
            return call.ended(Outcome.LOST, reason=type(error).__name__)
        expected = self._expected(kind, target, response, body)
        return call.judged(response.status_code, _headers(response), answer, expected)

    def _path(self, kind: Kind) -> str:
        if kind is Kind.EVENTS:
            return f"/events/{self.mix.events}/{self.mix.pause}"
        return "/echo" if kind is Kind.ECHO else "/"

    def _expected(self, kind: Kind, target: Target, response: h11.Response, body: bytes) -> bytes:
        """Return the only body that is right; who says that he answers is judged apart."""
        pod = _headers(response).get("x-pod", "")
        if kind is Kind.ECHO:
            return body
        if kind is Kind.EVENTS:
            told = range(self.mix.events)
            return "".join(f"data: {n} {target.sandbox} {pod}\n\n" for n in told).encode()
        return orjson.dumps({"sandbox": target.sandbox, "pod": pod})

    def _number(self) -> str:
        return f"{self._load}-{next(self._numbers)}"

    # ---- WebSockets

    async def talk(self, target: Target, place: Place) -> None:
        """Have one conversation over a WebSocket; each of its messages is a record."""
        await self._talk(place, target)

    async def _talk(self, place: Place, target: Target) -> None:
        """Open a WebSocket, send numbered messages and check each answer."""
        number = self._number()
        call = _Call(Kind.SOCKET, number, target.sandbox, place.data_port, time.monotonic())
        try:
            socket = await connect(
                f"ws://127.0.0.1:{place.data_port}/socket",
                additional_headers=dict(_naming(target, number)),
                open_timeout=self.patience,
                close_timeout=self.patience,
                ping_interval=None,
                compression=None,
                proxy=None,
            )
        except InvalidStatus as refused:
            response = refused.response
            told = {name.lower(): value for name, value in response.headers.raw_items()}
            self._note(call.judged(response.status_code, told, bytes(response.body or b""), None))
        except (TimeoutError, OSError, InvalidHandshake, EOFError) as error:
            self._note(call.broken(error))
        else:
            self._note(call.judged(200, _headers(socket.response), b"", b""))
            await self._converse(socket, target, place)

    async def _converse(self, socket: ClientConnection, target: Target, place: Place) -> None:
        for turn in range(self.mix.messages):
            if self._stopping.is_set():
                break
            number = self._number()
            call = _Call(Kind.SOCKET, number, target.sandbox, place.data_port, time.monotonic())
            try:
                async with asyncio.timeout(self.patience):
                    await socket.send(f"{turn} {number}")
                    said = str(await socket.recv()).split()
            except ConnectionClosed as closed:
                self._note(call.closed(closed))
                return
            except TimeoutError as error:
                self._note(call.broken(error))
                break
            sandbox, pod = said[-2:]
            right = said[:2] == [str(turn), number] and sandbox == target.sandbox
            outcome = Outcome.RIGHT if right else Outcome.WRONG
            self._note(call.ended(outcome, 101, told_by=(sandbox, pod)))
            await self._pause()
        await socket.close()


class _Client:
    """One connection, and one request at a time on it."""

    def __init__(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.port = port
        self._reader = reader
        self._writer = writer
        self._state = h11.Connection(h11.CLIENT)

    @classmethod
    async def connected(cls, port: int) -> _Client:
        return cls(port, *await asyncio.open_connection("127.0.0.1", port))

    @property
    def reusable(self) -> bool:
        """Whether another request may follow, as far as has been heard."""
        if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
            return False
        return not self._reader.at_eof()

    async def exchange(self, request: h11.Request, body: bytes) -> tuple[h11.Response, bytes]:
        """Return the whole answer; raise OSError or h11.ProtocolError if it does not come whole."""
        if self._state.our_state is h11.DONE:
            self._state.start_next_cycle()
        events = (request, h11.Data(body), h11.EndOfMessage())
        self._writer.write(b"".join(self._state.send(event) or b"" for event in events))
        await self._writer.drain()
        response, parts = None, []
        while True:
            event = self._state.next_event()
            if event is h11.NEED_DATA:
                self._state.receive_data(await self._reader.read(_READ))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and response is not None:
                return response, b"".join(parts)
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError

    def close(self) -> None:
        self._writer.close()


@dataclass(frozen=True, slots=True)
class _Call:
    """A request that is under way; its methods make the record of its end."""

    kind: Kind
    number: str
    sandbox: str
    gateway: int
    sent: float

    def ended(
        self,
        outcome: Outcome,
        status: int = 0,
        reason: str = "",
        told_by: tuple[str, str] = ("", ""),
        *,
        cold: bool = False,
    ) -> Record:
        now = time.monotonic()
        return Record(
            self.kind, self.number, self.sandbox, self.gateway, self.sent, now,
            outcome, status, reason, told_by, cold,
        )  # fmt: skip

    def judged(
        self, status: int, headers: dict[str, str], body: bytes, expected: bytes | None
    ) -> Record:
        """Judge an answer that came whole."""
        if headers.get("proxy-status", "").startswith("sandbox-gateway;"):
            problem = orjson.loads(body) if body else {}
            return self.ended(Outcome.REFUSED, status, problem.get("reason", ""))
        told_by = headers.get("x-sandbox", ""), headers.get("x-pod", "")
        right = status == 200 and told_by[0] == self.sandbox and body == expected
        cold = headers.get("x-sandbox-cold-start") == "true"
        return self.ended(Outcome.RIGHT if right else Outcome.WRONG, status, "", told_by, cold=cold)

    def broken(self, error: Exception) -> Record:
        """Judge what never became an answer."""
        if isinstance(error, TimeoutError):
            return self.ended(Outcome.UNANSWERED)
        refused = isinstance(error, ConnectionRefusedError)
        outcome = Outcome.UNCONNECTED if refused else Outcome.LOST
        return self.ended(outcome, reason=type(error).__name__)

    def closed(self, closed: ConnectionClosed) -> Record:
        """Judge the end of a WebSocket that came before its answer."""
        code = closed.rcvd.code if closed.rcvd is not None else 0
        if code == _SERVICE_RESTART:
            return self.ended(Outcome.RESTARTED, 101)
        return self.ended(Outcome.LOST, 101, f"WebSocket {code or 'cut'}")


def _naming(target: Target, number: str) -> list[tuple[str, str]]:
    """Return the fields that name a sandbox to the gateway, and a request to the sandbox."""
    return [
        ("e2b-sandbox-id", f"{target.namespace}--{target.name}"),
        ("e2b-sandbox-port", str(target.port)),
        ("x-for", target.sandbox),
        ("x-number", number),
    ]


def _headers(response: h11.Response | object) -> dict[str, str]:
    """Return the fields of a response, names in lower case."""
    if isinstance(response, h11.Response):
        return {name.decode(): value.decode("latin-1") for name, value in response.headers}
    raw = response.headers.raw_items() if response is not None else ()  # type: ignore[attr-defined]
    return {name.lower(): value for name, value in raw}
