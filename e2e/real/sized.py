"""Sandboxes that are right-sized: objects and pods of a real API, a kubelet, real informants."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from e2e.clusters import connect, fresh_name
from e2e.gateways import start_serve
from e2e.guest import Guest
from e2e.kubelet import Kubelet
from e2e.manifests import NATIVE
from e2e.programs import free_port
from e2e.waiting import DEADLINE, soon
from gateway.sandbox.quantities import parse_cpu, parse_memory
from gateway.sandbox.scaling import Size

from .sandboxes import MERGE, said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from e2e.clusters import Cluster
    from e2e.gateways import Gateway
    from e2e.programs import Program, Programs

GI: Final = 2**30
SLOT: Final = GI // 2
#: Addresses that nobody else on this machine uses.
_ADDRESSES: Final = (f"127.210.{number // 250}.{number % 250 + 1}" for number in itertools.count())
_DEFAULT_BOUNDS: Final = {
    "min": {"cpu": "500m", "mem": "1Gi"},
    "max": {"cpu": "3", "mem": "6Gi"},
}

Object = dict[str, Any]


def units(count: int) -> Size:
    """Return so many compute units."""
    return Size(250 * count, SLOT * count)


def load_for(count: int) -> float:
    """Return the load that asks for so many compute units."""
    return count * 0.25 * 0.9


@dataclass(slots=True)
class Sized:
    """One sandbox: its object, its pod, its guest; what is asked goes to the API or a gateway."""

    world: Sizes
    name: str
    address: str
    guest: Guest
    #: Its informant's process; None: it has none.
    process: Program | None

    @property
    def informant(self) -> Program:
        assert self.process is not None, "it has one"
        return self.process

    @property
    def path(self) -> str:
        return f"/apis/{NATIVE}/namespaces/{self.world.namespace}/sandboxes/{self.name}"

    @property
    def pod(self) -> Object:
        """Return its pod as the API has it."""
        return said(self.world.admin.get(f"{self.world.pods}/{self.name}"))

    @property
    def size(self) -> Size:
        """What its container has in fact."""
        (status,) = self.pod["status"]["containerStatuses"]
        return _read(status["resources"]["requests"])

    def told(self, gateway: Gateway) -> Object:
        """Return what a gateway tells of its size."""
        found = self.told_if_known(gateway)
        assert found is not None, f"{self.name} is not known"
        return found

    def told_if_known(self, gateway: Gateway) -> Object | None:
        """Return what a gateway tells of its size; None: it has not heard of it yet."""
        path = f"/api/v1/sandboxes/{self.world.namespace}/{self.name}/resize"
        status, body = gateway.ask_admin(path)
        assert status in (200, 404), body
        found: Object = orjson.loads(body)
        return found if status == 200 else None

    async def becomes(self, size: Size, deadline: float = DEADLINE) -> None:
        await soon(
            lambda: self.size == size,
            lambda: f"{self.name} has {self.size}, and not {size}",
            deadline,
        )

    async def is_told(self, gateway: Gateway, status: str) -> Object:
        """Return what a gateway tells once it tells this status."""
        told: Object = {}

        def is_so() -> bool:
            told.update(self.told(gateway))
            return bool(told["status"] == status)

        await soon(is_so, lambda: f"{self.name} is {told}, and not {status}")
        return told

    async def put_in_a_pod(self, cpu: str, memory: str) -> None:
        """Make the pod that it runs in."""
        self.world.make_pod(self.name, {"cpu": cpu, "memory": memory})
        await self.world.kubelet.start(self.world.namespace, self.name, self.address)

    async def put_in_another_pod(self, cpu: str = "500m", memory: str = "1Gi") -> None:
        """Let another pod have the name of its pod, which is gone; its controller tells of it."""
        path = f"{self.world.pods}/{self.name}"
        said(self.world.admin.delete(path, params={"gracePeriodSeconds": "0"}))
        await self.put_in_a_pod(cpu, memory)
        self.report("Running")

    def start_informant(self) -> None:
        """Begin its informant, anew if it had one."""
        self.process = self.guest.start(self.world.programs, self.address, self.world.port)

    def delete(self) -> None:
        """Delete its object and its pod."""
        for path in (self.path, f"{self.world.pods}/{self.name}"):
            said(self.world.admin.delete(path, params={"gracePeriodSeconds": "0"}))

    def change(self, **parts: Any) -> Object:
        """Change its object."""
        return said(self.world.admin.patch(self.path, json=parts, headers=MERGE))

    def report(self, phase: str) -> None:
        """Report as a controller does whose pods are there while their sandboxes are paused."""
        runs = phase == "Running"
        status = {
            "phase": phase,
            "podIP": self.address,
            "podUID": self.pod["metadata"]["uid"],
            "conditions": [{"type": "Ready", "status": str(runs)}],
        }
        answer = self.world.admin.patch(
            f"{self.path}/status", json={"status": status}, headers=MERGE
        )
        said(answer)

    def events(self) -> list[Object]:
        """Return what users were told of it."""
        selector = {"fieldSelector": f"involvedObject.name={self.name}"}
        path = f"/api/v1/namespaces/{self.world.namespace}/events"
        found: list[Object] = said(self.world.admin.get(path, params=selector))["items"]
        return found


@dataclass(slots=True)
class Sizes:
    """A node, and the sandboxes on it."""

    admin: httpx.Client
    kubelet: Kubelet
    programs: Programs
    home: Path
    kubeconfig: Path
    namespace: str
    port: int = field(default_factory=free_port)

    @classmethod
    @asynccontextmanager
    async def on_a_node(
        cls, cluster: Cluster, programs: Programs, home: Path, room: Size
    ) -> AsyncIterator[Sizes]:
        """Begin with an empty node that has so much to give."""
        namespace = fresh_name("sized")
        cluster.kubectl("create", "namespace", namespace)
        cluster.remember("node", namespace)
        with connect(cluster.kubeconfig) as admin:
            account = {"metadata": {"name": "default"}}
            made = admin.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", json=account)
            assert made.status_code in (201, 409), made.text
            async with Kubelet.serve(cluster.kubeconfig, namespace, room) as kubelet:
                yield cls(admin, kubelet, programs, home, cluster.kubeconfig, namespace)

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    @property
    def settings(self) -> dict[str, str]:
        """What a gateway needs that right-sizes the sandboxes of this namespace."""
        return {
            "dialects": "native",
            "namespaces": self.namespace,
            "resize": "true",
            "resize_listen": "127.0.0.1:0",
            "resize_informant_port": str(self.port),
            "resize_metrics_interval": "500ms",
        }

    def gateway(self, name: str = "serve", **settings: str) -> Gateway:
        """Start a gateway that right-sizes the sandboxes of this namespace."""
        chosen = self.settings | settings
        gateway = start_serve(self.programs, self.home, self.kubeconfig, name, **chosen)
        gateway.wait_ready()
        return gateway

    async def sandbox(
        self,
        name: str,
        *,
        cpu: str = "500m",
        memory: str = "1Gi",
        informed: bool = True,
        bounds: Object | None = None,
        config: Object | None = None,
    ) -> Sized:
        """Return one that runs, with an informant if it is to be `informed`."""
        address = next(_ADDRESSES)
        guest = Guest.at(self.home / name)
        guest.uses(GI // 4, of=GI)
        informant = guest.start(self.programs, address, self.port) if informed else None
        made = Sized(self, name, address, guest, informant)
        await made.put_in_a_pod(cpu, memory)
        self._make_sandbox(name, bounds or _DEFAULT_BOUNDS, config)
        made.report("Running")
        return made

    def make_pod(self, name: str, amounts: Object) -> None:
        """Create a pod of this node, which the kubelet has still to start."""
        container = {
            "name": "main",
            "image": "main",
            "resources": {"requests": amounts, "limits": amounts},
        }
        spec = {
            "nodeName": self.kubelet.node,
            "automountServiceAccountToken": False,
            "containers": [container],
        }
        said(self.admin.post(self.pods, json={"metadata": {"name": name}, "spec": spec}))

    def _make_sandbox(self, name: str, bounds: Object, config: Object | None) -> None:
        annotations = {"sandbox-gateway.dev/scaling-bounds": orjson.dumps(bounds).decode()}
        if config is not None:
            annotations["sandbox-gateway.dev/scaling-config"] = orjson.dumps(config).decode()
        labels = {"sandbox-gateway.dev/scaling-enabled": "true"}
        body = {
            "apiVersion": NATIVE,
            "kind": "Sandbox",
            "metadata": {"name": name, "labels": labels, "annotations": annotations},
            "spec": {"wakeOnTraffic": {"enabled": True}},
        }
        path = f"/apis/{NATIVE}/namespaces/{self.namespace}/sandboxes"
        said(self.admin.post(path, json=body))


def _read(amounts: dict[str, str]) -> Size:
    return Size(parse_cpu(amounts["cpu"]), parse_memory(amounts["memory"]))
