"""A node with sandboxes, and the gateway's own permits for it, asked as its agents ask them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.cluster.pod_facts import Headroom, NodeFacts, PodFacts
from gateway.resize.amounts import Resources
from gateway.resize.messages import AgentRequest, LoadMetrics, PodName, ResourceAmounts
from gateway.resize.permits import Permits
from gateway.resize.sizing import DEFAULT_UNIT
from gateway.resize.versions import PLUGIN_V2_0
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.resize.sizing import Metrics
    from gateway.sandbox.scaling import Scaling

_NAMESPACE: Final = "sandboxes"


class Node:
    """One node, its pods and their permits."""

    def __init__(self, name: str, allocatable: Size) -> None:
        self._facts = NodeFacts(name, allocatable, draining=False)
        self._pods: dict[str, PodFacts] = {}
        self._permitted: dict[str, Size] = {}
        self._slots: dict[str, int] = {}
        self._permits = Permits(self, DEFAULT_UNIT)
        #: The most that was ever permitted and taken together.
        self.most = Size(0, 0)

    # ---- what who permits asks ----------------------------------------------------------------

    def pod(self, uid: str) -> PodFacts | None:
        """Return a pod; names are not used again here, so they are uids too."""
        return self._pods.get(uid)

    def node(self, name: str) -> NodeFacts | None:
        """Return the node."""
        return self._facts if name == self._facts.name else None

    def on_node(self, name: str) -> Iterable[PodFacts]:
        """Return its pods."""
        return self._pods.values() if name == self._facts.name else ()

    def claimed(self, name: str) -> Size:
        """Return what they take of it."""
        claims = [pod.claim for pod in self.on_node(name)]
        return Size(sum(one.cpu for one in claims), sum(one.memory for one in claims))

    # ---- what happens -------------------------------------------------------------------------

    def place(self, name: str, scaling: Scaling) -> int:
        """Begin a sandbox at its least size; return how many there were before."""
        turn, low = len(self._pods), scaling.low
        self._pods[name] = _pod(name, self._facts.name, low)
        self._permits.admit(_NAMESPACE, name, name, scaling.slot, Resources.of(low, scaling.slot))
        self._slots[name] = scaling.slot
        self._permitted[name] = low
        return turn

    def ask(
        self, name: str, wanted: Resources, metrics: Metrics | None
    ) -> tuple[Resources, Resources]:
        """Return what is permitted, and the unit."""
        request = AgentRequest(
            proto_version=PLUGIN_V2_0,
            pod=PodName(namespace=_NAMESPACE, name=name),
            resources=ResourceAmounts(vcpus=wanted.cpu, mem=wanted.memory),
            metrics=None
            if metrics is None
            else LoadMetrics(load1=metrics.load1, load5=metrics.load5),
        )
        answer = self._permits.handle(request)
        granted = Resources(answer.permit.vcpus, answer.permit.mem)
        before, after = self._permitted[name], granted.size(self._slots[name])
        self._permitted[name] = after
        if after.cpu > before.cpu or after.memory > before.memory:
            self._reckon()
        return granted, Resources(answer.unit.vcpus, answer.unit.mem)

    def promise(self, name: str, size: Size) -> None:
        """A pod is resized."""
        pod = replace(self._pods[name], desired=size, allocated=size)
        self._pods[name] = replace(pod, claim=pod.taken or size)

    def settle(self, name: str) -> None:
        """It is done."""
        pod = self._pods[name]
        assert pod.desired is not None
        self._pods[name] = replace(pod, actual=pod.desired, claim=pod.desired)

    def _reckon(self) -> None:
        held = [(pod.claim, self._permitted[name]) for name, pod in self._pods.items()]
        cpu = sum(max(claim.cpu, permitted.cpu) for claim, permitted in held)
        memory = sum(max(claim.memory, permitted.memory) for claim, permitted in held)
        self.most = Size(max(self.most.cpu, cpu), max(self.most.memory, memory))


def _pod(name: str, node: str, size: Size) -> PodFacts:
    return PodFacts(
        namespace=_NAMESPACE,
        name=name,
        uid=name,
        version=1,
        node=node,
        addresses=(),
        owners=frozenset(),
        ended=False,
        terminating=False,
        container="sandbox",
        desired=size,
        headroom=Headroom(0, 0),
        actual=size,
        allocated=size,
        pending=None,
        pending_message="",
        in_progress=False,
        obstacle=None,
        claim=size,
    )
