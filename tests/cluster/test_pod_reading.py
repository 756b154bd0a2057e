"""What is read of pods and nodes, and what a pod takes of its node."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.pod_facts import NOTHING, Headroom, Obstacle, Pending
from gateway.cluster.pod_reading import read_node, read_pod
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.scaling import Size
from tests.dialects.objects import Path, json_values, paths_of, with_field

from .conftest import patient
from .machine_objects import (
    GI,
    RawObject,
    amounts,
    container,
    full_pod_object,
    node_object,
    pod_object,
    told,
)

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def condition(kind: str, **fields: Any) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True"} | fields]}


def pending(reason: str, **fields: Any) -> dict[str, Any]:
    return condition("PodResizePending", reason=reason, **fields)


# ---- who and where a pod is ---------------------------------------------------------------------


def test_a_pod_is_known_by_its_uid_and_its_version() -> None:
    pod = read_pod(pod_object(7, "web-0", uid="pod-1"))
    assert (pod.namespace, pod.name, pod.uid, pod.version) == ("team-a", "web-0", "pod-1", 7)
    assert (pod.node, pod.addresses) == ("node-1", ("10.0.0.7",))
    assert pod.owners == {"uid-of-owner"}
    assert not pod.ended
    assert not pod.terminating


def test_addresses_of_both_families_are_canonical() -> None:
    both = {"podIPs": [{"ip": "10.0.0.7"}, {"ip": "FD00:0::7"}]}
    assert read_pod(pod_object(status=both)).addresses == ("10.0.0.7", "fd00::7")


def test_who_has_its_nodes_address_has_none_of_its_own() -> None:
    assert read_pod(pod_object(spec={"hostNetwork": True})).addresses == ()


def test_a_pod_that_is_not_placed_yet_has_neither_node_nor_address() -> None:
    pod = read_pod(pod_object(node=None, address=None, status={"containerStatuses": None}))
    assert (pod.node, pod.addresses) == (None, ())
    assert (pod.desired, pod.actual, pod.allocated) == (Size(1000, GI), None, None)
    assert pod.obstacle is None


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_holds_nothing(phase: str) -> None:
    pod = read_pod(pod_object(status={"phase": phase}))
    assert pod.ended
    assert (pod.addresses, pod.claim) == ((), NOTHING)


def test_a_pod_that_is_being_deleted_holds_what_it_holds() -> None:
    pod = read_pod(pod_object(metadata={"deletionTimestamp": "2026-11-22T10:20:30Z"}))
    assert pod.terminating
    assert (pod.addresses, pod.claim) == (("10.0.0.7",), Size(1000, GI))


# ---- the container that is resized --------------------------------------------------------------

TWO = {"containers": [container("web"), container("box", resources={})]}


def test_the_first_container_is_resized() -> None:
    assert read_pod(pod_object(spec=TWO)).container == "web"


def test_the_container_that_the_annotation_names_is_resized() -> None:
    named = pod_object(metadata={"annotations": {DEFAULT_CONTAINER: "box"}}, spec=TWO)
    pod = read_pod(named)
    assert (pod.container, pod.desired) == ("box", None)


def test_sizes_are_those_of_that_container() -> None:
    limited = {"requests": amounts("500m", "1Gi"), "limits": amounts("2", "1Gi")}
    spec = {"containers": [container("proxy"), container("web", resources=limited)]}
    status = {
        "containerStatuses": [
            told("proxy"),
            told("web", "250m", "512Mi", allocatedResources=amounts("300m", "768Mi")),
        ]
    }
    named = {"annotations": {DEFAULT_CONTAINER: "web"}}
    pod = read_pod(pod_object(metadata=named, spec=spec, status=status))
    assert pod.desired == Size(500, GI)
    assert pod.headroom == Headroom(cpu=1500, memory=0)
    assert pod.actual == Size(250, GI // 2)
    assert pod.allocated == Size(300, GI * 3 // 4)


def test_who_has_a_limit_and_no_request_may_have_all_up_to_the_limit() -> None:
    limited = {"requests": {}, "limits": amounts("2", "1Gi")}
    pod = read_pod(pod_object(spec={"containers": [container(resources=limited)]}))
    assert pod.headroom == Headroom(cpu=2000, memory=GI)


# ---- what is in the way -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"metadata": {"annotations": {DEFAULT_CONTAINER: "other"}}}, Obstacle.NO_CONTAINER),
        ({"spec": {"containers": []}}, Obstacle.NO_CONTAINER),
        ({"spec": {"containers": [container(resources={})]}}, Obstacle.NO_AMOUNTS),
        (
            {"spec": {"containers": [container(resources={"requests": {"cpu": "1"}})]}},
            Obstacle.NO_AMOUNTS,
        ),
        ({"spec": {"os": {"name": "windows"}}}, Obstacle.WINDOWS),
        ({"spec": {"os": {"name": "linux"}}}, None),
        ({"spec": {"resources": {"limits": amounts("4", "8Gi")}}}, Obstacle.POD_LEVEL),
        ({"spec": {"resources": {}}}, None),
        ({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}, Obstacle.STATIC),
        ({"status": {"nodeAllocatableResourceClaimStatuses": [{}]}}, Obstacle.CLAIMS),
        ({"status": {"containerStatuses": [told(resources=None)]}}, Obstacle.OLD_NODE),
        # Only of what runs can it be told.
        (
            {"status": {"containerStatuses": [told(state={"waiting": {}}, resources=None)]}},
            None,
        ),
        ({}, None),
    ],
)
def test_what_is_in_the_way_of_a_resize(changes: dict[str, Any], obstacle: Obstacle | None) -> None:
    assert read_pod(pod_object(**changes)).obstacle is obstacle


@pytest.mark.parametrize("kind", ["cpu", "memory"])
@pytest.mark.parametrize(
    ("policy", "obstacle"), [("RestartContainer", Obstacle.RESTARTS), ("NotRequired", None)]
)
def test_a_resize_must_not_restart(kind: str, policy: str, obstacle: Obstacle | None) -> None:
    policies = [
        {"resourceName": one, "restartPolicy": policy if one == kind else "NotRequired"}
        for one in ("cpu", "memory")
    ]
    raw = pod_object(spec={"containers": [container(resizePolicy=policies)]})
    assert read_pod(raw).obstacle is obstacle


# ---- what the kubelet says ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (pending("Deferred", message="no room"), (Pending.DEFERRED, "no room")),
        (pending("Infeasible", message="never"), (Pending.INFEASIBLE, "never")),
        # What a kubelet may call it otherwise, it tries again.
        (pending("Other"), (Pending.DEFERRED, "")),
        (pending("Infeasible", status="False"), (None, "")),
        (pending("Deferred", observedGeneration=3), (Pending.DEFERRED, "")),
        # The kubelet has not seen what is asked for now.
        (pending("Deferred", observedGeneration=2, message="no room"), (None, "")),
        (pending("Deferred", observedGeneration=1, message="no room"), (None, "")),
        # Kubernetes 1.33 does not say of which spec it speaks.
        (pending("Deferred", observedGeneration=0), (Pending.DEFERRED, "")),
        (pending("Deferred", observedGeneration=None), (Pending.DEFERRED, "")),
        ({"resize": "Deferred"}, (Pending.DEFERRED, "")),
        ({"resize": "Infeasible"}, (Pending.INFEASIBLE, "")),
        ({"resize": "Proposed"}, (None, "")),
        ({}, (None, "")),
    ],
)
def test_why_a_size_is_not_promised(
    status: dict[str, Any], expected: tuple[Pending | None, str]
) -> None:
    pod = read_pod(pod_object(status=status))
    assert (pod.pending, pod.pending_message) == expected


@pytest.mark.parametrize(
    ("status", "in_progress"),
    [
        (condition("PodResizeInProgress"), True),
        (condition("PodResizeInProgress", status="False"), False),
        ({"resize": "InProgress"}, True),
        (pending("Deferred"), False),
    ],
)
def test_whether_a_size_is_being_brought_about(status: dict[str, Any], in_progress: bool) -> None:
    assert read_pod(pod_object(status=status)).in_progress is in_progress


def test_why_a_size_cannot_be_brought_about_is_told() -> None:
    failing = condition("PodResizeInProgress", reason="Error", message="memory is in use")
    pod = read_pod(pod_object(status=failing))
    assert (pod.pending, pod.in_progress, pod.pending_message) == (None, True, "memory is in use")


# ---- what a pod takes ---------------------------------------------------------------------------


def claim_of(**changes: Any) -> Size:
    return read_pod(pod_object(**changes)).claim


def sized(name: str, cpu: str, memory: str, **fields: Any) -> RawObject:
    return container(name, resources={"requests": amounts(cpu, memory)}, **fields)


def test_all_containers_count() -> None:
    three = [sized("a", "1", "1Gi"), sized("b", "250m", "2Gi"), container("c", resources={})]
    assert claim_of(spec={"containers": three}) == Size(1250, 3 * GI)


@pytest.mark.parametrize(
    ("actual", "allocated", "claim"),
    [
        (("3", "1Gi"), ("1", "1Gi"), Size(3000, GI)),
        (("1", "1Gi"), ("1", "4Gi"), Size(1000, 4 * GI)),
        (("500m", "1Mi"), ("500m", "1Mi"), Size(1000, GI)),
    ],
)
def test_the_most_of_what_is_wished_for_promised_and_real_counts(
    actual: tuple[str, str], allocated: tuple[str, str], claim: Size
) -> None:
    status = {"containerStatuses": [told("web", *actual, allocatedResources=amounts(*allocated))]}
    assert claim_of(status=status) == claim


def test_what_a_pod_will_never_get_is_not_kept_for_it() -> None:
    asked = {"containers": [sized("web", "64", "512Gi")]}
    assert claim_of(spec=asked, status=pending("Deferred")) == Size(64_000, 512 * GI)
    assert claim_of(spec=asked, status=pending("Infeasible")) == Size(1000, GI)


def test_of_what_is_not_told_what_is_wished_for_counts() -> None:
    asked = {"containers": [sized("web", "2", "2Gi")]}
    for told_of in ([], [told(resources=None)]):
        status = pending("Infeasible") | {"containerStatuses": told_of}
        assert claim_of(spec=asked, status=status) == Size(2000, 2 * GI)


def test_what_a_pod_may_get_after_all_is_kept_for_it() -> None:
    """The kubelet has said "never" of another wish than the present one."""
    asked = {"containers": [sized("web", "2", "2Gi")]}
    before = pending("Infeasible", observedGeneration=2)
    assert claim_of(spec=asked, status=before) == Size(2000, 2 * GI)


@pytest.mark.parametrize(
    ("init", "claim"),
    [
        # One that ends before the others begin needs no room beside them.
        ([sized("a", "500m", "512Mi")], Size(1000, GI)),
        ([sized("a", "2", "512Mi"), sized("b", "1", "3Gi")], Size(2000, 3 * GI)),
        # A sidecar goes on.
        ([sized("a", "500m", "512Mi", restartPolicy="Always")], Size(1500, GI * 3 // 2)),
        (
            [
                sized("a", "500m", "512Mi", restartPolicy="Always"),
                sized("b", "1", "1Gi", restartPolicy="Always"),
            ],
            Size(2500, GI * 5 // 2),
        ),
        # What starts after a sidecar runs beside it, what starts before does not.
        (
            [sized("a", "1", "1Gi", restartPolicy="Always"), sized("b", "2", "2Gi")],
            Size(3000, 3 * GI),
        ),
        (
            [sized("b", "2", "2Gi"), sized("a", "1", "1Gi", restartPolicy="Always")],
            Size(2000, 2 * GI),
        ),
    ],
)
def test_init_containers_and_sidecars_count_as_for_the_scheduler(
    init: list[RawObject], claim: Size
) -> None:
    assert claim_of(spec={"initContainers": init}) == claim


def test_a_sidecar_may_have_been_resized_too() -> None:
    sidecar = sized("a", "500m", "512Mi", restartPolicy="Always")
    status = {"initContainerStatuses": [told("a", "2", "1Gi")]}
    assert claim_of(spec={"initContainers": [sidecar]}, status=status) == Size(3000, 2 * GI)
    wants = {"initContainers": [sized("a", "64", "512Gi", restartPolicy="Always")]}
    never = status | pending("Infeasible")
    assert claim_of(spec=wants, status=never) == Size(3000, 2 * GI)


def test_overhead_counts() -> None:
    assert claim_of(spec={"overhead": amounts("250m", "64Mi")}) == Size(1250, GI + 2**26)


def test_what_is_asked_for_the_pod_as_a_whole_counts_in_place_of_its_containers() -> None:
    whole = {"resources": {"requests": {"memory": "6Gi"}}, "overhead": amounts("250m", "1Gi")}
    assert claim_of(spec=whole) == Size(1250, 7 * GI)
    shrinking = {"resources": {"requests": {"memory": "8Gi"}}}
    assert claim_of(spec=whole, status=shrinking) == Size(1250, 9 * GI)
    has_less = {"resources": {"requests": {"memory": "2Gi"}}}
    assert claim_of(spec=whole, status=has_less) == Size(1250, 7 * GI)
    assert claim_of(spec=whole, status=has_less | pending("Infeasible")) == Size(1250, 3 * GI)
    assert claim_of(spec=whole, status=pending("Infeasible")) == Size(1250, 7 * GI)


# ---- nodes --------------------------------------------------------------------------------------


def test_a_node_has_what_is_allocatable() -> None:
    node = read_node(node_object("node-1"))
    assert (node.name, node.allocatable, node.draining) == ("node-1", Size(4000, 8 * GI), False)


def test_a_node_that_tells_of_no_room_has_none() -> None:
    assert read_node(node_object() | {"status": {}}).allocatable == NOTHING


@pytest.mark.parametrize(
    ("spec", "draining"),
    [
        ({"unschedulable": True}, True),
        ({"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}, True),
        ({"taints": [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]}, True),
        ({"taints": [{"key": "node.kubernetes.io/out-of-service"}]}, True),
        # To be a candidate is not to be chosen.
        ({"taints": [{"key": "DeletionCandidateOfClusterAutoscaler"}]}, False),
        ({"taints": [{"key": "dedicated", "value": "sandboxes"}]}, False),
    ],
)
def test_a_node_that_is_to_go_drains(spec: dict[str, Any], draining: bool) -> None:
    assert read_node(node_object(**spec)).draining is draining


# ---- whatever an API says -----------------------------------------------------------------------

_PATHS = [path for path in paths_of(full_pod_object()) if path[0] != "apiVersion"]


def test_a_pod_with_every_field_is_read() -> None:
    pod = read_pod(full_pod_object())
    assert (pod.pending, pod.in_progress) == (Pending.DEFERRED, True)
    assert pod.claim == Size(4010, 8 * GI + 2**24)


@patient
@given(st.sampled_from(_PATHS), json_values)
def test_a_pod_is_read_or_malformed_whatever_one_field_is(path: Path, value: object) -> None:
    with suppress(MalformedObject):
        read_pod(with_field(full_pod_object(), path, value))


@patient
@given(st.sampled_from(paths_of(node_object(taints=[{"key": "a"}]))), json_values)
def test_a_node_is_read_or_malformed_whatever_one_field_is(path: Path, value: object) -> None:
    with suppress(MalformedObject):
        read_node(with_field(node_object(taints=[{"key": "a"}]), path, value))


@given(json_values)
def test_what_is_no_object_is_malformed(value: Any) -> None:
    for read in (read_pod, read_node):
        with pytest.raises(MalformedObject):
            read(value)


@pytest.mark.parametrize("amount", ["much", "-1", "1.5.0", 4, "9" * 40])
def test_an_amount_that_is_none_is_malformed(amount: object) -> None:
    path: Path = ("spec", "containers", 0, "resources", "requests", "cpu")
    with pytest.raises(MalformedObject):
        read_pod(with_field(pod_object(), path, amount))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("metadata", "resourceVersion"), "secret", "metadata.resourceVersion: is not an integer"),
        (("status", "podIP"), "secret", "status.podIPs: "),
        (
            ("spec", "containers", 0, "resources", "requests", "cpu"),
            "secret",
            "resources: an amount is no quantity",
        ),
        (("metadata", "generation"), "secret", "pod: Expected `int"),
    ],
)
def test_of_what_is_malformed_the_place_is_told_and_not_what_is_there(
    path: Path, value: object, said: str
) -> None:
    with pytest.raises(MalformedObject) as raised:
        read_pod(with_field(pod_object(), path, value))
    assert str(raised.value).startswith(said)
    assert "secret" not in str(raised.value)
