"""A watch from a version that the API has forgotten (410 Gone), after which no route is lost."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest

from e2e.clusters import connect
from e2e.gateways import start_serve
from e2e.platforms import NATIVE_CRD, NativePlatform
from e2e.real_api import RealApi
from e2e.relay import Relay
from e2e.waiting import soon, until
from e2e.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from e2e.gateways import Gateway
    from e2e.programs import Programs

pytestmark = pytest.mark.needs_own_api

WATCHED = "/apis/sandbox-gateway.dev/v1alpha1/sandboxes"


@pytest.fixture
def own_api(programs: Programs, home: Path) -> Iterator[RealApi]:
    made = RealApi.not_yet_running(programs, home, NATIVE_CRD)
    yield made
    # Asked to end, it would wait a minute for whoever watches.
    made.kill()


@asynccontextmanager
async def behind_a_relay(
    api: RealApi, programs: Programs, home: Path
) -> AsyncIterator[tuple[World, Relay]]:
    """Give native sandboxes, and the way by which their gateway, and nobody else, knows of them."""
    async with Relay.to(api.kubeconfig) as (relay, kubeconfig):
        gateway = start_serve(programs, home, kubeconfig, dialects="native")
        await soon(lambda: asyncio.to_thread(is_ready, gateway), "the gateway is ready")
        direct = replace(gateway, kubeconfig=api.kubeconfig)
        async with World.over(direct, platform=NativePlatform()) as world:
            yield world, relay
        assert await asyncio.to_thread(gateway.program.end) == 0
        assert "Traceback" not in gateway.program.errors


def is_ready(gateway: Gateway) -> bool:
    return gateway.readiness()[0] == 200


def expiries(world: World) -> float:
    return world.gateway.metric("watch_restarts", reason="expired")


def is_forgotten(kubeconfig: Path, version: str) -> bool:
    """Return whether the API refuses to tell what happened since then."""
    query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "1"}
    with connect(kubeconfig) as client, client.stream("GET", WATCHED, params=query) as answer:
        if answer.status_code != 200:
            return answer.status_code == 410
        first = next(answer.iter_lines(), None)
    if first is None:
        return False
    event = orjson.loads(first)
    return bool(event["type"] == "ERROR" and event["object"]["code"] == 410)


async def populate(world: World) -> None:
    for name in ("kept", "moved", "renewed", "gone"):
        await world.create(name)
        assert (await world.ask(name)).status_code == 200
    await world.create_paused("sleeper")


async def cut_off(world: World, relay: Relay) -> str:
    """Cut the gateway off; return a version that it can know nothing after."""
    _, version = await world.api.list()
    await relay.cut()
    await soon(
        lambda: not world.gateway.metric("watch_healthy", watch="native"), "the loss is seen"
    )
    return version


async def change_all(world: World) -> None:
    """Move one, replace one by another of its name, end one, make one, and pause one."""
    await world.pods.retire(await world.controller.replace("moved"))
    for name in ("renewed", "gone"):
        pod = world.pod(name)
        await world.api.delete(name)
        await world.pods.retire(pod)
    for name in ("renewed", "made"):
        await world.api.create(world.platform.manifest(name))
    await world.pause("kept")

    async def is_done() -> bool:
        listed, _ = await world.api.list()
        phases = {one["metadata"]["name"]: one.get("status", {}).get("phase") for one in listed}
        ready = all(map(world.is_up, ("renewed", "made")))
        return ready and phases["kept"] == "Paused"

    await soon(is_done, "all is as it will be")


async def all_goes_right(world: World, expired_before: float) -> None:
    await soon(lambda: expiries(world) > expired_before, "the gateway has met 410")
    for name in ("made", "moved", "renewed"):
        await world.reaches(name, "running")
        assert (await world.ask(name)).json()["pod"] == world.pod(name).uid
    for name in ("kept", "sleeper"):
        await world.reaches(name, "paused")
        generation = await world.generation(name)
        assert (await world.ask(name)).json()["pod"] == world.pod(name).uid
        assert await world.generation(name) == generation + 1
    assert (await world.ask("gone")).json()["reason"] == "sandbox_not_found"
    assert world.pods.trespasses == 0


async def test_after_compaction_a_gateway_lists_anew_and_loses_nothing(
    own_api: RealApi, programs: Programs, home: Path
) -> None:
    own_api.start("--watch-cache=false", "--etcd-compaction-interval=1s")
    async with behind_a_relay(own_api, programs, home) as (world, relay):
        await populate(world)
        before = expiries(world)
        version = await cut_off(world, relay)
        await change_all(world)
        await asyncio.to_thread(
            until, lambda: is_forgotten(own_api.kubeconfig, version), "that is compacted"
        )
        await relay.mend()
        await all_goes_right(world, before)


async def test_an_api_that_restarted_knows_no_earlier_version_and_nothing_is_lost(
    own_api: RealApi, programs: Programs, home: Path
) -> None:
    own_api.start()
    async with behind_a_relay(own_api, programs, home) as (world, relay):
        await populate(world)
        before = expiries(world)
        version = await cut_off(world, relay)
        await change_all(world)
        await asyncio.to_thread(own_api.kill)
        await asyncio.to_thread(own_api.start)
        await asyncio.to_thread(
            until, lambda: is_forgotten(own_api.kubeconfig, version), "its cache begins later"
        )
        await relay.mend()
        await all_goes_right(world, before)
