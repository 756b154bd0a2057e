"""Reads pods and nodes: raw objects in, facts out. Pure.

What a pod takes of its node is reckoned as the scheduler does, so that neither gives away what the
other has. Dynamic resource allocation of CPU and memory (KEP-5517, alpha) is not reckoned.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from gateway.cluster.pod_facts import NOTHING, Headroom, NodeFacts, Obstacle, Pending, PodFacts
from gateway.cluster.pod_shapes import NO_AMOUNTS, Node, Pod, shaped
from gateway.dialects import base
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cluster.pod_shapes import Condition, Container, ContainerStatus, PodStatus
    from gateway.dialects.base import RawObject

    Statuses = Mapping[str, ContainerStatus]

#: The container that a pod is about, for kubectl too.
DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
#: On what the kubelet tells of a pod that it has from a file.
_MIRROR: Final = "kubernetes.io/config.mirror"

#: Phases of a pod all of whose containers have ended for good.
_ENDED: Final = frozenset({"Succeeded", "Failed"})
#: Taints of nodes that are to go, or are gone: by the cluster autoscaler, by Karpenter (1.0 and
#: before), by the cloud and by hand.
_LEAVING: Final = frozenset(
    {
        "ToBeDeletedByClusterAutoscaler",
        "karpenter.sh/disrupted",
        "karpenter.sh/disruption",
        "node.cloudprovider.kubernetes.io/shutdown",
        "node.kubernetes.io/out-of-service",
    }
)


# ---- nodes --------------------------------------------------------------------------------------


def read_node(raw: RawObject) -> NodeFacts:
    """Read a node; raise MalformedObject. One that tells of no room yet has none."""
    node = shaped(raw, Node)
    return NodeFacts(
        name=node.metadata.name,
        allocatable=(node.status.allocatable or NO_AMOUNTS).size,
        draining=bool(node.spec.unschedulable)
        or any(taint.key in _LEAVING for taint in node.spec.taints or ()),
    )


# ---- pods ---------------------------------------------------------------------------------------


def read_pod(raw: RawObject) -> PodFacts:
    """Read a pod; raise MalformedObject."""
    pod = shaped(raw, Pod)
    metadata, spec, status = pod.metadata, pod.spec, pod.status
    chosen = _chosen(pod)
    statuses = _statuses(status)
    told = None if chosen is None else statuses.get(chosen.name)
    pending, message = _pending(pod)
    ended = status.phase in _ENDED
    return PodFacts(
        # Many pods share a namespace and a node: one copy of each name does for all.
        namespace=sys.intern(metadata.namespace),
        name=metadata.name,
        uid=metadata.uid,
        version=_version(pod),
        node=None if spec.node_name is None else sys.intern(spec.node_name),
        addresses=() if ended else _addresses(pod),
        owners=frozenset(owner.uid for owner in metadata.owner_references or ()),
        ended=ended,
        terminating=metadata.deletion_timestamp is not None,
        container="" if chosen is None else chosen.name,
        desired=None if chosen is None else chosen.requests.size_if_both,
        headroom=_NO_HEADROOM if chosen is None else _headroom(chosen),
        actual=None if told is None else told.actual.size_if_both,
        allocated=None if told is None else told.allocated.size_if_both,
        pending=pending,
        pending_message=message,
        in_progress=_in_progress(status),
        obstacle=_obstacle(pod, chosen),
        claim=NOTHING if ended else _claim(pod, statuses, pending is Pending.INFEASIBLE),
    )


def _chosen(pod: Pod) -> Container | None:
    """Return the container that is resized."""
    containers = pod.spec.containers or ()
    named = (pod.metadata.annotations or {}).get(DEFAULT_CONTAINER)
    return next((one for one in containers if named in (None, one.name)), None)


def _version(pod: Pod) -> int:
    number = base.whole_number(pod.metadata.resource_version)
    if number is None:
        raise MalformedObject("metadata.resourceVersion", "is not an integer")
    return number


def _addresses(pod: Pod) -> tuple[str, ...]:
    """Return a pod's own addresses, canonical, the one that it is known by first."""
    if pod.spec.host_network:
        return ()
    told = (pod.status.pod_ip, *(one.ip for one in pod.status.pod_ips or ()))
    addresses = (base.ip_address(one or None, "status.podIPs") for one in told)
    return tuple(dict.fromkeys(one for one in addresses if one is not None))


_NO_HEADROOM: Final = Headroom(None, None)


def _headroom(container: Container) -> Headroom:
    requests, limits = container.requests, container.limits
    return Headroom(
        cpu=None if limits.milli is None else limits.milli - (requests.milli or 0),
        memory=None if limits.bytes is None else limits.bytes - (requests.bytes or 0),
    )


def _obstacle(pod: Pod, chosen: Container | None) -> Obstacle | None:
    """Return the first one; those that the API would refuse are those of its ValidatePodResize."""
    spec, status = pod.spec, pod.status
    if _MIRROR in (pod.metadata.annotations or {}):
        return Obstacle.STATIC
    if spec.os is not None and spec.os.name == "windows":
        return Obstacle.WINDOWS
    if spec.resources is not None and (spec.resources.requests or spec.resources.limits):
        return Obstacle.POD_LEVEL
    if status.node_allocatable_resource_claim_statuses:
        return Obstacle.CLAIMS
    if chosen is None:
        return Obstacle.NO_CONTAINER
    if chosen.requests.size_if_both is None:
        return Obstacle.NO_AMOUNTS
    # Missing is "NotRequired". What names neither CPU nor memory cannot be.
    if any(one.restart_policy == "RestartContainer" for one in chosen.resize_policy or ()):
        return Obstacle.RESTARTS
    return Obstacle.OLD_NODE if _is_of_old_node(status) else None


def _is_of_old_node(status: PodStatus) -> bool:
    """Return whether what runs first is told of without what it has."""
    statuses = status.container_statuses or ()
    running = (one for one in statuses if one.state is not None and one.state.running is not None)
    first = next(running, None)
    return first is not None and first.resources is None


# ---- what the kubelet tells ---------------------------------------------------------------------


def _pending(pod: Pod) -> tuple[Pending | None, str]:
    """Return whether what the pod is to have now is refused, and what the kubelet says."""
    condition = _condition(pod.status, "PodResizePending")
    if condition is not None and not _is_of_before(condition, pod.metadata.generation):
        # Whatever else the kubelet names it, it tries again.
        infeasible = condition.reason == "Infeasible"
        pending = Pending.INFEASIBLE if infeasible else Pending.DEFERRED
        return pending, condition.message or ""
    failing = _condition(pod.status, "PodResizeInProgress")
    return _LEGACY.get(pod.status.resize or ""), (failing and failing.message) or ""


#: What kubelets before 1.33 say in place of the condition.
_LEGACY: Final = {"Deferred": Pending.DEFERRED, "Infeasible": Pending.INFEASIBLE}


def _is_of_before(condition: Condition, generation: int | None) -> bool:
    """Return whether the kubelet has said this before it has seen the present spec.

    Kubernetes 1.33 does not tell of which spec it is: then it is believed.
    """
    return 0 < (condition.observed_generation or 0) < (generation or 0)


def _in_progress(status: PodStatus) -> bool:
    return status.resize == "InProgress" or _condition(status, "PodResizeInProgress") is not None


def _condition(status: PodStatus, kind: str) -> Condition | None:
    """Return the condition of this type if it is there and true."""
    true = (one for one in status.conditions or () if one.type == kind and one.status == "True")
    return next(true, None)


# ---- what a pod takes ---------------------------------------------------------------------------


def _statuses(status: PodStatus) -> Statuses:
    every = (*(status.container_statuses or ()), *(status.init_container_statuses or ()))
    return {one.name: one for one in every}


def _claim(pod: Pod, statuses: Statuses, infeasible: bool) -> Size:
    """Return what a pod takes of its node: KEP-753, "Resources calculation for scheduling".

    Containers and sidecars run side by side; before that init containers run one at a time, each
    beside the sidecars that were started before it. The more of both is kept for the pod.
    """
    running = starting = sidecars = NOTHING
    for container in pod.spec.containers or ():
        running = _sum(running, _taken(container, statuses, infeasible))
    for container in pod.spec.init_containers or ():
        if container.restart_policy == "Always":
            sidecars = _sum(sidecars, _taken(container, statuses, infeasible))
        else:
            starting = _most(starting, _sum(sidecars, container.requests.size))
    whole = _of_pod_level(_most(_sum(running, sidecars), starting), pod, infeasible)
    overhead = pod.spec.overhead
    return whole if overhead is None else _sum(whole, overhead.size)


def _taken(container: Container, statuses: Statuses, infeasible: bool) -> Size:
    """Return what is kept for a container: the most of what it is to have, is promised, and has.

    What it is never to get on this node is kept by nobody.
    """
    told = statuses.get(container.name)
    if told is None or told.resources is None:
        return container.requests.size
    held = _most(told.actual.size, told.allocated.size)
    return held if infeasible else _most(held, container.requests.size)


def _of_pod_level(whole: Size, pod: Pod, infeasible: bool) -> Size:
    """Return what a pod asks for as a whole (KEP-2837), where it does, in place of the sum."""
    spec, status = pod.spec, pod.status
    wished = None if spec.resources is None else spec.resources.requests
    if wished is None:
        return whole
    taken = wished.size
    if status.resources is not None:
        allocated = status.allocated_resources or NO_AMOUNTS
        held = _most((status.resources.requests or NO_AMOUNTS).size, allocated.size)
        taken = held if infeasible else _most(held, taken)
    return Size(
        whole.cpu if wished.cpu is None else taken.cpu,
        whole.memory if wished.memory is None else taken.memory,
    )


def _sum(one: Size, other: Size) -> Size:
    return Size(one.cpu + other.cpu, one.memory + other.memory)


def _most(one: Size, other: Size) -> Size:
    return Size(max(one.cpu, other.cpu), max(one.memory, other.memory))
