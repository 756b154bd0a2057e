"""OpenKruise agents, `agents.kruise.io/v1alpha1` Sandbox."""

from __future__ import annotations

import math
from typing import Any, Final

from gateway.dialects import base, own
from gateway.sandbox import states
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.model import Credential, Problem, Route
from gateway.sandbox.texts import format_time, parse_duration

NAME: Final = "kruise"
RESOURCE: Final = base.Resource("agents.kruise.io", "v1alpha1", "sandboxes", "Sandbox")

ID_LABEL: Final = "agents.kruise.io/sandbox-id"
CLAIMED_LABEL: Final = "agents.kruise.io/sandbox-claimed"
WAKE_ON_TRAFFIC: Final = "agents.kruise.io/wake-on-traffic"
WAKE_TIMEOUT_SECONDS: Final = "agents.kruise.io/wake-timeout-seconds"
ACCESS_TOKEN: Final = "agents.kruise.io/runtime-access-token"  # noqa: S105 - an annotation's name
LEGACY_ACCESS_TOKEN: Final = "e2b.agents.kruise.io/envd-access-token"  # noqa: S105

#: A renewed pauseTime is at least this far ahead, whatever the rule says: seconds.
MIN_PAUSE_AHEAD: Final = 300.0


class Kruise:
    """Judges OpenKruise Sandboxes."""

    name = NAME
    resource = RESOURCE

    def route(self, raw: base.RawObject) -> Route:
        """Judge an object; raise MalformedObject where it cannot be judged."""
        key, uid = base.identity(raw, NAME)
        seen = _observe(raw)
        judged = states.judge(seen)
        ours = own.read(raw)
        opted_in, _, problems = _wake_rule(raw)
        pod_uid = base.text(base.section(raw, "status", "podInfo"), "podUID", "status.podInfo")
        return Route(
            key=key,
            uid=uid,
            id=base.sandbox_id(raw, key, ID_LABEL),
            version=base.version_of(raw),
            state=judged.state,
            reason=judged.reason,
            incarnation=base.incarnation(raw, uid, pod_uid, seen.address),
            address=base.address_when_running(judged.state, seen.address),
            ports=ours.ports,
            expires_at=seen.expires_at,
            wake=ours.wake_policy(opted_in),
            credential=_credential(raw) or ours.credential,
            passes_access_token=True,
            problems=ours.problems + problems,
        )

    def check_resumable(self, raw: base.RawObject, now: float) -> None:
        """Return if the object may be woken at `now`; raise the NotResumable that says why not."""
        states.check_resumable(_observe(raw), now)

    def wake_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:
        """Return the merge patch that asks for Running, or None if that is asked for already.

        A pauseTime left in the past would pause the sandbox again at once: it is moved ahead, or
        removed where the rule names no time. shutdownTime is only ever extended. A sandbox
        without a pauseTime keeps its times.
        """
        if not _wants_pause(raw):
            return None
        spec: dict[str, Any] = {"paused": False}
        if base.section(raw, "spec").get("pauseTime") is not None:
            spec |= _renewed_times(raw, now)
        return {"spec": spec}

    def standby_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for Paused, or None if that is asked for already."""
        return None if _wants_pause(raw) else {"spec": {"paused": True}}


def _observe(raw: base.RawObject) -> states.Observed:
    spec, status = base.section(raw, "spec"), base.section(raw, "status")
    return states.Observed(
        phase=base.text(status, "phase", "status") or "",
        wants_pause=_wants_pause(raw),
        deleting=base.is_deleting(raw),
        expires_at=base.timestamp(spec, "shutdownTime", "spec"),
        pool_member=_is_unclaimed_pool_member(raw),
        pause_settled=base.condition_is_true(raw, "SandboxPaused"),
        ready=base.condition_is_true(raw, "Ready"),
        address=_address(raw),
    )


def _address(raw: base.RawObject) -> str | None:
    pod_ip = base.text(base.section(raw, "status", "podInfo"), "podIP", "status.podInfo")
    if pod_ip is not None:
        return base.ip_address(pod_ip, "status.podInfo.podIP")
    sandbox_ip = base.text(base.section(raw, "status"), "sandboxIp", "status")
    return base.ip_address(sandbox_ip, "status.sandboxIp")


def _wants_pause(raw: base.RawObject) -> bool:
    return base.flag(base.section(raw, "spec"), "paused", "spec")


def _is_unclaimed_pool_member(raw: base.RawObject) -> bool:
    in_pool = any(
        owner.get("kind") == "SandboxSet" and owner.get("controller") for owner in _owners(raw)
    )
    return in_pool and base.string_map(raw, "labels").get(CLAIMED_LABEL) != "true"


def _owners(raw: base.RawObject) -> list[base.RawObject]:
    owners = base.section(raw, "metadata").get("ownerReferences")
    if owners is None:
        return []
    if not isinstance(owners, list):
        raise MalformedObject("metadata.ownerReferences", "is not a list")
    return [base.mapping(owner, "metadata.ownerReferences[]") for owner in owners]


def _wake_rule(raw: base.RawObject) -> tuple[bool | None, float | None, tuple[Problem, ...]]:
    """Return the opt-in, how long after a wake to pause again (s), and what did not parse."""
    resume = base.section(raw, "spec", "autoPausePolicy", "resume")
    if resume.get("onIngressTraffic") is not None:
        return _spec_rule(raw)
    found = base.string_map(raw, "annotations")
    opted_in = found.get(WAKE_ON_TRAFFIC)
    if opted_in is None:
        return None, None, ()
    problems: tuple[Problem, ...] = ()
    if opted_in not in ("true", "false"):
        problems += (Problem(WAKE_ON_TRAFFIC, 'must be "true" or "false"; read as "false"'),)
    seconds, wrong = _annotated_seconds(found.get(WAKE_TIMEOUT_SECONDS))
    return opted_in == "true", seconds, problems + wrong


def _spec_rule(raw: base.RawObject) -> tuple[bool, float | None, tuple[Problem, ...]]:
    path = "spec.autoPausePolicy.resume.onIngressTraffic"
    rule = base.section(raw, *path.split("."))
    pause_timeout = base.text(rule, "pauseTimeout", path)
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


def _renewed_times(raw: base.RawObject, now: float) -> dict[str, str | None]:
    _, ahead, _ = _wake_rule(raw)
    if ahead is None:
        return {"pauseTime": None}
    pause_at = math.ceil(now + ahead)  # the API's times are whole seconds; never early
    times: dict[str, str | None] = {"pauseTime": format_time(pause_at)}
    shutdown_at = base.timestamp(base.section(raw, "spec"), "shutdownTime", "spec")
    if shutdown_at is not None and shutdown_at < pause_at:
        times["shutdownTime"] = times["pauseTime"]
    return times


def _credential(raw: base.RawObject) -> Credential | None:
    found = base.string_map(raw, "annotations")
    token = found.get(ACCESS_TOKEN) or found.get(LEGACY_ACCESS_TOKEN)
    return Credential(token=token) if token else None
