"""What breaks around the gateway, and the gateway itself: no request is lost, nothing is left."""

from __future__ import annotations

import asyncio
import signal
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from .apis import Api
from .gateways import KRUISE_CRD, Gateway, start_local, start_serve
from .kubectl import Kubectl
from .manifests import sample, write
from .programs import free_port, processes_of
from .real_api import RealApi
from .waiting import DEADLINE, soon, until
from .world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .programs import Programs

FEW = 10


@pytest.fixture
def api(request: pytest.FixtureRequest, programs: Programs, home: Path) -> Iterator[Api | RealApi]:
    """An API of its own, running."""
    kind = RealApi if request.config.getoption("--api") == "real" else Api
    made = kind.not_yet_running(programs, home, KRUISE_CRD)
    made.start()
    yield made
    # A kube-apiserver that is asked to end waits a minute for whoever watches.
    made.kill()


def accepts(port: int) -> bool:
    """Return whether somebody listens on this port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


# ---- the Kubernetes API -------------------------------------------------------------------------


@pytest.mark.needs_own_api
async def test_an_api_that_is_killed_in_the_middle_of_wakes_and_comes_back_loses_none(
    api: Api | RealApi, programs: Programs, home: Path
) -> None:
    gateway = start_serve(programs, home, api.kubeconfig)
    gateway.wait_ready()
    patched = [f"patched-{number}" for number in range(FEW)]
    untold = [f"untold-{number}" for number in range(FEW)]
    async with World.over(gateway) as world:
        await asyncio.gather(*(world.create_paused(name) for name in patched + untold))
        for name in patched + untold:
            world.gates(name).resumes.clear()
        answers = [asyncio.create_task(world.ask(name)) for name in patched]
        await soon(lambda: gateway.wakes_written == FEW, "these are told to run")
        await asyncio.to_thread(api.kill)
        answers += [asyncio.create_task(world.ask(name)) for name in untold]
        for name in patched + untold:
            await world.waited_for(name)
        await asyncio.to_thread(api.start)
        for name in patched + untold:
            world.gates(name).resumes.set()

        told = [(one.status_code, one.json()["pod"]) for one in await asyncio.gather(*answers)]

        assert told == [(200, world.pod(name).uid) for name in patched + untold]
        generations = {await world.generation(name) for name in patched + untold}
        assert generations == {3}
        assert gateway.wakes_written == 2 * FEW
        assert world.pods.trespasses == 0


@pytest.mark.needs_own_api
async def test_without_an_api_sandboxes_that_run_are_served_on(
    api: Api | RealApi, programs: Programs, home: Path
) -> None:
    gateway = start_serve(programs, home, api.kubeconfig)
    gateway.wait_ready()
    async with World.over(gateway) as world:
        await world.create("box")
        await asyncio.to_thread(api.kill)
        assert [(await world.ask()).status_code for _ in range(3)] == [200, 200, 200]
        assert gateway.readiness()[0] == 200


@pytest.mark.needs_own_api
async def test_a_pause_that_could_not_be_put_off_without_an_api_is_put_off_when_it_is_back(
    api: Api | RealApi, programs: Programs, home: Path
) -> None:
    gateway = start_serve(programs, home, api.kubeconfig, standby="true")
    gateway.wait_ready()
    rule = {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}}
    # The first attempt is made when half of it has gone; the API has the rest to come back in.
    pauses_at = datetime.now(UTC) + timedelta(seconds=30)

    async def put_off() -> bool:
        spec = (await world.api.get("box"))["spec"]
        return datetime.fromisoformat(spec["pauseTime"]) > pauses_at + timedelta(seconds=300)

    async with World.over(gateway) as world:
        spec = {"autoPausePolicy": rule, "pauseTime": pauses_at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        await world.create("box", spec=spec)
        pod = world.pod()
        url = f"{gateway.data}/events"
        async with (
            httpx.AsyncClient(timeout=DEADLINE) as client,
            client.stream("GET", url, headers=world.naming("box")) as answer,
        ):
            await asyncio.to_thread(api.kill)
            await soon(
                lambda: gateway.metric("pause_postponements_total", outcome="failed") > 0,
                "the gateway has tried",
            )
            await asyncio.to_thread(api.start)
            await soon(put_off, "the gateway has put its pause off")
            pod.more.set()
            assert (await answer.aread()).endswith(b"data: second\n\n")
        assert world.pod() is pod
        assert gateway.metric("pauses_in_use_total") == 0


# ---- the gateway --------------------------------------------------------------------------------


@pytest.mark.needs_own_api
async def test_requests_that_wait_at_sigterm_are_answered_before_it_exits(
    api: Api | RealApi, programs: Programs, home: Path
) -> None:
    gateway = start_serve(programs, home, api.kubeconfig, drain_delay="5s")
    gateway.wait_ready()
    async with World.over(gateway) as world:
        await world.create_paused()
        world.gates().resumes.clear()
        answers = [asyncio.create_task(world.ask()) for _ in range(FEW)]
        await world.waited_for("box", FEW)

        gateway.program.signal(signal.SIGTERM)
        await soon(lambda: gateway.readiness()[0] == 503, "it says that it is unready")
        assert gateway.readiness()[1]["checks"]["not_draining"] is False
        # Whoever has not heard of it yet is still let in.
        answers.append(asyncio.create_task(world.ask()))
        await world.waited_for("box", FEW + 1)
        await soon(lambda: not accepts(gateway.data_port), "it refuses new connections")
        assert gateway.program.exit_status is None
        world.gates().resumes.set()

        for answer in await asyncio.gather(*answers):
            assert (answer.status_code, answer.json()["pod"]) == (200, world.pod().uid)
            assert answer.headers["Connection"] == "close"
        assert await asyncio.to_thread(gateway.program.wait) == 0
        assert "Traceback" not in gateway.program.errors


@pytest.mark.needs_own_api
async def test_requests_whose_sandbox_does_not_come_up_are_answered_when_the_drain_ends(
    api: Api | RealApi, programs: Programs, home: Path
) -> None:
    gateway = start_serve(programs, home, api.kubeconfig, drain_timeout="1s")
    gateway.wait_ready()
    async with World.over(gateway) as world:
        await world.create_paused()
        world.gates().resumes.clear()
        waiting = asyncio.create_task(world.ask())
        await world.waited_for("box")
        gateway.program.signal(signal.SIGTERM)
        answer = await waiting
        assert (answer.status_code, answer.json()["reason"]) == (503, "not_ready")
        assert int(answer.headers["Retry-After"]) >= 1
        assert await asyncio.to_thread(gateway.program.wait) == 0


def ask(gateway: Gateway, name: str) -> httpx.Response:
    transport = httpx.HTTPTransport(retries=0)
    with httpx.Client(transport=transport, timeout=DEADLINE) as client:
        return client.get(gateway.data, headers={"X-Sandbox-ID": name})


@pytest.fixture
def sandboxes(home: Path) -> Path:
    """A file with three sandboxes: two fall asleep, one stays awake."""
    return write(
        home / "sandboxes.yaml",
        sample("awake", free_port()),
        sample("frozen", free_port()),
        sample("stopped", free_port(), pause="stop"),
    )


def three_sandboxes(gateway: Gateway, home: Path) -> Kubectl:
    kubectl = Kubectl(gateway.kubeconfig, home)
    for name in ("awake", "frozen", "stopped"):
        kubectl.wait(name, "Running")
    kubectl.pause("frozen")
    kubectl.pause("stopped")
    return kubectl


def pod_of(kubectl: Kubectl, name: str) -> str | None:
    """Return which life of a sandbox its status tells of."""
    uid: str | None = kubectl.object(name)["status"].get("podUID")
    return uid


@pytest.mark.local_mode
def test_after_a_crash_local_mode_ends_what_was_left_and_everything_works(
    programs: Programs, home: Path, sandboxes: Path
) -> None:
    crashed = start_local(programs, home, "-f", str(sandboxes))
    pod = pod_of(three_sandboxes(crashed, home), "awake")
    awake, frozen = processes_of("awake", home), processes_of("frozen", home)
    assert (len(awake), list(frozen.values())) == (1, ["T"])
    left = awake | frozen
    crashed.program.kill()
    assert (processes_of("awake", home) | processes_of("frozen", home)).keys() == left.keys()

    gateway = start_local(programs, home)
    kubectl = Kubectl(gateway.kubeconfig, home)
    # Until what was left is found, the sandbox is told of as it was before the crash.
    until(lambda: pod_of(kubectl, "awake") not in (None, pod), "it lives another life")
    kubectl.wait("awake", "Running")
    until(lambda: gateway.state_of("default", "awake") == "running", "the gateway knows it")
    until(lambda: not left.keys() & processes_of("awake", home).keys(), "what was left has ended")
    until(lambda: not processes_of("frozen", home), "the frozen one too")
    kubectl.wait("frozen", "Paused")
    for name in ("awake", "frozen", "stopped"):
        answer = ask(gateway, name)
        assert answer.json()["sandbox"] == name
        assert [answer.json()["pid"]] == list(processes_of(name, home))
        assert ("X-Sandbox-Cold-Start" in answer.headers) == (name != "awake")
    assert "Traceback" not in gateway.program.errors


@pytest.mark.local_mode
def test_a_signal_ends_local_mode_and_all_its_sandboxes_and_the_next_start_knows_them(
    programs: Programs, home: Path, sandboxes: Path
) -> None:
    first = start_local(programs, home, "-f", str(sandboxes))
    three_sandboxes(first, home)
    assert first.program.end() == 0
    assert [processes_of(name, home) for name in ("awake", "frozen", "stopped")] == [{}, {}, {}]

    second = start_local(programs, home)
    kubectl = Kubectl(second.kubeconfig, home)
    kubectl.wait("awake", "Running")
    assert kubectl.object("frozen")["spec"]["desiredState"] == "Paused"
    assert ask(second, "frozen").headers["X-Sandbox-Cold-Start"] == "true"
    second.program.signal(signal.SIGINT)
    assert second.program.wait() == 0
    assert processes_of("awake", home) == {}
