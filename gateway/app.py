"""The composition root: builds one replica of the gateway, runs it, and drains it in order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import resource
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import uvloop

from gateway import __version__, wiring
from gateway.admin.readiness import Readiness
from gateway.admin.resize import ResizeRoutes
from gateway.admin.server import AdminServer
from gateway.admin.standby import AutoStandby
from gateway.cluster.cluster import Cluster
from gateway.cluster.errors import ConfigInvalid
from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.deployment import DEPLOYMENT, STATEFUL_SET
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.explain import Surroundings, explain
from gateway.meanwhile import meanwhile
from gateway.proxy.plane import DataPlane
from gateway.reloading import Reloader
from gateway.resize.snapshot import Status, unsized
from gateway.resizing import Resizing
from gateway.sandbox.registry import Registry
from gateway.settings import DialectName
from gateway.sleeping import Sleeping
from gateway.standby.snapshot import unsupported
from gateway.telemetry import logs, loop_lag
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.instruments import Instruments
from gateway.tls.contexts import TlsFileError
from gateway.tls.deployment import Tls
from gateway.wake.waker import Waker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from gateway.admin.parts import AdminRoutes
    from gateway.dialects.base import Dialect
    from gateway.resize.snapshot import ResizeSnapshot
    from gateway.resizing import Ground
    from gateway.sandbox.model import Route
    from gateway.settings import Settings
    from gateway.standby.snapshot import Snapshot
    from gateway.telemetry.opentelemetry import OpenTelemetryTracer
    from gateway.telemetry.tracing import Tracer
    from gateway.upstream.pool import Pool

_LOG = logging.getLogger(__name__)

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

#: glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD. At their defaults each large read gets fresh
#: pages from the kernel and gives them back: a quarter of the speed of large bodies.
_MALLOC_LIMITS: Final = {-1: 128 * 1024 * 1024, -3: 64 * 1024 * 1024}

#: How long the answers to those who wait at the very end may take to be written, in seconds.
_LAST_WORDS: Final = 1.0


class StartError(Exception):
    """The gateway cannot start; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the listeners are in fact, as (host, port)."""

    data: tuple[str, int]
    admin: tuple[str, int]


class Gateway:
    """One replica: everything that `settings` say, over an entered `Cluster`."""

    def __init__(
        self,
        settings: Settings,
        dialects: Sequence[Dialect],
        cluster: Cluster,
        registry: Registry,
        instruments: Instruments,
        tls: Tls,
        pool: Pool,
        credentials: wiring.Credentials,
        tracer: Tracer | None,
        sleeping: Sleeping | None,
        resizing: Resizing | None,
    ) -> None:
        self.cluster = cluster
        self.registry = registry
        self._dialects = {dialect.name: dialect for dialect in dialects}
        self._settings = settings
        self._sleeping = sleeping
        self._resizing = resizing
        self._draining = False
        self._access_log = (
            AccessLog(sys.stdout.buffer, instruments) if settings.access_log else None
        )
        self._waker = Waker(registry, cluster, wiring.wake(settings), instruments, tracer=tracer)
        self._plane = DataPlane(
            wiring.plane(settings, credentials.authenticator.names),
            registry,
            pool,
            self._waker,
            cluster.read,
            credentials.authenticator,
            instruments,
            self._access_log,
            tls=tls.data,
            synced=lambda: cluster.synced,
            clock=time.time,
            login=credentials.login,
            tracer=tracer,
            gate=None if sleeping is None else sleeping.gate,
        )
        self._admin = AdminServer(
            wiring.admin(settings),
            instruments,
            registry,
            self.readiness,
            self._explain,
            tls=tls.admin,
            parts=tuple(self._parts()),
        )
        instruments.gauge("routes", "Sandboxes that are known.", lambda: len(registry))
        instruments.gauge(
            "asyncio_tasks", "Tasks of the event loop.", lambda: len(asyncio.all_tasks())
        )
        instruments.gauge(
            "ambiguous_names",
            "Names that several sandboxes answer to, so that none is routed.",
            lambda: len(registry.ambiguous()),
        )

    def _parts(self) -> Iterable[AdminRoutes]:
        if self._sleeping is None:
            yield AutoStandby(self.registry, self._snapshot)
        else:
            yield from self._sleeping.parts
        yield ResizeRoutes(self.registry, self._size)

    def replace_admin_token(self, token: str) -> None:
        """Take no other token for the admin API from now on, and show no other one."""
        self._admin.replace_token(token)
        if self._sleeping is not None:
            self._sleeping.replace_admin_token(token)

    def readiness(self) -> Readiness:
        """Return whether traffic should come here, and why not."""
        return Readiness(
            synced=self.cluster.synced,
            stale=self.cluster.stale,
            draining=self._draining,
            serves_stale=not self._settings.unready_when_stale,
            reflectors={one.name: one.phase.value for one in self.cluster.statuses},
        )

    async def _explain(self, route: Route) -> dict[str, object]:
        waking = self._waker.explain(route.uid)
        around = Surroundings(wake_timeout=self._settings.wake_timeout)
        standby = await self._snapshot(route)
        dialect = self._dialects[route.key.dialect]
        told = explain(route, None, dialect, time.time(), around, standby, self._size(route))
        return {
            **told.as_json(),
            "waking": {
                "phase": waking.phase.value if waking.phase is not None else None,
                "waiters": waking.waiters,
                "patches": waking.patches,
                "trouble": waking.trouble.value if waking.trouble is not None else None,
                "last_failure": waking.last_failure,
            },
            "watch": self.cluster.watch_of(route.key).as_json(),
        }

    async def _snapshot(self, route: Route) -> Snapshot:
        if self._sleeping is None:
            return unsupported(route, time.time())
        return await self._sleeping.snapshot(route)

    def _size(self, route: Route) -> ResizeSnapshot:
        if self._resizing is None:
            return unsized(route, Status.UNSUPPORTED, "its setting resize is off")
        return self._resizing.snapshot(route)

    async def start(self) -> Addresses:
        """Listen; raise StartError if an address is not to be had."""
        settings = self._settings
        try:
            admin = await self._admin.start()
            data = await self._plane.start(*settings.data_listen)
        except OSError as error:
            raise StartError(
                f"cannot listen: {error.strerror or error}. "
                "Choose other addresses by data_listen and admin_listen."
            ) from error
        _LOG.info(
            "listening",
            extra={"data": shown(data), "admin": shown(admin), "version": __version__},
        )
        return Addresses(data, admin)

    async def drain(self) -> None:
        """Leave without losing a request: unready first, then closed to new ones, then gone."""
        self._draining = True
        self._plane.announce_drain()
        _LOG.info("draining", extra={"in_flight": self._plane.in_flight})
        async with asyncio.TaskGroup() as group:
            group.create_task(self._finish_requests())
            if self._resizing is not None:
                group.create_task(self._resizing.resign())
            if self._sleeping is not None:
                await self._sleeping.resign()
        if self._sleeping is not None:
            await self._sleeping.take_leave()

    async def _finish_requests(self) -> None:
        settings = self._settings
        await asyncio.sleep(settings.drain_delay)
        if not await self._plane.drain(settings.drain_timeout):
            _LOG.warning("requests broken off", extra={"in_flight": self._plane.in_flight})

    async def close(self) -> None:
        """Stop everything: who still waits for a sandbox is told so, all else is broken off."""
        await self._waker.close()
        await self._plane.drain(_LAST_WORDS)
        await self._plane.close()
        if self._access_log is not None:
            self._access_log.flush()
        await self._admin.stop()


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    dialects: Sequence[Dialect],
    *,
    local: bool = False,
    ground: Ground | None = None,
) -> AsyncIterator[Gateway]:
    """Run a replica for the body; `start` is the body's to call. Raise StartError.

    `local`: sandboxes are processes that share one address. `ground`: what is right-sized, if
    that is not the pods of the cluster.
    """
    registry, instruments = Registry(addresses_shared=local), Instruments()
    cluster = Cluster(wiring.cluster(settings), dialects, registry, instruments)
    # It has to hear of every sandbox, so it is there before the first one is known.
    sleeping = Sleeping(settings, cluster, registry, instruments) if settings.standby else None
    try:
        await cluster.__aenter__()
    except ConfigInvalid as error:
        raise StartError(f"{error}") from error
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(cluster)
        reloader = Reloader(instruments)
        credentials = wiring.credentials(settings, instruments, reloader)
        await stack.enter_async_context(meanwhile(credentials.authenticator.run()))
        tracer = _tracer(settings, instruments)
        if tracer is not None:
            stack.push_async_callback(tracer.close)
        tls = _tls(settings, instruments, reloader)
        pool = wiring.pool(settings, instruments, tls.upstream)
        if sleeping is not None:
            begun = sleeping.begun(pool, credentials.authenticator, tls, reloader)
            await stack.enter_async_context(begun)
        resizing = None
        if settings.resize:
            unused_for = (lambda _: None) if sleeping is None else sleeping.unused_for
            resizing = Resizing(settings, cluster, registry, instruments, unused_for, ground)
            await _begin(resizing, stack)
        gateway = Gateway(
            settings, dialects, cluster, registry, instruments, tls, pool, credentials, tracer,
            sleeping, resizing,
        )  # fmt: skip
        wiring.watch_admin_token(settings, reloader, gateway.replace_admin_token)
        stack.push_async_callback(gateway.close)
        await stack.enter_async_context(meanwhile(reloader.run()))
        await stack.enter_async_context(meanwhile(loop_lag.watch(instruments)))
        yield gateway


async def _begin(resizing: Resizing, stack: contextlib.AsyncExitStack) -> None:
    """Right-size until the stack is closed; raise StartError."""
    try:
        await stack.enter_async_context(resizing.begun())
    except OSError as error:
        raise StartError(
            f"cannot listen: {error.strerror or error}. Choose another address by resize_listen."
        ) from error


def _tracer(settings: Settings, instruments: Instruments) -> OpenTelemetryTracer | None:
    try:
        return wiring.tracer(settings, instruments)
    except ModuleNotFoundError as error:
        raise StartError(
            "trace_endpoint needs OpenTelemetry: pip install 'sandbox-gateway[tracing]'"
        ) from error


def _tls(settings: Settings, instruments: Instruments, reloader: Reloader) -> Tls:
    try:
        return Tls(wiring.tls(settings), instruments, reloader.watch)
    except TlsFileError as error:
        raise StartError(f"cannot read the files of TLS: {error}") from error


def dialects_of(settings: Settings, *, local: bool = False) -> list[Dialect]:
    """Return the adapters of the Sandbox APIs that the settings name."""
    known: dict[DialectName, Dialect] = {
        DialectName.NATIVE: Native(local=local),
        DialectName.KRUISE: Kruise(),
        DialectName.AGENT_SANDBOX: AgentSandbox(),
        DialectName.DEPLOYMENT: DEPLOYMENT,
        DialectName.STATEFUL_SET: STATEFUL_SET,
    }
    return [known[name] for name in settings.dialects]


def serve(settings: Settings) -> int:
    """Run `sandbox-gateway serve` until a signal; return the exit status."""
    return run(settings, lambda stop: _serve(settings, stop))


async def _serve(settings: Settings, stop: asyncio.Event) -> int:
    async with running(settings, dialects_of(settings)) as gateway:
        await gateway.start()
        settle()
        await stop.wait()
        await gateway.drain()
    return EXIT_OK


def run(settings: Settings, main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run `main` with logging and signals set up; return the exit status, which is `main`'s.

    The first SIGTERM or SIGINT sets the event that `main` is given; another one ends it at once.
    """
    logs.configure(wiring.log(settings))

    async def until_stopped() -> int:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.current_task()
        assert task is not None

        def on_signal() -> None:
            if stop.is_set():
                task.cancel()
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        return await main(stop)

    try:
        return uvloop.run(until_stopped())
    except StartError as error:
        _LOG.error("cannot start: %s", error)
        return EXIT_FAILED
    except asyncio.CancelledError:
        return EXIT_FAILED


def shown(address: tuple[str, int]) -> str:
    """Return an address as it is written in a URL."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def settle() -> None:
    """Tune the process once all that lasts has been made."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, limit in _MALLOC_LIMITS.items():
            libc.mallopt(option, limit)
    # What exists now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
