"""agent-sandbox sandboxes in both versions of their API; the tests are their controller."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import yaml

from .gateways import Gateway, start_local
from .kube_api import Object, SandboxApi
from .pods import SeparatePods
from .waiting import DEADLINE, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .pods import Pod
    from .programs import Programs

CRD: Final = Path(__file__).with_name("agent_sandbox_crd.yaml")
#: By version: what is wanted of a sandbox that sleeps, and of one that runs.
WANTED: Final[dict[str, tuple[Object, Object]]] = {
    "v1beta1": ({"operatingMode": "Suspended"}, {"operatingMode": "Running"}),
    "v1alpha1": ({"replicas": 0}, {"replicas": 1}),
}


def crd_of(version: str) -> Object:
    """Return the definition with one version: the embedded API converts none into another."""
    crd: Object = yaml.safe_load(CRD.read_text())
    kept = [one for one in crd["spec"]["versions"] if one["name"] == version]
    crd["spec"]["versions"] = [one | {"storage": True} for one in kept]
    return crd


@dataclass(slots=True)
class Box:
    """One sandbox, behind a gateway."""

    version: str
    namespace: str
    gateway: Gateway
    api: SandboxApi
    pods: SeparatePods

    async def create(self, spec: Object, **metadata: Any) -> None:
        annotations = {"sandbox-gateway.dev/wake-on-traffic": "true"}
        created = {
            "apiVersion": f"agents.x-k8s.io/{self.version}",
            "kind": "Sandbox",
            "metadata": {"name": "box", "annotations": annotations} | metadata,
            "spec": spec,
        }
        await self.api.create(created)

    async def create_asleep(self, **metadata: Any) -> None:
        """Return once the gateway knows it and knows that its pod is gone."""
        await self.create(WANTED[self.version][0], **metadata)
        await self.reaches("pausing")
        await self.report(("Suspended", "True", "PodTerminated"))
        await self.reaches("paused")

    async def wake_up(self) -> Pod:
        """Bring it up as its controller does."""
        await self.report(("Ready", "False", "DependenciesNotReady"))
        pod = self.pods.make(f"{self.namespace}/box")
        await self.pods.open(pod)
        await self.report(("Ready", "True", "DependenciesReady"), pod)
        return pod

    async def report(self, condition: tuple[str, str, str], pod: Pod | None = None) -> None:
        """Report a condition of the spec as it is now; Suspended stays as it was told last."""
        obj = await self.api.get("box")
        kind, status, reason = condition
        told = {
            "type": kind,
            "status": status,
            "reason": reason,
            "observedGeneration": obj["metadata"]["generation"],
            "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        before = obj.get("status", {}).get("conditions", [])
        conditions = [*(one for one in before if one["type"] != kind), told]
        addresses = [pod.ip] if pod is not None else []
        status_now = {"conditions": conditions, "podIPs": addresses}
        await self.api.report("box", obj["metadata"]["uid"], status_now)

    async def reaches(self, state: str) -> None:
        await soon(
            lambda: self.gateway.state_of(self.namespace, "box") == state,
            f"the gateway knows it as {state}",
        )

    async def generation(self) -> int:
        """Return how often its spec was written."""
        return int((await self.api.get("box"))["metadata"]["generation"])

    async def is_written(self) -> None:
        """Return once its spec was written for the first time after its creation."""

        async def written() -> bool:
            return await self.generation() > 1

        await soon(written, "the gateway has written its wake")

    async def ask(self) -> httpx.Response:
        headers = {
            "X-Sandbox-ID": "box",
            "X-Sandbox-Namespace": self.namespace,
            "X-Sandbox-Port": str(self.pods.port),
        }
        async with httpx.AsyncClient(timeout=DEADLINE) as client:
            return await client.get(self.gateway.data, headers=headers)


@pytest.fixture(scope="module", params=WANTED)
def served(
    request: pytest.FixtureRequest,
    shared_programs: Programs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Gateway]]:
    """Local mode over an API that serves one version of agent-sandbox: which, and the gateway."""
    home = tmp_path_factory.mktemp(request.param)
    crd = home / "crd.yaml"
    crd.write_text(yaml.safe_dump(crd_of(request.param)))
    gateway = start_local(shared_programs, home, "--crd", str(crd))
    yield request.param, gateway
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


@pytest.fixture
async def box(served: tuple[str, Gateway]) -> AsyncIterator[Box]:
    version, gateway = served
    namespace, pods = f"agents-{uuid.uuid4().hex[:8]}", SeparatePods()
    api_version = f"agents.x-k8s.io/{version}"
    async with SandboxApi.connect(gateway.kubeconfig, namespace, api_version) as api:
        try:
            yield Box(version, namespace, gateway, api, pods)
        finally:
            await pods.close()


async def test_requests_wake_a_suspended_sandbox_by_one_write(box: Box) -> None:
    await box.create_asleep()
    answers = [asyncio.create_task(box.ask()) for _ in range(10)]
    await box.is_written()
    pod = await box.wake_up()
    for answer in await asyncio.gather(*answers):
        assert answer.status_code == 200
        assert answer.headers["X-Sandbox-Cold-Start"] == "true"
        assert answer.json()["pod"] == pod.uid
    woken = await box.api.get("box")
    assert woken["spec"] == WANTED[box.version][1]
    assert woken["metadata"]["generation"] == 2
    assert box.gateway.state_of(box.namespace, "box") == "running"


async def test_a_suspend_under_way_is_waited_out(box: Box) -> None:
    await box.create(WANTED[box.version][0])
    await box.report(("Suspended", "False", "PodTerminating"))
    await box.reaches("pausing")
    answer = asyncio.create_task(box.ask())
    await soon(lambda: box.gateway.waiters(box.namespace, "box") == 1, "a request waits")
    assert await box.generation() == 1
    await box.report(("Suspended", "True", "PodTerminated"))
    await box.is_written()
    pod = await box.wake_up()
    assert (await answer).json()["pod"] == pod.uid
    assert await box.generation() == 2


async def test_what_was_ready_before_its_sleep_is_not_dialled(box: Box) -> None:
    await box.create(WANTED[box.version][1])
    old = await box.wake_up()
    await box.reaches("running")
    assert (await box.ask()).json()["pod"] == old.uid
    await box.pods.retire(old)
    await box.api.patch("box", **WANTED[box.version][0])
    await box.report(("Suspended", "True", "PodTerminated"), old)
    await box.reaches("paused")
    answer = asyncio.create_task(box.ask())
    await box.reaches("resuming")
    pod = await box.wake_up()
    assert (await answer).json()["pod"] == pod.uid
    assert box.pods.trespasses == 0


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
    metadata: Object, state: str, reason: str, box: Box
) -> None:
    await box.create(WANTED[box.version][0], **metadata)
    await box.report(("Suspended", "True", "PodTerminated"))
    await box.reaches(state)
    answer = await box.ask()
    assert (answer.status_code, answer.json()["reason"]) == (502, reason)
    assert await box.generation() == 1
