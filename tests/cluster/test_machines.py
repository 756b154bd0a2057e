"""Pods and nodes kept in step: who is where, what is taken, news in the order of an API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.cluster.answers import EventType
from gateway.cluster.machines import MachineFeed, Machines
from gateway.cluster.pod_facts import NOTHING, PodFacts
from gateway.cluster.pod_reading import read_pod
from gateway.sandbox.scaling import Size

from .machine_objects import GI, RawObject, amounts, container, node_object, pod_object, told

if TYPE_CHECKING:
    from collections.abc import Iterable


@pytest.fixture
def machines() -> Machines:
    return Machines()


def came(machines: Machines, *raws: RawObject) -> None:
    for raw in raws:
        machines.pods_sink.event(EventType.MODIFIED, raw)


def went(machines: Machines, raw: RawObject) -> None:
    machines.pods_sink.event(EventType.DELETED, raw)


def listed(sink: MachineFeed, version: int, *raws: RawObject) -> None:
    sink.begin()
    sink.page(raws)
    for _ in sink.complete(version):
        pass


def names(pods: Iterable[PodFacts]) -> set[str]:
    return {pod.name for pod in pods}


# ---- who is where -------------------------------------------------------------------------------


def test_a_pod_is_found_by_its_uid_its_address_and_its_node(machines: Machines) -> None:
    came(machines, pod_object(1, "web-0", uid="pod-1"))
    pod = machines.pod("pod-1")
    assert pod is not None
    assert machines.pod_at("team-a", "10.0.0.7") is pod
    assert list(machines.on_node("node-1")) == [pod]


def test_an_address_counts_within_its_namespace_and_either_family_does(machines: Machines) -> None:
    both = {"podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]}
    came(machines, pod_object(1, status=both))
    assert machines.pod_at("team-a", "fd00::7") is machines.pod_at("team-a", "10.0.0.7") is not None
    assert machines.pod_at("team-b", "10.0.0.7") is None


def test_two_at_one_address_are_none(machines: Machines) -> None:
    came(machines, pod_object(1, "web-0"), pod_object(2, "web-1"))
    assert machines.pod_at("team-a", "10.0.0.7") is None


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"deletionTimestamp": "2026-11-22T10:20:30Z"}},
        {"status": {"phase": "Succeeded"}},
        {"spec": {"hostNetwork": True}},
        {"address": None},
        {"address": "10.0.0.8"},
    ],
)
def test_an_address_is_whose_it_is_now(machines: Machines, change: dict[str, Any]) -> None:
    came(machines, pod_object(1, "web-0"), pod_object(2, "web-0", **change))
    assert machines.pod_at("team-a", "10.0.0.7") is None
    came(machines, pod_object(3, "web-1"))
    now_there = machines.pod_at("team-a", "10.0.0.7")
    assert now_there is not None
    assert now_there.name == "web-1"


def test_of_a_pod_its_newest_state_counts(machines: Machines) -> None:
    came(machines, pod_object(5, address="10.0.0.9"), pod_object(4))
    assert machines.pod_at("team-a", "10.0.0.9") is not None
    assert machines.pod_at("team-a", "10.0.0.7") is None


def test_a_pod_that_is_gone_is_nowhere(machines: Machines) -> None:
    raw = pod_object(1, uid="pod-1")
    came(machines, raw)
    went(machines, raw)
    assert machines.pod("pod-1") is machines.pod_at("team-a", "10.0.0.7") is None
    assert not list(machines.on_node("node-1"))


def test_a_pod_of_the_same_name_is_another_one(machines: Machines) -> None:
    first, second = pod_object(1, uid="pod-1"), pod_object(3, uid="pod-2", address="10.0.0.9")
    came(machines, first, second)
    went(machines, first)
    assert machines.pod("pod-1") is None
    assert machines.pod("pod-2") is not None


# ---- what is taken ------------------------------------------------------------------------------


def test_what_is_taken_of_a_node_is_what_its_pods_take(machines: Machines) -> None:
    came(
        machines,
        pod_object(1, "web-0"),
        pod_object(2, "web-1", spec={"containers": [container(), container("b")]}),
        pod_object(3, "web-2", node="node-2"),
        pod_object(4, "web-3", node=None),
        pod_object(5, "web-4", status={"phase": "Failed"}),
    )
    assert names(machines.on_node("node-1")) == {"web-0", "web-1"}
    assert machines.claimed("node-1") == Size(3000, 3 * GI)
    assert machines.claimed("node-1", without={"uid-web-1"}) == Size(1000, GI)
    assert machines.claimed("node-3") == NOTHING


def test_a_pod_that_ends_gives_back_what_it_took(machines: Machines) -> None:
    came(machines, pod_object(1), pod_object(2, status={"phase": "Succeeded"}))
    assert machines.claimed("node-1") == NOTHING
    assert machines.pod("uid-web-0") is not None


def test_what_a_write_returned_counts_before_the_watch_tells(machines: Machines) -> None:
    came(machines, pod_object(1))
    larger = container(resources={"requests": amounts("3", "1Gi")})
    grown = pod_object(3, spec={"containers": [larger]})
    machines.learn(read_pod(grown))
    assert machines.claimed("node-1") == Size(3000, GI)
    came(machines, pod_object(2))
    assert machines.claimed("node-1") == Size(3000, GI)


def test_what_a_write_returned_of_a_pod_that_is_gone_does_not_bring_it_back(
    machines: Machines,
) -> None:
    came(machines, pod_object(1))
    went(machines, pod_object(3))
    machines.learn(read_pod(pod_object(2)))
    assert machines.pod("uid-web-0") is None


# ---- nodes --------------------------------------------------------------------------------------


def test_nodes_come_change_and_go_and_each_is_told_once(machines: Machines) -> None:
    told_of: list[str] = []
    machines.subscribe_nodes(told_of.append)
    sink = machines.nodes_sink
    listed(sink, 7, node_object("node-1"), node_object("node-2"))
    sink.event(EventType.MODIFIED, node_object("node-1"))
    sink.event(EventType.MODIFIED, node_object("node-1", unschedulable=True))
    found = machines.node("node-1")
    assert found is not None
    assert found.draining
    sink.event(EventType.DELETED, node_object("node-2"))
    assert machines.node("node-2") is None
    assert told_of == ["node-1", "node-2", "node-1", "node-2"]


def test_nodes_that_a_list_lacks_are_gone(machines: Machines) -> None:
    listed(machines.nodes_sink, 7, node_object("node-1"), node_object("node-2"))
    listed(machines.nodes_sink, 9, node_object("node-2"))
    assert machines.node("node-1") is None
    assert machines.node("node-2") is not None
    machines.nodes_sink.forget()
    assert machines.node("node-2") is None


def test_a_node_that_cannot_be_read_is_none(
    machines: Machines, caplog: pytest.LogCaptureFixture
) -> None:
    listed(machines.nodes_sink, 7, node_object())
    machines.nodes_sink.event(EventType.MODIFIED, node_object() | {"status": "odd"})
    assert machines.node("node-1") is None
    assert "a node cannot be read" in caplog.text


# ---- lists and what cannot be read --------------------------------------------------------------


def test_a_pod_that_a_list_lacks_is_gone_unless_it_is_newer(machines: Machines) -> None:
    listed(machines.pods_sink, 5, pod_object(1, "web-0"), pod_object(2, "web-1"))
    machines.learn(read_pod(pod_object(9, "web-1")))
    listed(machines.pods_sink, 7)
    assert names(machines.on_node("node-1")) == {"web-1"}


def test_a_list_that_was_not_finished_removes_nothing(machines: Machines) -> None:
    listed(machines.pods_sink, 5, pod_object(1, "web-0"), pod_object(2, "web-1"))
    machines.pods_sink.begin()
    machines.pods_sink.page([pod_object(1, "web-0")])
    listed(machines.pods_sink, 6, pod_object(2, "web-1"))
    assert names(machines.on_node("node-1")) == {"web-1"}


def test_a_pod_that_changes_while_a_list_is_swept_stays(machines: Machines) -> None:
    listed(machines.pods_sink, 5, pod_object(1, "web-0"), pod_object(2, "web-1"))
    machines.pods_sink.begin()
    steps = machines.pods_sink.complete(7)
    next(steps)
    machines.learn(read_pod(pod_object(8, "web-1")))
    for _ in steps:
        pass
    assert names(machines.on_node("node-1")) == {"web-1"}


def test_without_the_api_there_is_nothing(machines: Machines) -> None:
    came(machines, pod_object(1))
    machines.pods_sink.forget()
    assert machines.pod("uid-web-0") is None
    assert machines.claimed("node-1") == NOTHING


@pytest.mark.parametrize("odd", [{"spec": "odd"}, {"status": {"podIP": "odd"}}])
def test_a_pod_that_cannot_be_read_is_none(
    machines: Machines, odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    came(machines, pod_object(1), pod_object(2) | odd)
    assert machines.pod("uid-web-0") is None
    assert "a pod cannot be read" in caplog.text


@pytest.mark.parametrize("raw", [{}, {"metadata": None}, {"metadata": {"uid": []}}])
def test_what_has_no_identity_changes_nothing(machines: Machines, raw: RawObject) -> None:
    came(machines, pod_object(1))
    came(machines, raw)
    went(machines, raw)
    machines.nodes_sink.event(EventType.DELETED, raw)
    assert machines.pod("uid-web-0") is not None


# ---- listeners ----------------------------------------------------------------------------------


def test_each_change_of_a_pod_is_told_with_what_was_before(machines: Machines) -> None:
    changes: list[tuple[int, int]] = []

    def listener(before: PodFacts | None, after: PodFacts | None) -> None:
        changes.append((before.version if before else 0, after.version if after else 0))
        assert after is None or machines.pod(after.uid) is after

    stop = machines.subscribe(listener)
    came(machines, pod_object(1), pod_object(2), pod_object(2))
    went(machines, pod_object(3))
    stop()
    came(machines, pod_object(4))
    assert changes == [(0, 1), (1, 2), (2, 0)]


# ---- whatever happens ---------------------------------------------------------------------------

uids = st.sampled_from(["pod-1", "pod-2", "pod-3"])
nodes = st.sampled_from([None, "node-1", "node-2"])
addresses = st.sampled_from([None, "10.0.0.7", "10.0.0.8"])
phases = st.sampled_from(["Running", "Succeeded"])
sizes = st.integers(1, 9)


class Kept(RuleBasedStateMachine):
    """The tables against a plain dictionary of what came last."""

    def __init__(self) -> None:
        super().__init__()
        self.machines = Machines()
        self.known: dict[str, PodFacts] = {}
        self.version = 1

    def object(self, uid: str, node: Any, address: Any, phase: str, size: int) -> RawObject:
        self.version += 1
        status = {"phase": phase, "containerStatuses": [told("web", str(size), "1Gi")]}
        return pod_object(self.version, uid, uid=uid, node=node, address=address, status=status)

    @rule(uid=uids, node=nodes, address=addresses, phase=phases, size=sizes)
    def comes(self, uid: str, node: Any, address: Any, phase: str, size: int) -> None:
        raw = self.object(uid, node, address, phase, size)
        self.known[uid] = read_pod(raw)
        came(self.machines, raw)

    @rule(uid=uids)
    def goes(self, uid: str) -> None:
        self.known.pop(uid, None)
        went(self.machines, self.object(uid, None, None, "Running", 1))

    @rule(uid=uids, node=nodes, address=addresses, phase=phases, size=sizes)
    def is_listed(self, uid: str, node: Any, address: Any, phase: str, size: int) -> None:
        raw = self.object(uid, node, address, phase, size)
        self.known = {uid: read_pod(raw)}
        listed(self.machines.pods_sink, self.version, raw)

    @invariant()
    def all_is_known(self) -> None:
        for uid in ("pod-1", "pod-2", "pod-3"):
            assert self.machines.pod(uid) == self.known.get(uid)
        for node in ("node-1", "node-2"):
            there = [one for one in self.known.values() if one.node == node and not one.ended]
            assert names(self.machines.on_node(node)) == names(there)
            assert self.machines.claimed(node).cpu == sum(one.claim.cpu for one in there)
        for address in ("10.0.0.7", "10.0.0.8"):
            at = [one for one in self.known.values() if address in one.addresses]
            expected = at[0] if len(at) == 1 else None
            assert self.machines.pod_at("team-a", address) == expected


Kept.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestKept = Kept.TestCase


def test_a_mistake_over_one_pod_does_not_stop_the_others(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(raw: RawObject) -> PodFacts:
        if raw["metadata"]["name"] == "odd":
            raise TypeError("a mistake of ours")
        return read_pod(raw)

    monkeypatch.setattr("gateway.cluster.machines.read_pod", mistaken)
    came(machines, pod_object(1, "odd", uid="odd"), pod_object(2, "web-0", uid="pod-1"))
    assert machines.pod("odd") is None
    assert machines.pod("pod-1") is not None


def test_a_node_that_was_not_heard_of_for_too_long_is_not_gone_by() -> None:
    stale = False
    machines = Machines(lambda: stale)
    machines.nodes_sink.event(EventType.MODIFIED, node_object())
    assert machines.node("node-1") is not None
    stale = True
    assert machines.node("node-1") is None
