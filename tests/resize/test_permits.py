"""Permits: what is wrong, what is granted, and that no node gives more than it has."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.cluster.answers import EventType
from gateway.cluster.machines import Machines
from gateway.resize.amounts import Resources
from gateway.resize.messages import AgentRequest, decode
from gateway.resize.permits import VERSIONS, Permits, Refused
from gateway.sandbox.scaling import Size
from tests.cluster.machine_objects import amounts, container, node_object, pod_object, told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.resize.messages import PluginResponse

GI = 2**30
UNIT = Resources(250, 1)


@dataclass
class Place:
    """A node and its pods, and the permits of those that are right-sized."""

    machines: Machines
    permits: Permits
    version: int = 100

    def node(self, cpu: str = "4", memory: str = "8Gi", **spec: Any) -> None:
        raw = node_object(**spec) | {"status": {"allocatable": amounts(cpu, memory)}}
        self.machines.nodes_sink.event(EventType.MODIFIED, raw)

    def pod(
        self,
        name: str = "box",
        cpu: int = 1000,
        gib: float = 1,
        *,
        actual: tuple[int, float] | None = None,
        node: str | None = "node-1",
        **status: Any,
    ) -> None:
        """Have a pod be to have so much, and have the same unless told otherwise."""
        self.version += 1
        has = actual or (cpu, gib)
        wanted = amounts(f"{cpu}m", str(int(gib * GI)))
        raw = pod_object(
            self.version,
            name,
            node=node,
            spec={"containers": [container(resources={"requests": wanted})]},
            status={"containerStatuses": [told(cpu=f"{has[0]}m", memory=str(int(has[1] * GI)))]}
            | status,
        )
        self.machines.pods_sink.event(EventType.MODIFIED, raw)

    def admit(self, name: str = "box", cpu: int = 1000, gib: int = 1, slot: int = GI) -> None:
        self.permits.admit("team-a", name, f"uid-{name}", slot, Resources(cpu, gib))

    def ask(self, cpu: int, gib: int, name: str = "box", **fields: Any) -> tuple[int, int]:
        """Ask for so much; return what is permitted."""
        permit = self.answer(cpu, gib, name, **fields).permit
        return permit.vcpus, permit.mem

    def answer(self, cpu: int, gib: int, name: str = "box", **fields: Any) -> PluginResponse:
        return self.permits.handle(request(cpu, gib, name, **fields))

    def pressure(self) -> Size:
        return self.permits.pressure().get("node-1", Size(0, 0))


@pytest.fixture
def place() -> Place:
    """A node of 4 CPUs and 8 GiB, and on it a pod of 1 CPU and 1 GiB that is right-sized."""
    found = empty()
    found.pod()
    found.admit()
    return found


def empty() -> Place:
    machines = Machines()
    found = Place(machines, Permits(machines, UNIT))
    found.node()
    return found


def request(cpu: int, gib: int, name: str = "box", **fields: Any) -> AgentRequest:
    told: dict[str, Any] = {
        "protoVersion": 3,
        "pod": {"namespace": "team-a", "name": name},
        "resources": {"vCPUs": f"{cpu}m", "mem": gib},
        "metrics": {"loadAvg1M": 0.5, "loadAvg5M": 0.5},
    }
    return decode(json.dumps(told | fields).encode(), AgentRequest)


def refusal(place: Place, asked: AgentRequest | bytes) -> tuple[int, str]:
    with pytest.raises(Refused) as raised:
        place.permits.handle(asked)
    return raised.value.status, str(raised.value)


# ---- what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status", "why"),
    [
        (request(1000, 1, protoVersion=0), 400, "version <invalid: zero> is not spoken, but v1.0"),
        (request(1000, 1, protoVersion=4), 400, "version <unknown = v2.0 + 1> is not spoken"),
        (request(1000, 1, protoVersion=1, metrics=None), 400, "v1.0 has metrics in each request"),
        (request(1250, 1, protoVersion=1), 400, "version v1.0 has whole CPUs alone"),
        (request(1250, 1, protoVersion=2), 400, "version v1.1 has whole CPUs alone"),
        (request(0, 1), 400, "a size must have some of each"),
        (request(1000, 0), 400, "a size must have some of each"),
        (request(1000, 1, "other"), 404, "no such pod is right-sized here"),
        (b"{", 400, "the message cannot be read"),
        (b"[]", 400, "the message cannot be read"),
        (b"\xff", 400, "the message cannot be read"),
    ],
)
def test_what_is_wrong_is_refused(
    place: Place, asked: AgentRequest | bytes, status: int, why: str
) -> None:
    found = refusal(place, asked)
    assert found[0] == status
    assert why in found[1]
    assert str(VERSIONS) == "v1.0 to v2.0"


@pytest.mark.parametrize(
    "asked",
    [
        request(1000, 1, protoVersion=1),
        request(1000, 1, protoVersion=2, metrics=None),
        request(1000, 1, metrics=None),
    ],
)
def test_each_version_may_say_what_it_can(place: Place, asked: AgentRequest) -> None:
    answer = place.permits.handle(asked)
    assert (answer.permit.vcpus, answer.permit.mem) == (1000, 1)


def test_what_comes_as_bytes_is_read(place: Place) -> None:
    answer = place.permits.handle(request(2250, 2).encode())
    assert json.loads(answer.encode()) == {
        "permit": {"vCPUs": "2250m", "mem": 2},
        "resourceUnit": {"vCPUs": "250m", "mem": 1},
    }


def test_a_pod_that_is_gone_or_has_ended_is_unknown(place: Place) -> None:
    place.pod(phase="Failed")
    assert refusal(place, request(1000, 1))[0] == 404
    place.machines.pods_sink.event(EventType.DELETED, pod_object(200, "box"))
    assert refusal(place, request(1000, 1))[0] == 404


def test_one_of_the_same_name_is_another_one(place: Place) -> None:
    place.permits.dismiss("team-a", "box", "uid-of-another")
    assert place.ask(1000, 1) == (1000, 1)
    place.permits.dismiss("team-a", "box", "uid-box")
    assert refusal(place, request(1000, 1))[0] == 404
    place.permits.dismiss("team-a", "box", "uid-box")  # a second time is nothing


# ---- what is granted ----------------------------------------------------------------------------


def test_more_is_granted_as_far_as_the_node_has_it_left(place: Place) -> None:
    assert place.ask(4000, 8) == (4000, 8)
    assert place.pressure() == Size(0, 0)
    assert place.ask(5000, 9) == (4000, 8)
    assert place.pressure() == Size(1000, GI)


def test_cpu_and_memory_are_each_looked_at_for_themselves(place: Place) -> None:
    place.pod("neighbour", 500, 7)
    assert place.ask(3000, 3) == (3000, 1)
    assert place.pressure() == Size(0, 2 * GI)


def test_what_was_permitted_and_not_taken_yet_is_nobody_elses(place: Place) -> None:
    place.pod("other")
    place.admit("other")
    assert place.ask(3000, 4) == (3000, 4)
    assert place.ask(2000, 5, "other") == (1000, 4)
    place.pod("box", 3000, 4)  # taken: it counts once
    assert place.ask(2000, 5, "other") == (1000, 4)
    assert place.ask(1000, 1) == (1000, 1)  # told, but the pod still has it
    assert place.ask(2000, 5, "other") == (1000, 4)
    place.pod("box", 1000, 1)
    assert place.ask(2000, 5, "other") == (2000, 5)


@pytest.mark.parametrize(
    "state",
    [
        {"cpu": 3000, "gib": 4, "actual": (1000, 1)},  # it is to have more
        {"cpu": 1000, "gib": 1, "actual": (3000, 4)},  # it has more
    ],
)
def test_of_a_pod_the_most_counts_that_it_is_to_have_was_allotted_and_has(state: Any) -> None:
    place = empty()
    place.pod("neighbour", **state)
    place.pod()
    place.admit()
    assert place.ask(4000, 8) == (1000, 4)


def test_less_is_granted_at_once_however_full_the_node_is(place: Place) -> None:
    place.pod("neighbour", 9000, 9)
    place.pod("box", 2000, 4)
    place.admit("box", 2000, 4)
    assert place.ask(500, 2) == (500, 2)
    assert place.pressure() == Size(0, 0)


def test_what_a_pod_has_is_its_own_however_full_the_node_is(place: Place) -> None:
    place.pod("neighbour", 9000, 9)
    assert place.ask(1000, 1) == (1000, 1)
    assert place.ask(2000, 2) == (1000, 1)
    place.pod("box", 2000, 2)  # somebody else gave it that
    assert place.ask(2000, 2) == (2000, 2)


def test_pressure_ends_with_the_wish_for_more(place: Place) -> None:
    place.ask(9000, 9)
    assert place.pressure() == Size(5000, GI)
    place.ask(4000, 8)
    assert place.pressure() == Size(0, 0)
    place.ask(9000, 9)
    place.permits.dismiss("team-a", "box", "uid-box")
    assert place.pressure() == Size(0, 0)


def test_pressure_is_told_node_by_node(place: Place) -> None:
    place.ask(5000, 8)
    place.pod("other", node="node-2")
    place.admit("other")
    place.ask(2000, 1, "other")
    assert place.permits.pressure() == {"node-1": Size(1000, 0), "node-2": Size(1000, 0)}


def test_pressure_is_the_sum_over_the_pods_of_a_node_that_are_still_there(place: Place) -> None:
    place.ask(5000, 8)
    place.pod("other")
    place.admit("other")
    place.ask(2000, 1, "other")
    assert place.pressure() == Size(2000, 0)
    place.machines.pods_sink.event(EventType.DELETED, pod_object(9**9, "other"))
    assert place.pressure() == Size(1000, 0)


def test_on_a_node_that_is_not_known_nothing_more_is_granted() -> None:
    place = empty()
    place.pod(node="node-2")
    place.admit()
    assert place.ask(2000, 1) == (1000, 1)
    assert place.ask(500, 1) == (500, 1)


def test_a_part_of_a_slot_is_reckoned_as_a_whole_one() -> None:
    place = empty()
    place.pod("box", 1000, 1.5)
    place.admit("box", 1000, 2)
    place.pod("neighbour", 1000, 5)
    assert place.ask(1000, 4) == (1000, 3)  # 8 - 5 - 2, and not 8 - 5 - 1.5
    place.pod("box", 1000, 3.5)  # it was given half a slot more by somebody else
    place.pod("neighbour", 1000, 3.5)
    assert place.ask(1000, 5) == (1000, 4)  # of 8 GiB 7.5 are spoken for, and not 7


def test_what_a_node_can_never_give_is_held_by_nobody() -> None:
    place = empty()
    never = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
    place.pod("box", 9000, 9, actual=(1000, 1), conditions=[never])
    place.admit()
    place.pod("other")
    place.admit("other")
    assert place.ask(9000, 9) == (3000, 7)
    assert place.ask(9000, 9, "other") == (1000, 1)


def test_what_was_permitted_to_a_pod_is_nothing_to_the_next_one_of_its_name(place: Place) -> None:
    place.ask(3000, 4)
    place.machines.pods_sink.event(EventType.DELETED, pod_object(9**9, "box"))
    next_one = pod_object(9**9, "box", uid="uid-of-the-next")
    place.machines.pods_sink.event(EventType.ADDED, next_one)
    place.pod("other")
    place.admit("other")
    assert place.ask(9000, 9, "other") == (3000, 7)


# ---- when nothing may change --------------------------------------------------------------------


def test_on_a_node_that_is_to_be_emptied_it_is_told_to_leave_and_stays_as_it_is(
    place: Place,
) -> None:
    place.node(unschedulable=True)
    answer = place.answer(2000, 2)
    assert answer.migrate is not None
    assert (answer.permit.vcpus, answer.permit.mem) == (1000, 1)
    assert place.pressure() == Size(0, 0)  # it lacks nothing that is to be had there
    for cpu in (500, 2000):
        assert refusal(place, request(cpu, 1)) == (400, "its size is not to be changed now")
    assert place.answer(1000, 1).migrate is not None
    place.node()
    assert place.answer(2000, 2).migrate is None
    assert place.ask(2000, 2) == (2000, 2)


def test_one_that_is_between_two_states_keeps_its_size(place: Place) -> None:
    place.ask(9000, 1)
    place.permits.freeze("team-a", "box", frozen=False)  # it was not
    assert place.pressure() == Size(5000, 0)
    place.permits.freeze("team-a", "box", frozen=True)
    assert place.pressure() == Size(0, 0)
    assert place.ask(4000, 1) == (4000, 1)
    assert refusal(place, request(1000, 1))[0] == 400
    assert refusal(place, request(5000, 1))[0] == 400
    place.permits.freeze("team-a", "box", frozen=False)
    assert place.ask(1000, 1) == (1000, 1)
    place.permits.freeze("team-a", "nobody", frozen=True)  # nobody is held up


def test_one_may_be_taken_over_between_two_states() -> None:
    place = empty()
    place.pod()
    place.permits.admit("team-a", "box", "uid-box", GI, Resources(1000, 1), frozen=True)
    assert refusal(place, request(2000, 1))[0] == 400


# ---- properties ---------------------------------------------------------------------------------

CPUS = st.integers(1, 40).map(lambda quarters: quarters * 250)
SLOTS = st.integers(1, 12)
NAMES = st.sampled_from(["a", "b", "c"])


class NodeNeverGivesMore(RuleBasedStateMachine):
    """Whatever is asked, taken and given back: what is held never exceeds what there is."""

    @initialize()
    def begin(self) -> None:
        self.place = empty()
        self.taken: dict[str, tuple[int, int]] = {}

    @rule(name=NAMES)
    def starts(self, name: str) -> None:
        """A scheduler places a pod where there is room for it, as permits leave it."""
        left = self.left()
        if name not in self.taken and left.cpu >= 250 and left.memory >= 1:
            self.taken[name] = (250, 1)
            self.place.pod(name, 250, 1)
            self.place.admit(name, 250, 1)

    @rule(name=NAMES, cpu=CPUS, gib=SLOTS)
    def asks(self, name: str, cpu: int, gib: int) -> None:
        if name in self.taken:
            granted = self.place.ask(cpu, gib, name)
            has = self.taken[name]
            for asked, permitted, taken in zip((cpu, gib), granted, has, strict=True):
                assert 0 < permitted <= asked
                assert permitted >= min(asked, taken)
            self.granted(name)

    @rule(name=NAMES)
    def takes(self, name: str) -> None:
        """The kubelet brings a pod to what is permitted to it."""
        if name in self.taken:
            self.taken[name] = cpu, gib = self.granted(name)
            self.place.pod(name, cpu, gib)

    @rule(name=NAMES)
    def ends(self, name: str) -> None:
        if self.taken.pop(name, None) is not None:
            self.place.permits.dismiss("team-a", name, f"uid-{name}")
            self.place.machines.pods_sink.event(EventType.DELETED, pod_object(9**9, name))

    def granted(self, name: str) -> tuple[int, int]:
        held = self.place.permits._held["team-a", name].permitted
        return held.cpu, held.memory

    def left(self) -> Resources:
        used = [self.most(name) for name in self.taken]
        return Resources(
            4000 - sum(cpu for cpu, _ in used),
            8 - sum(gib for _, gib in used),
        )

    def most(self, name: str) -> tuple[int, int]:
        """Return what is held for a pod: the more of what it has and of what it may have."""
        pairs = zip(self.taken[name], self.granted(name), strict=True)
        cpu, gib = (max(pair) for pair in pairs)
        return cpu, gib

    @invariant()
    def nothing_is_given_twice(self) -> None:
        left = self.left() if hasattr(self, "taken") else Resources(0, 0)
        assert left.cpu >= 0
        assert left.memory >= 0


TestNodeNeverGivesMore = NodeNeverGivesMore.TestCase
TestNodeNeverGivesMore.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.permutations(["a", "b", "c"]), st.lists(CPUS, min_size=3, max_size=3))
def test_in_which_order_pods_tell_that_they_have_less_makes_no_difference(
    order: list[str], cpus: list[int]
) -> None:
    wanted = dict(zip("abc", cpus, strict=True))

    def left_after(names: Iterable[str]) -> tuple[int, int]:
        place = empty()
        for name in "abc":
            place.pod(name, 10_000, 1)
            place.admit(name, 10_000, 1)
        place.pod("last", 250, 1)
        place.admit("last", 250, 1)
        for name in names:
            assert place.ask(wanted[name], 1, name) == (wanted[name], 1)
        for name in "abc":
            place.pod(name, wanted[name], 1)
        return place.ask(10_000, 1, "last")

    assert left_after(order) == left_after("abc")


def test_to_grant_one_wish_only_the_pods_of_its_own_node_are_looked_at() -> None:
    place = empty()
    looked: list[str] = []

    class Watched(Permits):
        def _promises(self, node: str) -> Any:
            for found in super()._promises(node):
                looked.append(node)
                yield found

    permits = Watched(place.machines, UNIT)
    place = replace(place, permits=permits)
    for number in range(100):
        place.pod(f"far-{number}", node=f"node-{number + 2}")
        place.admit(f"far-{number}")
    place.pod()
    place.admit()
    assert place.ask(2000, 2) == (2000, 2)
    assert looked == ["node-1"]
