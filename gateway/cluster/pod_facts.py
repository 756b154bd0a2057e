"""What is known of pods and nodes as to the room that they take and have, and how to ask for more.

A pod's size is wished for in its spec, promised and real in its status: the kubelet brings the one
to the other without a restart, as far as its node has room (KEP-1287, from Kubernetes 1.33 on).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.sandbox.quantities import format_cpu, format_memory
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from gateway.dialects.base import Patch

NOTHING: Final = Size(0, 0)


class Obstacle(Enum):
    """Why a pod cannot be resized in place."""

    #: Its annotation names a container that it does not have.
    NO_CONTAINER = "no_container"
    #: It asks for no CPU or no memory: to add it would change its QoS class, which is forbidden.
    NO_AMOUNTS = "no_amounts"
    #: A resize would restart the sandbox, says its own resizePolicy.
    RESTARTS = "restarts"
    #: Its amounts are the pod's as a whole, not its containers'.
    POD_LEVEL = "pod_level"
    #: It has some of its CPU or memory by a claim.
    CLAIMS = "claims"
    #: The kubelet has it from a file, not from the API.
    STATIC = "static"
    WINDOWS = "windows"
    #: Its node's kubelet does not tell what its containers have, so it is too old for this.
    OLD_NODE = "old_node"


class Pending(Enum):
    """Why what a pod is to have is not even promised to it."""

    #: Not now: the kubelet tries again when others have given something back.
    DEFERRED = "deferred"
    #: Never on this node.
    INFEASIBLE = "infeasible"


@dataclass(frozen=True, slots=True)
class Headroom:
    """How far limits lie above requests, in milli-CPUs and bytes. None: there is no limit."""

    cpu: int | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod, as of a version of it. All sizes are of requests: room that is kept for it."""

    namespace: str
    name: str
    uid: str
    version: int
    node: str | None
    #: Its own: none where it has its node's, or has ended.
    addresses: tuple[str, ...]
    #: The uids of its owners.
    owners: frozenset[str]
    #: It holds nothing any more.
    ended: bool
    #: Its deletion has begun.
    terminating: bool
    #: The name of the one container that is resized; "" if there is none.
    container: str
    #: What that container is to have; None if it asks for no CPU, or for no memory.
    desired: Size | None
    headroom: Headroom
    #: What it has; None: not told yet.
    actual: Size | None
    #: What the kubelet has promised to it; None: not told yet.
    allocated: Size | None
    pending: Pending | None
    #: What the kubelet says of a resize that is pending, or that fails as it is brought about.
    pending_message: str
    #: What was promised is being brought about.
    in_progress: bool
    obstacle: Obstacle | None
    #: What the pod takes of its node, with all its containers.
    claim: Size

    @property
    def taken(self) -> Size | None:
        """What that container takes of its node: the most of what it is to have, may, and does.

        What it is never to get there it does not take.
        """
        desired = None if self.pending is Pending.INFEASIBLE else self.desired
        sizes = [one for one in (desired, self.allocated, self.actual) if one is not None]
        if self.desired is None or not sizes:
            return None
        return Size(max(one.cpu for one in sizes), max(one.memory for one in sizes))


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node: what pods may have of it altogether, and whether it is about to be emptied."""

    name: str
    allocatable: Size
    draining: bool


def resize_patch(pod: PodFacts, target: Size) -> Patch:
    """Return the strategic merge patch of the subresource `resize` that asks for this size.

    The pod has no obstacle. Limits stay as far above requests as they are, so that the QoS class
    does too: of one that is Guaranteed they stay equal, of another they do not become so.
    """
    requests = {"cpu": format_cpu(target.cpu), "memory": format_memory(target.memory)}
    limits: dict[str, str] = {}
    if pod.headroom.cpu is not None:
        limits["cpu"] = format_cpu(target.cpu + pod.headroom.cpu)
    if pod.headroom.memory is not None:
        limits["memory"] = format_memory(target.memory + pod.headroom.memory)
    amounts = {"requests": requests} | ({"limits": limits} if limits else {})
    return {
        # Another pod may have taken the name, and is none of ours: the API compares the uid. The
        # resourceVersion is left out, as each status that a kubelet writes has another one: what
        # is asked for here does not follow from those, and only one leader asks.
        "metadata": {"uid": pod.uid},
        "spec": {"containers": [{"name": pod.container, "resources": amounts}]},
    }
