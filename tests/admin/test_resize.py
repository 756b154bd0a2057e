"""How a sandbox's size stands, as callers get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.admin.resize import ResizeRoutes
from gateway.resize.snapshot import ResizeSnapshot, Status, unsized
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry
from gateway.sandbox.scaling import Scaling, Size

from .serving import calling

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from .serving import Caller

PATH = "/api/v1/sandboxes/team/box/resize"
GI = 2**30
BOX = Route(
    key=Key("native", "team", "box"),
    uid="uid-1",
    id="team--box",
    version=1,
    state=State.RUNNING,
    incarnation="uid-1/pod-1",
    scaling=Scaling(low=Size(250, GI), high=Size(4000, 8 * GI), slot=GI),
)


def serving(
    snapshot: Callable[[Route], ResizeSnapshot], token: str | None = None
) -> AbstractAsyncContextManager[Caller]:
    registry = Registry()
    registry.apply(BOX)
    return calling(registry, ResizeRoutes(registry, snapshot), token=token)


def in_full(route: Route) -> ResizeSnapshot:
    size = {"cpu": "250m", "mem": "1Gi"}
    return ResizeSnapshot(
        Status.UNINFORMED, "no connection: refused", route.scaling, size, size, size, size, size,
        0.25, 0.5, GI,
    )  # fmt: skip


def unknown(route: Route) -> ResizeSnapshot:
    return unsized(route, Status.ELSEWHERE, "this replica does not lead")


@pytest.mark.parametrize("snapshot", [in_full, unknown])
async def test_it_tells_how_a_size_stands_as_its_description_says(
    snapshot: Callable[[Route], ResizeSnapshot],
) -> None:
    async with serving(snapshot) as caller:
        status, told = await caller.get(PATH)
        assert (status, told) == (200, snapshot(BOX).as_json())
        await caller.check_described("/api/v1/sandboxes/{namespace}/{name}/resize", told)


async def test_it_is_for_who_has_the_admin_token_and_for_sandboxes_that_are_known() -> None:
    async with serving(unknown, "secret") as caller:
        assert (await caller.get(PATH))[0] == 401
        assert (await caller.get(PATH, "secret"))[0] == 200
        assert (await caller.get(PATH.replace("box", "other"), "secret"))[0] == 404
