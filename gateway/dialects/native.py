"""The native API, `sandbox-gateway.dev/v1alpha1` Sandbox: a contract for any controller."""

from __future__ import annotations

from typing import Final

from gateway.dialects import base, own
from gateway.sandbox import states
from gateway.sandbox.model import Problem, Route
from gateway.sandbox.texts import parse_duration

NAME: Final = "native"
RESOURCE: Final = base.Resource("sandbox-gateway.dev", "v1alpha1", "sandboxes", "Sandbox")

RUNNING: Final = "Running"
PAUSED: Final = "Paused"


class Native:
    """Judges native Sandboxes."""

    name = NAME
    resource = RESOURCE

    def __init__(self, *, local: bool = False) -> None:
        """With `local`, sandboxes are processes that share one loopback address.

        Then only the port that a process declares may be reached: any other may be a neighbour's.
        """
        self._local = local

    def route(self, raw: base.RawObject) -> Route:
        """Judge an object; raise MalformedObject where it cannot be judged."""
        key, uid = base.identity(raw, NAME)
        seen = _observe(raw)
        judged = states.judge(seen)
        ours = own.read(raw)
        opted_in, timeout, problems = _wake_rule(raw)
        pod_uid = base.text(base.section(raw, "status"), "podUID", "status")
        return Route(
            key=key,
            uid=uid,
            id=base.sandbox_id(raw, key, base.ID_LABEL),
            version=base.version_of(raw),
            state=judged.state,
            reason=judged.reason,
            incarnation=base.incarnation(raw, uid, pod_uid, seen.address),
            address=base.address_when_running(judged.state, seen.address),
            ports=base.narrowest(self._ports(raw), ours.ports),
            expires_at=seen.expires_at,
            wake=ours.wake_policy(opted_in, timeout),
            credential=ours.credential,
            problems=ours.problems + problems,
        )

    def check_resumable(self, raw: base.RawObject, now: float) -> None:
        """Return if the object may be woken at `now`; raise the NotResumable that says why not."""
        states.check_resumable(_observe(raw), now)

    def wake_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for Running, or None if that is asked for already."""
        return {"spec": {"desiredState": RUNNING}} if _wants_pause(raw) else None

    def standby_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for Paused, or None if that is asked for already."""
        return None if _wants_pause(raw) else {"spec": {"desiredState": PAUSED}}

    def _ports(self, raw: base.RawObject) -> frozenset[int] | None:
        spec = base.section(raw, "spec")
        declared = base.port_set(spec.get("ports"), "spec.ports")
        if not self._local:
            return declared
        own = base.section(raw, "spec", "process").get("port")
        only = base.port_set([] if own is None else [own], "spec.process.port")
        return base.narrowest(only or frozenset(), declared)


def _observe(raw: base.RawObject) -> states.Observed:
    spec, status = base.section(raw, "spec"), base.section(raw, "status")
    return states.Observed(
        phase=base.text(status, "phase", "status") or "",
        wants_pause=_wants_pause(raw),
        deleting=base.is_deleting(raw),
        expires_at=base.timestamp(spec, "shutdownTime", "spec"),
        ready=base.condition_is_true(raw, "Ready"),
        address=base.ip_address(base.text(status, "podIP", "status"), "status.podIP"),
    )


def _wants_pause(raw: base.RawObject) -> bool:
    return base.text(base.section(raw, "spec"), "desiredState", "spec") == PAUSED


def _wake_rule(raw: base.RawObject) -> tuple[bool | None, float | None, tuple[Problem, ...]]:
    spec = base.section(raw, "spec")
    if spec.get("wakeOnTraffic") is None:
        return None, None, ()
    rule = base.section(raw, "spec", "wakeOnTraffic")
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
