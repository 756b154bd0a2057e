"""Access tokens: who has none learns nothing, and wakes nobody."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from .gateways import Gateway, start_serve
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .programs import Programs

TOKEN = "a-token-of-one-sandbox"


@pytest.fixture(scope="module")
def guarded(
    local_mode: Gateway, tmp_path_factory: pytest.TempPathFactory, shared_programs: Programs
) -> Iterator[Gateway]:
    """A second gateway over the same sandboxes, which asks for access tokens."""
    home = tmp_path_factory.mktemp("guarded")
    gateway = start_serve(
        shared_programs, home, local_mode.kubeconfig, "guarded", auth_mode="access-token"
    )
    gateway.wait_ready()
    yield gateway
    gateway.program.end()


@pytest.fixture
async def world(guarded: Gateway) -> AsyncIterator[World]:
    async with World.over(guarded) as made:
        await made.create_paused(annotations={"agents.kruise.io/runtime-access-token": TOKEN})
        yield made


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Access-Token": "wrong"}, {"X-Access-Token": ""}, {"Authorization": f"Bearer {TOKEN}"}],
    ids=["none", "wrong", "empty", "in another header"],
)
async def test_without_its_token_a_sandbox_sleeps_on_and_is_not_even_admitted_to_exist(
    headers: dict[str, str], world: World
) -> None:
    generation = await world.generation()
    known = await world.ask("box", headers=headers)
    unknown = await world.ask("nobody", headers=headers)
    assert known.status_code == 401
    assert known.json()["reason"] == "unauthenticated"
    assert unknown.status_code == known.status_code
    assert unknown.content == known.content
    assert unknown.headers.raw == known.headers.raw
    assert await world.generation() == generation
    assert world.gateway.state_of(world.namespace, "box") == "paused"


async def test_its_token_wakes_a_sandbox_and_is_passed_on_to_it(world: World) -> None:
    answer = await world.ask(headers={"X-Access-Token": TOKEN})
    assert answer.status_code == 200
    assert answer.headers["X-Sandbox-Cold-Start"] == "true"
    seen = world.pod().requests[0].headers
    assert seen.getall("X-Access-Token") == [TOKEN]


async def test_the_token_of_one_sandbox_opens_no_other(world: World) -> None:
    digest = hashlib.sha256(b"another").hexdigest()
    annotations = {"sandbox-gateway.dev/access-token-sha256": digest}
    generation = await world.create_paused("other", annotations=annotations)
    refused = await world.ask("other", headers={"X-Access-Token": TOKEN})
    assert refused.status_code == 401
    assert await world.generation("other") == generation
    admitted = await world.ask("other", headers={"X-Access-Token": "another"})
    assert admitted.status_code == 200


async def test_a_sandbox_without_a_token_is_open_to_nobody(world: World) -> None:
    generation = await world.create_paused("bare")
    assert (await world.ask("bare")).status_code == 401
    assert (await world.ask("bare", headers={"X-Access-Token": ""})).status_code == 401
    assert await world.generation("bare") == generation
