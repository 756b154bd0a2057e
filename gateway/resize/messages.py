"""What agents, informants and who permits say to each other, as JSON.

The names are those of the protocols, which other programs speak too. A field that nobody knows is
passed over between agent and informant, so that either may be newer; a request for a permit must
be understood as a whole.
"""

from __future__ import annotations

from typing import Annotated, Final, Generic, TypeVar
from uuid import UUID  # noqa: TC003 - pydantic reads it when it runs

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel

from gateway.resize.versions import InformantVersion, PluginVersion, VersionRange
from gateway.sandbox.quantities import (
    MILLI,
    format_cpu,
    format_memory,
    parse_cpu,
    parse_memory,
)

#: Bytes of a message. None that makes sense has a tenth of that.
MAX_MESSAGE: Final = 16 * 1024

#: More than any machine has.
_MOST_MILLI: Final = 2**32 - 1
_MOST_BYTES: Final = 2**63 - 1


class Unreadable(ValueError):
    """What came is no such message."""


def _milli_read(value: object, info: ValidationInfo) -> object:
    """Read milli-CPUs as JSON has them: a number of CPUs, or a quantity."""
    readable = isinstance(value, str | int | float) and not isinstance(value, bool)
    return parse_cpu(str(value)) if readable and info.mode == "json" else value


def _milli_written(milli: int) -> int | str:
    return format_cpu(milli) if milli % MILLI else milli // MILLI


def _bytes_read(value: object) -> object:
    return parse_memory(value) if isinstance(value, str) else value


#: Milli-CPUs: on the wire a whole number of CPUs, else `"250m"`.
MilliCpu = Annotated[
    int,
    BeforeValidator(_milli_read),
    Field(ge=0, le=_MOST_MILLI),
    PlainSerializer(_milli_written, when_used="json"),
]
#: Milli-CPUs: on the wire a quantity, which is a text.
CpuQuantity = Annotated[
    int,
    BeforeValidator(_milli_read),
    Field(ge=0, le=_MOST_MILLI),
    PlainSerializer(format_cpu, when_used="json"),
]
#: Bytes: on the wire a quantity.
MemoryQuantity = Annotated[
    int,
    BeforeValidator(_bytes_read),
    Field(ge=0, le=_MOST_BYTES),
    PlainSerializer(format_memory, when_used="json"),
]
_Version = Annotated[int, Field(ge=0, le=2**32 - 1)]
_InformantVersion = Annotated[_Version, AfterValidator(InformantVersion)]
_PluginVersion = Annotated[_Version, AfterValidator(PluginVersion)]
_Port = Annotated[int, Field(ge=1, le=65535)]


#: Names on the wire that are not ours in camel case.
_WIRE_NAMES: Final = {
    "agent_id": "agentID",
    "expected_id": "expectedID",
    "serve_addr": "agentServeAddr",
    "ok": "Ok",
    "status": "Status",
    "vcpus": "vCPUs",
    "load1": "loadAvg1M",
    "load5": "loadAvg5M",
    "unit": "resourceUnit",
}


def _wire_name(name: str) -> str:
    return _WIRE_NAMES.get(name) or to_camel(name)


class Message(BaseModel):
    """What is said; on the wire names are in camel case, but for some."""

    model_config = ConfigDict(
        frozen=True, strict=True, alias_generator=_wire_name, populate_by_name=True
    )

    def encode(self) -> bytes:
        """Return it as JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


MessageT = TypeVar("MessageT", bound=Message)
DataT = TypeVar("DataT", bound=Message)


def decode(data: bytes, kind: type[MessageT]) -> MessageT:
    """Read a message; raise Unreadable."""
    try:
        return kind.model_validate_json(data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise Unreadable(_complaint(error)) from error


def _complaint(error: ValidationError) -> str:
    """Say where a message is wrong, and never what it holds."""
    places = {_place(one["loc"], one["type"]) for one in error.errors(include_input=False)}
    return f"the message cannot be read: {', '.join(sorted(places))}"


def _place(path: tuple[int | str, ...], fault: str) -> str:
    """Return the path of a field; one that is not known may be named anything."""
    named = path[:-1] if fault == "extra_forbidden" else path
    place = ".".join(map(str, named)) or "body"
    return place if named is path else f"{place} has fields that are not known"


# ---- agent and informant ----------------------------------------------------------------------


class AgentDesc(Message):
    """An agent presents itself: POST /register, and DELETE /unregister."""

    agent_id: UUID
    serve_addr: Annotated[str, Field(min_length=1, max_length=512)]
    min_proto_version: _InformantVersion
    max_proto_version: _InformantVersion

    @property
    def protocols(self) -> VersionRange[InformantVersion]:
        """The versions that it speaks."""
        return VersionRange(
            InformantVersion(self.min_proto_version), InformantVersion(self.max_proto_version)
        )


class Prometheus(Message):
    """The port on which metrics are served as Prometheus takes them, under /metrics."""

    port: _Port


class MetricsMethod(Message):
    """How an informant's metrics are to be had; at least one way is given."""

    prometheus: Prometheus | None = None


class InformantDesc(Message):
    """The informant's answer to /register."""

    proto_version: _InformantVersion
    metrics_method: MetricsMethod

    @property
    def version(self) -> InformantVersion:
        """The version that it has chosen."""
        return InformantVersion(self.proto_version)


class AgentIdentification(Message):
    """Which agent speaks."""

    agent_id: UUID


class AgentMessage(Message, Generic[DataT]):
    """Almost all that an agent says: with a number that grows with each, from 1 on."""

    data: DataT
    sequence_number: Annotated[int, Field(ge=1, le=2**64 - 1)]


class RawResources(Message):
    """Amounts without slots, which a guest does not know: before V2.0 by themselves."""

    cpu: CpuQuantity
    memory: MemoryQuantity


class ResourceMessage(RawResources):
    """What a sandbox is to have, or has now: PUT /downscale and /upscale."""

    id: AgentIdentification


class DownscaleResult(Message):
    """Whether the guest agrees to have less, and why."""

    ok: bool
    status: str


class MoreResources(Message):
    """What a guest needs more of at once."""

    cpu: bool
    memory: bool


class MoreResourcesRequest(MoreResources):
    """The same, to the agent that is meant: POST /try-upscale."""

    expected_id: UUID


class SuspendAgent(Message):
    """Another agent is listened to from now on: POST /suspend."""

    expected_id: UUID


class ResumeAgent(Message):
    """This agent is listened to from now on: POST /resume."""

    expected_id: UUID


class UnregisterAgent(Message):
    """The informant's answer to /unregister: whether it listened to that agent."""

    was_active: bool


class HealthCheck(Message):
    """The informant's answer to /health-check."""


#: An agent's answers to its informant all say who it is.
IdentificationMessage = AgentMessage[AgentIdentification]
SizeMessage = AgentMessage[ResourceMessage]


# ---- agent and who permits --------------------------------------------------------------------


class _Strict(Message):
    model_config = ConfigDict(extra="forbid")


class PodName(_Strict):
    """A pod."""

    namespace: str
    name: str


class ResourceAmounts(_Strict):
    """Milli-CPUs and slots of memory."""

    vcpus: MilliCpu
    mem: Annotated[int, Field(ge=0, le=2**16 - 1)]


class LoadMetrics(_Strict):
    """How much a sandbox has to do."""

    load1: float = Field(ge=0, allow_inf_nan=False)
    load5: float = Field(ge=0, allow_inf_nan=False)


class AgentRequest(_Strict):
    """An agent asks for the right to a size, or tells that it has one."""

    proto_version: _PluginVersion
    pod: PodName
    resources: ResourceAmounts
    metrics: LoadMetrics | None = None

    @property
    def version(self) -> PluginVersion:
        """The version of the protocol that the agent expects."""
        return PluginVersion(self.proto_version)


class Migrate(Message):
    """The sandbox is to leave its node: its size is not to be changed any more."""


class PluginResponse(Message):
    """What is permitted, and the unit in which the answering side reckons."""

    permit: ResourceAmounts
    migrate: Migrate | None = None
    unit: ResourceAmounts
