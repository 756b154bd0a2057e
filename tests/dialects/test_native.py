"""The native dialect: every rule of judging, the patches, the ports of local mode."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.dialects import native
from gateway.dialects.base import RawObject, Resource
from gateway.sandbox.errors import (
    MalformedObject,
    NotResumable,
    SandboxIsPausing,
    SandboxIsTerminating,
    SandboxPhaseNotAllowed,
    ShutdownTimeReached,
)
from gateway.sandbox.model import Credential, Key, Route, State, WakePolicy
from gateway.sandbox.standby import DISABLED, IdleRules, StandbyPolicy, read_policy
from gateway.sandbox.texts import format_time, parse_time

from .objects import (
    NOW,
    Path,
    merged,
    native_object,
    with_annotations,
    with_condition,
    with_field,
    without_field,
)

DIALECT = native.Native()
LOCAL = native.Native(local=True)

PHASE: Path = ("status", "phase")
DESIRED: Path = ("spec", "desiredState")
SHUTDOWN: Path = ("spec", "shutdownTime")
DELETING: Path = ("metadata", "deletionTimestamp")
WAKE: Path = ("spec", "wakeOnTraffic")
STANDBY: Path = ("spec", "standby")
PORTS: Path = ("spec", "ports")
PROCESS_PORT: Path = ("spec", "process", "port")


def up() -> RawObject:
    return native_object()


def asleep() -> RawObject:
    return with_condition(changed(up(), (PHASE, "Paused"), (DESIRED, "Paused")), "Ready", "False")


def changed(raw: RawObject, *changes: tuple[Path, object]) -> RawObject:
    for path, value in changes:
        raw = with_field(raw, path, value)
    return raw


def test_a_sandbox_that_runs_becomes_this_route() -> None:
    assert DIALECT.route(up()) == Route(
        key=Key("native", "team-a", "box"),
        uid="uid-1",
        id="team-a--box",
        version=41,
        state=State.RUNNING,
        reason="",
        incarnation="uid-1/pod-1",
        address="10.0.0.7",
        ports=frozenset({8080, 9000}),
        expires_at=parse_time("2026-11-23T00:00:00Z"),
        wake=WakePolicy(enabled=True, timeout=90.0),
        credential=None,
        passes_access_token=False,
        problems=(),
        idle=IdleRules(policy=read_policy(up()["spec"]["standby"])),
        node="node-1",
    )


def test_the_dialect_says_where_its_objects_are_served() -> None:
    assert DIALECT.name == "native"
    assert DIALECT.resource == Resource("sandbox-gateway.dev", "v1alpha1", "sandboxes", "Sandbox")


@pytest.mark.parametrize(
    ("raw", "state", "reason"),
    [
        (changed(up(), (DELETING, "2026-11-22T10:00:00Z")), State.DEAD, "deleting"),
        (changed(up(), (PHASE, "Succeeded")), State.DEAD, "succeeded"),
        (changed(up(), (PHASE, "Failed")), State.DEAD, "failed"),
        (changed(up(), (PHASE, "Terminating")), State.DEAD, "terminating"),
        (changed(up(), (PHASE, "Pending")), State.CREATING, ""),
        (changed(up(), (PHASE, "")), State.CREATING, ""),
        (without_field(up(), ("status",)), State.CREATING, ""),
        (changed(up(), (PHASE, "Hibernated")), State.BLOCKED, "unknown_phase"),
        (changed(up(), (DESIRED, "Paused")), State.PAUSING, ""),
        (changed(up(), (DESIRED, "Paused"), (PHASE, "Pausing")), State.PAUSING, ""),
        (changed(up(), (DESIRED, "Paused"), (PHASE, "Resuming")), State.PAUSING, ""),
        (asleep(), State.PAUSED, ""),
        (changed(asleep(), (DESIRED, "Running")), State.RESUMING, ""),
        (without_field(asleep(), DESIRED), State.RESUMING, ""),
        (changed(up(), (PHASE, "Pausing")), State.RESUMING, ""),
        (changed(up(), (PHASE, "Resuming")), State.RESUMING, ""),
        (up(), State.RUNNING, ""),
        (without_field(up(), DESIRED), State.RUNNING, ""),
        (with_condition(up(), "Ready", "False"), State.RESUMING, ""),
        (without_field(up(), ("status", "podIP")), State.RESUMING, ""),
    ],
)
def test_each_rule_of_judging_gives_its_state(raw: RawObject, state: State, reason: str) -> None:
    route = DIALECT.route(raw)
    assert (route.state, route.reason) == (state, reason)
    assert (route.address is None) == (state is not State.RUNNING)


#: The rules in their order. Expiry stands first in `Route.state_at`.
ORDER: list[tuple[tuple[Path, object], State, str]] = [
    ((DELETING, "2026-11-22T10:00:00Z"), State.DEAD, "deleting"),
    ((PHASE, "Failed"), State.DEAD, "failed"),
    ((PHASE, "Pending"), State.CREATING, ""),
    ((PHASE, "Hibernated"), State.BLOCKED, "unknown_phase"),
    ((DESIRED, "Paused"), State.PAUSING, ""),
    ((PHASE, "Resuming"), State.RESUMING, ""),
]


@pytest.mark.parametrize(
    ("earlier", "later"), [(i, j) for i, j in product(range(len(ORDER)), repeat=2) if i < j]
)
def test_an_earlier_rule_beats_every_later_one(earlier: int, later: int) -> None:
    route = DIALECT.route(changed(up(), ORDER[later][0], ORDER[earlier][0]))
    assert (route.state, route.reason) == ORDER[earlier][1:]


@pytest.mark.parametrize("rule", ORDER)
def test_expiry_beats_every_rule_from_its_very_second(
    rule: tuple[tuple[Path, object], State, str],
) -> None:
    route = DIALECT.route(changed(up(), rule[0], (SHUTDOWN, format_time(NOW))))
    assert route.state_at(NOW) is State.DEAD
    assert route.state_at(NOW - 0.001) is rule[1]


def test_without_a_pod_uid_a_life_is_named_by_address_and_transition() -> None:
    raw = without_field(up(), ("status", "podUID"))
    assert DIALECT.route(raw).incarnation == "uid-1/10.0.0.7@2026-11-22T10:00:00Z"


def test_the_id_label_names_the_sandbox() -> None:
    raw = with_field(up(), ("metadata", "labels", "sandbox-gateway.dev/id"), "b7")
    assert DIALECT.route(raw).id == "b7"


def test_our_digest_is_the_credential() -> None:
    raw = with_annotations(up(), access_token_sha256="ab" * 32)
    assert DIALECT.route(raw).credential == Credential(sha256="ab" * 32)


# ---- resumable and the patches ----------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        asleep(),
        up(),
        changed(asleep(), (DESIRED, "Running")),
        changed(up(), (DESIRED, "Paused"), (PHASE, "Resuming")),
        changed(asleep(), (SHUTDOWN, format_time(NOW + 1))),
    ],
)
def test_these_may_be_woken(raw: RawObject) -> None:
    DIALECT.check_resumable(raw, NOW)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (changed(asleep(), (DELETING, "2026-11-22T10:00:00Z")), SandboxIsTerminating),
        (changed(asleep(), (SHUTDOWN, format_time(NOW))), ShutdownTimeReached),
        (changed(up(), (DESIRED, "Paused")), SandboxIsPausing),
        (changed(asleep(), (PHASE, "Pausing")), SandboxIsPausing),
        (changed(asleep(), (PHASE, "Pending")), SandboxPhaseNotAllowed),
        (changed(asleep(), (PHASE, "Failed")), SandboxPhaseNotAllowed),
        (changed(asleep(), (PHASE, "Hibernated")), SandboxPhaseNotAllowed),
    ],
)
def test_these_may_not_and_the_class_says_why(raw: RawObject, error: type[NotResumable]) -> None:
    with pytest.raises(error):
        DIALECT.check_resumable(raw, NOW)


def test_a_wake_asks_for_running_once_and_touches_nothing_else() -> None:
    patch = DIALECT.wake_patch(asleep(), NOW)
    assert patch == {"spec": {"desiredState": "Running"}}
    woken = merged(asleep(), patch)
    assert DIALECT.route(woken).state is State.RESUMING
    assert DIALECT.wake_patch(woken, NOW) is None


def test_standby_asks_for_paused_once_and_touches_nothing_else() -> None:
    patch = DIALECT.standby_patch(up(), NOW)
    assert patch == {"spec": {"desiredState": "Paused"}}
    sleeping = merged(up(), patch)
    assert DIALECT.route(sleeping).state is State.PAUSING
    assert DIALECT.standby_patch(sleeping, NOW) is None
    assert DIALECT.standby_patch(without_field(up(), DESIRED), NOW) == patch


def test_without_a_desired_state_running_is_meant() -> None:
    assert DIALECT.wake_patch(without_field(asleep(), DESIRED), NOW) is None


# ---- wake opt-in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "policy"),
    [
        (None, WakePolicy(enabled=False)),
        ({}, WakePolicy(enabled=False)),
        ({"enabled": False}, WakePolicy(enabled=False)),
        ({"enabled": True}, WakePolicy(enabled=True)),
        ({"enabled": True, "timeout": None}, WakePolicy(enabled=True)),
        ({"enabled": True, "timeout": "1m30s"}, WakePolicy(enabled=True, timeout=90.0)),
        ({"enabled": True, "timeout": "1ms"}, WakePolicy(enabled=True, timeout=0.001)),
        ({"enabled": False, "timeout": "5s"}, WakePolicy(enabled=False, timeout=5.0)),
    ],
)
def test_the_rule_of_the_spec_is_the_policy(rule: object, policy: WakePolicy) -> None:
    route = DIALECT.route(with_field(up(), WAKE, rule))
    assert route.wake == policy
    assert route.problems == ()


@pytest.mark.parametrize("timeout", ["0", "0s", "-5s", "90", "soon", "9" * 400 + "h"])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_timeout_that_is_no_duration_over_zero_is_reported_and_the_default_used(
    timeout: str, enabled: bool
) -> None:
    route = DIALECT.route(with_field(up(), WAKE, {"enabled": enabled, "timeout": timeout}))
    assert route.wake == WakePolicy(enabled=enabled, timeout=None)
    (problem,) = route.problems
    assert problem.field == "spec.wakeOnTraffic.timeout"
    assert problem.message == "is not a duration over 0; the default is used"


@pytest.mark.parametrize("rule", [{"enabled": "true"}, {"enabled": 1}, {"timeout": 90}, "true", []])
def test_a_rule_of_another_type_is_refused(rule: object) -> None:
    with pytest.raises(MalformedObject) as caught:
        DIALECT.route(with_field(up(), WAKE, rule))
    assert caught.value.field.startswith("spec.wakeOnTraffic")


@pytest.mark.parametrize(
    ("rule", "annotation", "enabled"),
    [
        ({"enabled": True}, "false", False),
        ({"enabled": True}, "ture", False),
        ({"enabled": True}, "true", True),
        ({"enabled": False}, "true", False),
        (None, "true", True),
        (None, "false", False),
        (None, "yes", False),
    ],
)
def test_the_annotation_opts_in_only_without_a_rule_and_can_always_forbid(
    rule: object, annotation: str, enabled: bool
) -> None:
    raw = with_annotations(with_field(up(), WAKE, rule), wake_on_traffic=annotation)
    assert DIALECT.route(raw).wake.enabled is enabled


def test_the_timeout_of_the_annotation_stands_in_for_a_missing_one() -> None:
    raw = with_annotations(with_field(up(), WAKE, {"enabled": True}), wake_timeout="7s")
    assert DIALECT.route(raw).wake.timeout == 7.0
    both = with_annotations(up(), wake_timeout="7s")
    assert DIALECT.route(both).wake.timeout == 90.0


def test_problems_of_both_kinds_are_reported() -> None:
    raw = with_annotations(with_field(up(), (*WAKE, "timeout"), "x"), ports="x")
    fields = [problem.field for problem in DIALECT.route(raw).problems]
    assert fields == ["sandbox-gateway.dev/ports", "spec.wakeOnTraffic.timeout"]


# ---- standby ----------------------------------------------------------------------------------

FIVE_MINUTES = StandbyPolicy(enabled=True, idle_timeout=300.0)


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        (None, None),
        ({"enabled": False}, DISABLED),
        ({"enabled": False, "idle_timeout": "5m"}, DISABLED),
        ({"enabled": True, "idle_timeout": "300s"}, FIVE_MINUTES),
    ],
)
def test_the_standby_of_the_spec_is_the_policy(
    written: object, policy: StandbyPolicy | None
) -> None:
    route = DIALECT.route(with_field(up(), STANDBY, written))
    assert route.idle.policy == policy
    assert route.problems == ()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "enabled must be true or false"),
        ({"enabled": "true", "idle_timeout": "5m"}, "enabled must be true or false"),
        ({"enabled": True}, "idle_timeout must be"),
        ({"enabled": True, "idle_timeout": "0s"}, "idle_timeout must be"),
        ({"enabled": True, "idleTimeout": "5m"}, "'idleTimeout' is not known"),
        (
            {"enabled": True, "idle_timeout": "5m", "ignore_source_cidrs": ["x"]},
            "ignore_source_cidrs has 'x'",
        ),
    ],
)
def test_a_standby_that_cannot_be_taken_is_off_and_is_reported(written: object, said: str) -> None:
    route = DIALECT.route(with_field(up(), STANDBY, written))
    assert route.idle.policy == DISABLED
    (problem,) = route.problems
    assert problem.field == "spec.standby"
    assert said in problem.message
    assert problem.message.endswith("; it is not put to sleep")


@pytest.mark.parametrize(
    ("written", "annotation", "policy"),
    [
        ({"enabled": True, "idle_timeout": "5m"}, '{"enabled": false}', DISABLED),
        ({"enabled": True, "idle_timeout": "5m"}, "typo", DISABLED),
        (
            {"enabled": True, "idle_timeout": "5m"},
            '{"enabled": true, "idle_timeout": "1s"}',
            FIVE_MINUTES,
        ),
        ({"enabled": False}, '{"enabled": true, "idle_timeout": "5m"}', DISABLED),
        ({"enabled": "typo"}, '{"enabled": true, "idle_timeout": "5m"}', DISABLED),
        (None, '{"enabled": true, "idle_timeout": "5m"}', FIVE_MINUTES),
        (None, "typo", DISABLED),
    ],
)
def test_the_annotation_gives_the_policy_only_without_one_and_can_always_forbid(
    written: object, annotation: str, policy: StandbyPolicy
) -> None:
    raw = with_annotations(with_field(up(), STANDBY, written), auto_standby=annotation)
    assert DIALECT.route(raw).idle.policy == policy


def test_a_node_is_told_only_of_what_runs() -> None:
    assert DIALECT.route(asleep()).node is None
    assert DIALECT.route(without_field(up(), ("status", "nodeName"))).node is None


# ---- ports ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "annotated", "ports"),
    [
        (None, None, None),
        ([], None, None),
        ([8080], None, {8080}),
        (None, "9000", {9000}),
        ([8080, 9000], "9000,9001", {9000}),
        ([8080], "typo", set()),
        (None, "typo", set()),
    ],
)
def test_ports_are_those_that_spec_and_annotation_both_allow(
    declared: object, annotated: str | None, ports: set[int] | None
) -> None:
    raw = with_field(up(), PORTS, declared)
    if annotated is not None:
        raw = with_annotations(raw, ports=annotated)
    assert DIALECT.route(raw).ports == (None if ports is None else frozenset(ports))


@pytest.mark.parametrize(
    ("port", "declared", "ports"),
    [
        (8080, None, {8080}),
        (8080, [8080, 9000], {8080}),
        (8080, [9000], set()),
        (None, None, set()),
        (None, [9000], set()),
    ],
)
def test_in_local_mode_only_the_port_of_the_process_may_be_reached(
    port: object, declared: object, ports: set[int]
) -> None:
    raw = changed(up(), (PROCESS_PORT, port), (PORTS, declared))
    assert LOCAL.route(raw).ports == frozenset(ports)


def test_local_mode_has_to_be_asked_for() -> None:
    assert native.Native().route(up()).ports == frozenset({8080, 9000})
    assert native.Native(local=True).route(up()).ports == frozenset({8080})


def test_in_local_mode_a_sandbox_without_a_process_has_no_port() -> None:
    assert LOCAL.route(without_field(up(), ("spec", "process"))).ports == frozenset()


@pytest.mark.parametrize("port", [0, 65536, "8080", True, [8080]])
def test_in_local_mode_a_port_that_is_none_is_refused(port: object) -> None:
    raw = with_field(up(), PROCESS_PORT, port)
    with pytest.raises(MalformedObject) as caught:
        LOCAL.route(raw)
    assert caught.value.field == "spec.process.port"
    assert DIALECT.route(raw).ports == frozenset({8080, 9000})
