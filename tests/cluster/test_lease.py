"""A Lease over real sockets: what is sent, what is made of what comes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cluster.errors import Garbled
from gateway.cluster.lease import UNKNOWN, Lease, LeaseStore, lease_of
from gateway.sandbox.errors import AccessDenied, ApiUnavailable, Conflict, ObjectGone

from .faultapi import CREATE, GET, PATCH, answers, fails

if TYPE_CHECKING:
    from gateway.cluster.client import KubeClient

    from .faultapi import FaultApi

PATH = "/apis/coordination.k8s.io/v1/namespaces/team-a/leases"
#: 2026-01-02T03:04:05.678901Z.
NOW = 1767323045.678901


@pytest.fixture
def store(client: KubeClient) -> LeaseStore:
    return LeaseStore(client, "team-a", "leader", lambda: NOW)


async def held(api: FaultApi, **spec: Any) -> Lease:
    raw = await api.put("leader", spec={"holderIdentity": "another", "leaseTransitions": 4} | spec)
    return lease_of(raw)


def sent(api: FaultApi) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(api.seen[-1].body)
    return body


async def test_a_lease_is_read(api: FaultApi, store: LeaseStore) -> None:
    await held(api, leaseDurationSeconds=15)
    found = await store.read()
    assert found == Lease("11", "another", 15, 4)
    assert (api.seen[-1].kind, api.seen[-1].path) == (GET, f"{PATH}/leader")


async def test_a_lease_that_is_not_there_is_none(store: LeaseStore) -> None:
    assert await store.read() is None


async def test_what_is_made_is_held_by_nobody_known(api: FaultApi, store: LeaseStore) -> None:
    stored = {"metadata": {"resourceVersion": "5"}, "spec": {"holderIdentity": UNKNOWN}}
    api.queue(CREATE, answers(json.dumps(stored).encode(), 201))
    assert await store.create(14.2) == Lease("5", UNKNOWN)
    assert api.seen[-1].path == PATH
    assert sent(api) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader", "namespace": "team-a"},
        "spec": {
            "holderIdentity": UNKNOWN,
            "leaseDurationSeconds": 15,
            "renewTime": "2026-01-02T03:04:05.678901Z",
        },
    }


async def test_acquiring_says_who_and_since_when(api: FaultApi, store: LeaseStore) -> None:
    over = await held(api)
    assert await store.acquire(over, "me", 15.0) == Lease("12", "me", 15, 5)
    assert api.seen[-1].headers["Content-Type"] == "application/merge-patch+json"
    assert sent(api) == {
        "metadata": {"resourceVersion": "11"},
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-02T03:04:05.678901Z",
            "renewTime": "2026-01-02T03:04:05.678901Z",
            "leaseTransitions": 5,
        },
    }


async def test_renewing_changes_neither_the_holder_nor_since_when(
    api: FaultApi, store: LeaseStore
) -> None:
    renewed = await store.renew(await held(api), 15.0)
    assert renewed == Lease("12", "another", 15, 4)
    assert sent(api)["spec"].keys() == {"renewTime", "leaseDurationSeconds"}


async def test_releasing_leaves_it_to_nobody(api: FaultApi, store: LeaseStore) -> None:
    assert (await store.release(await held(api))).holder == ""


async def test_whoever_writes_over_another_version_is_told(
    api: FaultApi, store: LeaseStore
) -> None:
    over = await held(api)
    await held(api)
    for write in (store.acquire(over, "me", 15.0), store.renew(over, 15.0), store.release(over)):
        with pytest.raises(Conflict):
            await write
    assert api.count(PATCH) == 3
    api.discard("leader", "team-a")
    with pytest.raises(ObjectGone):
        await store.renew(over, 15.0)


async def test_the_number_of_transitions_stays_one_that_the_api_takes(
    api: FaultApi, store: LeaseStore
) -> None:
    over = await held(api, leaseTransitions=2**31 - 1)
    assert (await store.acquire(over, "me", 15.0)).transitions == 2**31 - 1


async def test_failures_are_those_of_the_client(api: FaultApi, store: LeaseStore) -> None:
    api.queue(GET, fails(403), fails(503))
    with pytest.raises(AccessDenied):
        await store.read()
    with pytest.raises(ApiUnavailable):
        await store.read()


@pytest.mark.parametrize(
    ("spec", "read"),
    [
        ({}, Lease("7")),
        (None, Lease("7")),
        ({"holderIdentity": None, "leaseDurationSeconds": None}, Lease("7")),
        ({"leaseDurationSeconds": "15", "leaseTransitions": []}, Lease("7")),
        ({"leaseDurationSeconds": -3, "leaseTransitions": -1}, Lease("7")),
        ({"leaseDurationSeconds": True, "leaseTransitions": 2.5}, Lease("7")),
        ({"leaseDurationSeconds": 0, "renewTime": "yesterday"}, Lease("7")),
        ({"holderIdentity": "x", "strategy": "OldestEmulationVersion"}, Lease("7", "x")),
    ],
)
def test_odd_fields_have_a_safe_reading(spec: object, read: Lease) -> None:
    assert lease_of({"metadata": {"resourceVersion": "7"}, "spec": spec}) == read


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"metadata": None, "spec": {}},
        {"metadata": {"resourceVersion": ""}, "spec": {}},
        {"metadata": {"resourceVersion": 7}, "spec": {}},
        {"metadata": {"resourceVersion": "7"}, "spec": []},
        {"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": 7}},
    ],
)
def test_what_cannot_be_known_to_be_free_is_no_lease(raw: dict[str, Any]) -> None:
    with pytest.raises(Garbled):
        lease_of(raw)
