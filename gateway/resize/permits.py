"""Who permits: a sandbox may have more only as far as its node has it left.

What is left of a node is what it has to give, less the sum over its pods of the greatest of what
each is to have, was allotted, and has, and of what has been permitted to it and not taken yet. To
have less needs no permit: it is told. What could not be granted is kept as pressure, which says
what the node lacks. CPU and memory are each looked at for themselves.

A node that is to be emptied gives nothing more, and whoever asks is told that it is to leave. From
then on its size stays as it is, and so does that of a pod between two states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from gateway.resize.amounts import NOTHING, Resources
from gateway.resize.messages import (
    AgentRequest,
    Migrate,
    PluginResponse,
    ResourceAmounts,
    Unreadable,
    decode,
)
from gateway.resize.versions import PLUGIN_V1_0, PLUGIN_V2_0, PluginVersion, VersionRange
from gateway.sandbox.quantities import MILLI
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.cluster.pod_facts import NodeFacts, PodFacts

#: The versions of the protocol that are understood.
VERSIONS: Final[VersionRange[PluginVersion]] = VersionRange(PLUGIN_V1_0, PLUGIN_V2_0)

_NO_SIZE: Final = Size(0, 0)


class Refused(Exception):
    """A request that is not to be granted in part, but is wrong. `status`: as HTTP has it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Machines(Protocol):
    """What is asked of nodes and pods."""

    def pod(self, uid: str) -> PodFacts | None:
        """Return a pod."""

    def node(self, name: str) -> NodeFacts | None:
        """Return a node."""

    def on_node(self, name: str) -> Iterable[PodFacts]:
        """Return the pods that take something of a node."""

    def claimed(self, name: str) -> Size:
        """Return what they take of it together."""


@dataclass(frozen=True, slots=True)
class _Holding:
    """What a sandbox's pod may have, in slots of so many bytes, and what it was not given.

    `leaving`: it was told that it is to leave its node. `frozen`: it is between two states.
    """

    uid: str
    slot: int
    permitted: Resources
    pressure: Resources = NOTHING
    leaving: bool = False
    frozen: bool = False


class Permits:
    """The permits of all sandboxes that are right-sized."""

    def __init__(self, machines: Machines, unit: Resources) -> None:
        self._machines = machines
        self._unit = unit
        self._held: dict[tuple[str, str], _Holding] = {}

    def admit(
        self,
        namespace: str,
        name: str,
        uid: str,
        slot: int,
        using: Resources,
        *,
        frozen: bool = False,
    ) -> None:
        """Take over a pod, which may have at least what it uses."""
        self._held[namespace, name] = _Holding(uid, slot, using, frozen=frozen)

    def dismiss(self, namespace: str, name: str, uid: str) -> None:
        """Care for a pod no more; another one may have its name already."""
        held = self._held.get((namespace, name))
        if held is not None and held.uid == uid:
            del self._held[namespace, name]

    def freeze(self, namespace: str, name: str, frozen: bool) -> None:
        """Say whether a pod is between two states; one that is lacks nothing."""
        held = self._held.get((namespace, name))
        if held is not None:
            pressure = NOTHING if frozen else held.pressure
            self._held[namespace, name] = replace(held, pressure=pressure, frozen=frozen)

    def handle(self, request: AgentRequest | bytes) -> PluginResponse:
        """Permit what can be; raise Refused: 404 for an unknown pod, 400 for what is wrong."""
        if isinstance(request, bytes):
            request = _read(request)
        _check(request)
        at = request.pod.namespace, request.pod.name
        held, pod = self._find(at)
        node = None if pod.node is None else self._machines.node(pod.node)
        leaving = node is not None and node.draining
        wanted = Resources(request.resources.vcpus, request.resources.mem)
        if held.frozen or (held.leaving and leaving):
            if wanted != held.permitted:
                raise Refused(400, "its size is not to be changed now")
        else:
            held = self._settle(at, pod, node, wanted)
        return PluginResponse(
            permit=_written(held.permitted),
            migrate=Migrate() if leaving else None,
            unit=_written(self._unit),
        )

    def shortage(self, pod: PodFacts) -> str:
        """Return, for people, why a pod is not given more."""
        if pod.node is None or self._machines.node(pod.node) is None:
            return "how much its node has left is not known: the API has told nothing of it lately"
        return "its node does not have more"

    def pressure(self) -> Mapping[str, Size]:
        """Return by node what sandboxes on it were not given."""
        found: dict[str, Size] = {}
        for held in self._held.values():
            pod = self._machines.pod(held.uid)
            if pod is not None and pod.node is not None:
                before = found.get(pod.node, _NO_SIZE)
                found[pod.node] = _sum(before, held.pressure.size(held.slot))
        return found

    def _find(self, at: tuple[str, str]) -> tuple[_Holding, PodFacts]:
        held = self._held.get(at)
        pod = None if held is None else self._machines.pod(held.uid)
        if held is None or pod is None or pod.ended:
            raise Refused(404, "no such pod is right-sized here")
        return held, pod

    def _settle(
        self, at: tuple[str, str], pod: PodFacts, node: NodeFacts | None, wanted: Resources
    ) -> _Holding:
        """Grant of each kind what there is."""
        held = self._held[at]
        has = held.permitted.max(Resources.of(pod.taken or _NO_SIZE, held.slot))
        # What was taken without a permit is counted in whole slots too, before more is given.
        self._held[at] = replace(held, permitted=has)
        more, leaving = wanted.less(has), node is not None and node.draining
        left = NOTHING if node is None or more == NOTHING else self._left(node, held.slot)
        granted = wanted.min(has).plus(more.min(left))
        pressure = NOTHING if leaving else wanted.less(granted)
        settled = replace(held, permitted=granted, pressure=pressure, leaving=leaving)
        self._held[at] = settled
        return settled

    def _left(self, node: NodeFacts, slot: int) -> Resources:
        """Return what a node has left to give, in whole slots."""
        if node.draining:
            return NOTHING
        taken = self._machines.claimed(node.name)
        for promised in self._promises(node.name):
            taken = _sum(taken, promised)
        return Resources(
            max(node.allocatable.cpu - taken.cpu, 0),
            max(node.allocatable.memory - taken.memory, 0) // slot,
        )

    def _promises(self, node: str) -> Iterator[Size]:
        """Return what was permitted to pods of a node beyond what they have taken."""
        for pod in self._machines.on_node(node):
            held = self._held.get((pod.namespace, pod.name))
            if held is not None and held.uid == pod.uid:
                permitted, taken = held.permitted.size(held.slot), pod.taken or _NO_SIZE
                yield Size(
                    max(permitted.cpu - taken.cpu, 0), max(permitted.memory - taken.memory, 0)
                )


def _read(body: bytes) -> AgentRequest:
    try:
        return decode(body, AgentRequest)
    except Unreadable as error:
        raise Refused(400, str(error)) from error


def _check(request: AgentRequest) -> None:
    """Raise Refused where a request contradicts the version of the protocol that it names."""
    version = request.version
    if version not in VERSIONS:
        raise Refused(400, f"version {version} is not spoken, but {VERSIONS} is")
    if request.metrics is None and not version.allows_nil_metrics:
        raise Refused(400, f"version {version} has metrics in each request")
    if request.resources.vcpus % MILLI and not version.supports_fractional_cpu:
        raise Refused(400, f"version {version} has whole CPUs alone")
    if not (request.resources.vcpus and request.resources.mem):
        raise Refused(400, "a size must have some of each")


def _written(resources: Resources) -> ResourceAmounts:
    return ResourceAmounts(vcpus=resources.cpu, mem=resources.memory)


def _sum(one: Size, other: Size) -> Size:
    return Size(one.cpu + other.cpu, one.memory + other.memory)
