"""Kubernetes SIG Apps' agent-sandbox, `agents.x-k8s.io` Sandbox, in both of its versions.

The versions are two forms of the same objects: v1beta1 has a mode, v1alpha1 a count of replicas
that is 0 or 1. Which of them an object was read in, it says itself.

There is no phase: what the platform has done is told by conditions. One that was written before
the latest change of the spec tells of the life before, and is not believed.

Controllers of three ages are out there. The youngest always tell Suspended; older ones only while
that is wanted, and leave it as it was afterwards; the oldest never do, and call a sandbox whose pod
is gone as was wanted Ready. Before those no status had addresses: such a sandbox is waited for in
vain, and is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.dialects import base, own
from gateway.sandbox import states
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.model import Problem, Route

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = "agent-sandbox"
RESOURCE: Final = base.Resource(
    "agents.x-k8s.io", "v1beta1", "sandboxes", "Sandbox", older=("v1alpha1",)
)

#: On a sandbox that belongs to a warm pool, whatever its value.
POOL_LABEL: Final = "agents.x-k8s.io/warm-pool-sandbox"


class _Intent(NamedTuple):
    """The field of the spec that says what is wanted; where it is missing, running is."""

    field: str
    running: str | int
    suspended: str | int


_INTENTS: Final[Mapping[str, _Intent]] = {
    "agents.x-k8s.io/v1beta1": _Intent("operatingMode", "Running", "Suspended"),
    "agents.x-k8s.io/v1alpha1": _Intent("replicas", 1, 0),
}

#: Reasons of a Ready condition after which nothing comes, as phases.
_FINAL_REASONS: Final[Mapping[str, str]] = {
    "PodSucceeded": "Succeeded",
    "PodFailed": "Failed",
    "SandboxExpired": "Terminating",
}


#: Status and reason of a Ready condition that say so where there is no Suspended condition.
_SUSPENDED_BY_READY: Final = frozenset(
    {("True", "DependenciesReady"), ("False", "SandboxSuspended")}
)


class AgentSandbox:
    """Judges agent-sandbox Sandboxes."""

    name = NAME
    resource = RESOURCE
    required_labels = base.NO_LABELS
    by_service = False

    def route(self, raw: base.RawObject) -> Route:
        """Judge an object; raise MalformedObject where it cannot be judged."""
        metadata, _, status = base.sections(raw)
        key, uid = base.identity_in(metadata, NAME)
        seen = _observe(raw)
        judged = states.judge(seen)
        labels = base.text_map(metadata, "labels")
        ours = own.read(base.text_map(metadata, "annotations"), labels)
        return Route(
            key=key,
            uid=uid,
            id=base.sandbox_id(labels, key, base.ID_LABEL),
            version=base.version_in(metadata),
            state=judged.state,
            reason=judged.reason,
            incarnation=base.incarnation(status, uid, None, seen.address),
            address=base.address_when_running(judged.state, seen.address),
            ports=ours.ports,
            expires_at=seen.expires_at,
            wake=ours.wake_policy(None),
            credential=ours.credential,
            problems=ours.problems + _missing_address(seen),
            tls=ours.tls,
            idle=ours.idle_rules(),
            node=base.node_when_running(judged.state, status, "status"),
            scaling=ours.scaling,
        )

    def check_resumable(self, raw: base.RawObject, now: float) -> None:
        """Return if the object may be woken at `now`; raise the NotResumable that says why not."""
        states.check_resumable(_observe(raw), now)

    def wake_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for Running, or None if that is asked for already."""
        intent = _intent(raw)
        return {"spec": {intent.field: intent.running}} if _wants_pause(raw) else None

    def standby_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for Suspended, or None if that is asked for already."""
        intent = _intent(raw)
        return None if _wants_pause(raw) else {"spec": {intent.field: intent.suspended}}

    def postpone_patch(self, raw: base.RawObject, now: float) -> None:
        """Return None: no sandbox has a clock of its own that would suspend it."""


def _observe(raw: base.RawObject) -> states.Observed:
    metadata, spec, status = base.sections(raw)
    ready = _current_condition(metadata, status, "Ready")
    wants_pause = _wants_pause(raw)
    address = _address(status)
    asleep = wants_pause and _is_suspended(metadata, status, ready, address)
    return states.Observed(
        phase=_phase(ready, asleep=asleep),
        wants_pause=wants_pause,
        deleting=base.is_deleting(metadata),
        expires_at=base.timestamp(spec, "shutdownTime", "spec"),
        pool_member=POOL_LABEL in base.text_map(metadata, "labels"),
        ready=ready.get("status") == "True",
        address=address,
    )


def _missing_address(seen: states.Observed) -> tuple[Problem, ...]:
    """Return what is wrong with a sandbox that nobody can reach although it is ready."""
    if seen.ready and seen.phase == "Running" and not seen.wants_pause and seen.address is None:
        return (Problem("status.podIPs", "is missing though it is ready; waited for"),)
    return ()


def _phase(ready: base.RawObject, *, asleep: bool) -> str:
    """Return the phase that the conditions amount to."""
    reason = ready.get("reason")
    if isinstance(reason, str) and reason in _FINAL_REASONS:
        return _FINAL_REASONS[reason]
    return "Paused" if asleep else "Running"


def _is_suspended(
    metadata: base.RawObject, status: base.RawObject, ready: base.RawObject, address: str | None
) -> bool:
    """Return whether the platform says that a sandbox which is to sleep does.

    Where Suspended was never told, Ready tells of its generation that what was wanted is so; an
    address would be that of a pod which is still there.
    """
    if base.condition(status, "Suspended") is not None:
        suspended = _current_condition(metadata, status, "Suspended")
        return suspended.get("status") == "True"
    told = (ready.get("status"), ready.get("reason"))
    return address is None and told in _SUSPENDED_BY_READY


def _current_condition(
    metadata: base.RawObject, status: base.RawObject, kind: str
) -> base.RawObject:
    """Return a condition that knows of the latest change of the spec; an empty one for none."""
    found = base.condition(status, kind) or {}
    generation, observed = metadata.get("generation"), found.get("observedGeneration")
    if not (isinstance(generation, int) and isinstance(observed, int)):
        return {}
    return found if observed >= generation else {}


def _address(status: base.RawObject) -> str | None:
    addresses = status.get("podIPs")
    if addresses is None or addresses == []:
        return None
    if not isinstance(addresses, list) or not isinstance(addresses[0], str):
        raise MalformedObject("status.podIPs", "is not a list of addresses")
    return base.ip_address(addresses[0], "status.podIPs")


def _wants_pause(raw: base.RawObject) -> bool:
    intent = _intent(raw)
    wanted = base.section(raw, "spec").get(intent.field)
    if wanted is None:
        return False
    if type(wanted) is not type(intent.running):  # a boolean is no count
        raise MalformedObject(f"spec.{intent.field}", "is of another type")
    return bool(wanted == intent.suspended)


def _intent(raw: base.RawObject) -> _Intent:
    version = base.mapping(raw, "object").get("apiVersion")
    intent = _INTENTS.get(version) if isinstance(version, str) else None
    if intent is None:
        raise MalformedObject("apiVersion", "is no version that this gateway knows")
    return intent
