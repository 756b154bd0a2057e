"""The snapshot of a sandbox's sleep, as callers get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.admin.standby import AutoStandby
from gateway.sandbox.registry import Registry
from gateway.standby.judging import Moment
from gateway.standby.snapshot import snapshot_of, unsupported
from gateway.standby.verdict import Seen
from tests.standby.test_controller import running
from tests.standby.world import EPOCH, FIVE_MINUTES, sandbox

from .serving import calling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from gateway.sandbox.model import Route
    from gateway.standby.snapshot import Snapshot

    from .serving import Caller

PATH = "/api/v1/sandboxes/team/box/auto-standby"
DESCRIBED = "/api/v1/sandboxes/{namespace}/{name}/auto-standby"


def serving(
    registry: Registry, snapshot: Callable[[Route], Awaitable[Snapshot]], token: str | None = None
) -> AbstractAsyncContextManager[Caller]:
    return calling(registry, AutoStandby(registry, snapshot), token=token)


async def test_it_tells_how_a_sandbox_stands_as_its_description_says() -> None:
    async with running() as rig, serving(rig.registry, rig.controller.snapshot) as caller:
        rig.add("box")
        status, told = await caller.get(PATH)
        assert status == 200
        assert (told["status"], told["reason"]) == ("idle_countdown", "idle_timeout_not_elapsed")
        assert told["idle_timeout"] == "10s"
        assert [one["replica"] for one in told["replicas"]] == ["this"]
        await caller.check_described(DESCRIBED, told)


async def test_a_guests_no_is_told_as_such_and_not_as_a_time_when_it_sleeps() -> None:
    registry = Registry()
    registry.apply(sandbox())
    ready = Seen(FIVE_MINUTES, running=True)

    async def snapshot(route: Route) -> Snapshot:
        return snapshot_of(route, ready, Moment(400, EPOCH), observes=False, vetoed_until=430)

    async with serving(registry, snapshot) as caller:
        _, told = await caller.get(PATH)
        assert (told["status"], told["last_failure"]) == ("ready_for_standby", "vetoed")
        assert (told["next_standby_at"], told["countdown_remaining"]) == (None, None)
        await caller.check_described(DESCRIBED, told)


async def test_where_nothing_is_put_to_sleep_that_is_what_it_tells() -> None:
    registry = Registry()
    registry.apply(sandbox(pinned=True))

    async def snapshot(route: Route) -> Snapshot:
        return unsupported(route, EPOCH)

    async with serving(registry, snapshot) as caller:
        status, told = await caller.get(PATH)
        assert status == 200
        assert (told["supported"], told["status"]) == (False, "unsupported")
        assert (told["enabled"], told["pinned"], told["eligible"]) == (True, True, False)
        assert told["idle_since"] is None


async def test_it_is_for_who_has_the_admin_token_and_for_sandboxes_that_are_known() -> None:
    async with running() as rig, serving(rig.registry, rig.controller.snapshot, "secret") as caller:
        assert (await caller.get(PATH))[0] == 401
        assert (await caller.get(PATH, "secret"))[0] == 404
        rig.add("box")
        assert (await caller.get(PATH, "secret"))[0] == 200
