"""A thousand requests at once: to one sandbox that sleeps, and to a thousand of them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

from .gateways import KRUISE_CRD, Gateway, start_local, start_serve
from .kubectl import Kubectl
from .manifests import kruise, sample, write
from .platforms import KruisePlatform
from .pods import SharedPods
from .programs import free_port
from .waiting import DEADLINE, soon
from .world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .conftest import Serving
    from .programs import Programs

MANY: Final = 1000
#: Objects written at a time.
WRITERS: Final = 32


#: One tenant may have all that the gateway has.
ALL_FOR_ONE: Final = {
    "wake_namespace_patches_per_second": "100",
    "wake_namespace_patches_burst": "200",
}


@pytest.fixture
def gateway(
    request: pytest.FixtureRequest, serving: Serving, programs: Programs, home: Path
) -> Iterator[Gateway]:
    """A gateway of its own, and local mode: a thousand sandboxes would be in others' way."""
    if request.config.getoption("--api") == "embedded":
        yield start_local(programs, home, "--crd", str(KRUISE_CRD), **ALL_FOR_ONE)
        return
    with serving(KruisePlatform()) as kubeconfig:
        gateway = start_serve(programs, home, kubeconfig, dialects="kruise", **ALL_FOR_ONE)
        gateway.wait_ready()
        yield gateway
        assert gateway.program.end() == 0


async def exchange(
    gateway: Gateway, headers: Mapping[str, str], body: bytes = b"", path: str = "/"
) -> tuple[int, bytes]:
    """Send one request on a connection of its own; return status and body."""
    where = urlsplit(gateway.data)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    fixed = [f"POST {path} HTTP/1.1", "Host: sandbox", f"Content-Length: {len(body)}"]
    writer.write("\r\n".join([*fixed, "Connection: close", *lines, "", ""]).encode() + body)
    try:
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    assert b"\r\ntransfer-encoding" not in head.lower(), "a length was sent, and is kept"
    return int(head.split()[1]), content


def bodies() -> list[bytes]:
    return [f"request {number}: {'x' * (number % 100)}".encode() for number in range(MANY)]


async def test_a_thousand_requests_wake_one_sandbox_once_and_each_gets_its_own_answer(
    gateway: Gateway,
) -> None:
    async with World.over(gateway) as world:
        generation = await world.create_paused()
        world.gates().resumes.clear()
        asked = bodies()
        answers = [
            asyncio.create_task(exchange(gateway, world.naming("box"), body, "/echo"))
            for body in asked
        ]
        await world.waited_for("box", MANY)
        world.gates().resumes.set()
        assert await asyncio.gather(*answers) == [(200, body) for body in asked]
        assert await world.generation() == generation + 1
        assert gateway.wakes_written == 1
        assert len(world.pod().requests) == MANY
        assert world.pods.trespasses == 0
        assert gateway.metric("wake_waiting_requests") == 0
        assert gateway.metric("requests_in_flight") == 0


@pytest.mark.local_mode
async def test_a_thousand_requests_wake_one_frozen_process_once(
    gateway: Gateway, tmp_path: Path
) -> None:
    kubectl = Kubectl(gateway.kubeconfig, tmp_path)
    kubectl("apply", "-f", str(write(tmp_path / "one.yaml", sample("one", free_port()))))
    kubectl.wait("one", "Running")
    kubectl.pause("one")
    headers = {"e2b-sandbox-id": "default--one"}
    asked = bodies()
    answers = await asyncio.gather(*(exchange(gateway, headers, body, "/echo") for body in asked))
    assert answers == [(200, body) for body in asked]
    assert kubectl.object("one")["metadata"]["generation"] == 3
    assert gateway.wakes_written == 1


async def test_a_thousand_sandboxes_wake_at_once_and_each_answers_for_itself(
    gateway: Gateway,
) -> None:
    async with World.over(gateway, SharedPods()) as world:
        names = [f"box-{number}" for number in range(MANY)]
        writers = asyncio.Semaphore(WRITERS)

        async def create(name: str) -> None:
            async with writers:
                await world.api.create(kruise(name, spec={"paused": True}))

        await asyncio.gather(*(create(name) for name in names))
        # Three thousand writes, of a real API on a busy machine.
        await soon(
            lambda: asleep(gateway, world.namespace) == MANY,
            "the gateway knows all of them as asleep",
            5 * DEADLINE,
        )
        answers = await asyncio.gather(*(exchange(gateway, world.naming(name)) for name in names))
        assert {status for status, _ in answers} == {200}
        told = [json.loads(body) for _, body in answers]
        assert [one["sandbox"] for one in told] == [f"{world.namespace}/{name}" for name in names]
        assert {one["requests"] for one in told} == {1}
        assert world.pods.trespasses == 0
        listed, _ = await world.api.list()
        assert {one["metadata"]["generation"] for one in listed} == {2}
        # A write whose answer the API could not give in time is not known as one.
        assert gateway.wakes_written <= MANY


def asleep(gateway: Gateway, namespace: str) -> int:
    """Return how many sandboxes of a namespace the gateway knows as paused."""
    count, following = 0, ""
    while True:
        asked = f"/api/v1/sandboxes?namespace={namespace}&limit=500{following}"
        page = json.loads(gateway.ask_admin(asked)[1])
        count += [one["state"] for one in page["items"]].count("paused")
        if page["continue"] is None:
            return count
        following = f"&continue={page['continue']}"
