"""The pods of all replicas, read from a scripted API."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.cluster.errors import Garbled
from gateway.cluster.pods import Pod, Pods
from gateway.sandbox.errors import AccessDenied

from .faultapi import LIST

if TYPE_CHECKING:
    from gateway.cluster.client import KubeClient

    from .faultapi import FaultApi, Reply


def pod(name: str, phase: str = "Running", ip: str | None = "10.0.0.1") -> dict[str, Any]:
    status = {"phase": phase} | ({} if ip is None else {"podIP": ip})
    return {"metadata": {"name": name}, "status": status}


def page(*items: object, token: str = "") -> Reply:
    async def reply(_: FaultApi, __: web.Request) -> web.StreamResponse:
        metadata = {"resourceVersion": "7", "continue": token}
        return web.json_response({"kind": "PodList", "metadata": metadata, "items": items})

    return reply


def answer(api: FaultApi, *replies: Reply) -> None:
    api.replies[LIST] = deque(replies)


@pytest.fixture
def pods(client: KubeClient) -> Pods:
    return Pods(client, "gateways", "app=gateway")


async def test_all_pages_are_read_and_the_api_has_to_read_consistently(
    api: FaultApi, pods: Pods
) -> None:
    answer(api, page(pod("a"), token="more"), page(pod("b", ip="fd00::2")))
    assert await pods.living() == (Pod("a", "10.0.0.1"), Pod("b", "fd00::2"))
    first, second = api.seen
    assert first.path == second.path == "/api/v1/namespaces/gateways/pods"
    assert first.query["labelSelector"] == "app=gateway"
    assert second.query["continue"] == "more"
    assert not any("resourceVersion" in one.query for one in api.seen)


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown", "", "SomethingNew"])
async def test_a_pod_counts_in_whatever_phase_that_is_not_the_end(
    api: FaultApi, pods: Pods, phase: str
) -> None:
    answer(api, page(pod("a", phase), pod("b", "Succeeded"), pod("c", "Failed")))
    assert await pods.living() == (Pod("a", "10.0.0.1"),)


async def test_a_pod_without_an_address_is_there_too(api: FaultApi, pods: Pods) -> None:
    answer(api, page(pod("a", ip=None), pod("b", ip=""), {"metadata": {"name": "c"}}))
    assert await pods.living() == (Pod("a", None), Pod("b", None), Pod("c", None))


@pytest.mark.parametrize(
    "item",
    [{}, {"metadata": {"name": 1}}, {"metadata": {"name": "a"}, "status": [1]}],
)
async def test_a_pod_that_cannot_be_read_leaves_no_list_behind(
    api: FaultApi, pods: Pods, item: dict[str, Any]
) -> None:
    answer(api, page(pod("a"), item))
    with pytest.raises(Garbled):
        await pods.living()


async def test_a_refusal_is_told(api: FaultApi, pods: Pods) -> None:
    api.denied = 403
    with pytest.raises(AccessDenied):
        await pods.living()
