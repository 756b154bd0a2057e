"""OpenKruise agents, `agents.kruise.io/v1alpha1` Sandbox."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from gateway.dialects import base, own
from gateway.sandbox import states
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.model import Credential, Problem, Route
from gateway.sandbox.texts import format_time, parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = "kruise"
RESOURCE: Final = base.Resource("agents.kruise.io", "v1alpha1", "sandboxes", "Sandbox")

ID_LABEL: Final = "agents.kruise.io/sandbox-id"
CLAIMED_LABEL: Final = "agents.kruise.io/sandbox-claimed"
WAKE_ON_TRAFFIC: Final = "agents.kruise.io/wake-on-traffic"
WAKE_TIMEOUT_SECONDS: Final = "agents.kruise.io/wake-timeout-seconds"
ACCESS_TOKEN: Final = "agents.kruise.io/runtime-access-token"  # noqa: S105 - an annotation's name
LEGACY_ACCESS_TOKEN: Final = "e2b.agents.kruise.io/envd-access-token"  # noqa: S105

JWT_AUTH: Final = "security.agents.kruise.io/enable-jwt-auth"

#: A renewed pauseTime is at least this far ahead, whatever the rule says: seconds.
MIN_PAUSE_AHEAD: Final = 300.0
#: While a sandbox is used its pauseTime is left alone as long as this part of what it may be ahead
#: is still to come. It bounds what a use costs: one write in 30 s at the most.
_PART_LEFT: Final = 0.9


class Kruise:
    """Judges OpenKruise Sandboxes."""

    name = NAME
    resource = RESOURCE
    required_labels = base.NO_LABELS
    by_service = False

    def route(self, raw: base.RawObject) -> Route:
        """Judge an object; raise MalformedObject where it cannot be judged."""
        metadata, spec, status = sections = base.sections(raw)
        key, uid = base.identity_in(metadata, NAME)
        seen = _observe(sections)
        judged = states.judge(seen)
        annotations = base.text_map(metadata, "annotations")
        labels = base.text_map(metadata, "labels")
        ours = own.read(annotations, labels)
        opted_in, _, problems = _wake_rule(raw, spec)
        requires_jwt, unclear = _jwt_rule(annotations)
        pod_info = _pod_info(status)
        pod_uid = base.text(pod_info, "podUID", "status.podInfo")
        pause_at, untimed = _pause_at(spec)
        return Route(
            key=key,
            uid=uid,
            id=base.sandbox_id(labels, key, ID_LABEL),
            version=base.version_in(metadata),
            state=judged.state,
            reason=judged.reason,
            incarnation=base.incarnation(status, uid, pod_uid, seen.address),
            address=base.address_when_running(judged.state, seen.address),
            ports=ours.ports,
            expires_at=seen.expires_at,
            wake=ours.wake_policy(opted_in),
            credential=_credential(annotations) or ours.credential,
            passes_access_token=True,
            problems=ours.problems + problems + unclear + untimed,
            requires_jwt=requires_jwt,
            tls=ours.tls,
            idle=ours.idle_rules(pause_at=pause_at),
            node=base.node_when_running(judged.state, pod_info, "status.podInfo"),
            scaling=ours.scaling,
        )

    def check_resumable(self, raw: base.RawObject, now: float) -> None:
        """Return if the object may be woken at `now`; raise the NotResumable that says why not."""
        states.check_resumable(_observe(base.sections(raw)), now)

    def wake_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:
        """Return the merge patch that asks for Running, or None if that is asked for already.

        A pauseTime left in the past would pause the sandbox again at once: it is moved ahead, or
        removed where the rule names no time. shutdownTime is only ever extended. A sandbox
        without a pauseTime keeps its times.
        """
        spec = base.section(raw, "spec")
        if not _wants_pause(spec):
            return None
        changes: dict[str, Any] = {"paused": False}
        if spec.get("pauseTime") is not None:
            changes |= _renewed_times(raw, spec, now)
        return {"spec": changes}

    def standby_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for Paused, or None if that is asked for already."""
        wants_pause = _wants_pause(base.section(raw, "spec"))
        return None if wants_pause else {"spec": {"paused": True}}

    def postpone_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:
        """Return the merge patch that puts off its pauseTime, or None.

        Its own controller pauses it then, in the middle of traffic. The time is only ever
        extended, not at all while most of what it may be ahead is still to come, and never beyond
        its end: to be used makes no sandbox live longer than its author wants.
        """
        spec = base.section(raw, "spec")
        pause_at = None if _wants_pause(spec) else base.timestamp(spec, "pauseTime", "spec")
        ends_at = base.timestamp(spec, "shutdownTime", "spec")
        if pause_at is None:
            return None
        _, timeout, _ = _wake_rule(raw, spec)
        ahead = max(timeout or 0.0, MIN_PAUSE_AHEAD)
        if pause_at - now >= _PART_LEFT * ahead:
            return None
        until = math.ceil(now + ahead if ends_at is None else min(now + ahead, ends_at))
        return {"spec": {"pauseTime": format_time(until)}} if until > max(pause_at, now) else None


def _observe(sections: base.Sections) -> states.Observed:
    metadata, spec, status = sections
    return states.Observed(
        phase=base.text(status, "phase", "status") or "",
        wants_pause=_wants_pause(spec),
        deleting=base.is_deleting(metadata),
        expires_at=base.timestamp(spec, "shutdownTime", "spec"),
        pool_member=_is_unclaimed_pool_member(metadata),
        pause_settled=base.condition_is_true(status, "SandboxPaused"),
        ready=base.condition_is_true(status, "Ready"),
        address=_address(status),
    )


def _address(status: base.RawObject) -> str | None:
    pod_ip = base.text(_pod_info(status), "podIP", "status.podInfo")
    if pod_ip is not None:
        return base.ip_address(pod_ip, "status.podInfo.podIP")
    sandbox_ip = base.text(status, "sandboxIp", "status")
    return base.ip_address(sandbox_ip, "status.sandboxIp")


def _pod_info(status: base.RawObject) -> base.RawObject:
    return base.mapping(status.get("podInfo"), "status.podInfo")


def _wants_pause(spec: base.RawObject) -> bool:
    return base.flag(spec, "paused", "spec")


def _is_unclaimed_pool_member(metadata: base.RawObject) -> bool:
    in_pool = any(
        owner.get("kind") == "SandboxSet" and owner.get("controller") for owner in _owners(metadata)
    )
    return in_pool and base.text_map(metadata, "labels").get(CLAIMED_LABEL) != "true"


def _owners(metadata: base.RawObject) -> list[base.RawObject]:
    owners = metadata.get("ownerReferences")
    if owners is None:
        return []
    if not isinstance(owners, list):
        raise MalformedObject("metadata.ownerReferences", "is not a list")
    return [base.mapping(owner, "metadata.ownerReferences[]") for owner in owners]


def _wake_rule(
    raw: base.RawObject, spec: base.RawObject
) -> tuple[bool | None, float | None, tuple[Problem, ...]]:
    """Return the opt-in, how long after a wake to pause again (s), and what did not parse."""
    policy = base.mapping(spec.get("autoPausePolicy"), "spec.autoPausePolicy")
    resume = base.mapping(policy.get("resume"), "spec.autoPausePolicy.resume")
    on_traffic = resume.get("onIngressTraffic")
    if on_traffic is not None:
        return _spec_rule(on_traffic)
    annotations = base.string_map(raw, "annotations")
    opted_in = annotations.get(WAKE_ON_TRAFFIC)
    if opted_in is None:
        return None, None, ()
    problems: tuple[Problem, ...] = ()
    if opted_in not in ("true", "false"):
        problems += (Problem(WAKE_ON_TRAFFIC, 'must be "true" or "false"; read as "false"'),)
    seconds, wrong = _annotated_seconds(annotations.get(WAKE_TIMEOUT_SECONDS))
    return opted_in == "true", seconds, problems + wrong


def _spec_rule(rule: object) -> tuple[bool, float | None, tuple[Problem, ...]]:
    path = "spec.autoPausePolicy.resume.onIngressTraffic"
    pause_timeout = base.text(base.mapping(rule, path), "pauseTimeout", path)
    if pause_timeout is None:
        return True, None, ()
    try:
        return True, max(parse_duration(pause_timeout), MIN_PAUSE_AHEAD), ()
    except ValueError:
        problem = Problem(f"{path}.pauseTimeout", "is not a duration; the least time is used")
        return True, MIN_PAUSE_AHEAD, (problem,)


def _annotated_seconds(value: str | None) -> tuple[float | None, tuple[Problem, ...]]:
    if value is None:
        return None, ()
    seconds = base.whole_number(value)
    if seconds is not None and 0 < seconds < 2**31:
        return float(seconds), ()
    problem = Problem(WAKE_TIMEOUT_SECONDS, "is not a number of seconds; the least time is used")
    return MIN_PAUSE_AHEAD, (problem,)


def _renewed_times(raw: base.RawObject, spec: base.RawObject, now: float) -> dict[str, str | None]:
    _, ahead, _ = _wake_rule(raw, spec)
    if ahead is None:
        return {"pauseTime": None}
    pause_at = math.ceil(now + ahead)  # the API's times are whole seconds; never early
    times: dict[str, str | None] = {"pauseTime": format_time(pause_at)}
    shutdown_at = base.timestamp(spec, "shutdownTime", "spec")
    if shutdown_at is not None and shutdown_at < pause_at:
        times["shutdownTime"] = times["pauseTime"]
    return times


def _pause_at(spec: base.RawObject) -> tuple[float | None, tuple[Problem, ...]]:
    """Return when its own controller pauses it, if it does, and what is wrong with that time.

    Only renewals read it: it is no reason to give a sandbox up.
    """
    if spec.get("pauseTime") is None or _wants_pause(spec):
        return None, ()
    try:
        return base.timestamp(spec, "pauseTime", "spec"), ()
    except MalformedObject:
        return None, (Problem("spec.pauseTime", "is not an RFC 3339 time; it is not renewed"),)


def _credential(annotations: Mapping[str, str]) -> Credential | None:
    token = annotations.get(ACCESS_TOKEN) or annotations.get(LEGACY_ACCESS_TOKEN)
    return Credential(token=token) if token else None


def _jwt_rule(annotations: Mapping[str, str]) -> tuple[bool, tuple[Problem, ...]]:
    """Return whether only a JWT opens the sandbox: a typo must not open it to less."""
    value = annotations.get(JWT_AUTH)
    if value in (None, "true", "false"):
        return value == "true", ()
    return True, (Problem(JWT_AUTH, 'must be "true" or "false"; read as "true"'),)
