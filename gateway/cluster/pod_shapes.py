"""The parts of pods and nodes that are read, as the API names them. Pure.

They are many, and so is what may be wrong with each: all of it is looked at in one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, field

from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.quantities import parse_cpu, parse_memory
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Callable

Text = Annotated[str, Meta(min_length=1)]


class Shape(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What is null counts as missing; what is not named here is passed over."""


class Amounts(Shape, frozen=True, gc=False):
    """Quantities of what is counted here."""

    cpu: str | None = None
    memory: str | None = None

    @property
    def milli(self) -> int | None:
        """Milli-CPUs; raise MalformedObject."""
        return _amount(self.cpu, parse_cpu)

    @property
    def bytes(self) -> int | None:
        """Bytes of memory; raise MalformedObject."""
        return _amount(self.memory, parse_memory)

    @property
    def size(self) -> Size:
        """Both; what is missing is nothing. Raise MalformedObject."""
        return Size(self.milli or 0, self.bytes or 0)

    @property
    def size_if_both(self) -> Size | None:
        """Both, if there are both; raise MalformedObject."""
        return None if self.cpu is None or self.memory is None else self.size


def _amount(value: str | None, parse: Callable[[str], int]) -> int | None:
    try:
        return None if value is None else parse(value)
    except ValueError as error:
        raise MalformedObject("resources", "an amount is no quantity") from error


NO_AMOUNTS = Amounts()


class Resources(Shape, frozen=True, gc=False):
    requests: Amounts | None = None
    limits: Amounts | None = None


class ResizePolicy(Shape, frozen=True, gc=False):
    restart_policy: str | None = None


class Container(Shape, frozen=True, gc=False):
    name: Text
    resources: Resources | None = None
    resize_policy: list[ResizePolicy] | None = None
    restart_policy: str | None = None

    @property
    def requests(self) -> Amounts:
        return (self.resources and self.resources.requests) or NO_AMOUNTS

    @property
    def limits(self) -> Amounts:
        return (self.resources and self.resources.limits) or NO_AMOUNTS


class Os(Shape, frozen=True, gc=False):
    name: str | None = None


class PodSpec(Shape, frozen=True, gc=False):
    node_name: Text | None = None
    host_network: bool | None = None
    os: Os | None = None
    overhead: Amounts | None = None
    #: Of the pod as a whole.
    resources: Resources | None = None
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None


class ContainerState(Shape, frozen=True, gc=False):
    running: dict[str, Any] | None = None


class ContainerStatus(Shape, frozen=True, gc=False):
    name: Text
    state: ContainerState | None = None
    resources: Resources | None = None
    allocated_resources: Amounts | None = None

    @property
    def actual(self) -> Amounts:
        return (self.resources and self.resources.requests) or NO_AMOUNTS

    @property
    def allocated(self) -> Amounts:
        return self.allocated_resources or NO_AMOUNTS


class Condition(Shape, frozen=True, gc=False):
    type: str
    status: str | None = None
    reason: str | None = None
    message: str | None = None
    observed_generation: int | None = None


class PodAddress(Shape, frozen=True, gc=False):
    ip: str | None = None


class PodStatus(Shape, frozen=True, gc=False):
    phase: str | None = None
    pod_ip: str | None = field(default=None, name="podIP")
    pod_ips: list[PodAddress] | None = field(default=None, name="podIPs")
    conditions: list[Condition] | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    #: What kubelets before 1.33 say in place of conditions.
    resize: str | None = None
    #: Of the pod as a whole.
    resources: Resources | None = None
    allocated_resources: Amounts | None = None
    node_allocatable_resource_claim_statuses: list[Any] | None = None


class Owner(Shape, frozen=True, gc=False):
    uid: Text


class PodMetadata(Shape, frozen=True, gc=False):
    namespace: Text
    name: Text
    uid: Text
    resource_version: str
    generation: int | None = None
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None


class Pod(Shape, frozen=True, gc=False):
    metadata: PodMetadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Taint(Shape, frozen=True, gc=False):
    key: str


class NodeSpec(Shape, frozen=True, gc=False):
    unschedulable: bool | None = None
    taints: list[Taint] | None = None


class NodeStatus(Shape, frozen=True, gc=False):
    allocatable: Amounts | None = None


class NodeMetadata(Shape, frozen=True, gc=False):
    name: Text


class Node(Shape, frozen=True, gc=False):
    metadata: NodeMetadata
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


ShapeT = TypeVar("ShapeT", bound=Shape)


def shaped(raw: object, shape: type[ShapeT]) -> ShapeT:
    """Return a raw object in its shape; raise MalformedObject."""
    try:
        return msgspec.convert(raw, shape)
    except msgspec.ValidationError as error:
        # Its text tells where and of what type, never what.
        raise MalformedObject(shape.__name__.lower(), str(error)) from error
