"""Right-sizing in local mode: control groups stand for pods, and this machine for their node.

Nobody in a sandbox is asked: load and memory are those of its control group.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.cluster.answers import EventType
from gateway.cluster.machines import Machines
from gateway.dialects import base, own
from gateway.local import cgroups
from gateway.local.measured import Measured
from gateway.local.runtime import LOOPBACK
from gateway.resize.guest.sources import ControlGroup as Readings
from gateway.resize.guest.sources import Machine, Unmeasurable
from gateway.sandbox.errors import MalformedObject, NotWritten
from gateway.sandbox.quantities import format_cpu

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.cluster.pod_facts import PodFacts
    from gateway.local.runtime import Identity, SandboxObject
    from gateway.resize.link_state import LinkEvent
    from gateway.sandbox.scaling import Scaling, Size

_LOG = logging.getLogger(__name__)

_NODE: Final = "this-machine"
_CONTAINER: Final = "process"


class LocalSizes:
    """The sizes of local sandboxes, each from the start of its processes to their end."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Prepare the control group that the gateway is in, as seen below `root`."""
        #: Why nothing can be sized here; "": it can be.
        self.unsupported = ""
        self._root = root
        self._machines = Machines()
        self._groups: cgroups.ControlGroups | None = None
        try:
            groups = cgroups.find(root)
            self._machines.nodes_sink.event(EventType.ADDED, _node(Machine(root)))
            self._groups = groups
        except (Unmeasurable, cgroups.Unusable) as error:
            self.unsupported = str(error)

    # ---- for the runtime ------------------------------------------------------------------------

    def sweep(self) -> None:
        """Remove the groups of a gateway before this one."""
        if self._groups is not None:
            self._groups.sweep()

    def room(self, identity: Identity, obj: SandboxObject, incarnation: str) -> _Room | None:
        """Make a group of the least size for a start; None: it is not to be sized, or cannot be."""
        scaling = _scaling(obj)
        if self._groups is None or scaling is None:
            return None
        try:
            group = self._groups.made(incarnation, scaling.low)
        except OSError as error:
            _LOG.warning("the size of %s is not limited: %s", identity.label, error)
            return None
        return _Room(group, self._machines, _pod(identity, incarnation, scaling.low))

    # ---- for right-sizing -----------------------------------------------------------------------

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        """There is nothing to begin."""
        yield

    async def supported(self) -> bool:
        """Return whether anything can be sized."""
        return self._groups is not None

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[Machines]:
        """Give what is known of control groups, as of pods; it is always up to date."""
        yield self._machines

    async def resize(self, pod: PodFacts, target: Size) -> PodFacts:
        """Limit a group to another size; raise NotWritten."""
        assert self._groups is not None, "else there are no pods"
        try:
            await asyncio.to_thread(self._groups.group(pod.uid).limit, target)
        except OSError as error:
            raise NotWritten(f"the control group was not changed: {error}") from error
        version = pod.version + 1
        return replace(
            pod, version=version, desired=target, actual=target, allocated=target, claim=target
        )

    def link(self, pod: PodFacts, hear: Callable[[LinkEvent], None]) -> Measured:
        """Begin to measure a group."""
        assert self._groups is not None, "else there are no pods"
        return Measured(Readings(self._root, self._groups.group(pod.uid).path), hear)


@dataclass(frozen=True, slots=True)
class _Room:
    """The control group of one start; it is a pod to who sizes it while processes are in it."""

    group: cgroups.ControlGroup
    machines: Machines
    pod: base.RawObject

    @property
    def door(self) -> Path:
        return self.group.door

    def begin(self) -> None:
        self.machines.pods_sink.event(EventType.ADDED, self.pod)

    def end(self) -> None:
        self.machines.pods_sink.event(EventType.DELETED, self.pod)
        self.group.remove()


def _scaling(obj: SandboxObject) -> Scaling | None:
    try:
        metadata = base.section(dict(obj), "metadata")
        labels = base.text_map(metadata, "labels")
        return own.read(base.text_map(metadata, "annotations"), labels).scaling
    except MalformedObject:
        return None


def _node(machine: Machine) -> base.RawObject:
    """Tell of this machine as an API does of a node; raise Unmeasurable."""
    room = {"cpu": str(len(os.sched_getaffinity(0))), "memory": str(machine.memory().total)}
    return {"metadata": {"name": _NODE}, "status": {"allocatable": room}}


def _pod(identity: Identity, incarnation: str, size: Size) -> base.RawObject:
    """Tell of a group as an API does of a pod: the status of its sandbox names it."""
    amounts = {"cpu": format_cpu(size.cpu), "memory": str(size.memory)}
    told: dict[str, Any] = {"resources": {"requests": amounts}, "allocatedResources": amounts}
    return {
        "metadata": {
            "namespace": identity.namespace,
            "name": identity.name,
            "uid": incarnation,
            "resourceVersion": "1",
        },
        "spec": {
            "nodeName": _NODE,
            "containers": [{"name": _CONTAINER, "resources": {"requests": amounts}}],
        },
        "status": {
            "podIP": LOOPBACK,
            "containerStatuses": [{"name": _CONTAINER, "state": {"running": {}}} | told],
        },
    }
