"""The API server itself crashes, forgets what was, and loses the definition of sandboxes."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from e2e.clusters import connect
from e2e.gateways import start_serve
from e2e.manifests import NATIVE
from e2e.platforms import NATIVE_CRD
from e2e.real.sandboxes import NAMESPACE, create, report, said, wake
from e2e.real_api import RealApi
from e2e.waiting import DEADLINE, soon, until

from .control import refused
from .test_control_plane import ANSWERED, IMPATIENT, MANY, UNREACHED

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from e2e.gateways import Gateway
    from e2e.programs import Programs

    from .control import Stage


@pytest.fixture
def api(programs: Programs, home: Path) -> RealApi:
    """One of each test's own, which it may kill."""
    made = RealApi.not_yet_running(programs, home, NATIVE_CRD)
    made.start()
    return made


async def test_an_api_server_that_crashes_amid_wakes(stage: Stage, api: RealApi) -> None:
    async with stage() as scene:
        await scene.sleepers(*MANY)
        await scene.sleepers("impatient", timeout=IMPATIENT)
        asking = asyncio.gather(*(scene.ask(name) for name in MANY))
        await asyncio.to_thread(api.kill)
        await soon(lambda: scene.health() == 0.0, "the loss is seen")
        assert refused(await scene.ask("impatient"), "wake_failed", UNREACHED)
        await asyncio.to_thread(api.start)
        assert await asking == ANSWERED
        await scene.recovers("impatient")


async def test_an_api_server_that_comes_back_without_its_history(
    stage: Stage, api: RealApi
) -> None:
    async with stage() as scene:
        await scene.sleepers("before")
        await scene.platform.create("doomed", paused=True)
        await soon(lambda: scene.state("doomed") == "paused", "it is known")
        with connect(api.kubeconfig) as admin:
            known = said(admin.get(f"/apis/{NATIVE}/sandboxes"))["metadata"]["resourceVersion"]
        scene.proxy.down = True
        # Before it begins anew: it knows no history of what came before its first list, but may
        # keep for good what came after.
        await scene.platform.api.delete("doomed")
        await scene.platform.create("after")
        await asyncio.to_thread(api.kill)
        await asyncio.to_thread(api.start, "--etcd-compaction-interval=1s")
        with connect(api.kubeconfig) as admin:
            forgotten = partial(is_forgotten, admin, known)
            await scene.off_the_loop(until, forgotten, "it has forgotten", 5 * DEADLINE)
        assert scene.state("doomed") == "paused", "what was known is kept"

        scene.proxy.down = False
        await soon(lambda: scene.state("doomed") is None, "the end is seen")
        await soon(lambda: scene.state("after") == "running", "what is new is seen")
        assert scene.restarts("expired") >= 1
        await scene.recovers("before")


def is_forgotten(admin: httpx.Client, version: str) -> bool:
    """Whether no watch can begin from this version any more."""
    params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "1"}
    answer = admin.get(f"/apis/{NATIVE}/sandboxes", params=params)
    return answer.status_code == 410 or '"code":410' in answer.text


async def test_the_definition_of_sandboxes_is_deleted_and_comes_back(
    api: RealApi, programs: Programs, home: Path
) -> None:
    api.kubectl("create", "namespace", NAMESPACE)
    gateway = start_serve(programs, home, api.kubeconfig, dialects="native")
    gateway.wait_ready()
    with connect(api.kubeconfig) as admin:
        await wakes(gateway, admin)
        api.kubectl("delete", "-f", str(NATIVE_CRD))
        until(lambda: gateway.state_of(NAMESPACE, "sleeper") is None, "the end is seen")
        until(lambda: gateway.metric("watch_restarts", reason="not_installed"), "so is the reason")
        assert gateway.readiness()[0] == 200
        api.install(NATIVE_CRD)
        await wakes(gateway, admin)
    assert gateway.wakes_written == 2
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


async def wakes(gateway: Gateway, admin: httpx.Client) -> None:
    """Create a sandbox that sleeps and check that requests wake it."""
    create(admin, "sleeper", desiredState="Paused")
    report(admin, "sleeper", phase="Paused")
    until(lambda: gateway.state_of(NAMESPACE, "sleeper") == "paused", "it is known")
    answers, reached = await wake(gateway, admin, "sleeper", 3)
    assert [one.status_code for one in answers] == [200] * 3
    assert reached == 3
