"""Explanations: the state and its why, what a request meets, and what to do next."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.cluster.pod_facts import Obstacle
from gateway.dialects import own
from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.deployment import DEPLOYMENT, SERVICE
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.explain import NOT_RESUMABLE, Surroundings, explain
from gateway.explain.sleep import FAILURES
from gateway.explain.state import MEANINGS, REASONS
from gateway.replicas.peers import PeerUse
from gateway.resize.snapshot import ResizeSnapshot, Status, obstructed, unsized
from gateway.sandbox import errors, states
from gateway.sandbox.model import State, WakePolicy
from gateway.sandbox.scaling import Scaling, Size
from gateway.sandbox.standby import DISABLED, NO_RULES, IdleRules, StandbyCheck, StandbyPolicy
from gateway.sandbox.texts import parse_time
from gateway.standby.idle import FAILED, Result, Trouble
from gateway.standby.judging import Moment
from gateway.standby.snapshot import Slept, snapshot_of
from gateway.standby.verdict import Reason, Seen, judge
from tests.dialects.objects import agent_object, deployment_object, with_field

if TYPE_CHECKING:
    from gateway.dialects.base import Dialect, RawObject
    from gateway.explain import Explanation
    from gateway.sandbox.model import Route

NOW = parse_time("2026-11-22T10:20:30Z")
OURS = "sandbox-gateway.dev/wake-on-traffic"
THEIRS = "agents.kruise.io/wake-on-traffic"

BASE: RawObject = {
    "metadata": {"namespace": "team-a", "name": "box", "uid": "uid-1", "resourceVersion": "5"}
}
READY = {"type": "Ready", "status": "True", "reason": "Up", "message": "all is well"}
NATIVE_RUNNING: RawObject = BASE | {
    "spec": {"desiredState": "Running"},
    "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [READY]},
}
NATIVE_PAUSED: RawObject = BASE | {
    "spec": {"desiredState": "Paused"},
    "status": {"phase": "Paused"},
}
KRUISE_PAUSED: RawObject = BASE | {
    "spec": {"paused": True},
    "status": {"phase": "Paused", "conditions": [{"type": "SandboxPaused", "status": "True"}]},
}


def native(raw: RawObject, now: float = NOW) -> Explanation:
    return _explained(Native(), raw, now)


def kruise(raw: RawObject, now: float = NOW) -> Explanation:
    return _explained(Kruise(), raw, now)


def _explained(dialect: Dialect, raw: RawObject, now: float) -> Explanation:
    return explain(dialect.route(raw), raw, dialect, now, Surroundings("http://gw", 120.0))


def lines(told: Explanation, heading: str) -> str:
    return "\n".join(line for one in told.sections if one.heading == heading for line in one.lines)


def with_spec(raw: RawObject, **fields: Any) -> RawObject:
    return raw | {"spec": raw["spec"] | fields}


def with_annotations(raw: RawObject, values: dict[str, str]) -> RawObject:
    return raw | {"metadata": raw["metadata"] | {"annotations": values}}


# ---- state --------------------------------------------------------------------------------------


def test_a_workload_is_told_with_its_replicas_and_whose_word_its_address_is() -> None:
    named = deployment_object()
    state = lines(_explained(DEPLOYMENT, named, NOW), "State")
    assert "wanted Running, reported 2 replicas, of which 1 are available" in state
    assert "its address is that of Service front; if headless, the ready endpoints" in state
    assert "that Service gives no ready address" in state
    assert "phase" not in state
    own = with_annotations(named | {"spec": {"replicas": 0}, "status": {}}, {})
    state = lines(_explained(DEPLOYMENT, own, NOW), "State")
    assert "wanted Paused, reported 0 replicas, of which 0 are available" in state
    assert f"the ready endpoints of Service box (of its own name; {SERVICE} names" in state
    assert "no ready address" not in state


def test_the_advice_for_a_workload_names_its_own_resource() -> None:
    told = _explained(DEPLOYMENT, deployment_object(), NOW)
    assert "kubectl annotate deployments.apps -n team-a box" in lines(told, "What to do")


def test_a_running_sandbox_is_told_with_what_was_read() -> None:
    told = native(NATIVE_RUNNING)
    assert told.as_text().startswith("team-a/box (native) is running")
    state = lines(told, "State")
    assert "id team-a--box, uid uid-1" in state
    assert "wanted Running, reported phase Running" in state
    assert "condition Ready=True, Up, all is well" in state
    assert lines(told, "Waking it by hand") == "not needed: it is asked to run already"


def test_a_controller_that_lags_behind_is_told() -> None:
    raw = deepcopy(NATIVE_RUNNING)
    raw["metadata"]["generation"] = 4
    raw["status"]["observedGeneration"] = 3
    assert "has not seen the latest change yet (3 of 4)" in lines(native(raw), "State")


def test_a_shutdown_time_is_told_and_past_it_the_sandbox_is_dead() -> None:
    raw = with_spec(NATIVE_RUNNING, shutdownTime="2026-11-22T12:00:00Z")
    assert "expires at 2026-11-22T12:00:00Z" in lines(native(raw), "State")
    later = native(raw, NOW + 86_400)
    assert later.state is State.DEAD
    assert "expired at 2026-11-22T12:00:00Z" in lines(later, "State")
    assert "502 sandbox_dead" in lines(later, "A request now")
    assert "ShutdownTimeReached" in lines(later, "Waking it by hand")
    assert not lines(later, "Try it")


def test_a_reason_is_told_in_words() -> None:
    raw = deepcopy(NATIVE_RUNNING)
    raw["status"]["phase"] = "Upgrading"
    told = native(raw)
    assert "reason: its platform upgrades it" in lines(told, "State")
    assert "502 sandbox_blocked" in lines(told, "A request now")


def test_every_state_and_every_reason_of_the_rules_has_words() -> None:
    assert set(MEANINGS) == set(State)
    reasons = {states.REASON_DELETING, states.REASON_POOL_MEMBER, states.REASON_UNKNOWN_PHASE}
    reasons |= {phase.lower() for phase in states.FINAL_PHASES}
    reasons |= set(states.BLOCKING_PHASES.values())
    assert set(REASONS) == reasons


def test_conditions_of_an_agent_sandbox_tell_why_it_is_not_ready() -> None:
    raw = with_field(agent_object(), ("metadata", "generation"), 4)
    told = _explained(AgentSandbox(), raw, NOW)
    assert told.state is State.RESUMING
    assert "DependenciesReady, from before the latest change (3 of 4)" in lines(told, "State")
    many = {"type": "Ready", "status": "False", "reason": "MultiplePods", "observedGeneration": 4}
    state = lines(
        _explained(AgentSandbox(), with_field(raw, ("status", "conditions", 1), many), NOW), "State"
    )
    assert "condition Ready=False, MultiplePods" in state
    assert "Ready=False, MultiplePods, from before" not in state


def test_texts_of_the_object_cannot_drive_a_terminal() -> None:
    raw = deepcopy(NATIVE_RUNNING)
    raw["status"]["phase"] = "Up\x1b[31m" + "x" * 1000
    raw["status"]["conditions"] = [READY | {"message": "a\nForged: line\x07"}]
    text = native(raw).as_text()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\nForged" not in text
    assert "x" * 300 not in text


# ---- a request ----------------------------------------------------------------------------------


def test_a_request_to_a_running_sandbox_is_forwarded() -> None:
    assert "is forwarded to 10.0.0.7" in lines(native(NATIVE_RUNNING), "A request now")


def test_a_request_to_a_sleeper_is_refused_or_wakes_it_by_its_policy() -> None:
    assert "502 sandbox_not_wakeable" in lines(native(NATIVE_PAUSED), "A request now")
    told = native(with_spec(NATIVE_PAUSED, wakeOnTraffic={"enabled": True, "timeout": "90s"}))
    assert "wakes it" in lines(told, "A request now")
    assert "within 90 s" in lines(told, "A request now")
    assert "one wake may take 90 s (its own)" in lines(told, "Wake on traffic")


def test_a_request_to_one_that_starts_waits() -> None:
    raw = deepcopy(NATIVE_RUNNING)
    raw["status"] = {"phase": "Pending"}
    assert "waits until it is ready" in lines(native(raw), "A request now")


def test_tls_is_told_with_what_the_sandbox_must_prove() -> None:
    assert "TLS:" not in lines(native(NATIVE_RUNNING), "A request now")
    own = "sandbox-gateway.dev/upstream-tls"
    every = native(with_annotations(NATIVE_RUNNING, {own: "true"}))
    told = lines(every, "A request now")
    assert "TLS: on every port; its certificate must be for its address" in told
    named = {own: "9443,8443", f"{own}-server-name": "box.internal"}
    told = lines(native(with_annotations(NATIVE_RUNNING, named)), "A request now")
    assert "TLS: on ports 8443, 9443; its certificate must be for box.internal" in told


def test_ports_are_told_and_the_example_uses_one_of_them() -> None:
    told = native(with_spec(NATIVE_RUNNING, ports=[9000, 8081]))
    assert "ports: 8081, 9000; any other is 403" in lines(told, "A request now")
    assert "e2b-sandbox-port: 8081" in lines(told, "Try it")
    assert "ports: any" in lines(native(NATIVE_RUNNING), "A request now")
    none = native(with_annotations(NATIVE_RUNNING, {"sandbox-gateway.dev/ports": "typo"}))
    assert "none may be reached" in lines(none, "A request now")
    assert not lines(none, "Try it")


def test_a_credential_is_told_by_its_kind_and_never_by_its_value() -> None:
    token = {"agents.kruise.io/runtime-access-token": "hunter2"}
    told = kruise(with_annotations(KRUISE_PAUSED, token))
    assert "credential: an access token is set" in lines(told, "A request now")
    assert '"x-access-token: $TOKEN"' in lines(told, "Try it")
    assert "hunter2" not in told.as_text()
    assert "hunter2" not in json.dumps(told.as_json())
    digest = {"sandbox-gateway.dev/access-token-sha256": "ab" * 32}
    hashed = native(with_annotations(NATIVE_RUNNING, digest))
    assert "SHA-256" in lines(hashed, "A request now")
    assert "abab" not in hashed.as_text()
    typo = native(
        with_annotations(NATIVE_RUNNING, {"sandbox-gateway.dev/access-token-sha256": "x"})
    )
    assert "cannot be used" in lines(typo, "A request now")
    assert "credential: none is set" in lines(native(NATIVE_RUNNING), "A request now")


# ---- waking -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "commands"),
    [
        (NATIVE_PAUSED, [f"annotate {OURS}"]),
        (with_annotations(NATIVE_PAUSED, {OURS: "false"}), [f"annotate {OURS}"]),
        (with_spec(NATIVE_PAUSED, wakeOnTraffic={"enabled": False}), ["patch"]),
        (
            with_annotations(
                with_spec(NATIVE_PAUSED, wakeOnTraffic={"enabled": False}), {OURS: "no"}
            ),
            ["patch", f"annotate {OURS}"],
        ),
        (
            with_annotations(
                with_spec(NATIVE_PAUSED, wakeOnTraffic={"enabled": True}), {OURS: "false"}
            ),
            [f"annotate {OURS}"],
        ),
    ],
)
def test_following_the_advice_lets_traffic_wake_a_native_sandbox(
    raw: RawObject, commands: list[str]
) -> None:
    told = native(raw)
    assert _commands(told) == commands
    followed = deepcopy(raw)
    for command in commands:
        if command == "patch":
            followed["spec"]["wakeOnTraffic"]["enabled"] = True
        else:
            annotations = followed["metadata"].setdefault("annotations", {})
            annotations[command.removeprefix("annotate ")] = "true"
    assert Native().route(followed).wake.enabled


@pytest.mark.parametrize(
    ("annotations", "commands"),
    [
        ({}, [f"annotate {OURS}"]),
        ({THEIRS: "false"}, [f"annotate {THEIRS}"]),
        ({THEIRS: "yes", OURS: "false"}, [f"annotate {THEIRS}", f"annotate {OURS}"]),
        ({THEIRS: "true", OURS: "false"}, [f"annotate {OURS}"]),
    ],
)
def test_following_the_advice_lets_traffic_wake_a_kruise_sandbox(
    annotations: dict[str, str], commands: list[str]
) -> None:
    raw = with_annotations(KRUISE_PAUSED, annotations)
    assert _commands(kruise(raw)) == commands
    followed = annotations | {one.removeprefix("annotate "): "true" for one in commands}
    assert Kruise().route(with_annotations(raw, followed)).wake.enabled


def _commands(told: Explanation) -> list[str]:
    found = []
    for line in lines(told, "What to do").splitlines():
        words = line.split()
        if words[0] == "kubectl":
            assert words[2:5] == [words[2], "-n", "team-a"]
            found.append(
                "patch" if words[1] == "patch" else f"annotate {words[-1].removesuffix('=true')}"
            )
    return found


def test_where_the_policy_comes_from_is_told_in_the_order_that_counts() -> None:
    raw = with_annotations(
        with_spec(NATIVE_PAUSED, wakeOnTraffic={"enabled": True}), {OURS: "false"}
    )
    told = lines(native(raw), "Wake on traffic").splitlines()
    assert told[0] == "off"
    assert told[2] == "from spec.wakeOnTraffic"
    assert told[3] == f'from annotation {OURS}: "false"'
    assert "nothing on the sandbox asks for it" in lines(native(NATIVE_PAUSED), "Wake on traffic")


def test_a_wakeable_sleeper_needs_no_advice() -> None:
    told = native(with_annotations(NATIVE_PAUSED, {OURS: "true"}))
    assert not lines(told, "What to do")
    assert lines(told, "Waking it by hand") == "yes"


def test_every_guard_has_words() -> None:
    guards = {
        one
        for one in vars(errors).values()
        if isinstance(one, type)
        and issubclass(one, errors.NotResumable)
        and one is not errors.NotResumable
    }
    assert set(NOT_RESUMABLE) == guards


def test_a_pause_that_is_not_finished_is_told_as_transient() -> None:
    raw = deepcopy(NATIVE_PAUSED)
    raw["status"]["phase"] = "Running"
    told = lines(native(raw), "Waking it by hand")
    assert told.startswith("not yet")
    assert "SandboxIsPausing" in told


def test_annotations_that_do_not_parse_are_told() -> None:
    told = native(with_annotations(NATIVE_PAUSED, {OURS: "yes"}))
    assert f'{OURS}: must be "true" or "false"' in lines(told, "Problems")


def test_an_unclaimed_pool_member_is_to_be_claimed() -> None:
    raw = deepcopy(KRUISE_PAUSED)
    raw["metadata"]["ownerReferences"] = [{"kind": "SandboxSet", "controller": True}]
    assert "claim it" in lines(kruise(raw), "What to do")


# ---- the whole ----------------------------------------------------------------------------------


def test_without_the_object_as_much_is_told_as_the_route_knows() -> None:
    told = explain(Native().route(NATIVE_PAUSED), None, Native(), NOW)
    assert "502 sandbox_not_wakeable" in lines(told, "A request now")
    assert not lines(told, "Waking it by hand")
    assert told.as_json()["state"] == "paused"


@given(
    st.sampled_from(["", "Pending", "Running", "Pausing", "Paused", "Resuming", "Failed", "New"]),
    st.sampled_from(["Running", "Paused"]),
    st.booleans(),
    st.sampled_from([None, "true", "false", "typo"]),
    st.booleans(),
)
def test_every_state_is_explained_by_the_same_rules_that_judge_requests(
    phase: str, desired: str, deleting: bool, annotation: str | None, ready: bool
) -> None:
    raw = deepcopy(NATIVE_RUNNING if ready else NATIVE_PAUSED)
    raw["status"]["phase"] = phase
    raw["spec"]["desiredState"] = desired
    if deleting:
        raw["metadata"]["deletionTimestamp"] = "2026-11-22T10:00:00Z"
    if annotation is not None:
        raw["metadata"]["annotations"] = {OURS: annotation}
    told = native(raw)
    assert told.state is Native().route(raw).state
    assert lines(told, "A request now")
    json.dumps(told.as_json())


# ---- sleep --------------------------------------------------------------------------------------

POLICY = StandbyPolicy(enabled=True, idle_timeout=300.0)
AT = Moment(1000.0, NOW)
#: Idle for 200 seconds.
IDLE = Seen(POLICY, running=True, idle_since=800.0)


def asleep_or_not(seen: Seen, rules: IdleRules = NO_RULES, **known: Any) -> str:
    """Return what is told of a sandbox of which a gateway knows this."""
    route = replace(Native().route(NATIVE_RUNNING), idle=rules)
    told = snapshot_of(route, seen, AT, observes=False, **known)
    return lines(explain(route, None, Native(), NOW, standby=told), "Sleep")


WHYS: list[tuple[Seen, str]] = [
    (
        replace(IDLE, supported=False),
        ("unsupported (unsupported_platform): this gateway puts nothing to sleep"),
    ),
    (
        replace(IDLE, policy=None),
        (
            "disabled (policy_missing): this gateway does not put it to "
            "sleep: it has no standby policy"
        ),
    ),
    (replace(IDLE, policy=DISABLED), "disabled (policy_disabled): this gateway does not put"),
    (replace(IDLE, always_on=True), "ineligible (always_on): awake: its author rules sleep out"),
    (
        replace(IDLE, running=False),
        (
            "ineligible (instance_not_running): it does not run; it was "
            "used last at 2026-11-22T10:17:10Z"
        ),
    ),
    (replace(IDLE, address=False), "ineligible (missing_ip): awake: it has no address"),
    (replace(IDLE, pinned=True), "held (pinned): awake: it is pinned, until somebody takes"),
    (
        replace(IDLE, hold_until=1090.0),
        ("held (leased): awake: held until 2026-11-22T10:22:00Z (in 1m30s)"),
    ),
    (replace(IDLE, requested=True), "standby_requested (ready_for_standby): it is being put"),
    (replace(IDLE, observer_error=True), "error (observer_error): awake: connections that"),
    (replace(IDLE, active=3), "active (active_inbound_connections): awake: 3 requests, tunnels"),
    (
        IDLE,
        (
            "idle_countdown (idle_timeout_not_elapsed): awake: idle for 3m20s of 5m0s; unless "
            "somebody uses it, it sleeps at 2026-11-22T10:22:10Z (in 1m40s)"
        ),
    ),
    (
        replace(IDLE, idle_since=600.0, ran_since=995.0, min_uptime=10.0),
        (
            "ineligible "
            "(min_uptime): awake: it has just begun to run; it may sleep at 2026-11-22T10:20:35Z"
        ),
    ),
    (
        replace(IDLE, idle_since=600.0),
        (
            "ready_for_standby (ready_for_standby): idle for 6m40s of "
            "5m0s; it sleeps once all replicas have agreed"
        ),
    ),
]


@pytest.mark.parametrize(("seen", "told"), WHYS)
def test_every_status_has_its_why_with_the_numbers_behind_it(seen: Seen, told: str) -> None:
    rules = IdleRules(hold_until=NOW + 90) if seen.hold_until else NO_RULES
    assert told in asleep_or_not(seen, rules)


def test_no_reason_is_without_words() -> None:
    assert {judge(seen, AT.now).reason for seen, _ in WHYS} == set(Reason)
    assert set(FAILURES) == FAILED


@pytest.mark.parametrize("result", list(FAILURES))
def test_it_is_told_why_one_did_not_sleep_that_should_have(result: Result) -> None:
    told = asleep_or_not(replace(IDLE, idle_since=600.0), trouble=Trouble(result, 900.0))
    assert f"it should have slept 1m40s ago, but {FAILURES[result]}" in told


def test_a_guests_no_is_told_with_when_it_is_asked_again() -> None:
    told = asleep_or_not(replace(IDLE, idle_since=600.0), vetoed_until=AT.now + 45)
    assert "the sandbox itself did not agree (standby-check); it is asked again at" in told
    assert "(in 45s)" in told
    assert "it should have slept" not in told
    assert "did not agree" not in asleep_or_not(IDLE, vetoed_until=AT.now + 45)


def test_it_is_told_how_each_replica_uses_it() -> None:
    uses = [
        PeerUse("here", 0, 61.0),
        PeerUse("busy", 2, 0.0),
        PeerUse("new", 0, None),
        PeerUse("lost", 0, None, silent=True),
    ]
    told = asleep_or_not(IDLE, uses=uses)
    assert "replica here: not used for 1m1s" in told
    assert "replica busy: 2 use it now" in told
    assert "replica new does not know it yet" in told
    assert "replica lost does not answer: nothing is put to sleep until it does" in told


def test_it_is_told_why_it_was_put_to_sleep() -> None:
    told = asleep_or_not(replace(IDLE, running=False), slept=Slept(NOW - 60, 301.2))
    assert "put it to sleep at 2026-11-22T10:19:30Z, when nobody had used it for 5m1s" in told


def test_what_the_object_says_of_its_sleep_is_told_without_a_gateway() -> None:
    rules = IdleRules(
        policy=POLICY,
        pinned=True,
        hold_until=NOW - 5,
        always_on=True,
        last_activity_at=NOW - 600,
        idle_since=NOW - 500,
        pause_at=NOW + 60,
        check=StandbyCheck(8080, "/may-sleep"),
    )
    route = replace(Native().route(NATIVE_RUNNING), idle=rules)
    told = lines(explain(route, NATIVE_RUNNING, Native(), NOW), "Sleep")
    for said in (
        "policy: sleeps after 5m0s without use",
        "nothing puts it to sleep (sandbox-gateway.dev/always-on)",
        "sandbox-gateway unpin team-a/box",
        "was held until 2026-11-22T10:20:25Z",
        "the sandbox itself is asked (port 8080, /may-sleep)",
        "its own controller pauses it at 2026-11-22T10:21:30Z",
        "idle since 2026-11-22T10:12:10Z",
        "used last at 2026-11-22T10:10:30Z",
        "only a gateway knows",
    ):
        assert said in told


@pytest.mark.parametrize(
    ("name", "wrong", "advice"),
    [
        (own.HOLD_UNTIL, "tomorrow", "sandbox-gateway unpin"),
        (own.STANDBY_CHECK, "ready?", own.ALWAYS_ON),
    ],
)
def test_what_keeps_it_awake_by_mistake_is_told_as_that(name: str, wrong: str, advice: str) -> None:
    route = Native().route(with_annotations(NATIVE_RUNNING, {name: wrong}))
    rules = route.idle
    seen = replace(IDLE, pinned=rules.pinned, always_on=rules.always_on)
    told = explain(route, None, Native(), NOW, standby=snapshot_of(route, seen, AT, observes=False))
    sleep = lines(told, "Sleep")
    assert f"awake: its {name} does not parse, which keeps it awake until that is mended" in sleep
    assert sleep.count(f"its {name} does not parse") == 2
    assert advice not in sleep
    assert "pinned, until" not in sleep
    assert "its author rules" not in sleep


@pytest.mark.parametrize("wakes", [True, False])
def test_it_is_told_where_traffic_cannot_wake_it_again(wakes: bool) -> None:
    awake = replace(Native().route(NATIVE_RUNNING), wake=WakePolicy(wakes))
    for policy, told in ((POLICY, not wakes), (DISABLED, False), (None, False)):
        route = replace(awake, idle=IdleRules(policy=policy))
        sleep = lines(explain(route, None, Native(), NOW), "Sleep")
        assert ("traffic cannot wake it again: wake on traffic is off" in sleep) is told


def test_times_beyond_all_use_are_not_counted_out() -> None:
    rules = IdleRules(policy=StandbyPolicy(True, 9e9), hold_until=NOW + 9e9)
    told = asleep_or_not(replace(IDLE, hold_until=AT.now + 9e9), rules)
    assert "policy: sleeps after more than a year without use" in told
    assert "(in more than a year)" in told


def test_a_policy_by_default_is_told_as_one() -> None:
    assert "(the gateway's idle_deployments_after)" in asleep_or_not(IDLE)


@pytest.mark.parametrize(
    ("policy", "said"), [(None, "policy: none; sandbox-gateway.dev/auto-standby would set one"),
                         (DISABLED, "policy: disabled")],
)  # fmt: skip
def test_without_a_policy_that_is_told(policy: StandbyPolicy | None, said: str) -> None:
    route = replace(Native().route(NATIVE_RUNNING), idle=IdleRules(policy=policy))
    assert said in lines(explain(route, None, Native(), NOW), "Sleep")


# ---- size ---------------------------------------------------------------------------------------

SCALING = Scaling(low=Size(250, 2**29), high=Size(2000, 2**32))
SIZED = replace(Native().route(NATIVE_RUNNING), scaling=SCALING)
HALF = {"cpu": "500m", "mem": "1Gi"}


def told_size(size: ResizeSnapshot | None, route: Route = SIZED) -> str:
    return lines(explain(route, None, Native(), NOW, size=size), "Size")


def test_of_the_size_of_one_that_asks_for_none_nothing_is_told() -> None:
    plain = replace(SIZED, scaling=None)
    assert told_size(unsized(plain, Status.ELSEWHERE, "this replica does not lead"), plain) == ""
    assert told_size(None, plain) == ""


def test_without_a_gateway_its_bounds_are_told() -> None:
    told = told_size(None)
    assert "it asks for 250m CPU and 512Mi of memory at least, 2 CPU and 4Gi at most" in told
    assert "how it stands now, only a gateway knows" in told


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status.UNSUPPORTED, "this gateway right-sizes nothing: why"),
        (Status.ELSEWHERE, "another replica may right-size it, and knows: why"),
        (Status.PREPARING, "it is not right-sized yet: why"),
        (Status.NO_POD, "it is not right-sized: why"),
        (Status.OBSTACLE, "it is not right-sized: why"),
        (Status.FROZEN, "its size is not touched now: why"),
        (Status.UNINFORMED, "it may grow by permit but is not shrunk: why"),
        (Status.LIMITED, "it does not have what it needs: why"),
        (Status.SIZED, "it is right-sized"),
    ],
)
def test_every_way_in_which_a_size_stands_has_words(status: Status, said: str) -> None:
    assert said in told_size(ResizeSnapshot(status, "why", SCALING)).splitlines()


@pytest.mark.parametrize("obstacle", Obstacle)
def test_every_obstacle_has_words(obstacle: Obstacle) -> None:
    told = told_size(obstructed(SIZED, obstacle))
    assert obstacle.value not in told.split()
    assert told.count("\n") == 1


def test_sizes_and_loads_are_told_as_far_as_they_are_known() -> None:
    told = told_size(
        ResizeSnapshot(
            Status.SIZED, "", SCALING, actual=HALF, wanted=HALF, permitted=HALF, approved=HALF,
            desired={"cpu": "1", "mem": "2Gi"}, load1=0.4, load5=0.3, memory_in_use=700 * 2**20,
        )
    )  # fmt: skip
    for said in (
        "it has: 500m CPU, 1Gi of memory",
        "it is to have: 1 CPU, 2Gi of memory",
        "it should have by its load: 500m CPU, 1Gi of memory",
        "it is permitted: 500m CPU, 1Gi of memory",
        "it has agreed to: 500m CPU, 1Gi of memory",
        "its guest reports 0.40 busy CPUs over one minute and 700 MiB in use",
    ):
        assert said in told.splitlines()
    assert "guest reports" not in told_size(ResizeSnapshot(Status.SIZED, actual=HALF))
