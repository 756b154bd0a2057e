"""May it be woken, who says so, and what to do about it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from gateway.dialects import base, kruise, native, own
from gateway.sandbox.errors import (
    NotResumable,
    SandboxIsPausing,
    SandboxIsTerminating,
    SandboxPhaseNotAllowed,
    ShutdownTimeReached,
    WakeForbidden,
)
from gateway.sandbox.model import State
from gateway.sandbox.texts import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.dialects.base import RawObject
    from gateway.explain.case import Case
    from gateway.sandbox.model import Route

#: Stands in an example where a sandbox allows any port.
EXAMPLE_PORT: Final = 8080

#: Where a dialect's own rule stands; its presence decides before any annotation of ours.
_SPEC_RULES: Final[Mapping[str, tuple[str, ...]]] = {
    native.NAME: ("spec", "wakeOnTraffic"),
    kruise.NAME: ("spec", "autoPausePolicy", "resume", "onIngressTraffic"),
}
_API_ANNOTATIONS: Final[Mapping[str, str]] = {kruise.NAME: kruise.WAKE_ON_TRAFFIC}


def told_wake(case: Case) -> Iterator[str]:
    """Tell the wake policy and where it comes from."""
    wake = case.route.wake
    yield "on" if wake.enabled else "off"
    origin = "its own" if wake.timeout is not None else "the gateway's default"
    yield f"one wake may take {case.wake_timeout:g} s ({origin})"
    if case.raw is not None:
        yield from _wake_sources(case, case.raw)


def _wake_sources(case: Case, raw: RawObject) -> Iterator[str]:
    annotations = base.string_map(raw, "annotations")
    names = (_API_ANNOTATIONS.get(case.route.key.dialect), own.WAKE_ON_TRAFFIC)
    found = [f"from {path}" for path in _spec_rule(case, raw)]
    found += [
        f'from annotation {name}: "{plain(annotations[name])}"'
        for name in names
        if name in annotations
    ]
    if not found:
        yield "nothing on the sandbox asks for it, and off is the default"
        return
    yield from found
    if len(found) > 1:
        yield f'the first of these decides, but {own.WAKE_ON_TRAFFIC}: "false" always forbids'


def _spec_rule(case: Case, raw: RawObject) -> Iterator[str]:
    """Give the path of the API's own rule, if it is there."""
    path = _SPEC_RULES.get(case.route.key.dialect)
    if path and base.section(raw, *path[:-1]).get(path[-1]) is not None:
        yield ".".join(path)


NOT_RESUMABLE: Final[Mapping[type[NotResumable], str]] = {
    SandboxIsTerminating: "no: it is being deleted",
    ShutdownTimeReached: "no: its shutdownTime has passed",
    SandboxIsPausing: "not yet: its pause is not finished; once it is, yes",
    SandboxPhaseNotAllowed: "no: its phase does not allow it",
    WakeForbidden: "no: traffic may not wake it",
}


def told_resumable(case: Case) -> Iterator[str]:
    """Tell whether a wake by hand would be possible, or which guard forbids it."""
    if case.raw is None:
        return
    try:
        case.dialect.check_resumable(case.raw, case.now)
    except NotResumable as error:
        yield f"{NOT_RESUMABLE[type(error)]} ({type(error).__name__})"
        return
    asked = case.dialect.wake_patch(case.raw, case.now) is None
    yield "not needed: it is asked to run already" if asked else "yes"


def told_example(case: Case) -> Iterator[str]:
    """Give a request that would reach it."""
    route = case.route
    if case.state in (State.DEAD, State.BLOCKED) or route.ports == frozenset():
        return
    port = min(route.ports) if route.ports else EXAMPLE_PORT
    headers = [f"e2b-sandbox-id: {plain(route.id)}", f"e2b-sandbox-port: {port}"]
    words = ["curl", *(f"-H {shlex.quote(one)}" for one in headers)]
    if route.credential is not None:
        words.append('-H "x-access-token: $TOKEN"')
    yield " ".join((*words, f"{case.around.url}/"))


def told_advice(case: Case) -> Iterator[str]:
    """Tell what to do next, if anything."""
    route, state = case.route, case.state
    name = f"{route.key}"
    if state is State.DEAD:
        yield "mend what its conditions above tell, or create a new sandbox"
    elif state is State.BLOCKED:
        yield from _unblock(route)
    elif not route.wake.enabled and case.raw is not None:
        yield "let traffic wake it:"
        yield from (f"  {command}" for command in _enable(case, case.raw))
        if state in (State.PAUSED, State.PAUSING):
            yield f"or wake it once: sandbox-gateway wake {name} --wait"
    elif state in (State.CREATING, State.RESUMING):
        yield "wait; if it stays like this, its conditions above and its controller tell why"


def _unblock(route: Route) -> Iterator[str]:
    if route.reason == "pool_member":
        yield "claim it from its pool first"
    elif route.reason == "unknown_phase":
        yield "look at status.phase: a newer API than this gateway knows, or a typo of a controller"
    else:
        yield "wait until its platform is done with it"


def _enable(case: Case, raw: RawObject) -> Iterator[str]:
    """Give the commands after which traffic may wake it, whatever forbids it now."""
    annotations = base.string_map(raw, "annotations")
    theirs = _API_ANNOTATIONS.get(case.route.key.dialect)
    decided = False
    if any(_spec_rule(case, raw)):
        decided = True
        if case.route.key.dialect == native.NAME and not _native_rule_is_on(raw):
            patch = '{"spec":{"wakeOnTraffic":{"enabled":true}}}'
            yield f"kubectl patch {_target(case)} --type merge -p '{patch}'"
    elif theirs in annotations:
        decided = True
        if annotations[theirs] != "true":
            yield _annotate(case, theirs)
    if not decided or annotations.get(own.WAKE_ON_TRAFFIC, "true") != "true":
        yield _annotate(case, own.WAKE_ON_TRAFFIC)


def _native_rule_is_on(raw: RawObject) -> bool:
    return base.section(raw, "spec", "wakeOnTraffic").get("enabled") is True


def _annotate(case: Case, annotation: str) -> str:
    return f"kubectl annotate {_target(case)} --overwrite {annotation}=true"


def _target(case: Case) -> str:
    resource, key = case.dialect.resource, case.route.key
    return f"{resource.plural}.{resource.group} -n {key.namespace} {key.name}"
