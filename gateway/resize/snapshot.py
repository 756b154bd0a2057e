"""How a sandbox stands as to its size, for people and programs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from gateway.resize.state import Phase
from gateway.sandbox.texts import plain

if TYPE_CHECKING:
    from gateway.cluster.pod_facts import Obstacle
    from gateway.resize.agent import Agent
    from gateway.resize.amounts import Resources
    from gateway.sandbox.model import Route
    from gateway.sandbox.scaling import Scaling


class Status(Enum):
    """How it stands.

    `UNSUPPORTED`: nothing is sized here. `DISABLED`: its object does not ask for it.
    `ELSEWHERE`: another replica may size it, and knows. `PREPARING`: it is not sized yet.
    `NO_POD`: none is known to be its own. `OBSTACLE`: its pod cannot be resized in place.
    `FROZEN`: its size is not touched now. `UNINFORMED`: no informant speaks for it, so that it is
    not shrunk. `LIMITED`: it does not have what it needs, and something is in the way of that.
    `SIZED`: all is well.
    """

    UNSUPPORTED = "unsupported"
    DISABLED = "disabled"
    ELSEWHERE = "elsewhere"
    PREPARING = "preparing"
    NO_POD = "no_pod"
    OBSTACLE = "obstacle"
    FROZEN = "frozen"
    UNINFORMED = "uninformed"
    LIMITED = "limited"
    SIZED = "sized"


#: How those stand that have an agent.
ACTIVE: Final = (Status.FROZEN, Status.UNINFORMED, Status.LIMITED, Status.SIZED)


@dataclass(frozen=True, slots=True)
class ResizeSnapshot:
    """How a sandbox's size stands. Sizes are as authors write them; None: not known, or none."""

    status: Status
    reason: str = ""
    scaling: Scaling | None = None
    actual: dict[str, str] | None = None
    desired: dict[str, str] | None = None
    wanted: dict[str, str] | None = None
    permitted: dict[str, str] | None = None
    approved: dict[str, str] | None = None
    load1: float | None = None
    load5: float | None = None
    memory_in_use: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as values for JSON."""
        return {
            "status": self.status.value,
            "reason": self.reason or None,
            "scaling": None if self.scaling is None else self.scaling.as_json(),
            "actual": self.actual,
            "desired": self.desired,
            "wanted": self.wanted,
            "permitted": self.permitted,
            "approved": self.approved,
            "load_1m": self.load1,
            "load_5m": self.load5,
            "memory_in_use_bytes": self.memory_in_use,
        }


def unsized(route: Route, status: Status, reason: str = "") -> ResizeSnapshot:
    """Tell of a sandbox that has no agent here."""
    if status is not Status.UNSUPPORTED and route.scaling is None:
        status, reason = Status.DISABLED, ""
    return ResizeSnapshot(status, reason, route.scaling)


def obstructed(route: Route, obstacle: Obstacle) -> ResizeSnapshot:
    """Tell of a sandbox whose pod cannot be resized in place."""
    return unsized(route, Status.OBSTACLE, obstacle.value)


def sized(route: Route, agent: Agent) -> ResizeSnapshot:
    """Tell of a sandbox that has an agent."""
    state, slot = agent.state, agent.slot
    status, reason = standing(agent)

    def shown(resources: Resources | None) -> dict[str, str] | None:
        return None if resources is None else resources.size(slot).as_json()

    metrics = state.metrics
    return ResizeSnapshot(
        status=status,
        reason=reason,
        scaling=route.scaling,
        actual=(agent.pod.actual or agent.pod.desired or state.using.size(slot)).as_json(),
        desired=None if agent.pod.desired is None else agent.pod.desired.as_json(),
        wanted=shown(state.using if status is Status.FROZEN else agent.needed),
        permitted=shown(state.permit.granted),
        approved=shown(state.guest.approved),
        load1=None if metrics is None else metrics.load1,
        load5=None if metrics is None else metrics.load5,
        memory_in_use=None if metrics is None else round(metrics.memory * slot),
    )


def standing(agent: Agent) -> tuple[Status, str]:
    """Return how a sandbox stands that has an agent, and why."""
    state = agent.state
    if state.migrating:
        return Status.FROZEN, "its node is to be emptied"
    if state.phase is Phase.CHANGING:
        return Status.FROZEN, "it is between two states"
    if state.phase in (Phase.ASLEEP, Phase.WAKING):
        return Status.FROZEN, "it is paused in its pod, or on its way back"
    if state.guest.elsewhere:
        return Status.FROZEN, "its informant listens to another agent"
    if state.guest.approved is None:
        return Status.UNINFORMED, agent.trouble or "its informant has not answered yet"
    hindrance = _hindrance(agent)
    return (Status.LIMITED, hindrance) if hindrance else (Status.SIZED, "")


def _hindrance(agent: Agent) -> str:
    """Return what is in the way of what a sandbox needs; "": nothing, as far as is known."""
    state, needed = agent.state, agent.needed
    if needed == state.using:
        return ""
    if agent.pod.pending_message:
        return f"its node says: {plain(agent.pod.pending_message)}"
    if agent.is_denied:
        return agent.hindrance
    granted = state.permit.granted
    if granted is not None and needed.max(state.using).exceeds(granted):
        return agent.shortage
    return ""
