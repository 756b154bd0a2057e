"""Sandboxes of all APIs behind one gateway: a name that several have is nobody's."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from .clusters import fresh_name
from .conftest import serve
from .platforms import AGENT_SANDBOXES, KruisePlatform, NativePlatform
from .waiting import soon
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from .conftest import Serving
    from .gateways import Gateway
    from .programs import Programs

PLATFORMS = (NativePlatform(), KruisePlatform(), AGENT_SANDBOXES[0])
AMBIGUOUS = (502, "ambiguous_target")


@pytest.fixture(scope="module")
def gateway(
    serving: Serving, shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("gateway")
    with (
        serving(*PLATFORMS) as kubeconfig,
        serve(shared_programs, home, kubeconfig) as made,
    ):
        yield made


@pytest.fixture
async def worlds(gateway: Gateway) -> AsyncIterator[list[World]]:
    """One for each API, all in the same namespace."""
    namespace = fresh_name("shared")
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                World.over(gateway, platform=platform, namespace=namespace)
            )
            for platform in PLATFORMS
        ]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["reason"]


async def ambiguous(world: World, count: int) -> None:
    await soon(
        lambda: world.gateway.metric("ambiguous_names") == count, f"{count} names are ambiguous"
    )


async def test_each_api_has_its_sandboxes_woken_by_one_gateway(worlds: list[World]) -> None:
    for world in worlds:
        name = world.platform.dialect
        generation = await world.create_paused(name)
        assert (await world.ask(name)).json()["pod"] == world.pod(name).uid
        assert await world.generation(name) == generation + 1


async def test_a_name_that_is_in_two_apis_is_not_routed_until_one_is_deleted(
    worlds: list[World],
) -> None:
    native, kruise, _ = worlds
    generation = await native.create_paused()
    await kruise.api.create(kruise.platform.manifest("box"))
    await ambiguous(native, 1)
    for naming in (native.naming(), native.naming_by_name()):
        assert refusal(await native.ask(naming=naming)) == AMBIGUOUS
    status, _ = native.gateway.ask_admin(f"/api/v1/sandboxes/{native.namespace}/box/explain")
    assert status == 409
    assert await native.generation() == generation

    await kruise.api.delete("box")
    await ambiguous(native, 0)
    for naming in (native.naming(), native.naming_by_name()):
        assert (await native.ask(naming=naming)).json()["pod"] == native.pod().uid
    assert await native.generation() == generation + 1


async def test_two_sandboxes_with_one_id_are_found_by_their_names_only(
    worlds: list[World],
) -> None:
    native, kruise, agent_sandbox = worlds
    shared = f"{native.namespace}-id"
    ours = {"sandbox-gateway.dev/id": shared}
    await native.create("one", labels=ours)
    await agent_sandbox.create("two", labels=ours)
    await kruise.create("three", labels={"agents.kruise.io/sandbox-id": f"{shared}-3"})
    await ambiguous(native, 1)
    by_id = {"e2b-sandbox-id": shared, "e2b-sandbox-port": str(native.pods.port)}
    assert refusal(await native.ask(naming=by_id)) == AMBIGUOUS
    answer = await native.ask("one", naming=native.naming_by_name("one"))
    assert answer.json()["pod"] == native.pod("one").uid

    await native.api.delete("one")
    await ambiguous(native, 0)
    by_id["e2b-sandbox-port"] = str(agent_sandbox.pods.port)
    assert (await native.ask(naming=by_id)).json()["pod"] == agent_sandbox.pod("two").uid
