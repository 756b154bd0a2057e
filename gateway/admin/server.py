"""The admin listener.

`/healthz`, `/readyz` and `/metrics` are open: kubelets and Prometheus ask them. What is below
`/api/` is behind `AdminAccess`, but for what its own part guards.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.admin.access import AdminAccess
from gateway.admin.metrics import Metrics
from gateway.admin.openapi import described
from gateway.admin.parts import Guard
from gateway.admin.probes import Probes
from gateway.admin.problems import as_problems
from gateway.admin.reading import Reading
from gateway.proxy.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.admin.parts import AdminRoutes, Handler, Operation
    from gateway.admin.readiness import Readiness
    from gateway.admin.reading import Explain
    from gateway.sandbox.registry import Registry
    from gateway.telemetry.instruments import Instruments
    from gateway.tls.server import TlsServer

#: Bodies are small; seconds for requests in flight when it stops.
MAX_BODY: Final = 64 * 1024
STOP_TIMEOUT: Final = 2.0


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Where the admin listener is, and its token (None: the API answers loopback only)."""

    host: str = "127.0.0.1"
    port: int = 8081
    token: str | None = field(default=None, repr=False)


class AdminServer:
    """Serves what operators ask: of itself it reads everything and changes nothing."""

    def __init__(
        self,
        config: AdminConfig,
        instruments: Instruments,
        registry: Registry,
        readiness: Callable[[], Readiness],
        explain: Explain,
        clock: Callable[[], float] = time.time,
        tls: TlsServer | None = None,
        parts: Sequence[AdminRoutes] = (),
    ) -> None:
        """Take what is shown; `explain` puts a route in words, `clock` gives epoch seconds.

        `parts`: what else is served. Without `tls`, plain HTTP is spoken.
        """
        self._config = config
        probes, reading = Probes(Metrics(instruments), readiness), Reading(registry, explain, clock)
        self._parts: Sequence[AdminRoutes] = (probes, reading, *parts)
        self._access = AdminAccess(config.token)
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None

    async def start(self) -> tuple[str, int]:
        """Listen; return the address in fact (port 0 takes a free one). Raise OSError."""
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=STOP_TIMEOUT)
        await runner.setup()
        assert runner.server is not None, "it was set up"
        listener = Listener(runner.server, self._tls)
        try:
            address = await listener.start(self._config.host, self._config.port)
        except OSError:
            await runner.cleanup()
            raise
        self._runner, self._listener = runner, listener
        return address

    def replace_token(self, token: str) -> None:
        """Take no other token from now on."""
        self._access.replace_token(token)

    async def stop(self) -> None:
        """Close the listener and all its connections; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None and self._listener is not None:
            self._listener.close()
            await self._listener.abandon()
            await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[as_problems], client_max_size=MAX_BODY)
        operations = [one for part in self._parts for one in part.operations(self._access)]
        for one in (*operations, described(operations)):
            self._add(application.router, one)
        return application

    def _add(self, router: web.UrlDispatcher, operation: Operation) -> None:
        guarded = operation.guard is Guard.ADMIN
        handle = self._guarded(operation.handle) if guarded else operation.handle
        router.add_route(operation.method, operation.path, handle)
        if operation.method == "GET":
            router.add_route("HEAD", operation.path, handle)

    def _guarded(self, handle: Handler) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            self._access.check(request)
            return await handle(request)

        return checked
