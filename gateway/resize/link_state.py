"""How it stands between one agent and one informant. Pure: what is said goes in, the next standing
and what to tell comes out.

An agent is confirmed by the answer to its registration; the informant must have asked who it is
before that. From then on the informant says whether it listens to this agent or to another one. A
call that fits no standing ends the link: a new one begins in order, where this one might be out of
step for good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.resize.messages import MoreResourcesRequest, ResumeAgent, SuspendAgent
from gateway.resize.versions import INFORMANT_V2_0, VersionRange

if TYPE_CHECKING:
    from uuid import UUID

    from gateway.resize.messages import InformantDesc
    from gateway.resize.versions import InformantVersion

#: What agents speak to informants.
SPOKEN: Final = VersionRange(INFORMANT_V2_0, INFORMANT_V2_0)


class Mode(Enum):
    """Where a link is: not confirmed yet, another agent is listened to, this one is, it is over."""

    UNCONFIRMED = "unconfirmed"
    SUSPENDED = "suspended"
    RUNNING = "running"
    ENDED = "ended"


#: Seconds until another link may fare better: soon, or only once something has been changed.
_SOON: Final = 5.0
_RARELY: Final = 300.0


class EndReason(Enum):
    """Why a link ended."""

    UNREACHABLE = "unreachable"
    """No informant could be spoken to. It may be about to start."""
    SILENT = "silent"
    """It has not answered for too long."""
    FORGOTTEN = "forgotten"
    """It does not know this agent any more: it has restarted."""
    OUT_OF_STEP = "out_of_step"
    """It said what does not fit to what was said before."""
    INCOMPATIBLE = "incompatible"
    """It chose a version of the protocol that agents do not speak."""
    REFUSED = "refused"
    """It does not take this agent, since it speaks other versions or cannot reach it."""
    FORBIDDEN = "forbidden"
    """Its address is none that may be called."""
    IMPROPER = "improper"
    """What is there is no informant, or one that does not keep to the protocol."""


_LASTING: Final = frozenset(
    {EndReason.INCOMPATIBLE, EndReason.REFUSED, EndReason.FORBIDDEN, EndReason.IMPROPER}
)


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """How a link ended. `why` is for operators; it may quote the guest, in plain characters."""

    reason: EndReason
    why: str

    @property
    def retry_after(self) -> float:
        """Seconds after which another link may fare better."""
        return _RARELY if self.reason in _LASTING else _SOON


# ---- what is told to who owns a link ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    """The informant listens to this agent from now on."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """The informant listens to another agent from now on."""


@dataclass(frozen=True, slots=True)
class UpscaleWanted:
    """The guest needs more of one kind or both at once."""

    cpu: bool
    memory: bool


LinkEvent: TypeAlias = Running | Suspended | UpscaleWanted


# ---- standing ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a link is. `id_asked`: the informant has asked who the agent is.

    `version` and `metrics_port` are known from the registration on.
    """

    mode: Mode = Mode.UNCONFIRMED
    id_asked: bool = False
    version: InformantVersion | None = None
    metrics_port: int | None = None


Said: TypeAlias = SuspendAgent | ResumeAgent | MoreResourcesRequest | None
"""What an informant says to its agent; None: it asks who the agent is."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What becomes of a call: its status, what is to be told, and whether it ends the link."""

    standing: Standing
    status: int
    event: LinkEvent | None = None
    end: LinkEnd | None = None


def hear(standing: Standing, said: Said, agent: UUID) -> Heard:
    """Take a call of the informant's."""
    if standing.mode is Mode.ENDED:
        return Heard(standing, 404)
    if said is None:
        return Heard(replace(standing, id_asked=True), 200)
    if said.expected_id != agent:
        return Heard(standing, 404)
    if standing.mode is Mode.UNCONFIRMED:
        return _slip(standing, "called before it had taken the agent")
    match said:
        case ResumeAgent():
            return _turn(standing, Mode.RUNNING, Running())
        case SuspendAgent():
            return _turn(standing, Mode.SUSPENDED, Suspended())
        case MoreResourcesRequest():
            return _want(standing, said)


def register(standing: Standing, informant: InformantDesc) -> tuple[Standing, LinkEnd | None]:
    """Take the informant's answer to the registration; one that comes too late changes nothing."""
    if standing.mode is Mode.ENDED:
        return standing, None
    prometheus = informant.metrics_method.prometheus
    if informant.version not in SPOKEN:
        why = f"the informant chose {informant.version}, and spoken is {SPOKEN}"
        return over(standing), LinkEnd(EndReason.INCOMPATIBLE, why)
    if not standing.id_asked:
        why = "the informant did not ask who the agent is"
        return over(standing), LinkEnd(EndReason.IMPROPER, why)
    if prometheus is None:
        why = "the informant does not say where its metrics are"
        return over(standing), LinkEnd(EndReason.IMPROPER, why)
    confirmed = replace(
        standing,
        mode=Mode.SUSPENDED,
        version=informant.version,
        metrics_port=prometheus.port,
    )
    return confirmed, None


def not_registered(standing: Standing, status: int | None, why: str) -> LinkEnd:
    """Return what the failure of a registration means. `status` None: there was no answer.

    200: there was one that is none.
    """
    if status is None or status >= 500:
        return LinkEnd(EndReason.UNREACHABLE, why)
    if status == 409 or (status == 400 and standing.id_asked):
        return LinkEnd(EndReason.OUT_OF_STEP, why)
    if status == 400:
        return LinkEnd(EndReason.REFUSED, f"spoken is {SPOKEN}; {why}")
    return LinkEnd(EndReason.IMPROPER, why)


def over(standing: Standing) -> Standing:
    """Return the standing from which there is no way."""
    return replace(standing, mode=Mode.ENDED)


def _turn(standing: Standing, mode: Mode, event: LinkEvent) -> Heard:
    if standing.mode is mode:
        return _slip(standing, f"said twice that the agent is {mode.value}")
    return Heard(replace(standing, mode=mode), 200, event)


def _slip(standing: Standing, what: str) -> Heard:
    slip = LinkEnd(EndReason.OUT_OF_STEP, f"the informant {what}")
    return Heard(over(standing), 400, end=slip)


def _want(standing: Standing, said: MoreResourcesRequest) -> Heard:
    assert standing.version is not None, "it is confirmed"
    if standing.mode is not Mode.RUNNING or not standing.version.has_try_upscale:
        return Heard(standing, 400)
    wanted = UpscaleWanted(said.cpu, said.memory) if said.cpu or said.memory else None
    return Heard(standing, 200, wanted)
