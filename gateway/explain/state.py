"""Which state a sandbox is in and why, and what becomes of a request to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.dialects import base
from gateway.dialects.deployment import SERVICE
from gateway.sandbox.model import State
from gateway.sandbox.policy import Verdict, outcome
from gateway.sandbox.texts import format_time, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.dialects.base import RawObject
    from gateway.explain.case import Case
    from gateway.sandbox.model import Route

MEANINGS: Final[Mapping[State, str]] = {
    State.CREATING: "it has not run yet",
    State.RUNNING: "it is ready and takes requests",
    State.PAUSING: "it is being put to sleep",
    State.PAUSED: "it sleeps",
    State.RESUMING: "it is to run, but is not ready yet",
    State.BLOCKED: "its platform lets no traffic reach it now",
    State.DEAD: "it takes no request",
}

REASONS: Final[Mapping[str, str]] = {
    "deleting": "it is being deleted",
    "pool_member": "it waits in a pool and nobody has claimed it",
    "unknown_phase": "its API reports a phase that this gateway does not know",
    "upgrading": "its platform upgrades it",
    "recycling": "its platform recycles it",
    "succeeded": "its workload has finished",
    "failed": "its workload has failed",
    "terminating": "it is being torn down",
}


def told_state(case: Case) -> Iterator[str]:
    """Tell the state and what it was judged from."""
    route = case.route
    yield f"{case.state.value}: {MEANINGS[case.state]}"
    if route.reason:
        yield f"reason: {REASONS.get(route.reason, plain(route.reason))}"
    yield from _expiry(case)
    yield from _place(route)
    yield f"id {plain(route.id)}, uid {plain(route.uid)}"
    if case.raw is not None:
        yield from _read(case, case.raw)


def _place(route: Route) -> Iterator[str]:
    """Tell whose word its address is, where that is not its own."""
    if (backing := route.backing) is None:
        return
    endpoints = f"the ready endpoints of Service {plain(backing.service)}"
    if backing.named:
        yield f"its address is that of Service {plain(backing.service)}; if headless, {endpoints}"
    else:
        yield f"its address comes from {endpoints} (of its own name; {SERVICE} names another)"
    if backing.available and route.address is None:
        yield "its pods are available, but that Service gives no ready address"


def _expiry(case: Case) -> Iterator[str]:
    expires_at = case.route.expires_at
    if expires_at is not None:
        tense = "expired" if expires_at <= case.now else "expires"
        yield f"{tense} at {format_time(expires_at)} (spec.shutdownTime)"


def _read(case: Case, raw: RawObject) -> Iterator[str]:
    """Tell what the judgement was made from."""
    wanted = "Running" if case.dialect.wake_patch(raw, case.now) is None else "Paused"
    yield f"wanted {wanted}, {_reported(case, base.section(raw, 'status'))}"
    generation = base.section(raw, "metadata").get("generation")
    observed = base.section(raw, "status").get("observedGeneration")
    if behind := _behind(observed, generation):
        yield f"its controller has not seen the latest change yet ({behind})"
    pause_time = base.section(raw, "spec").get("pauseTime")
    if isinstance(pause_time, str):
        yield f"its own controller pauses it at {plain(pause_time)} (spec.pauseTime)"
    yield from _conditions(raw)


def _reported(case: Case, status: RawObject) -> str:
    if case.dialect.by_service:
        counts = (status.get(name) or 0 for name in ("replicas", "availableReplicas"))
        return "reported {} replicas, of which {} are available".format(*counts)
    phase = base.text(status, "phase", "status")
    return f"reported phase {plain(phase) if phase else '(none)'}"


def _behind(observed: object, generation: object) -> str | None:
    """Return how far an observation lags behind the spec; None if it does not, or none can tell."""
    if isinstance(observed, int) and isinstance(generation, int) and observed < generation:
        return f"{observed} of {generation}"
    return None


def _conditions(raw: RawObject) -> Iterator[str]:
    conditions = base.section(raw, "status").get("conditions")
    generation = base.section(raw, "metadata").get("generation")
    for one in conditions if isinstance(conditions, list) else []:
        if isinstance(one, dict):
            told = [f"condition {one.get('type')}={one.get('status')}"]
            told += [f"since {one['lastTransitionTime']}"] if one.get("lastTransitionTime") else []
            told += [str(one[name]) for name in ("reason", "message") if one.get(name)]
            if behind := _behind(one.get("observedGeneration"), generation):
                told.append(f"from before the latest change ({behind})")
            yield plain(", ".join(told))


def told_request(case: Case) -> Iterator[str]:
    """Tell what becomes of a request now, by the policy table."""
    yield _fate(case)
    yield _ports(case.route)
    yield from _tls(case.route)
    yield _credential(case.route)


def _fate(case: Case) -> str:
    route, verdict = case.route, outcome(case.route, case.now)
    if verdict is Verdict.FORWARD:
        return f"is forwarded to {route.address}"
    if verdict is Verdict.WAIT:
        return "waits until it is ready, without waking anything, and is then forwarded"
    if isinstance(verdict, Verdict):
        return f"wakes it and is forwarded once it is ready, within {case.wake_timeout:g} s"
    return f"is refused: {verdict.status} {verdict.reason}: {verdict.detail}"


def _ports(route: Route) -> str:
    if route.ports is None:
        return "ports: any"
    if not route.ports:
        return "ports: none may be reached (403 forbidden)"
    return f"ports: {', '.join(map(str, sorted(route.ports)))}; any other is 403 forbidden"


def _tls(route: Route) -> Iterator[str]:
    if route.tls is None:
        return
    ports = route.tls.ports
    where = "every port" if ports is None else f"ports {', '.join(map(str, sorted(ports)))}"
    name = route.tls.server_name
    yield f"TLS: on {where}; its certificate must be for {plain(name) if name else 'its address'}"


def _credential(route: Route) -> str:
    if route.credential is None:
        return "credential: none is set; auth_mode access-token refuses it unless allow_tokenless"
    if route.credential.token is not None:
        return "credential: an access token is set"
    if route.credential.sha256 is not None:
        return "credential: the SHA-256 of an access token is set"
    return "credential: one is set but cannot be used, so every access token is refused"
