"""Asking the API for another size: what goes out, and what its answers stand for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cluster.errors import Garbled, NodeTooSmall
from gateway.cluster.pod_reading import read_pod
from gateway.cluster.resizer import Resizer
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    InvalidWrite,
    ObjectGone,
)
from gateway.sandbox.scaling import Size

from .faultapi import GET, PATCH, answers, fails
from .machine_objects import GI, amounts, container, pod_object

if TYPE_CHECKING:
    from gateway.cluster.client import KubeClient
    from gateway.cluster.pod_facts import PodFacts

    from .faultapi import FaultApi

TARGET = Size(1500, 2 * GI)


@pytest.fixture
def resizer(client: KubeClient) -> Resizer:
    return Resizer(client)


@pytest.fixture
def pod() -> PodFacts:
    return read_pod(pod_object(uid="pod-1"))


def says(answer: object) -> Any:
    return answers(json.dumps(answer).encode())


async def test_a_resize_goes_to_the_subresource_as_a_strategic_merge_patch(
    api: FaultApi, resizer: Resizer, pod: PodFacts
) -> None:
    resources = {"requests": amounts("1500m", "2Gi")}
    api.queue(PATCH, says(pod_object(50, spec={"containers": [container(resources=resources)]})))
    resized = await resizer.resize(pod, TARGET)
    assert (resized.version, resized.desired) == (50, TARGET)
    [seen] = api.seen
    assert (seen.method, seen.path) == ("PATCH", "/api/v1/namespaces/team-a/pods/web-0/resize")
    assert seen.headers["Content-Type"] == "application/strategic-merge-patch+json"
    assert seen.query == {"timeout": "5s"}
    assert json.loads(seen.body) == {
        "metadata": {"uid": "pod-1"},
        "spec": {"containers": [{"name": "web", "resources": resources}]},
    }


@pytest.mark.parametrize(("within", "timeout"), [(3.75, "3.5s"), (0.2, "100ms"), (20.0, "5s")])
async def test_it_is_written_within_the_time_that_there_is_and_5_seconds_at_most(
    api: FaultApi, client: KubeClient, pod: PodFacts, within: float, timeout: str
) -> None:
    api.queue(PATCH, says(pod_object(50)))
    await Resizer(client, within).resize(pod, TARGET)
    [seen] = api.seen
    assert seen.query == {"timeout": timeout}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, ObjectGone),
        (409, Conflict),
        (403, AccessDenied),
        (422, InvalidWrite),
        (429, ApiUnavailable),
        (500, ApiUnavailable),
    ],
)
async def test_a_refused_resize_says_by_its_class_what_it_is(
    api: FaultApi, resizer: Resizer, pod: PodFacts, status: int, error: type[ClusterError]
) -> None:
    api.queue(PATCH, fails(status))
    with pytest.raises(error):
        await resizer.resize(pod, TARGET)


async def test_more_than_the_node_has_altogether_is_told_apart(
    api: FaultApi, resizer: Resizer, pod: PodFacts
) -> None:
    api.queue(PATCH, fails(403, causes=[{"reason": "NodeCapacity"}]))
    with pytest.raises(NodeTooSmall):
        await resizer.resize(pod, TARGET)


async def test_another_pod_of_the_same_name_is_not_the_pod(
    api: FaultApi, resizer: Resizer, pod: PodFacts
) -> None:
    immutable = {"reason": "FieldValueInvalid", "field": "metadata.uid"}
    api.queue(PATCH, fails(422, causes=[immutable]))
    with pytest.raises(ObjectGone):
        await resizer.resize(pod, TARGET)


async def test_an_answer_that_is_no_pod_is_garbled(
    api: FaultApi, resizer: Resizer, pod: PodFacts
) -> None:
    api.queue(PATCH, says({"metadata": {"name": "web-0"}}))
    with pytest.raises(Garbled):
        await resizer.resize(pod, TARGET)


@pytest.mark.parametrize(
    ("resources", "supported"),
    [
        ([{"name": "pods"}, {"name": "pods/resize"}], True),
        ([{"name": "pods"}, {"name": "pods/status"}], False),
        ([], False),
        ([None, {"name": 4}], False),
    ],
)
async def test_discovery_tells_whether_pods_can_be_resized(
    api: FaultApi, resizer: Resizer, resources: list[object], supported: bool
) -> None:
    api.queue(GET, says({"kind": "APIResourceList", "resources": resources}))
    assert await resizer.supported() is supported
    assert [one.path for one in api.seen] == ["/api/v1"]


async def test_an_api_without_pods_cannot_resize_them(api: FaultApi, resizer: Resizer) -> None:
    api.queue(GET, fails(404))
    assert not await resizer.supported()


async def test_whether_pods_can_be_resized_may_not_be_known(
    api: FaultApi, resizer: Resizer
) -> None:
    api.queue(GET, fails(500), says({"resources": "odd"}))
    for error in (ApiUnavailable, Garbled):
        with pytest.raises(error):
            await resizer.supported()
