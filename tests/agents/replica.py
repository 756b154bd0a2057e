"""The gateway's end: a registry of sandboxes, and the listener that observers connect to."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.admin.access import AdminAccess
from gateway.admin.observers import ObserverRoutes
from gateway.admin.problems import as_problems
from gateway.sandbox.activity import Activity
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry
from gateway.standby.observers import Flows, Observers
from gateway.telemetry.instruments import Instruments

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator

    from gateway.sandbox.activity import Usage

TOKEN = "observers-token"


def sandbox(address: str | None = "10.2.0.2", uid: str = "u1", **fields: Any) -> Route:
    """Return a running sandbox; its name is its uid."""
    defaults: dict[str, Any] = {
        "id": f"default--{uid}",
        "version": 1,
        "state": State.RUNNING,
        "incarnation": "i",
        "node": "node-1",
    }
    key = Key("native", "default", uid)
    return Route(key=key, uid=uid, address=address, **(defaults | fields))


class Replica:
    """What one replica knows, wired as in the gateway."""

    def __init__(self, *, token: str | None = TOKEN, admin_token: str | None = "admin") -> None:
        self.clock = time.monotonic
        self.gateways: list[str] = []
        self.registry = Registry()
        self.activity = Activity()
        self.instruments = Instruments()
        self.observers = Observers(
            self.activity, lambda: self.gateways, (), self.clock, self.instruments
        )
        self.registry.subscribe(
            lambda before, after: self.activity.heed(before, after, self.clock(), time.time())
        )
        self.registry.subscribe(self.observers.heed)
        self.routes = ObserverRoutes(self.observers, token)
        self.access = AdminAccess(admin_token)

    def add(self, route: Route) -> Route:
        self.registry.apply(route)
        return route

    def usage(self, uid: str = "u1") -> Usage:
        usage = self.activity.of(uid)
        assert usage is not None
        return usage

    async def flows(self, route: Route) -> Flows:
        """Return what is known of a sandbox once everybody was asked again."""
        await self.observers.confirm([route])
        return self.observers.active(route)

    async def become(self, route: Route, count: int, within: float = 10.0) -> Flows:
        """Return when observers are connected and tell this number of connections."""
        seen = self.observers.active(route)
        for _ in range(int(within / 0.02)):
            seen = await self.flows(route)
            if seen.connected and seen.count == count:
                return seen
            await asyncio.sleep(0.02)
        raise AssertionError(f"not {count} connections, but {seen}")


@asynccontextmanager
async def serving(
    replica: Replica, listener: socket.socket | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve observers, on loopback or where told; give the address."""
    application = web.Application(middlewares=[as_problems])
    for one in replica.routes.operations(replica.access):
        application.router.add_route(one.method, one.path, one.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site: web.BaseSite
    if listener is None:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    else:
        site = web.SockSite(runner, listener)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{'http' if tls is None else 'https'}://{host}:{port}"
    finally:
        await runner.cleanup()
