"""How another size of a pod is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.pod_facts import resize_patch
from gateway.cluster.pod_reading import read_pod
from gateway.sandbox.quantities import parse_cpu, parse_memory
from gateway.sandbox.scaling import Size

from .machine_objects import GI, amounts, container, pod_object


def resources_in(patch: dict[str, Any]) -> dict[str, Any]:
    (one,) = patch["spec"]["containers"]
    found: dict[str, Any] = one["resources"]
    return found


def test_a_resize_names_the_pod_and_one_container_and_nothing_else() -> None:
    patch = resize_patch(read_pod(pod_object(uid="pod-1")), Size(1500, 2 * GI))
    requests = {"requests": {"cpu": "1500m", "memory": "2Gi"}}
    assert patch == {
        "metadata": {"uid": "pod-1"},
        "spec": {"containers": [{"name": "web", "resources": requests}]},
    }


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (amounts("1", "1Gi"), {"cpu": "2", "memory": "3Gi"}),
        (amounts("1500m", "2Gi"), {"cpu": "2500m", "memory": "4Gi"}),
        ({"memory": "1Gi"}, {"memory": "3Gi"}),
    ],
)
def test_limits_stay_as_far_above_requests_as_they_are(
    limits: dict[str, str], expected: dict[str, str]
) -> None:
    limited = {"requests": amounts("1", "1Gi"), "limits": limits}
    pod = read_pod(pod_object(spec={"containers": [container(resources=limited)]}))
    assert resources_in(resize_patch(pod, Size(2000, 3 * GI)))["limits"] == expected


few = st.integers(1, 10_000)


@given(few, few, st.none() | few, st.none() | few, few, few)
def test_no_resize_changes_the_class_of_a_pod(
    cpu: int, memory: int, more_cpu: int | None, more_memory: int | None, new_cpu: int, new: int
) -> None:
    limits: dict[str, str] = {}
    if more_cpu is not None:
        limits["cpu"] = f"{cpu + more_cpu - 1}m"
    if more_memory is not None:
        limits["memory"] = str(memory + more_memory - 1)
    before = {"requests": amounts(f"{cpu}m", str(memory)), "limits": limits}
    pod = read_pod(pod_object(spec={"containers": [container(resources=before)]}))
    after = resources_in(resize_patch(pod, Size(new_cpu, new)))
    assert [_above(after, kind) for kind in _KINDS] == [_above(before, kind) for kind in _KINDS]


_KINDS = {"cpu": parse_cpu, "memory": parse_memory}


def _above(resources: dict[str, Any], kind: str) -> int | None:
    limit = resources.get("limits", {}).get(kind)
    parse = _KINDS[kind]
    return None if limit is None else parse(limit) - parse(resources["requests"][kind])
