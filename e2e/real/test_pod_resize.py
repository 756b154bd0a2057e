"""Pods of a real API are resized in place; a kubelet of the tests follows.

What the API refuses is what is called an obstacle before it is asked.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from e2e.clusters import connect, fresh_name
from e2e.kubelet import Kubelet
from e2e.relay import Relay
from e2e.waiting import soon
from gateway.cluster.client import KubeClient
from gateway.cluster.config import ClusterConfig
from gateway.cluster.errors import NodeTooSmall
from gateway.cluster.machines import ALL_NODES, PLACED_PODS, Machines
from gateway.cluster.pod_facts import Obstacle, Pending, PodFacts
from gateway.cluster.recovery import Phase
from gateway.cluster.reflector import Reflector
from gateway.cluster.resizer import Resizer
from gateway.sandbox.errors import AccessDenied, InvalidWrite, ObjectGone
from gateway.sandbox.scaling import Size

from .sandboxes import MERGE, said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx

    from e2e.clusters import Cluster

Object = dict[str, Any]

NAMESPACE: Final = fresh_name("resize")
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
GI: Final = 2**30
#: What the node has altogether.
ROOM: Final = Size(4000, 8 * GI)
TARGET: Final = Size(1500, 2 * GI)


def amounts(cpu: str, memory: str) -> dict[str, str]:
    return {"cpu": cpu, "memory": memory}


def container(name: str = "web", **fields: Any) -> Object:
    requests = {"resources": {"requests": amounts("500m", "1Gi")}}
    return {"name": name, "image": "web"} | requests | fields


def limited(limits: dict[str, str]) -> Object:
    return {"resources": {"requests": amounts("500m", "1Gi"), "limits": limits}}


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Iterator[httpx.Client]:
    """The administrator of an API that lets pods be made in the namespace."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    with connect(cluster.kubeconfig) as client:
        account = {"metadata": {"name": "default"}}
        made = client.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", json=account)
        # Where controllers run, one of them has made it.
        assert made.status_code in (201, 409), made.text
        yield client


@dataclass(frozen=True)
class World:
    """A node with its kubelet, and what a gateway knows of it and may do."""

    admin: httpx.Client
    kubelet: Kubelet
    machines: Machines
    resizer: Resizer

    async def run(self, name: str, *, metadata: Object | None = None, **spec: Any) -> PodFacts:
        """Return a pod that runs, once it is known."""
        uid = self.create(name, metadata, **spec)
        await self.kubelet.start(NAMESPACE, name, "10.1.2.3")
        await soon(lambda: (known := self.machines.pod(uid)) and known.actual, "it runs")
        return self.pod(uid)

    def create(self, name: str, metadata: Object | None = None, **spec: Any) -> str:
        """Return the uid of a pod on the node that does not run yet."""
        placed = {"nodeName": self.kubelet.node, "automountServiceAccountToken": False}
        body = {
            "metadata": {"name": name} | (metadata or {}),
            "spec": placed | {"containers": [container()]} | spec,
        }
        uid: str = said(self.admin.post(PODS, json=body))["metadata"]["uid"]
        return uid

    def pod(self, uid: str) -> PodFacts:
        found = self.machines.pod(uid)
        assert found is not None
        return found

    def read(self, name: str) -> Object:
        return said(self.admin.get(f"{PODS}/{name}"))

    async def becomes(self, pod: PodFacts, size: Size) -> PodFacts:
        """Return a pod once it has this size, and nothing is left to do."""

        def settled() -> bool:
            now = self.pod(pod.uid)
            return now.actual == now.allocated == size and not now.in_progress

        await soon(settled, f"it has {size}")
        return self.pod(pod.uid)

    async def is_pending(self, pod: PodFacts, pending: Pending) -> PodFacts:
        await soon(lambda: self.pod(pod.uid).pending is pending, f"it is {pending}")
        return self.pod(pod.uid)


@asynccontextmanager
async def followed(kubeconfig: Path) -> AsyncIterator[tuple[Machines, Resizer]]:
    """Follow pods and nodes as a gateway does."""
    machines = Machines()
    async with Relay.to(kubeconfig) as (relay, through):
        config = ClusterConfig(kubeconfig=str(through))
        async with KubeClient.connect(config) as client:
            reflectors = [
                Reflector("pods", PLACED_PODS, client, machines.pods_sink, config),
                Reflector("nodes", ALL_NODES, client, machines.nodes_sink, config),
            ]
            tasks = [asyncio.create_task(one.run()) for one in reflectors]
            try:
                for one in reflectors:
                    await one.wait_synced()
                yield machines, Resizer(client)
                # To leave a watch would be to leave half a TLS behind with the loop.
                await relay.cut()
                await soon(lambda: not any(map(_watches, reflectors)), "no watch is open")
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


def _watches(reflector: Reflector) -> bool:
    return reflector.status.phase is Phase.WATCHING


@pytest.fixture
async def world(admin: httpx.Client, cluster: Cluster) -> AsyncIterator[World]:
    """A node of the test's own; less than all of it is for one pod (a kubelet's own rule)."""
    node = fresh_name("node")
    cluster.remember("node", node)
    async with (
        Kubelet.serve(cluster.kubeconfig, node, ROOM, most=Size(3500, 8 * GI)) as kubelet,
        followed(cluster.kubeconfig) as (machines, resizer),
    ):
        await soon(lambda: machines.node(node), "the node is known")
        yield World(admin, kubelet, machines, resizer)
        said(admin.delete(PODS, params={"gracePeriodSeconds": "0"}))
        await soon(lambda: not machines.on_node(node), "its pods are gone")


# ---- sizes are given ----------------------------------------------------------------------------


async def test_it_is_known_that_pods_can_be_resized(world: World) -> None:
    assert await world.resizer.supported()


@pytest.mark.parametrize(
    ("spec", "limits", "qos"),
    [
        (
            {"containers": [container(**limited(amounts("500m", "1Gi")))]},
            amounts("1500m", "2Gi"),
            "Guaranteed",
        ),
        ({}, None, "Burstable"),
        (
            {"containers": [container(**limited(amounts("1", "3Gi")))]},
            amounts("2", "4Gi"),
            "Burstable",
        ),
        (
            {"containers": [container(**limited({"memory": "1Gi"}))]},
            {"memory": "2Gi"},
            "Burstable",
        ),
        (
            {
                "containers": [container(**limited(amounts("500m", "1Gi")))],
                "initContainers": [
                    container("proxy", restartPolicy="Always", **limited(amounts("500m", "1Gi")))
                ],
            },
            amounts("1500m", "2Gi"),
            "Guaranteed",
        ),
        (
            {"containers": [container(), container("other", resources={})]},
            None,
            "Burstable",
        ),
    ],
)
async def test_a_pod_gets_another_size_and_keeps_its_class(
    world: World, spec: Object, limits: dict[str, str] | None, qos: str
) -> None:
    pod = await world.run("web", **spec)
    before = world.read("web")
    asked = await world.resizer.resize(pod, TARGET)
    assert (asked.desired, asked.headroom) == (TARGET, pod.headroom)
    settled = await world.becomes(pod, TARGET)
    assert settled.pending is None
    sidecars = Size(500, GI) if "initContainers" in spec else Size(0, 0)
    assert settled.claim == Size(TARGET.cpu + sidecars.cpu, TARGET.memory + sidecars.memory)
    assert world.machines.claimed(world.kubelet.node) == settled.claim

    after = world.read("web")
    assert after["status"]["qosClass"] == before["status"]["qosClass"] == qos
    resized, *others = after["spec"]["containers"]
    assert resized["resources"].get("limits") == limits
    assert others == before["spec"]["containers"][1:]
    assert after["spec"].get("initContainers") == before["spec"].get("initContainers")


async def test_a_pod_shrinks_again(world: World) -> None:
    pod = await world.run("web", containers=[container(**limited(amounts("500m", "1Gi")))])
    await world.resizer.resize(pod, TARGET)
    grown = await world.becomes(pod, TARGET)
    await world.resizer.resize(grown, Size(250, GI // 2))
    assert (await world.becomes(pod, Size(250, GI // 2))).claim == Size(250, GI // 2)


async def test_the_container_that_is_named_is_resized(world: World) -> None:
    named = {"annotations": {"kubectl.kubernetes.io/default-container": "web"}}
    two = [container("proxy"), container("web")]
    pod = await world.run("web", metadata=named, containers=two)
    await world.resizer.resize(pod, TARGET)
    await world.becomes(pod, TARGET)
    proxy, web = world.read("web")["spec"]["containers"]
    assert proxy["resources"]["requests"] == amounts("500m", "1Gi")
    assert web["resources"]["requests"] == amounts("1500m", "2Gi")


async def test_other_amounts_stay_as_they_are(world: World) -> None:
    requests = amounts("500m", "1Gi") | {"ephemeral-storage": "1Gi"}
    pod = await world.run("web", containers=[container(resources={"requests": requests})])
    await world.resizer.resize(pod, TARGET)
    (web,) = world.read("web")["spec"]["containers"]
    assert web["resources"]["requests"] == amounts("1500m", "2Gi") | {"ephemeral-storage": "1Gi"}


async def test_what_a_kubelet_writes_meanwhile_is_no_conflict(world: World) -> None:
    pod = await world.run("web")
    conditions = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    said(world.admin.patch(f"{PODS}/web/status", json=conditions, headers=MERGE))
    assert (await world.resizer.resize(pod, TARGET)).desired == TARGET


# ---- sizes are not given ------------------------------------------------------------------------


async def test_what_there_is_no_room_for_now_waits_until_there_is(world: World) -> None:
    pod, other = await world.run("web"), await world.run("other")
    await world.resizer.resize(other, Size(3000, GI))
    grown = await world.becomes(other, Size(3000, GI))
    await world.resizer.resize(pod, TARGET)
    waiting = await world.is_pending(pod, Pending.DEFERRED)
    assert (waiting.desired, waiting.actual) == (TARGET, Size(500, GI))
    assert waiting.claim == TARGET
    assert "cpu" in waiting.pending_message

    await world.resizer.resize(grown, Size(1000, GI))
    assert (await world.becomes(pod, TARGET)).pending is None


async def test_what_the_kubelet_never_gives_is_infeasible_and_kept_by_nobody(world: World) -> None:
    pod = await world.run("web")
    await world.resizer.resize(pod, Size(3750, GI))
    refused = await world.is_pending(pod, Pending.INFEASIBLE)
    assert refused.claim == Size(500, GI)
    await world.resizer.resize(refused, TARGET)
    assert (await world.becomes(pod, TARGET)).pending is None


@pytest.mark.parametrize("size", [Size(4250, GI), Size(500, 9 * GI)])
async def test_more_than_the_node_has_altogether_is_refused(world: World, size: Size) -> None:
    pod = await world.run("web")
    with pytest.raises(NodeTooSmall):
        await world.resizer.resize(pod, size)
    assert world.pod(pod.uid).desired == Size(500, GI)


async def test_what_is_promised_is_in_progress_until_it_is_real(world: World) -> None:
    pod = await world.run("web")
    world.kubelet.hold()
    await world.resizer.resize(pod, TARGET)
    await soon(lambda: world.pod(pod.uid).in_progress, "it is being brought about")
    under_way = world.pod(pod.uid)
    assert (under_way.allocated, under_way.actual) == (TARGET, Size(500, GI))
    world.kubelet.release()
    await world.becomes(pod, TARGET)


# ---- what is refused ----------------------------------------------------------------------------


async def test_another_pod_of_the_same_name_is_left_alone(world: World) -> None:
    pod = await world.run("web")
    said(world.admin.delete(f"{PODS}/web", params={"gracePeriodSeconds": "0"}))
    with pytest.raises(ObjectGone):
        await world.resizer.resize(pod, TARGET)
    successor = await world.run("web")
    with pytest.raises(ObjectGone):
        await world.resizer.resize(pod, TARGET)
    assert world.pod(successor.uid).desired == Size(500, GI)


@pytest.mark.parametrize(
    ("pod", "obstacle"),
    [
        ({"containers": [container(resources={})]}, Obstacle.NO_AMOUNTS),
        ({"os": {"name": "windows"}}, Obstacle.WINDOWS),
        ({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}, Obstacle.STATIC),
    ],
)
async def test_where_there_is_an_obstacle_the_api_refuses(
    world: World, pod: Object, obstacle: Obstacle
) -> None:
    uid = world.create("web", **pod)
    await soon(lambda: world.machines.pod(uid), "it is known")
    assert world.pod(uid).obstacle is obstacle
    with pytest.raises(InvalidWrite):
        await world.resizer.resize(world.pod(uid), TARGET)


async def test_where_the_node_is_too_old_the_api_refuses(world: World) -> None:
    pod = await world.run("web")
    (told,) = world.read("web")["status"]["containerStatuses"]
    del told["resources"], told["allocatedResources"]
    status = {"status": {"containerStatuses": [told]}}
    said(world.admin.patch(f"{PODS}/web/status", json=status, headers=MERGE))
    await soon(lambda: world.pod(pod.uid).obstacle is Obstacle.OLD_NODE, "it is seen")
    with pytest.raises(InvalidWrite):
        await world.resizer.resize(world.pod(pod.uid), TARGET)


async def test_a_pod_with_amounts_of_its_own_takes_them_whatever_its_containers_ask(
    world: World,
) -> None:
    whole = {"requests": amounts("2", "4Gi"), "limits": amounts("2", "4Gi")}
    pod = await world.run("web", resources=whole)
    assert (pod.obstacle, pod.claim) == (Obstacle.POD_LEVEL, Size(2000, 4 * GI))


# ---- rights, and what is watched ----------------------------------------------------------------


@pytest.fixture
def account(cluster: Cluster, admin: httpx.Client) -> Iterator[Path]:
    """An account that may do nothing; that is given rights by a test."""
    name = fresh_name("resizer")
    cluster.kubectl("create", "serviceaccount", name, f"--namespace={NAMESPACE}")
    yield cluster.kubeconfig_of(name, NAMESPACE)
    cluster.kubectl("delete", "serviceaccount", name, f"--namespace={NAMESPACE}")


async def test_the_right_to_patch_the_subresource_is_enough(
    world: World, cluster: Cluster, account: Path
) -> None:
    pod = await world.run("web")
    async with KubeClient.connect(ClusterConfig(kubeconfig=str(account))) as client:
        resizer = Resizer(client)
        assert await resizer.supported()
        with pytest.raises(AccessDenied):
            await resizer.resize(pod, TARGET)
        of = account.name.partition(f"kubeconfig-{NAMESPACE}-")[2]
        within = f"--namespace={NAMESPACE}"
        rule = ("--verb=patch", "--resource=pods/resize")
        cluster.kubectl("create", "role", of, *rule, within)
        bound = (f"--role={of}", f"--serviceaccount={NAMESPACE}:{of}")
        cluster.kubectl("create", "rolebinding", of, *bound, within)

        async def resized() -> bool:
            with suppress(AccessDenied):  # the API hears of its own rules a moment later
                return (await resizer.resize(pod, TARGET)).desired == TARGET
            return False

        await soon(resized, "the right has come into force")


async def test_pods_are_known_while_they_hold_something(world: World, admin: httpx.Client) -> None:
    nowhere = {"metadata": {"name": "nowhere"}, "spec": {"containers": [container()]}}
    unplaced: str = said(admin.post(PODS, json=nowhere))["metadata"]["uid"]
    pod = await world.run("web")
    assert world.machines.pod(unplaced) is None
    assert world.machines.pod_at(NAMESPACE, "10.1.2.3") == world.pod(pod.uid)

    await world.kubelet.end(pod.uid)
    await soon(lambda: world.machines.pod(pod.uid) is None, "it is gone")
    assert world.machines.pod_at(NAMESPACE, "10.1.2.3") is None


async def test_a_node_that_is_drained_is_seen_to(world: World, admin: httpx.Client) -> None:
    name = world.kubelet.node
    known = world.machines.node(name)
    assert known is not None
    assert (known.allocatable, known.draining) == (ROOM, False)
    cordoned = {"spec": {"unschedulable": True}}
    said(admin.patch(f"/api/v1/nodes/{name}", json=cordoned, headers=MERGE))
    await soon(lambda: (now := world.machines.node(name)) and now.draining, "it is seen")
