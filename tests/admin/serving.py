"""The admin listener on loopback, and what callers get from it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import jsonschema

from gateway.admin.readiness import Readiness
from gateway.admin.server import AdminConfig, AdminServer
from gateway.telemetry.instruments import Instruments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.admin.parts import AdminRoutes
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry

READY: Final = Readiness(synced=True, stale=False, draining=False)


async def unexplained(_: Route) -> dict[str, object]:
    return {}


@asynccontextmanager
async def listening(
    registry: Registry, *parts: AdminRoutes, token: str | None = None
) -> AsyncIterator[str]:
    """Serve these parts, and give the URL; nothing is explained."""
    server = AdminServer(
        AdminConfig("127.0.0.1", 0, token),
        Instruments(),
        registry,
        lambda: READY,
        unexplained,
        parts=parts,
    )
    _, port = await server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop()


class Caller:
    """Asks a listener."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, token: str | None = None) -> tuple[int, Any]:
        """Return the status and the JSON of an answer."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self._session.get(path, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def check_described(self, path: str, told: Any) -> None:
        """Check that an answer is as the description of that path says, and says it all."""
        _, document = await self.get("/api/v1/openapi.json")
        answer = document["paths"][path]["get"]["responses"]["200"]
        schema = answer["content"]["application/json"]["schema"]
        jsonschema.validate(told, {**schema, "components": document["components"]})
        assert set(schema["properties"]) == set(schema["required"]) == set(told)


@asynccontextmanager
async def calling(
    registry: Registry, *parts: AdminRoutes, token: str | None = None
) -> AsyncIterator[Caller]:
    """Serve these parts, and give who calls them."""
    async with (
        listening(registry, *parts, token=token) as url,
        aiohttp.ClientSession(url) as session,
    ):
        yield Caller(session)
