"""Deployments and StatefulSets: what the workload alone tells, and what is written to it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.base import Resource, has_labels, selector_of
from gateway.dialects.deployment import (
    DEPLOYMENT,
    ENABLED_LABEL,
    REPLICAS,
    SERVICE,
    STATEFUL_SET,
    ScaledWorkload,
)
from gateway.sandbox.errors import (
    MalformedObject,
    NotResumable,
    SandboxIsPausing,
    SandboxIsTerminating,
)
from gateway.sandbox.model import Backing, Credential, Key, Problem, State, WakePolicy

from .objects import (
    NOW,
    Path,
    deployment_object,
    json_values,
    merged,
    paths_of,
    with_field,
    without_field,
)

if TYPE_CHECKING:
    from gateway.dialects.base import RawObject

BOTH = pytest.mark.parametrize("dialect", [DEPLOYMENT, STATEFUL_SET], ids=lambda one: one.name)


def workload(
    wanted: int | None = 1, annotations: dict[str, str] | None = None, /, **status: Any
) -> RawObject:
    """Return a workload whose latest change its controller has seen, unless `status` says else."""
    raw = deployment_object(
        spec={} if wanted is None else {"replicas": wanted},
        status={"observedGeneration": 3} | status,
    )
    raw["metadata"]["annotations"] = annotations or {}
    return raw


def annotated(name: str, value: str) -> RawObject:
    return workload(0, {name: value})


@BOTH
def test_what_is_available_could_run_but_where_it_is_others_tell(dialect: ScaledWorkload) -> None:
    route = dialect.route(workload(availableReplicas=1))
    assert route.key == Key(dialect.name, "team-a", "box")
    assert (route.uid, route.id, route.version) == ("uid-box", "team-a--box", 41)
    assert (route.state, route.address) == (State.RESUMING, None)
    assert route.backing == Backing("box", named=False, available=True, life="3")
    assert route.expires_at is None
    assert route.problems == ()


def test_the_two_kinds_are_apart() -> None:
    assert DEPLOYMENT.resource == Resource("apps", "v1", "deployments", "Deployment")
    assert STATEFUL_SET.resource == Resource("apps", "v1", "statefulsets", "StatefulSet")
    assert (DEPLOYMENT.name, STATEFUL_SET.name) == ("deployment", "statefulset")


def test_a_core_resource_is_served_apart_from_the_groups() -> None:
    assert DEPLOYMENT.resource.path == "/apis/apps/v1"
    assert Resource("", "v1", "services", "Service").path == "/api/v1"


JUDGED: list[tuple[RawObject, State, bool]] = [
    (workload(1, availableReplicas=1), State.RESUMING, True),
    (workload(None, availableReplicas=1), State.RESUMING, True),
    (workload(3, availableReplicas=1, replicas=3), State.RESUMING, True),
    (workload(1, availableReplicas=1, observedGeneration=2), State.RESUMING, True),
    (workload(1), State.RESUMING, False),
    (workload(1, availableReplicas=0), State.RESUMING, False),
    (workload(0), State.PAUSED, False),
    (workload(0, replicas=0, availableReplicas=0), State.PAUSED, False),
    (workload(0, replicas=1), State.PAUSING, False),
    (workload(0, replicas=1, availableReplicas=1), State.PAUSING, False),
    (workload(0, observedGeneration=2), State.PAUSING, False),
    (workload(0, observedGeneration=None), State.PAUSING, False),
    (workload(0, observedGeneration=4), State.PAUSED, False),
]


@pytest.mark.parametrize(("raw", "state", "available"), JUDGED)
def test_the_state_is_judged_by_what_is_wanted_and_what_is_left(
    raw: RawObject, state: State, available: bool
) -> None:
    route = DEPLOYMENT.route(raw)
    assert route.state is state
    assert route.backing is not None
    assert route.backing.available is available


@pytest.mark.parametrize(("raw", "state", "available"), JUDGED)
def test_whatever_is_deleted_is_dead(raw: RawObject, state: State, available: bool) -> None:
    gone = with_field(raw, ("metadata", "deletionTimestamp"), "2026-11-22T10:00:00Z")
    route = DEPLOYMENT.route(gone)
    assert (route.state, route.reason) == (State.DEAD, "deleting")
    assert route.backing is not None
    assert not route.backing.available
    with pytest.raises(SandboxIsTerminating):
        DEPLOYMENT.check_resumable(gone, NOW)


def test_each_change_of_the_spec_begins_another_life_and_a_status_does_not() -> None:
    raw = workload(availableReplicas=1)
    first = DEPLOYMENT.route(raw)
    told = with_field(raw, ("status", "availableReplicas"), 2)
    told = with_field(told, ("metadata", "resourceVersion"), "42")
    assert DEPLOYMENT.route(told).backing == first.backing
    assert DEPLOYMENT.route(told).incarnation == first.incarnation
    woken = DEPLOYMENT.route(with_field(raw, ("metadata", "generation"), 4))
    assert woken.backing != first.backing
    assert woken.incarnation != first.incarnation


@pytest.mark.parametrize("labels", [None, {}, {ENABLED_LABEL: "false"}, {"enabled": "true"}])
def test_one_that_did_not_opt_in_is_no_sandbox(labels: dict[str, str] | None) -> None:
    raw = with_field(workload(), ("metadata", "labels"), labels)
    assert not has_labels(raw, DEPLOYMENT.required_labels)
    with pytest.raises(MalformedObject, match=ENABLED_LABEL):
        DEPLOYMENT.route(raw)


def test_the_label_is_what_the_api_is_asked_for() -> None:
    assert selector_of(DEPLOYMENT.required_labels) == "sandbox-gateway.dev/enabled=true"
    assert has_labels(workload(), DEPLOYMENT.required_labels)


# ---- waking and pausing -------------------------------------------------------------------------


@BOTH
def test_a_wake_asks_for_one_replica_or_as_many_as_are_wanted(dialect: ScaledWorkload) -> None:
    assert dialect.wake_patch(workload(0), NOW) == {"spec": {"replicas": 1}}
    wanted = annotated(REPLICAS, "3")
    assert dialect.wake_patch(wanted, NOW) == {"spec": {"replicas": 3}}
    dialect.check_resumable(wanted, NOW)
    for awake in (workload(None), workload(1), workload(7)):
        assert dialect.wake_patch(awake, NOW) is None


@BOTH
def test_a_standby_keeps_the_count_in_the_same_write(dialect: ScaledWorkload) -> None:
    awake = workload(4, {REPLICAS: "2"})
    standby = dialect.standby_patch(awake, NOW)
    assert standby == {"metadata": {"annotations": {REPLICAS: "4"}}, "spec": {"replicas": 0}}
    asleep = merged(awake, standby)
    assert dialect.standby_patch(asleep, NOW) is None
    wake = dialect.wake_patch(asleep, NOW)
    assert wake is not None
    assert merged(asleep, wake)["spec"] == awake["spec"]


@pytest.mark.parametrize("value", ["0", "-1", "", "two", "1.5", "2147483648", "9" * 5000])
def test_a_count_that_is_none_wakes_one_and_is_reported(value: str) -> None:
    raw = annotated(REPLICAS, value)
    assert DEPLOYMENT.wake_patch(raw, NOW) == {"spec": {"replicas": 1}}
    problem = Problem(REPLICAS, "must be a number of replicas over 0; 1 is used")
    assert DEPLOYMENT.route(raw).problems == (problem,)


def test_the_greatest_count_is_taken() -> None:
    raw = annotated(REPLICAS, "2147483647")
    assert DEPLOYMENT.wake_patch(raw, NOW) == {"spec": {"replicas": 2147483647}}
    assert DEPLOYMENT.route(raw).problems == ()


def test_a_pause_that_is_not_complete_is_waited_for() -> None:
    for pausing in (workload(0, replicas=1), workload(0, observedGeneration=2)):
        with pytest.raises(SandboxIsPausing):
            DEPLOYMENT.check_resumable(pausing, NOW)
    for other in (workload(0), workload(1), workload(1, availableReplicas=1)):
        DEPLOYMENT.check_resumable(other, NOW)


def test_our_annotations_are_read_and_nothing_else_lets_traffic_wake_it() -> None:
    assert DEPLOYMENT.route(workload(0)).wake == WakePolicy()
    raw = workload(
        0,
        {
            "sandbox-gateway.dev/wake-on-traffic": "true",
            "sandbox-gateway.dev/wake-timeout": "90s",
            "sandbox-gateway.dev/ports": "8080",
            "sandbox-gateway.dev/access-token-sha256": "AB" * 32,
            "sandbox-gateway.dev/upstream-tls": "8443",
        },
    )
    raw["metadata"]["labels"]["sandbox-gateway.dev/id"] = "web"
    route = DEPLOYMENT.route(raw)
    assert route.wake == WakePolicy(enabled=True, timeout=90.0)
    assert route.ports == frozenset({8080})
    assert route.credential == Credential(sha256="ab" * 32)
    assert route.speaks_tls(8443)
    assert route.id == "web"


# ---- the Service --------------------------------------------------------------------------------


def test_the_service_is_the_one_that_is_named() -> None:
    route = DEPLOYMENT.route(workload(1, {SERVICE: "front"}, availableReplicas=1))
    assert route.backing == Backing("front", named=True, available=True, life="3")


@pytest.mark.parametrize("value", ["", "Front", "a.b", "-a", "a-", "a,b=c", "a" * 64, "a\n"])
def test_a_service_that_can_be_none_gives_no_address_and_is_reported(value: str) -> None:
    route = DEPLOYMENT.route(workload(1, {SERVICE: value}, availableReplicas=1))
    assert route.backing is not None
    assert not route.backing.available
    assert [one.field for one in route.problems] == [SERVICE]


# ---- whatever the API may send ------------------------------------------------------------------

SAMPLE = deployment_object()
ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 3.5, "", "odd", "9" * 5000, [], ["odd"], {}, {"a": 1},
]  # fmt: skip


def judge_safely(raw: Any) -> None:
    """Call all that the dialect offers; check what must hold of every route."""
    with suppress(MalformedObject, NotResumable):
        DEPLOYMENT.check_resumable(raw, NOW)
    for patch_of in (DEPLOYMENT.wake_patch, DEPLOYMENT.standby_patch):
        with suppress(MalformedObject):
            patch = patch_of(raw, NOW)
            assert patch is None or patch["spec"]["replicas"] >= 0
    with suppress(MalformedObject):
        route = DEPLOYMENT.route(raw)
        assert route.address is None
        assert route.state is not State.RUNNING
        assert route.backing is not None
        hash(route)


@pytest.mark.parametrize("value", ODD_VALUES)
def test_no_field_of_any_type_makes_judging_fail(value: object) -> None:
    for path in paths_of(SAMPLE):
        judge_safely(with_field(SAMPLE, path, value))


@given(st.sampled_from(list(paths_of(SAMPLE))), json_values)
def test_no_value_of_any_field_makes_judging_fail(path: Path, value: object) -> None:
    judge_safely(with_field(SAMPLE, path, value))


@given(json_values)
def test_no_whole_object_makes_judging_fail(whole: object) -> None:
    judge_safely(whole)


COUNTS: list[Path] = [
    ("spec", "replicas"),
    ("status", "replicas"),
    ("status", "availableReplicas"),
    ("status", "observedGeneration"),
    ("metadata", "generation"),
]


@pytest.mark.parametrize("path", COUNTS, ids=".".join)
@pytest.mark.parametrize("value", [-1, 1.5, "1", True, False, [], {}])
def test_a_count_of_another_type_makes_the_object_unusable_and_is_named(
    path: Path, value: object
) -> None:
    asleep = deployment_object(
        spec={"replicas": 0}, status={"observedGeneration": 3, "replicas": 0}
    )
    with pytest.raises(MalformedObject) as caught:
        DEPLOYMENT.route(with_field(asleep, path, value))
    assert caught.value.field == ".".join(map(str, path))


def test_counts_may_be_missing() -> None:
    for path in COUNTS:
        DEPLOYMENT.route(without_field(SAMPLE, path))
