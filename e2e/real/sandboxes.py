"""Native Sandboxes of a real API: written by an administrator, who is their controller too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import httpx

from e2e.clusters import fresh_name
from e2e.manifests import NATIVE
from e2e.pods import SeparatePods
from e2e.waiting import DEADLINE, soon

if TYPE_CHECKING:
    from e2e.gateways import Gateway
    from e2e.pods import Pod

NAMESPACE: Final = fresh_name("native")
SANDBOXES: Final = f"/apis/{NATIVE}/namespaces/{NAMESPACE}/sandboxes"
MERGE: Final = {"Content-Type": "application/merge-patch+json"}

Object = dict[str, Any]


def create(admin: httpx.Client, name: str, **spec: Any) -> Object:
    """Create a sandbox that traffic may wake."""
    body = {
        "apiVersion": NATIVE,
        "kind": "Sandbox",
        "metadata": {"name": name},
        "spec": {"wakeOnTraffic": {"enabled": True}} | spec,
    }
    return said(admin.post(SANDBOXES, json=body))


def report(admin: httpx.Client, name: str, **status: Any) -> Object:
    """Report as a controller does."""
    path = f"{SANDBOXES}/{name}/status"
    return said(admin.patch(path, json={"status": status}, headers=MERGE))


def said(answer: httpx.Response) -> Object:
    assert answer.is_success, answer.text
    found: Object = answer.json()
    return found


def _running(pod: Pod, generation: int) -> Object:
    """Return the status of a sandbox with this workload."""
    ready = {"type": "Ready", "status": "True"}
    where = {"podIP": pod.ip, "podUID": pod.uid, "observedGeneration": generation}
    return {"phase": "Running", "conditions": [ready]} | where


async def _ask(gateway: Gateway, name: str, port: int) -> httpx.Response:
    """Send one request, once."""
    headers = {"e2b-sandbox-id": f"{NAMESPACE}--{name}", "e2b-sandbox-port": str(port)}
    transport = httpx.AsyncHTTPTransport(retries=0)
    async with httpx.AsyncClient(transport=transport, timeout=DEADLINE) as client:
        return await client.get(gateway.data, headers=headers)


async def wake(
    gateway: Gateway, admin: httpx.Client, name: str, count: int
) -> tuple[list[httpx.Response], int]:
    """Wake a sandbox by so many requests at once; return their answers, and how many its pod got.

    Its controller acts once all of them wait and the gateway has written.
    """
    written = gateway.wakes_written
    pods = SeparatePods()
    pod = pods.make(name)
    await pods.open(pod)
    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(_ask(gateway, name, pods.port)) for _ in range(count)]
            await soon(lambda: gateway.waiters(NAMESPACE, name) == count, "all of them wait")
            await soon(lambda: gateway.wakes_written > written, "the wake is written")
            wanted = said(admin.get(f"{SANDBOXES}/{name}"))
            report(admin, name, **_running(pod, wanted["metadata"]["generation"]))
    finally:
        await pods.close()
    return [one.result() for one in asked], len(pod.requests)
