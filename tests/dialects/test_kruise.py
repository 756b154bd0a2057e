"""The kruise dialect: every rule of judging, the patches, the credentials."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import kruise
from gateway.dialects.base import RawObject, Resource
from gateway.sandbox.errors import (
    MalformedObject,
    NotResumable,
    SandboxIsPausing,
    SandboxIsTerminating,
    SandboxPhaseNotAllowed,
    ShutdownTimeReached,
)
from gateway.sandbox.model import Credential, Key, Problem, Route, State, WakePolicy
from gateway.sandbox.standby import NO_RULES, IdleRules
from gateway.sandbox.texts import format_time, parse_time

from .objects import (
    NOW,
    Path,
    kruise_object,
    merged,
    with_annotations,
    with_condition,
    with_field,
    without_field,
)

DIALECT = kruise.Kruise()

PHASE: Path = ("status", "phase")
PAUSED: Path = ("spec", "paused")
PAUSE_TIME: Path = ("spec", "pauseTime")
SHUTDOWN: Path = ("spec", "shutdownTime")
DELETING: Path = ("metadata", "deletionTimestamp")
CLAIMED: Path = ("metadata", "labels", kruise.CLAIMED_LABEL)
ANNOTATIONS: Path = ("metadata", "annotations")
RULE: Path = ("spec", "autoPausePolicy", "resume", "onIngressTraffic")


def up() -> RawObject:
    return kruise_object()


def asleep() -> RawObject:
    paused = with_field(with_field(up(), PHASE, "Paused"), PAUSED, True)
    return with_condition(with_condition(paused, "SandboxPaused", "True"), "Ready", "False")


def changed(raw: RawObject, *changes: tuple[Path, object]) -> RawObject:
    for path, value in changes:
        raw = with_field(raw, path, value)
    return raw


def test_a_sandbox_that_runs_becomes_this_route() -> None:
    assert DIALECT.route(up()) == Route(
        key=Key("kruise", "team-a", "box"),
        uid="uid-1",
        id="team-a--box",
        version=41,
        state=State.RUNNING,
        reason="",
        incarnation="uid-1/pod-1",
        address="10.0.0.7",
        ports=None,
        expires_at=parse_time("2026-11-23T00:00:00Z"),
        wake=WakePolicy(enabled=True, timeout=None),
        credential=Credential(token="secret"),
        passes_access_token=True,
        problems=(),
        idle=IdleRules(pause_at=parse_time("2026-11-22T11:00:00Z")),
        node="node-1",
    )


def test_the_dialect_says_where_its_objects_are_served() -> None:
    assert DIALECT.name == "kruise"
    assert DIALECT.resource == Resource("agents.kruise.io", "v1alpha1", "sandboxes", "Sandbox")


@pytest.mark.parametrize(
    ("raw", "state", "reason"),
    [
        (changed(up(), (DELETING, "2026-11-22T10:00:00Z")), State.DEAD, "deleting"),
        (changed(up(), (PHASE, "Succeeded")), State.DEAD, "succeeded"),
        (changed(up(), (PHASE, "Failed")), State.DEAD, "failed"),
        (changed(up(), (PHASE, "Terminating")), State.DEAD, "terminating"),
        (changed(up(), (CLAIMED, "false")), State.BLOCKED, "pool_member"),
        (changed(up(), (CLAIMED, "True")), State.BLOCKED, "pool_member"),
        (without_field(up(), CLAIMED), State.BLOCKED, "pool_member"),
        (without_field(up(), ("metadata", "labels")), State.BLOCKED, "pool_member"),
        (changed(up(), (PHASE, "Upgrading")), State.BLOCKED, "upgrading"),
        (changed(up(), (PHASE, "Recycling")), State.BLOCKED, "recycling"),
        (changed(up(), (PHASE, "Pending")), State.CREATING, ""),
        (without_field(up(), PHASE), State.CREATING, ""),
        (without_field(up(), ("status",)), State.CREATING, ""),
        (changed(up(), (PHASE, "Hibernated")), State.BLOCKED, "unknown_phase"),
        (changed(up(), (PAUSED, True)), State.PAUSING, ""),
        (asleep(), State.PAUSED, ""),
        (with_condition(asleep(), "SandboxPaused", "False"), State.PAUSING, ""),
        (with_condition(asleep(), "SandboxPaused", "Unknown"), State.PAUSING, ""),
        (with_condition(asleep(), "SandboxPaused", None), State.PAUSING, ""),
        (changed(asleep(), (PAUSED, False)), State.RESUMING, ""),
        (changed(up(), (PHASE, "Resuming")), State.RESUMING, ""),
        (up(), State.RUNNING, ""),
        (with_condition(up(), "Ready", "False"), State.RESUMING, ""),
        (with_condition(up(), "Ready", None), State.RESUMING, ""),
        (without_field(up(), ("status", "conditions")), State.RESUMING, ""),
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
    ((CLAIMED, "false"), State.BLOCKED, "pool_member"),
    ((PHASE, "Recycling"), State.BLOCKED, "recycling"),
    ((PHASE, "Pending"), State.CREATING, ""),
    ((PAUSED, True), State.PAUSING, ""),
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


@pytest.mark.parametrize(
    "owners",
    [
        None,
        [],
        [{"kind": "ReplicaSet", "controller": True}],
        [{"kind": "SandboxSet", "controller": False}],
        [{"kind": "SandboxSet"}],
    ],
)
def test_what_no_sandbox_set_controls_is_in_no_pool(owners: object) -> None:
    free = without_field(up(), CLAIMED)
    route = DIALECT.route(with_field(free, ("metadata", "ownerReferences"), owners))
    assert route.state is State.RUNNING


def test_any_of_several_owners_can_be_the_pool() -> None:
    owners = [{"kind": "Other", "controller": False}, {"kind": "SandboxSet", "controller": True}]
    raw = with_field(without_field(up(), CLAIMED), ("metadata", "ownerReferences"), owners)
    assert DIALECT.route(raw).reason == "pool_member"


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        ("SandboxSet", "metadata.ownerReferences: is not a list"),
        ({}, "metadata.ownerReferences: is not a list"),
        ({"kind": "SandboxSet"}, "metadata.ownerReferences: is not a list"),
        (1, "metadata.ownerReferences: is not a list"),
        (["SandboxSet"], "metadata.ownerReferences[]: is not an object"),
    ],
)
def test_owners_that_cannot_be_read_never_make_a_pool_member_routable(
    owners: object, message: str
) -> None:
    with pytest.raises(MalformedObject) as caught:
        DIALECT.route(with_field(up(), ("metadata", "ownerReferences"), owners))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("pod_ip", "sandbox_ip", "address", "state"),
    [
        ("10.0.0.7", "10.0.0.8", "10.0.0.7", State.RUNNING),
        ("", "10.0.0.8", "10.0.0.8", State.RUNNING),
        (None, "10.0.0.8", "10.0.0.8", State.RUNNING),
        ("10.0.0.7", None, "10.0.0.7", State.RUNNING),
        (None, None, None, State.RESUMING),
        ("", "", None, State.RESUMING),
    ],
)
def test_the_address_is_the_pods_or_else_the_sandboxs(
    pod_ip: str | None, sandbox_ip: str | None, address: str | None, state: State
) -> None:
    raw = changed(
        up(), (("status", "podInfo", "podIP"), pod_ip), (("status", "sandboxIp"), sandbox_ip)
    )
    route = DIALECT.route(raw)
    assert (route.address, route.state) == (address, state)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (("status", "podInfo", "podIP"), "status.podInfo.podIP"),
        (("status", "sandboxIp"), "status.sandboxIp"),
    ],
)
def test_an_address_that_is_none_is_named_by_its_own_path(path: Path, field: str) -> None:
    for value, message in (("pod.example", "is not an IP address"), (7, "is not a string")):
        raw = with_field(without_field(up(), ("status", "podInfo")), path, value)
        with pytest.raises(MalformedObject) as caught:
            DIALECT.route(raw)
        assert str(caught.value) == f"{field}: {message}"


def test_without_a_pod_uid_a_life_is_named_by_address_and_transition() -> None:
    raw = without_field(up(), ("status", "podInfo", "podUID"))
    assert DIALECT.route(raw).incarnation == "uid-1/10.0.0.7@2026-11-22T10:00:00Z"


def test_the_id_label_names_the_sandbox() -> None:
    raw = with_field(up(), ("metadata", "labels", kruise.ID_LABEL), "b7")
    assert DIALECT.route(raw).id == "b7"
    ours = with_field(up(), ("metadata", "labels", "sandbox-gateway.dev/id"), "b7")
    assert DIALECT.route(ours).id == "team-a--box"


# ---- resumable --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        asleep(),
        up(),
        changed(asleep(), (PAUSED, False)),
        changed(up(), (PHASE, "Resuming")),
        changed(asleep(), (SHUTDOWN, format_time(NOW + 1))),
        without_field(asleep(), SHUTDOWN),
    ],
)
def test_these_may_be_woken(raw: RawObject) -> None:
    DIALECT.check_resumable(raw, NOW)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (changed(asleep(), (DELETING, "2026-11-22T10:00:00Z")), SandboxIsTerminating),
        (changed(asleep(), (SHUTDOWN, format_time(NOW))), ShutdownTimeReached),
        (changed(up(), (PAUSED, True)), SandboxIsPausing),
        (with_condition(asleep(), "SandboxPaused", "False"), SandboxIsPausing),
        (with_condition(asleep(), "SandboxPaused", None), SandboxIsPausing),
        (changed(asleep(), (PHASE, "Upgrading")), SandboxPhaseNotAllowed),
        (changed(asleep(), (PHASE, "Recycling")), SandboxPhaseNotAllowed),
        (changed(asleep(), (PHASE, "Pending")), SandboxPhaseNotAllowed),
        (changed(asleep(), (PHASE, "Succeeded")), SandboxPhaseNotAllowed),
        (changed(asleep(), (PHASE, "Failed")), SandboxPhaseNotAllowed),
        (changed(asleep(), (CLAIMED, "false")), SandboxPhaseNotAllowed),
    ],
)
def test_these_may_not_and_the_class_says_why(raw: RawObject, error: type[NotResumable]) -> None:
    with pytest.raises(error):
        DIALECT.check_resumable(raw, NOW)


# ---- wake opt-in ------------------------------------------------------------------------------


def without_rule() -> RawObject:
    return without_field(up(), ("spec", "autoPausePolicy"))


@pytest.mark.parametrize(
    ("raw", "enabled"),
    [
        (up(), True),
        (with_field(up(), RULE, {}), True),
        (with_field(up(), RULE, None), False),
        (without_rule(), False),
        (with_field(without_rule(), ANNOTATIONS, {kruise.WAKE_ON_TRAFFIC: "true"}), True),
        (with_field(without_rule(), ANNOTATIONS, {kruise.WAKE_ON_TRAFFIC: "false"}), False),
        (with_field(up(), ANNOTATIONS, {kruise.WAKE_ON_TRAFFIC: "false"}), True),
        (with_annotations(without_rule(), wake_on_traffic="true"), True),
        (with_annotations(up(), wake_on_traffic="false"), False),
        (with_annotations(up(), wake_on_traffic="ture"), False),
    ],
)
def test_the_first_opt_in_that_is_there_decides_and_ours_can_forbid(
    raw: RawObject, enabled: bool
) -> None:
    assert DIALECT.route(raw).wake.enabled is enabled


@pytest.mark.parametrize("value", ["true", "false"])
def test_an_opt_in_that_is_true_or_false_is_no_problem(value: str) -> None:
    raw = with_field(without_rule(), ANNOTATIONS, {kruise.WAKE_ON_TRAFFIC: value})
    assert DIALECT.route(raw).problems == ()


def test_an_opt_in_that_is_neither_true_nor_false_forbids_and_is_reported() -> None:
    raw = with_field(without_rule(), ANNOTATIONS, {kruise.WAKE_ON_TRAFFIC: "True"})
    route = DIALECT.route(raw)
    assert not route.wake.enabled
    (problem,) = route.problems
    assert problem.field == kruise.WAKE_ON_TRAFFIC
    assert problem.message == 'must be "true" or "false"; read as "false"'


def test_our_wake_timeout_holds_here_too() -> None:
    raw = with_annotations(up(), wake_timeout="45s", ports="8080")
    route = DIALECT.route(raw)
    assert route.wake == WakePolicy(enabled=True, timeout=45.0)
    assert route.ports == frozenset({8080})


def test_problems_of_both_kinds_are_reported() -> None:
    raw = with_field(with_annotations(up(), ports="x"), (*RULE, "pauseTimeout"), "soon")
    fields = [problem.field for problem in DIALECT.route(raw).problems]
    assert fields == ["sandbox-gateway.dev/ports", ".".join((*map(str, RULE), "pauseTimeout"))]


# ---- the patches ------------------------------------------------------------------------------


def spec_patch(raw: RawObject, now: float = NOW) -> dict[str, object] | None:
    patch = DIALECT.wake_patch(raw, now)
    assert patch is None or set(patch) == {"spec"}
    return None if patch is None else patch["spec"]


def test_what_is_not_asked_to_pause_needs_no_wake() -> None:
    assert DIALECT.wake_patch(up(), NOW) is None
    assert DIALECT.wake_patch(changed(asleep(), (PAUSED, False)), NOW) is None
    assert DIALECT.wake_patch(without_field(asleep(), PAUSED), NOW) is None


def test_a_sandbox_without_a_pause_time_keeps_its_times() -> None:
    for raw in (without_field(asleep(), PAUSE_TIME), with_field(asleep(), PAUSE_TIME, None)):
        assert spec_patch(raw) == {"paused": False}


@pytest.mark.parametrize(
    ("pause_timeout", "ahead"),
    [
        ("10m", 600),
        ("301s", 301),
        ("300s", 300),
        ("299s", 300),
        ("1ns", 300),
        ("0", 300),
        ("0s", 300),
        ("-10m", 300),
        ("soon", 300),
        ("600", 300),
        ("9" * 400 + "h", 300),
        ("48h", 48 * 3600),
    ],
)
def test_the_pause_time_moves_ahead_by_the_rule_but_at_least_300_seconds(
    pause_timeout: str, ahead: int
) -> None:
    raw = with_field(asleep(), (*RULE, "pauseTimeout"), pause_timeout)
    spec = spec_patch(without_field(raw, SHUTDOWN))
    assert spec == {"paused": False, "pauseTime": format_time(NOW + ahead)}


@pytest.mark.parametrize("pause_timeout", ["-10m", "soon", "600", "9" * 400 + "h"])
def test_a_pause_timeout_that_does_not_parse_is_reported(pause_timeout: str) -> None:
    route = DIALECT.route(with_field(up(), (*RULE, "pauseTimeout"), pause_timeout))
    (problem,) = route.problems
    assert problem.field == "spec.autoPausePolicy.resume.onIngressTraffic.pauseTimeout"
    assert problem.message == "is not a duration; the least time is used"
    assert route.wake.enabled


@pytest.mark.parametrize("rule", [{}, {"pauseTimeout": None}, {"pauseTimeout": ""}])
def test_a_rule_without_a_pause_timeout_removes_the_pause_time(rule: dict[str, object]) -> None:
    spec = spec_patch(with_field(asleep(), RULE, rule))
    assert spec == {"paused": False, "pauseTime": None}


def test_without_any_rule_a_pause_time_is_removed() -> None:
    raw = without_field(asleep(), ("spec", "autoPausePolicy"))
    assert spec_patch(raw) == {"paused": False, "pauseTime": None}


@pytest.mark.parametrize(
    ("seconds", "ahead"),
    [
        ("1", 1),
        ("299", 299),
        ("7200", 7200),
        (str(2**31 - 1), 2**31 - 1),
        (str(2**31), 300),
        ("0", 300),
        ("-5", 300),
        ("5m", 300),
        ("1.5", 300),
        ("", 300),
        ("\u0665", 300),
        ("9" * 5000, 300),
    ],
)
def test_the_annotated_seconds_are_taken_as_they_are_and_a_typo_takes_the_least_time(
    seconds: str, ahead: int
) -> None:
    found = {kruise.WAKE_ON_TRAFFIC: "true", kruise.WAKE_TIMEOUT_SECONDS: seconds}
    raw = without_field(with_field(asleep(), ANNOTATIONS, found), ("spec", "autoPausePolicy"))
    spec = spec_patch(without_field(raw, SHUTDOWN))
    assert spec == {"paused": False, "pauseTime": format_time(NOW + ahead)}
    problems = DIALECT.route(raw).problems
    if seconds.isascii() and seconds.isdecimal() and int(seconds[:11]) == ahead:
        assert problems == ()
    else:
        assert [problem.field for problem in problems] == [kruise.WAKE_TIMEOUT_SECONDS]
        expected = "is not a number of seconds; the least time is used"
        assert problems[0].message == expected


def test_an_opt_in_and_its_seconds_can_both_be_wrong() -> None:
    found = {kruise.WAKE_ON_TRAFFIC: "yes", kruise.WAKE_TIMEOUT_SECONDS: "x"}
    raw = with_field(without_rule(), ANNOTATIONS, found)
    fields = [problem.field for problem in DIALECT.route(raw).problems]
    assert fields == [kruise.WAKE_ON_TRAFFIC, kruise.WAKE_TIMEOUT_SECONDS]


def test_seconds_without_an_opt_in_say_nothing() -> None:
    raw = with_field(without_rule(), ANNOTATIONS, {kruise.WAKE_TIMEOUT_SECONDS: "x"})
    assert DIALECT.route(raw).problems == ()


@pytest.mark.parametrize(
    ("shutdown", "extended"),
    [(NOW + 1, True), (NOW + 599, True), (NOW + 600, False), (NOW + 601, False)],
)
def test_the_shutdown_time_is_extended_to_the_new_pause_time_and_never_moved_back(
    shutdown: float, extended: bool
) -> None:
    spec = spec_patch(with_field(asleep(), SHUTDOWN, format_time(shutdown)))
    expected = {"paused": False, "pauseTime": format_time(NOW + 600)}
    if extended:
        expected["shutdownTime"] = format_time(NOW + 600)
    assert spec == expected


def test_a_fraction_of_a_second_is_never_taken_from_either_time() -> None:
    raw = with_field(asleep(), SHUTDOWN, "2026-11-22T10:30:30.6Z")
    spec = spec_patch(raw, NOW + 0.7)
    assert spec is not None
    assert spec["pauseTime"] == spec["shutdownTime"] == "2026-11-22T10:30:31Z"


def test_a_shutdown_time_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(MalformedObject) as caught:
        DIALECT.wake_patch(with_field(asleep(), SHUTDOWN, "tomorrow"), NOW)
    assert caught.value.field == "spec.shutdownTime"


def test_standby_asks_for_paused_once() -> None:
    patch = DIALECT.standby_patch(up(), NOW)
    assert patch == {"spec": {"paused": True}}
    assert DIALECT.standby_patch(merged(up(), patch), NOW) is None
    assert DIALECT.standby_patch(without_field(up(), PAUSED), NOW) == patch


times = st.none() | st.floats(NOW - 1e6, NOW + 1e6).map(format_time)
pause_timeouts = st.sampled_from(["1s", "10m", "24h", "0.5s", "bad", ""]) | st.text(max_size=4)
rules: st.SearchStrategy[object] = st.sampled_from([None, {}]) | pause_timeouts.map(
    lambda timeout: {"pauseTimeout": timeout}
)


@given(times, times, rules, st.floats(NOW - 1e5, NOW + 1e5), st.sampled_from(["1", "900", "x"]))
def test_after_a_wake_it_no_longer_wants_to_pause_and_no_time_lies_behind(
    pause_time: str | None, shutdown: str | None, rule: object, now: float, seconds: str
) -> None:
    annotations = {kruise.WAKE_ON_TRAFFIC: "true", kruise.WAKE_TIMEOUT_SECONDS: seconds}
    raw = changed(
        asleep(),
        (PAUSE_TIME, pause_time),
        (SHUTDOWN, shutdown),
        (RULE, rule),
        (ANNOTATIONS, annotations),
    )
    patch = DIALECT.wake_patch(raw, now)
    assert patch is not None
    woken = merged(raw, patch)
    assert DIALECT.route(woken).state is State.RESUMING
    assert DIALECT.wake_patch(woken, now) is None
    pauses_at = woken["spec"].get("pauseTime")
    if pauses_at is not None:
        assert parse_time(pauses_at) > now
    if shutdown is not None:
        assert parse_time(woken["spec"]["shutdownTime"]) >= parse_time(shutdown)
        if "shutdownTime" in patch["spec"]:
            assert woken["spec"]["shutdownTime"] == pauses_at
    else:
        assert woken["spec"].get("shutdownTime") is None


# ---- its own controller's pause ---------------------------------------------------------------


def test_the_time_of_its_pause_is_told_unless_it_is_asked_to_pause() -> None:
    assert DIALECT.route(up()).idle == IdleRules(pause_at=parse_time("2026-11-22T11:00:00Z"))
    assert DIALECT.route(changed(up(), (PAUSED, True))).idle is NO_RULES
    assert DIALECT.route(with_field(up(), PAUSE_TIME, None)).idle is NO_RULES
    assert DIALECT.route(without_field(up(), PAUSE_TIME)).idle is NO_RULES


@pytest.mark.parametrize("value", ["soon", 5, [], True])
def test_a_pause_time_that_is_none_is_reported_and_the_sandbox_still_reached(value: object) -> None:
    route = DIALECT.route(with_field(up(), PAUSE_TIME, value))
    assert route.state is State.RUNNING
    assert route.idle is NO_RULES
    message = "is not an RFC 3339 time; it is not renewed"
    assert route.problems == (Problem("spec.pauseTime", message),)
    with pytest.raises(MalformedObject):
        DIALECT.postpone_patch(with_field(up(), PAUSE_TIME, value), NOW)


def postponed(raw: RawObject, now: float = NOW) -> dict[str, object] | None:
    patch = DIALECT.postpone_patch(raw, now)
    assert patch is None or set(patch) == {"spec"}
    return None if patch is None else patch["spec"]


def used(pauses_in: float, timeout: str | None = "10m", **spec: object) -> RawObject:
    """Return a sandbox that runs, pauses in so many seconds, and never ends unless told so."""
    raw = changed(
        without_field(up(), SHUTDOWN),
        (PAUSE_TIME, format_time(NOW + pauses_in)),
        ((*RULE, "pauseTimeout"), timeout),
    )
    return changed(raw, *((("spec", name), value) for name, value in spec.items()))


@pytest.mark.parametrize(
    ("timeout", "ahead", "gone"),
    [("10m", 600, 60), ("1s", 300, 30), ("5m", 300, 30), ("soon", 300, 30), ("24h", 86_400, 8640),
     (None, 300, 30)],
)  # fmt: skip
def test_a_used_sandbox_has_its_pause_put_off_once_a_part_of_its_time_has_gone(
    timeout: str | None, ahead: int, gone: int
) -> None:
    renewed = {"pauseTime": format_time(NOW + ahead)}
    for left in (-1000, 0, 1, ahead - gone - 1):
        assert postponed(used(left, timeout)) == renewed
    for left in (ahead - gone, ahead, ahead + 1, ahead * 10):
        assert postponed(used(left, timeout)) is None


def test_without_a_rule_it_is_put_off_by_the_least_time() -> None:
    raw = without_field(used(10), ("spec", "autoPausePolicy"))
    assert postponed(raw) == {"pauseTime": format_time(NOW + 300)}


@pytest.mark.parametrize(("seconds", "ahead"), [("60", 300), ("900", 900), ("x", 300)])
def test_the_annotated_seconds_put_it_off_but_by_the_least_time_at_least(
    seconds: str, ahead: int
) -> None:
    raw = without_field(used(10), ("spec", "autoPausePolicy"))
    annotations = {kruise.WAKE_ON_TRAFFIC: "true", kruise.WAKE_TIMEOUT_SECONDS: seconds}
    raw = with_field(raw, ANNOTATIONS, annotations)
    assert postponed(raw) == {"pauseTime": format_time(NOW + ahead)}


def test_what_is_not_paused_by_a_clock_has_nothing_to_put_off() -> None:
    assert postponed(used(10, paused=True)) is None
    assert postponed(used(10, pauseTime=None)) is None
    assert postponed(without_field(used(10), PAUSE_TIME)) is None


def test_what_has_ended_is_not_brought_back() -> None:
    assert postponed(used(10, shutdownTime=format_time(NOW))) is None
    assert postponed(used(-10, shutdownTime=format_time(NOW - 5))) is None


@pytest.mark.parametrize(("ends_in", "until"), [(11, 11), (599, 599), (600, 600), (6000, 600)])
def test_its_pause_is_put_off_to_its_end_at_most_and_that_stays(ends_in: int, until: int) -> None:
    found = postponed(used(10, shutdownTime=format_time(NOW + ends_in)))
    assert found == {"pauseTime": format_time(NOW + until)}


def test_what_is_paused_when_it_ends_anyway_has_nothing_to_put_off() -> None:
    assert postponed(used(10, shutdownTime=format_time(NOW + 10))) is None


@given(
    st.floats(-1e5, 1e5),
    st.none() | st.floats(-1e5, 1e5),
    rules,
    st.sampled_from(["1", "900", "x"]),
    st.floats(NOW - 1e5, NOW + 1e5),
)
def test_times_are_only_ever_extended_and_what_was_put_off_is_left_alone(
    pauses_in: float, ends_in: float | None, rule: object, seconds: str, now: float
) -> None:
    annotations = {kruise.WAKE_ON_TRAFFIC: "true", kruise.WAKE_TIMEOUT_SECONDS: seconds}
    end = None if ends_in is None else format_time(NOW + ends_in)
    raw = changed(used(pauses_in), (SHUTDOWN, end), (RULE, rule), (ANNOTATIONS, annotations))
    patch = DIALECT.postpone_patch(raw, now)
    pause_at = parse_time(raw["spec"]["pauseTime"])
    if patch is None:
        assert pause_at - now >= 270 or (end is not None and parse_time(end) <= max(pause_at, now))
        return
    assert patch["spec"].keys() == {"pauseTime"}
    after = merged(raw, patch)
    until = parse_time(after["spec"]["pauseTime"])
    assert until > pause_at
    assert until >= now + 300 or until == parse_time(end or "")
    assert DIALECT.postpone_patch(after, now) is None


# ---- credentials ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotations", "credential"),
    [
        ({}, None),
        ({kruise.ACCESS_TOKEN: "new"}, Credential(token="new")),
        ({kruise.LEGACY_ACCESS_TOKEN: "old"}, Credential(token="old")),
        (
            {kruise.ACCESS_TOKEN: "new", kruise.LEGACY_ACCESS_TOKEN: "old"},
            Credential(token="new"),
        ),
        ({kruise.ACCESS_TOKEN: "", kruise.LEGACY_ACCESS_TOKEN: "old"}, Credential(token="old")),
        ({kruise.ACCESS_TOKEN: ""}, None),
        ({"sandbox-gateway.dev/access-token-sha256": "ab" * 32}, Credential(sha256="ab" * 32)),
        ({"sandbox-gateway.dev/access-token-sha256": "x"}, Credential()),
        (
            {kruise.ACCESS_TOKEN: "new", "sandbox-gateway.dev/access-token-sha256": "ab" * 32},
            Credential(token="new"),
        ),
    ],
)
def test_the_token_is_the_runtimes_or_else_what_our_annotation_says(
    annotations: dict[str, str], credential: Credential | None
) -> None:
    assert DIALECT.route(with_field(up(), ANNOTATIONS, annotations)).credential == credential


@pytest.mark.parametrize(
    ("value", "required", "faults"),
    [(None, False, 0), ("false", False, 0), ("true", True, 0), ("True", True, 1), ("", True, 1)],
)
def test_a_sandbox_may_ask_for_a_jwt_and_a_typo_opens_it_to_nothing_less(
    value: str | None, required: bool, faults: int
) -> None:
    annotations = {} if value is None else {kruise.JWT_AUTH: value}
    route = DIALECT.route(with_field(up(), ANNOTATIONS, annotations))
    assert route.requires_jwt is required
    assert [one.field for one in route.problems] == [kruise.JWT_AUTH] * faults
