"""The real data plane between bare sockets, and the proof that nothing of a test is left."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import json
import logging
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.auth.authenticator import NoAuth
from gateway.proxy.exchange import Timeouts
from gateway.proxy.front import FrontConfig
from gateway.proxy.handler import ProxyConfig
from gateway.proxy.limits import SPECIAL, RequestLimits
from gateway.proxy.plane import DataPlane, PlaneConfig
from gateway.proxy.reach import ReachConfig
from gateway.proxy.target import TargetConfig
from gateway.proxy.uses import CountConfig
from gateway.replicas.gate import Gate
from gateway.sandbox.activity import Activity
from gateway.sandbox.model import State
from gateway.sandbox.registry import Registry
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.instruments import PREFIX, Instruments
from gateway.tls.contexts import ClientFiles
from gateway.tls.deployment import Tls, TlsConfig
from gateway.upstream.addresses import AddressGuard
from gateway.upstream.pool import Pool
from gateway.wake.config import WakeConfig
from gateway.wake.waker import Waker

from .sandboxes import Sandboxes
from .upstream import Upstream
from .wire import Client

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator

    from gateway.auth.authenticator import Authenticator
    from gateway.proxy.login import Login
    from gateway.sandbox.model import Key
    from gateway.telemetry.tracing import Tracer
    from gateway.tls.deployment import Watch
    from gateway.wake.calls import SandboxWriter

    from .upstream import Script
    from .wire import Message

#: Seconds.
_BETWEEN_LOOKS = 0.002
LOOPBACK = AddressGuard(allow=(ipaddress.ip_network("127.0.0.0/8"),))


@dataclass
class Spoken:
    """What is spoken by gateways, their clients and their sandboxes: plain text, or TLS.

    With `tracer`, it is traced.
    """

    config: TlsConfig = field(default_factory=lambda: TlsConfig(upstream=ClientFiles(verify=False)))
    by_clients: ssl.SSLContext | None = None
    by_sandboxes: ssl.SSLContext | None = None
    route: dict[str, Any] = field(default_factory=dict)
    tracer: Tracer | None = None


#: What is spoken by default; test_tls.py and test_tracing.py change it.
spoken = Spoken()


class Gateway:
    """A gateway on a port of its own. Keywords change what a test is about."""

    def __init__(
        self,
        *,
        registry: Registry | None = None,
        writer: SandboxWriter | None = None,
        authenticator: Authenticator | None = None,
        guard: AddressGuard = LOOPBACK,
        limits: RequestLimits | None = None,
        timeouts: Timeouts | None = None,
        targets: TargetConfig | None = None,
        reach: ReachConfig | None = None,
        wake: WakeConfig | None = None,
        trusted: Callable[[str], bool] = lambda _: False,
        synced: Callable[[], bool] = lambda: True,
        preserve_host: bool = True,
        max_idle: int = 64,
        connect_timeout: float = 5.0,
        tls: TlsConfig | None = None,
        watch: Watch = lambda *_: None,
        login: Login | None = None,
        count: CountConfig | None = None,
        gated: bool = True,
        closed_ports: frozenset[int] = frozenset(),
        **front: Any,
    ) -> None:
        self.registry = Registry() if registry is None else registry
        self.instruments = Instruments()
        self.tls = Tls(tls or spoken.config, self.instruments, watch)
        self.sandboxes = Sandboxes(self.registry, spoken.route)
        self.waker = Waker(
            self.registry,
            writer or self.sandboxes,
            wake or WakeConfig(),
            self.instruments,
            tracer=spoken.tracer,
        )
        self.pool = Pool(
            guard,
            self.instruments,
            tls=self.tls.upstream,
            connect_timeout=connect_timeout,
            idle_timeout=60.0,
            max_idle_per_sandbox=max_idle,
            max_idle=1000,
            dead_after=30.0,
        )
        self.activity = Activity()
        self.later = 0.0  # seconds by which the gate's clock is ahead
        self.gate = self._gate()
        self._log = io.BytesIO()
        self._access_log = AccessLog(self._log, self.instruments)
        targets, authenticator = targets or TargetConfig(), authenticator or NoAuth()
        names = SPECIAL | targets.header_names() | authenticator.names
        if login is not None:
            names |= {b"cookie"}
            front["keeps_cookie"] = True
        config = PlaneConfig(
            FrontConfig(limits or RequestLimits(), names, trusted, **front),
            targets,
            reach or ReachConfig(),
            ProxyConfig(timeouts or Timeouts(), preserve_host),
            count or CountConfig(),
            closed_ports,
        )
        self.plane = DataPlane(
            config,
            self.registry,
            self.pool,
            self.waker,
            (writer or self.sandboxes).read,
            authenticator,
            self.instruments,
            self._access_log,
            tls=self.tls.data,
            synced=synced,
            clock=time.time,
            login=login,
            tracer=spoken.tracer,
            gate=self.gate if gated else None,
        )
        self.address = ("", 0)
        self.port = 0
        self.clients: list[Client] = []

    def _gate(self) -> Gate:
        """Return the gate before its sandboxes, which every request passes and is counted at."""
        registry, loop = self.registry, asyncio.get_running_loop()

        def clock() -> float:
            return loop.time() + self.later

        async def claim(key: Key, uid: str) -> None:
            route = await self.sandboxes.read(key, uid)
            if route.state is State.RUNNING:
                route = self.sandboxes.change(key.name)
            registry.apply(route)

        gate = Gate(self.activity, registry, claim, clock)
        registry.subscribe(
            lambda before, after: self.activity.heed(before, after, clock(), time.time())
        )
        registry.subscribe(gate.heed)
        return gate

    # ---- for tests

    async def client(self, *, buffer: int = 0) -> Client:
        """Connect a client."""
        client = await Client.connect(self.address, buffer=buffer)
        self.clients.append(client)
        if spoken.by_clients is not None:
            await client.encrypt(spoken.by_clients, "127.0.0.1")
        return client

    async def wait_with(self, *requests: bytes) -> list[Client]:
        """Send each on a connection of its own and return once all of them wait for a sandbox."""
        before = self.waiting
        clients = [await self.client() for _ in requests]
        for client, request in zip(clients, requests, strict=True):
            await client.send(request)
        await eventually(lambda: self.waiting == before + len(requests))
        return clients

    async def ask(self, request: bytes, method: str = "GET") -> Message:
        """Send a request on a connection of its own and return the response."""
        client = await self.client()
        await client.send(request)
        response = await client.response(method)
        client.close()
        return response

    def head(
        self, method: str, target: str, *fields: str, to: str = "box", port: int | None = None
    ) -> bytes:
        """Return a request head for a sandbox, by E2B's headers."""
        lines = (
            f"{method} {target} HTTP/1.1",
            "Host: box.example",
            f"E2b-Sandbox-Id: {to}",
            f"E2b-Sandbox-Port: {port or self.port}",
            *fields,
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def get(self, target: str = "/", *fields: str, **where: Any) -> bytes:
        return self.head("GET", target, *fields, **where)

    def post(self, target: str, body: bytes, *fields: str, **where: Any) -> bytes:
        return self.head("POST", target, f"Content-Length: {len(body)}", *fields, **where) + body

    def number(self, name: str, **labels: str) -> float:
        """Return what an instrument shows now."""
        for family in self.instruments.collect():
            for sample in family.samples:
                if sample.name == PREFIX + name and sample.labels == labels:
                    return float(sample.value)
        raise LookupError(name)

    @property
    def waiting(self) -> int:
        """How many requests wait for a sandbox."""
        return int(self.number("wake_waiting_requests"))

    def log(self) -> list[dict[str, Any]]:
        """Return the access log so far."""
        self._access_log.flush()
        return [json.loads(line) for line in self._log.getvalue().splitlines()]

    # ---- running it

    async def close(self) -> None:
        """Close the clients; then everything must come to rest by itself, and only then end."""
        for client in self.clients:
            client.close()
        await eventually(lambda: self.plane.in_flight == 0, "requests are still under way")
        assert self.waiting == 0, "places to wait were not given back"
        assert not any(usage.count for usage in self.activity), "uses were not given back"
        self.sandboxes.delete_all()
        await eventually(lambda: self.pool.open_connections == 0, "connections to sandboxes stand")
        await self.abort()

    async def abort(self) -> None:
        for client in self.clients:
            client.close()
        await self.plane.close()
        await self.waker.close()
        self._access_log.flush()


@asynccontextmanager
async def gateway(
    script: Script | None = None,
    *,
    state: State = State.RUNNING,
    buffer: int = 0,
    route: dict[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[tuple[Gateway, Upstream]]:
    """Run a gateway and, given a script, one sandbox `box` in front of which it stands.

    Once the body is through, nothing may be left: no request, no place, no connection, no task,
    and nothing may have been logged as an error.
    """
    before = asyncio.all_tasks()
    with _no_errors_logged():
        made = Gateway(**changes)
        upstream = Upstream(script or _refuse, tls=spoken.by_sandboxes)
        try:
            await upstream.start(buffer=buffer)
            made.port = upstream.port
            made.address = await made.plane.start("127.0.0.1", 0)
            if script is not None:
                made.sandboxes.add("box", state, **(route or {}))
            yield made, upstream
        except BaseException:
            await made.abort()
            await asyncio.gather(upstream.stop(), return_exceptions=True)
            raise
        await made.close()
        await upstream.stop()
        await eventually(lambda: asyncio.all_tasks() <= before, "tasks are left")


async def eventually(check: Callable[[], object], otherwise: str = "", within: float = 5.0) -> None:
    """Return once `check` is true; fail if it is not in time.

    Time is counted in looks, so that a process that was not let run meanwhile has not lost any.
    """
    for _ in range(round(within / _BETWEEN_LOOKS)):
        if check():
            return
        await asyncio.sleep(_BETWEEN_LOOKS)
    raise AssertionError(otherwise or "it never came true")


async def _refuse(leg: Any) -> None:
    raise AssertionError("nothing was to be dialled")


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(logging.Formatter().format(record))


@contextmanager
def _no_errors_logged() -> Iterator[None]:
    """Whatever the gateway, aiohttp or the loop complains about fails the test."""
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(errors)
    assert errors.seen == []
