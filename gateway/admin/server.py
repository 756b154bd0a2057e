"""The admin listener.

`/healthz`, `/readyz` and `/metrics` are open: kubelets and Prometheus ask them. Everything below
`/api/` is behind `AdminAccess`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.admin.access import AdminAccess
from gateway.admin.metrics import Metrics
from gateway.admin.problems import as_problems
from gateway.admin.sandboxes import PageQuery, find, page
from gateway.admin.summary import summary
from gateway.proxy.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.admin.readiness import Readiness
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry
    from gateway.telemetry.instruments import Instruments
    from gateway.tls.server import TlsServer

    Explain = Callable[[Route], Mapping[str, object]]

#: Nothing here takes a body; seconds for requests in flight when it stops.
MAX_BODY: Final = 64 * 1024
STOP_TIMEOUT: Final = 2.0


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Where the admin listener is, and its token (None: the API answers loopback only)."""

    host: str = "127.0.0.1"
    port: int = 8081
    token: str | None = field(default=None, repr=False)


class AdminServer:
    """Serves what operators ask. It reads everything and changes nothing."""

    def __init__(
        self,
        config: AdminConfig,
        instruments: Instruments,
        registry: Registry,
        readiness: Callable[[], Readiness],
        explain: Explain,
        clock: Callable[[], float] = time.time,
        tls: TlsServer | None = None,
    ) -> None:
        """Take what is shown; `explain` puts a route in words, `clock` gives epoch seconds.

        Without `tls`, plain HTTP is spoken.
        """
        self._config = config
        self._metrics = Metrics(instruments)
        self._registry = registry
        self._readiness = readiness
        self._explain = explain
        self._clock = clock
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
        sandboxes = "/api/v1/sandboxes"
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_get(sandboxes, self._list)
        one = sandboxes + "/{namespace}/{name}"
        application.router.add_get(one, self._summarized)
        application.router.add_get(one + "/explain", self._explained)
        return application

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        readiness = self._readiness()
        return _json(readiness.as_json(), 200 if readiness.ready else 503)

    async def _show_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _list(self, request: web.Request) -> web.Response:
        self._access.check(request)
        query = PageQuery.of(request.query)
        return _json(await page(self._registry, query, self._clock()))

    async def _summarized(self, request: web.Request) -> web.Response:
        return _json(summary(self._named(request), self._clock()))

    async def _explained(self, request: web.Request) -> web.Response:
        return _json(self._explain(self._named(request)))

    def _named(self, request: web.Request) -> Route:
        self._access.check(request)
        names, dialect = request.match_info, request.query.get("dialect")
        return find(self._registry, names["namespace"], names["name"], dialect)


def _json(value: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(value).encode(),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
