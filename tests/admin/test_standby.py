"""The snapshot of a sandbox's sleep, as callers get it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import jsonschema

from gateway.admin.readiness import Readiness
from gateway.admin.server import AdminConfig, AdminServer
from gateway.admin.standby import AutoStandby
from gateway.sandbox.registry import Registry
from gateway.standby.judging import Moment
from gateway.standby.snapshot import snapshot_of, unsupported
from gateway.standby.verdict import Seen
from gateway.telemetry.instruments import Instruments
from tests.standby.test_controller import running
from tests.standby.world import EPOCH, FIVE_MINUTES, sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.sandbox.model import Route
    from gateway.standby.snapshot import Snapshot

READY = Readiness(synced=True, stale=False, draining=False)
PATH = "/api/v1/sandboxes/team/box/auto-standby"


async def unexplained(_: Route) -> dict[str, object]:
    return {}


@asynccontextmanager
async def serving(
    registry: Registry, snapshot: Callable[[Route], Awaitable[Snapshot]], token: str | None = None
) -> AsyncIterator[Callable[..., Awaitable[tuple[int, Any]]]]:
    server = AdminServer(
        AdminConfig("127.0.0.1", 0, token),
        Instruments(),
        registry,
        lambda: READY,
        unexplained,
        parts=[AutoStandby(registry, snapshot)],
    )
    _, port = await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def get(path: str, **headers: str) -> tuple[int, Any]:
            async with session.get(path, headers=headers) as response:
                return response.status, await response.json(content_type=None)

        yield get
    await server.stop()


async def test_it_tells_how_a_sandbox_stands_as_its_description_says() -> None:
    async with running() as rig, serving(rig.registry, rig.controller.snapshot) as get:
        rig.add("box")
        status, told = await get(PATH)
        assert status == 200
        assert (told["status"], told["reason"]) == ("idle_countdown", "idle_timeout_not_elapsed")
        assert told["idle_timeout"] == "10s"
        assert [one["replica"] for one in told["replicas"]] == ["this"]
        _, document = await get("/api/v1/openapi.json")
        path = "/api/v1/sandboxes/{namespace}/{name}/auto-standby"
        answer = document["paths"][path]["get"]["responses"]["200"]
        schema = answer["content"]["application/json"]["schema"]
        jsonschema.validate(told, {**schema, "components": document["components"]})
        assert set(schema["properties"]) == set(told)


async def test_a_guests_no_is_told_as_such_and_not_as_a_time_when_it_sleeps() -> None:
    registry = Registry()
    registry.apply(sandbox())
    ready = Seen(FIVE_MINUTES, running=True)

    async def snapshot(route: Route) -> Snapshot:
        return snapshot_of(route, ready, Moment(400, EPOCH), observes=False, vetoed_until=430)

    async with serving(registry, snapshot) as get:
        _, told = await get(PATH)
        assert (told["status"], told["last_failure"]) == ("ready_for_standby", "vetoed")
        assert (told["next_standby_at"], told["countdown_remaining"]) == (None, None)
        _, document = await get("/api/v1/openapi.json")
        path = "/api/v1/sandboxes/{namespace}/{name}/auto-standby"
        answer = document["paths"][path]["get"]["responses"]["200"]
        schema = answer["content"]["application/json"]["schema"]
        jsonschema.validate(told, {**schema, "components": document["components"]})


async def test_where_nothing_is_put_to_sleep_that_is_what_it_tells() -> None:
    registry = Registry()
    registry.apply(sandbox(pinned=True))

    async def snapshot(route: Route) -> Snapshot:
        return unsupported(route, EPOCH)

    async with serving(registry, snapshot) as get:
        status, told = await get(PATH)
        assert status == 200
        assert (told["supported"], told["status"]) == (False, "unsupported")
        assert (told["enabled"], told["pinned"], told["eligible"]) == (True, True, False)
        assert told["idle_since"] is None


async def test_it_is_for_who_has_the_admin_token_and_for_sandboxes_that_are_known() -> None:
    async with running() as rig, serving(rig.registry, rig.controller.snapshot, "secret") as get:
        assert (await get(PATH))[0] == 401
        assert (await get(PATH, Authorization="Bearer secret"))[0] == 404
        rig.add("box")
        assert (await get(PATH, Authorization="Bearer secret"))[0] == 200
