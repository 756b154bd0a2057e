"""The agent-sandbox dialect: every rule of judging, and the patches, in both versions."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.base import RawObject, Resource
from gateway.sandbox.errors import (
    NotResumable,
    SandboxIsPausing,
    SandboxIsTerminating,
    SandboxPhaseNotAllowed,
    ShutdownTimeReached,
)
from gateway.sandbox.model import Credential, Key, Route, State, WakePolicy
from gateway.sandbox.texts import format_time, parse_time

from .objects import (
    NOW,
    Path,
    agent_object,
    merged,
    with_annotations,
    with_field,
    without_field,
)

DIALECT = AgentSandbox()
VERSIONS = ("v1beta1", "v1alpha1")
GENERATION = 3

SHUTDOWN: Path = ("spec", "shutdownTime")
DELETING: Path = ("metadata", "deletionTimestamp")
POOL: Path = ("metadata", "labels", "agents.x-k8s.io/warm-pool-sandbox")
ADDRESSES: Path = ("status", "podIPs")

each_version = pytest.mark.parametrize("version", VERSIONS)


def told(raw: RawObject, kind: str, status: str, reason: str, at: object = GENERATION) -> RawObject:
    """Return a copy in which the condition says this of the spec as of generation `at`."""
    others = [one for one in raw["status"]["conditions"] if one["type"] != kind]
    condition = {"type": kind, "status": status, "reason": reason, "observedGeneration": at}
    return with_field(raw, ("status", "conditions"), [*others, condition])


def up(version: str) -> RawObject:
    return agent_object(version)


def suspended(raw: RawObject) -> RawObject:
    """Return a copy that is asked to be suspended."""
    if raw["apiVersion"].endswith("v1beta1"):
        return with_field(raw, ("spec", "operatingMode"), "Suspended")
    return with_field(raw, ("spec", "replicas"), 0)


def asleep(version: str) -> RawObject:
    raw = without_field(suspended(up(version)), ADDRESSES)
    raw = told(raw, "Ready", "False", "SandboxSuspended")
    return told(raw, "Suspended", "True", "PodTerminated")


def awake_again(version: str) -> RawObject:
    """Return one that is asked to run, of which only the sleep was told yet."""
    raw = merged(asleep(version), DIALECT.wake_patch(asleep(version), NOW) or {})
    return with_field(raw, ("metadata", "generation"), GENERATION + 1)


@each_version
def test_a_sandbox_that_runs_becomes_this_route(version: str) -> None:
    assert DIALECT.route(up(version)) == Route(
        key=Key("agent-sandbox", "team-a", "box"),
        uid="uid-1",
        id="team-a--box",
        version=41,
        state=State.RUNNING,
        reason="",
        incarnation="uid-1/10.0.0.7@2026-11-22T10:00:00Z",
        address="10.0.0.7",
        ports=None,
        expires_at=parse_time("2026-11-23T00:00:00Z"),
        wake=WakePolicy(enabled=True),
        credential=None,
        passes_access_token=False,
        problems=(),
        node="node-1",
    )


def test_the_dialect_says_where_its_objects_are_served_and_where_else() -> None:
    assert DIALECT.name == "agent-sandbox"
    newer, older = DIALECT.resource.candidates
    assert newer is DIALECT.resource
    assert older == Resource("agents.x-k8s.io", "v1alpha1", "sandboxes", "Sandbox")
    assert newer.version == "v1beta1"


# ---- judging ----------------------------------------------------------------------------------


def _judged(version: str) -> list[tuple[str, RawObject, State, str]]:
    """Every row of the rules: what it is called, the object, its state and reason."""
    running, sleeping, again = up(version), asleep(version), awake_again(version)
    wanted_asleep = suspended(running)
    return [
        (
            "deleting",
            with_field(running, DELETING, "2026-11-22T10:00:00Z"),
            State.DEAD,
            "deleting",
        ),
        ("expired", told(running, "Ready", "False", "SandboxExpired"), State.DEAD, "terminating"),
        ("succeeded", told(running, "Ready", "False", "PodSucceeded"), State.DEAD, "succeeded"),
        ("failed", told(running, "Ready", "False", "PodFailed"), State.DEAD, "failed"),
        (
            "failed in its life before",
            told(running, "Ready", "False", "PodFailed", GENERATION - 1),
            State.RESUMING,
            "",
        ),
        ("pool", with_field(running, POOL, "pool"), State.BLOCKED, "pool_member"),
        ("pool without a name", with_field(running, POOL, ""), State.BLOCKED, "pool_member"),
        ("asleep", sleeping, State.PAUSED, ""),
        ("asleep, old address", with_field(sleeping, ADDRESSES, ["10.0.0.7"]), State.PAUSED, ""),
        ("to be suspended", wanted_asleep, State.PAUSING, ""),
        (
            "terminating",
            told(sleeping, "Suspended", "False", "PodTerminating"),
            State.PAUSING,
            "",
        ),
        ("not owned", told(sleeping, "Suspended", "False", "PodNotOwned"), State.PAUSING, ""),
        ("unknown", told(sleeping, "Suspended", "Unknown", "PodStateUnknown"), State.PAUSING, ""),
        ("nothing told", with_field(sleeping, ("status", "conditions"), []), State.PAUSING, ""),
        (
            "slept in its life before",
            told(sleeping, "Suspended", "True", "PodTerminated", GENERATION - 1),
            State.PAUSING,
            "",
        ),
        *(
            (f"never told of Suspended: {state.value}, {words}", raw, state, "")
            for words, raw, state in _without_suspended(version)
        ),
        ("asked to wake", again, State.RESUMING, ""),
        (
            "Suspended lingers",
            told(running, "Suspended", "True", "PodTerminated"),
            State.RUNNING,
            "",
        ),
        ("runs", running, State.RUNNING, ""),
        (
            "told of the future",
            told(running, "Ready", "True", "DependenciesReady", GENERATION + 1),
            State.RUNNING,
            "",
        ),
        (
            "was ready before",
            told(running, "Ready", "True", "DependenciesReady", GENERATION - 1),
            State.RESUMING,
            "",
        ),
        (
            "ready at no time",
            told(running, "Ready", "True", "DependenciesReady", None),
            State.RESUMING,
            "",
        ),
        (
            "of no generation",
            without_field(running, ("metadata", "generation")),
            State.RESUMING,
            "",
        ),
        ("not ready", told(running, "Ready", "False", "DependenciesNotReady"), State.RESUMING, ""),
        ("many pods", told(running, "Ready", "False", "MultiplePods"), State.RESUMING, ""),
        ("error", told(running, "Ready", "False", "ReconcilerError"), State.RESUMING, ""),
        ("Ready unknown", told(running, "Ready", "Unknown", "Odd"), State.RESUMING, ""),
        ("no address", without_field(running, ADDRESSES), State.RESUMING, ""),
        ("no addresses", with_field(running, ADDRESSES, []), State.RESUMING, ""),
        ("new", without_field(running, ("status",)), State.RESUMING, ""),
        ("nothing wanted", without_field(running, ("spec",)), State.RUNNING, ""),
    ]


def _without_suspended(version: str) -> list[tuple[str, RawObject, State]]:
    """What controllers tell that know no such condition: when it sleeps, Ready may well be True."""
    running = with_field(up(version), ("status", "conditions"), [])
    sleeping = without_field(suspended(running), ADDRESSES)
    done = ("Ready", "True", "DependenciesReady")
    told_early = told(running, *done, GENERATION - 1)
    return [
        ("ready", told(sleeping, *done), State.PAUSED),
        ("suspended", told(sleeping, "Ready", "False", "SandboxSuspended"), State.PAUSED),
        ("pod still there", told(suspended(running), *done), State.PAUSING),
        ("ready before", told(sleeping, *done, GENERATION - 1), State.PAUSING),
        ("error", told(sleeping, "Ready", "False", "ReconcilerError"), State.PAUSING),
        ("no service", told(sleeping, "Ready", "False", "DependenciesNotReady"), State.PAUSING),
        ("odd", told(sleeping, "Ready", "Unknown", "DependenciesReady"), State.PAUSING),
        ("nothing", sleeping, State.PAUSING),
        ("runs", told(running, *done), State.RUNNING),
        ("asked to wake", without_field(told_early, ADDRESSES), State.RESUMING),
    ]


JUDGED = [pytest.param(*row[1:], id=f"{one}: {row[0]}") for one in VERSIONS for row in _judged(one)]


@pytest.mark.parametrize(("raw", "state", "reason"), JUDGED)
def test_each_rule_of_judging_gives_its_state(raw: RawObject, state: State, reason: str) -> None:
    route = DIALECT.route(raw)
    assert (route.state, route.reason) == (state, reason)
    assert (route.address is None) == (state is not State.RUNNING)


def _in_order(raw: RawObject) -> list[tuple[RawObject, State, str]]:
    """The rules in their order, each with all later ones true as well."""
    sleeping = told(suspended(raw), "Suspended", "True", "PodTerminated")
    pooled = with_field(sleeping, POOL, "pool")
    failed = told(pooled, "Ready", "False", "PodFailed")
    return [
        (with_field(failed, DELETING, "2026-11-22T10:00:00Z"), State.DEAD, "deleting"),
        (failed, State.DEAD, "failed"),
        (pooled, State.BLOCKED, "pool_member"),
        (sleeping, State.PAUSED, ""),
    ]


@pytest.mark.parametrize(("version", "rule"), list(product(VERSIONS, range(4))))
def test_an_earlier_rule_beats_every_later_one(version: str, rule: int) -> None:
    raw, state, reason = _in_order(up(version))[rule]
    route = DIALECT.route(raw)
    assert (route.state, route.reason) == (state, reason)


@each_version
def test_expiry_beats_every_rule_from_its_very_second(version: str) -> None:
    for raw, state, _ in _in_order(up(version)):
        route = DIALECT.route(with_field(raw, SHUTDOWN, format_time(NOW)))
        assert route.state_at(NOW) is State.DEAD
        assert route.state_at(NOW - 0.001) is state


def test_only_the_field_of_its_own_version_says_what_is_wanted() -> None:
    beta = with_field(up("v1beta1"), ("spec", "replicas"), 0)
    alpha = with_field(up("v1alpha1"), ("spec", "operatingMode"), "Suspended")
    assert DIALECT.route(beta).state is State.RUNNING
    assert DIALECT.route(alpha).state is State.RUNNING


@each_version
def test_another_address_or_another_transition_is_another_life(version: str) -> None:
    raw = up(version)
    moved = with_field(raw, ADDRESSES, ["10.0.0.8"])
    transition: Path = ("status", "conditions", 1, "lastTransitionTime")
    later = with_field(raw, transition, "2026-11-22T10:00:01Z")
    assert len({DIALECT.route(one).incarnation for one in (raw, moved, later)}) == 3


@each_version
def test_an_address_is_written_in_one_way(version: str) -> None:
    raw = with_field(up(version), ADDRESSES, ["FD00:0::7"])
    assert DIALECT.route(raw).address == "fd00::7"


@each_version
def test_a_sandbox_that_is_ready_and_tells_no_address_is_reported(version: str) -> None:
    for raw in (without_field(up(version), ADDRESSES), with_field(up(version), ADDRESSES, [])):
        assert [problem.field for problem in DIALECT.route(raw).problems] == ["status.podIPs"]
    unready = told(without_field(up(version), ADDRESSES), "Ready", "False", "DependenciesNotReady")
    oldest = without_field(told(unready, "Ready", "True", "DependenciesReady"), ("spec",))
    for raw in (up(version), unready, asleep(version), awake_again(version)):
        assert DIALECT.route(raw).problems == ()
    assert DIALECT.route(oldest).problems != ()
    ready_asleep = told(suspended(without_field(up(version), ADDRESSES)), "Ready", "True", "Odd")
    assert DIALECT.route(ready_asleep).problems == ()


# ---- what our annotations say ------------------------------------------------------------------


@each_version
@pytest.mark.parametrize(
    ("value", "enabled"), [("true", True), ("false", False), ("ture", False), (None, False)]
)
def test_only_our_annotation_opts_in(version: str, value: str | None, enabled: bool) -> None:
    given: dict[str, Any] = {} if value is None else {"wake_on_traffic": value}
    assert DIALECT.route(with_annotations(up(version), **given)).wake.enabled is enabled


@each_version
def test_our_other_annotations_and_the_label_hold(version: str) -> None:
    raw = with_annotations(
        up(version),
        wake_timeout="7s",
        ports="8888",
        access_token_sha256="ab" * 32,
        upstream_tls="odd",
    )
    raw = with_field(raw, ("metadata", "labels", "sandbox-gateway.dev/id"), "b7")
    route = DIALECT.route(raw)
    assert route.id == "b7"
    assert route.wake == WakePolicy(enabled=False, timeout=7.0)
    assert route.ports == frozenset({8888})
    assert route.credential == Credential(sha256="ab" * 32)
    assert [problem.field for problem in route.problems] == ["sandbox-gateway.dev/upstream-tls"]
    assert route.tls is not None


# ---- resumable and the patches ------------------------------------------------------------------


@each_version
def test_what_sleeps_or_is_asked_to_run_may_be_woken(version: str) -> None:
    for raw in (asleep(version), awake_again(version), up(version)):
        DIALECT.check_resumable(raw, NOW)
    in_time = with_field(asleep(version), SHUTDOWN, format_time(NOW + 1))
    DIALECT.check_resumable(in_time, NOW)


def _refused(version: str) -> list[tuple[RawObject, type[NotResumable]]]:
    sleeping = asleep(version)
    return [
        (with_field(sleeping, DELETING, "2026-11-22T10:00:00Z"), SandboxIsTerminating),
        (with_field(sleeping, SHUTDOWN, format_time(NOW)), ShutdownTimeReached),
        (told(sleeping, "Ready", "False", "PodFailed"), SandboxPhaseNotAllowed),
        (told(sleeping, "Ready", "False", "PodSucceeded"), SandboxPhaseNotAllowed),
        (told(sleeping, "Ready", "False", "SandboxExpired"), SandboxPhaseNotAllowed),
        (with_field(sleeping, POOL, "pool"), SandboxPhaseNotAllowed),
        (told(sleeping, "Suspended", "False", "PodTerminating"), SandboxIsPausing),
        (told(sleeping, "Suspended", "Unknown", "PodStateUnknown"), SandboxIsPausing),
        (
            told(sleeping, "Suspended", "True", "PodTerminated", GENERATION - 1),
            SandboxIsPausing,
        ),
        (suspended(up(version)), SandboxIsPausing),
    ]


@pytest.mark.parametrize(
    ("raw", "error"), [row for version in VERSIONS for row in _refused(version)]
)
def test_these_may_not_and_the_class_says_why(raw: RawObject, error: type[NotResumable]) -> None:
    with pytest.raises(error):
        DIALECT.check_resumable(raw, NOW)


PATCHES = [
    ("v1beta1", {"spec": {"operatingMode": "Running"}}, {"spec": {"operatingMode": "Suspended"}}),
    ("v1alpha1", {"spec": {"replicas": 1}}, {"spec": {"replicas": 0}}),
]


@pytest.mark.parametrize(("version", "wake", "standby"), PATCHES)
def test_a_wake_asks_for_running_once_and_touches_nothing_else(
    version: str, wake: RawObject, standby: RawObject
) -> None:
    assert DIALECT.wake_patch(asleep(version), NOW) == wake
    woken = awake_again(version)
    assert DIALECT.route(woken).state is State.RESUMING
    assert DIALECT.wake_patch(woken, NOW) is None
    assert DIALECT.standby_patch(woken, NOW) == standby


@pytest.mark.parametrize(("version", "wake", "standby"), PATCHES)
def test_standby_asks_for_suspended_once_and_touches_nothing_else(
    version: str, wake: RawObject, standby: RawObject
) -> None:
    assert DIALECT.standby_patch(up(version), NOW) == standby
    sleeping = merged(up(version), standby)
    assert DIALECT.route(sleeping).state is State.PAUSING
    assert DIALECT.standby_patch(sleeping, NOW) is None
    assert DIALECT.wake_patch(sleeping, NOW) == wake


@pytest.mark.parametrize(("version", "wake", "standby"), PATCHES)
def test_where_nothing_is_said_running_is_meant(
    version: str, wake: RawObject, standby: RawObject
) -> None:
    (field,) = wake["spec"]
    for raw in (
        without_field(asleep(version), ("spec", field)),
        with_field(asleep(version), ("spec", field), None),
    ):
        assert DIALECT.wake_patch(raw, NOW) is None
        assert DIALECT.standby_patch(raw, NOW) == standby
