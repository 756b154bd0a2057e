"""What a Sandbox is told about itself: phase, the condition Ready, address. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.local.runtime.model import (
    Command,
    Departure,
    Desired,
    Failure,
    Goal,
    Instant,
    Life,
    Listener,
    Observed,
    Phase,
    Problem,
    Reason,
    expired,
)

LOOPBACK = "127.0.0.1"

_RETRIED = frozenset({Reason.PROCESS_EXITED, Reason.START_DEADLINE_EXCEEDED})
_GOOD_NEWS = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.SUCCEEDED})
_WARNINGS = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.PORT_RESERVED,
        Reason.PORT_CONFLICT,
        Reason.PORT_IN_USE,
        Reason.START_FAILED,
        Reason.PROCESS_EXITED,
        Reason.START_DEADLINE_EXCEEDED,
    }
)


@dataclass(frozen=True, slots=True)
class Report:
    """What is said about a sandbox, before it is written as JSON."""

    phase: Phase
    reason: Reason
    message: str
    generation: int
    incarnation: str | None

    @property
    def event_type(self) -> str | None:
        """The type of the event that this report is worth, or None."""
        if self.reason in _WARNINGS:
            return "Warning"
        return "Normal" if self.phase in _GOOD_NEWS else None


def report(observed: Observed, desired: Desired, now: Instant) -> Report:
    """Say where a sandbox stands."""
    phase, reason, message = _judge(observed, desired, now)
    return Report(phase, reason, message, desired.generation, observed.incarnation)


def _judge(observed: Observed, desired: Desired, now: Instant) -> tuple[Phase, Reason, str]:
    if desired.departure in {Departure.DELETING, Departure.DELETED}:
        return Phase.TERMINATING, Reason.TERMINATING, "the sandbox is being deleted"
    if expired(desired, now):
        over = observed.life is Life.ABSENT
        phase = Phase.SUCCEEDED if over else Phase.TERMINATING
        return phase, Reason.SHUTDOWN_TIME_REACHED, "spec.shutdownTime has passed"
    if isinstance(desired.workload, Problem):
        return Phase.FAILED, desired.workload.reason, desired.workload.message
    if desired.departure is Departure.RUNTIME_STOPS:
        return _when_runtime_stops(observed, desired)
    if observed.rival is not None and observed.life is Life.ABSENT:
        return _beside_a_rival(observed.rival.label, observed.rival.leaving, desired.workload)
    if desired.goal is Goal.PAUSED:
        return _when_to_pause(observed)
    return _when_to_run(observed, desired, desired.workload)


def _when_runtime_stops(observed: Observed, desired: Desired) -> tuple[Phase, Reason, str]:
    message = "the runtime that ran this sandbox was stopped"
    if desired.goal is Goal.RUNNING:
        return Phase.PENDING, Reason.RUNTIME_STOPPED, message
    phase = Phase.PAUSED if observed.life is Life.ABSENT else Phase.PAUSING
    return phase, Reason.RUNTIME_STOPPED, message


def _beside_a_rival(label: str, leaving: bool, command: Command) -> tuple[Phase, Reason, str]:
    if leaving:
        return Phase.PENDING, Reason.PORT_RELEASING, f"{label} is giving up port {command.port}"
    return Phase.FAILED, Reason.PORT_CONFLICT, f"port {command.port} is claimed by {label}"


def _when_to_pause(observed: Observed) -> tuple[Phase, Reason, str]:
    if observed.life is Life.FROZEN:
        return Phase.PAUSED, Reason.PAUSED, "all processes are frozen"
    if observed.life is Life.ABSENT:
        return Phase.PAUSED, Reason.PAUSED, "no process is running"
    return Phase.PAUSING, Reason.PAUSING, "processes are being stopped"


def _when_to_run(
    observed: Observed, desired: Desired, command: Command
) -> tuple[Phase, Reason, str]:
    # A new spec is never reported as running while the process is still of the old one.
    if observed.life is Life.SERVING and not observed.exited and observed.command == command:
        return _serving(observed, command)
    coming = Phase.RESUMING if observed.slept else Phase.PENDING
    if observed.failure is not None and observed.failure.generation == desired.generation:
        return _after_a_failure(observed.failure, coming)
    if observed.life in {Life.TERMINATING, Life.KILLING}:
        return coming, Reason.RESTARTING, "the previous process is being ended"
    if observed.listener is Listener.FOREIGN:
        text = f"port {command.port} is answered by a process that is not this sandbox's"
        return coming, Reason.PORT_IN_USE, text
    reason = Reason.RESUMING if observed.slept else Reason.STARTING
    return coming, reason, f"waiting for port {command.port} to accept connections"


def _serving(observed: Observed, command: Command) -> tuple[Phase, Reason, str]:
    if observed.listener is Listener.UNVERIFIED:
        text = f"port {command.port} accepts connections; who listens there could not be verified"
        return Phase.RUNNING, Reason.LISTENER_UNVERIFIED, text
    return Phase.RUNNING, Reason.PORT_ACCEPTS, f"port {command.port} accepts connections"


def _after_a_failure(failure: Failure, coming: Phase) -> tuple[Phase, Reason, str]:
    if failure.retry_at is None:
        return Phase.FAILED, failure.reason, failure.message
    text = f"{failure.message}; it will be tried again"
    return (coming if failure.reason in _RETRIED else Phase.FAILED), failure.reason, text


def render(said: Report, previous: Mapping[str, Any], now: Instant) -> dict[str, Any]:
    """Write a report as `status`; a Ready that stays as it was in `previous` keeps its time.

    The address is there as long as a process is: a frozen one keeps it.
    """
    ready = "True" if said.phase is Phase.RUNNING else "False"
    status: dict[str, Any] = {
        "phase": said.phase.value,
        "observedGeneration": said.generation,
        "conditions": [
            {
                "type": "Ready",
                "status": ready,
                "reason": said.reason.value,
                "message": said.message,
                "observedGeneration": said.generation,
                "lastTransitionTime": _transition_time(previous, ready) or _rfc3339(now.wall),
            }
        ],
    }
    if said.incarnation is not None:
        status |= {"podIP": LOOPBACK, "podUID": said.incarnation}
    return status


def _transition_time(previous: Mapping[str, Any], ready: str) -> str | None:
    conditions = previous.get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        is_ready = isinstance(condition, Mapping) and condition.get("type") == "Ready"
        if is_ready and condition.get("status") == ready:
            moment = condition.get("lastTransitionTime")
            return moment if isinstance(moment, str) else None
    return None


def _rfc3339(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
