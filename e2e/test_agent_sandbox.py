"""agent-sandbox with both versions of its API served at once, as after an upgrade.

The embedded API serves the newer one alone: it converts none into another.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from .conftest import serve
from .platforms import AGENT_SANDBOX_CRD, AgentSandboxPlatform, Sleep
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from .conftest import Serving
    from .gateways import Gateway
    from .kube_api import Object
    from .programs import Programs


class BothVersions(AgentSandboxPlatform):
    """One that is written in the newer version and served in the older one too."""

    __slots__ = ()

    def crd(self, directory: Path) -> Path:
        return AGENT_SANDBOX_CRD


@pytest.fixture(scope="module")
def platform(request: pytest.FixtureRequest) -> AgentSandboxPlatform:
    is_real = request.config.getoption("--api") == "real"
    kind = BothVersions if is_real else AgentSandboxPlatform
    return kind("v1beta1", Sleep.LINGERING)


@pytest.fixture(scope="module")
def gateway(
    platform: AgentSandboxPlatform,
    serving: Serving,
    shared_programs: Programs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("gateway")
    with (
        serving(platform) as kubeconfig,
        serve(shared_programs, home, kubeconfig, dialects="agent-sandbox") as made,
    ):
        yield made


@pytest.fixture
async def world(gateway: Gateway, platform: AgentSandboxPlatform) -> AsyncIterator[World]:
    async with World.over(gateway, platform=platform) as made:
        yield made


async def test_a_sandbox_is_woken_in_the_newer_version(world: World) -> None:
    await world.create_paused()
    asked = [world.ask(naming=world.naming_by_name()) for _ in range(10)]
    answers = await asyncio.gather(*asked)
    assert {answer.json()["pod"] for answer in answers} == {world.pod().uid}
    woken = await world.api.get("box")
    assert woken["spec"] == {"operatingMode": "Running"}
    assert woken["metadata"]["generation"] == 3
    assert world.pods.trespasses == 0


@pytest.mark.parametrize(
    ("metadata", "state", "reason"),
    [
        ({"annotations": {}}, "paused", "sandbox_not_wakeable"),
        (
            {"annotations": {"sandbox-gateway.dev/wake-on-traffic": "yes"}},
            "paused",
            "sandbox_not_wakeable",
        ),
        ({"labels": {"agents.x-k8s.io/warm-pool-sandbox": "p"}}, "blocked", "sandbox_blocked"),
    ],
    ids=["wake off", "mistyped opt-in", "pool member"],
)
async def test_a_sandbox_that_may_not_be_woken_is_refused_and_left_alone(
    metadata: Object, state: str, reason: str, world: World
) -> None:
    await world.create("box", state, spec=world.platform.wanting(sleep=True), **metadata)
    answer = await world.ask()
    assert (answer.status_code, answer.json()["reason"]) == (502, reason)
    assert await world.generation() == 1
