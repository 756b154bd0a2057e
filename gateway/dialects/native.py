"""The native API, `sandbox-gateway.dev/v1alpha1` Sandbox: a contract for any controller."""

from __future__ import annotations

from typing import Final

from gateway.dialects import base, own
from gateway.sandbox import states
from gateway.sandbox.model import Problem, Route
from gateway.sandbox.standby import DISABLED, PolicyError, StandbyPolicy, read_policy
from gateway.sandbox.texts import parse_duration

NAME: Final = "native"
RESOURCE: Final = base.Resource("sandbox-gateway.dev", "v1alpha1", "sandboxes", "Sandbox")

RUNNING: Final = "Running"
PAUSED: Final = "Paused"


class Native:
    """Judges native Sandboxes."""

    name = NAME
    resource = RESOURCE
    required_labels = base.NO_LABELS
    by_service = False

    def __init__(self, *, local: bool = False) -> None:
        """With `local`, sandboxes are processes that share one loopback address.

        Then only the port that a process declares may be reached: any other may be a neighbour's.
        """
        self._local = local

    def route(self, raw: base.RawObject) -> Route:
        """Judge an object; raise MalformedObject where it cannot be judged."""
        metadata, spec, status = sections = base.sections(raw)
        key, uid = base.identity_in(metadata, NAME)
        seen = _observe(sections)
        judged = states.judge(seen)
        labels = base.text_map(metadata, "labels")
        ours = own.read(base.text_map(metadata, "annotations"), labels)
        opted_in, timeout, problems = _wake_rule(spec)
        standby, unclear = _standby(spec)
        pod_uid = base.text(status, "podUID", "status")
        return Route(
            key=key,
            uid=uid,
            id=base.sandbox_id(labels, key, base.ID_LABEL),
            version=base.version_in(metadata),
            state=judged.state,
            reason=judged.reason,
            incarnation=base.incarnation(status, uid, pod_uid, seen.address),
            address=base.address_when_running(judged.state, seen.address),
            ports=base.narrowest(self._ports(spec), ours.ports),
            expires_at=seen.expires_at,
            wake=ours.wake_policy(opted_in, timeout),
            credential=ours.credential,
            problems=ours.problems + problems + unclear,
            tls=ours.tls,
            idle=ours.idle_rules(standby),
            node=base.node_when_running(judged.state, status, "status"),
            scaling=ours.scaling,
        )

    def check_resumable(self, raw: base.RawObject, now: float) -> None:
        """Return if the object may be woken at `now`; raise the NotResumable that says why not."""
        states.check_resumable(_observe(base.sections(raw)), now)

    def wake_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for Running, or None if that is asked for already."""
        wants_pause = _wants_pause(base.section(raw, "spec"))
        return {"spec": {"desiredState": RUNNING}} if wants_pause else None

    def standby_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for Paused, or None if that is asked for already."""
        wants_pause = _wants_pause(base.section(raw, "spec"))
        return None if wants_pause else {"spec": {"desiredState": PAUSED}}

    def postpone_patch(self, raw: base.RawObject, now: float) -> None:
        """Return None: no sandbox has a clock of its own that would pause it."""

    def _ports(self, spec: base.RawObject) -> frozenset[int] | None:
        declared = base.port_set(spec.get("ports"), "spec.ports")
        if not self._local:
            return declared
        own = base.mapping(spec.get("process"), "spec.process").get("port")
        only = base.port_set([] if own is None else [own], "spec.process.port")
        return base.narrowest(only or frozenset(), declared)


def _observe(sections: base.Sections) -> states.Observed:
    metadata, spec, status = sections
    return states.Observed(
        phase=base.text(status, "phase", "status") or "",
        wants_pause=_wants_pause(spec),
        deleting=base.is_deleting(metadata),
        expires_at=base.timestamp(spec, "shutdownTime", "spec"),
        ready=base.condition_is_true(status, "Ready"),
        address=base.ip_address(base.text(status, "podIP", "status"), "status.podIP"),
    )


def _wants_pause(spec: base.RawObject) -> bool:
    return base.text(spec, "desiredState", "spec") == PAUSED


def _wake_rule(spec: base.RawObject) -> tuple[bool | None, float | None, tuple[Problem, ...]]:
    if spec.get("wakeOnTraffic") is None:
        return None, None, ()
    rule = base.mapping(spec["wakeOnTraffic"], "spec.wakeOnTraffic")
    enabled = base.flag(rule, "enabled", "spec.wakeOnTraffic")
    timeout = base.text(rule, "timeout", "spec.wakeOnTraffic")
    if timeout is None:
        return enabled, None, ()
    try:
        seconds = parse_duration(timeout)
    except ValueError:
        seconds = 0.0
    if seconds > 0:
        return enabled, seconds, ()
    problem = Problem("spec.wakeOnTraffic.timeout", "is not a duration over 0; the default is used")
    return enabled, None, (problem,)


def _standby(spec: base.RawObject) -> tuple[StandbyPolicy | None, tuple[Problem, ...]]:
    """Return the object's own policy, if any, and what is wrong with it."""
    if spec.get("standby") is None:
        return None, ()
    try:
        return read_policy(base.mapping(spec["standby"], "spec.standby")), ()
    except PolicyError as error:
        return DISABLED, (Problem("spec.standby", f"{error}; it is not put to sleep"),)
