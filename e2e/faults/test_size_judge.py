"""The judge of sizes: it sees what must not be, and lets be what may."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from .api_proxy import Resize
from .size_judge import GRACE, Kind, Seen, SizeJudge

LEASE: Final = "gateway-resize"
BOUNDS: Final = {"min": {"cpu": "500m", "mem": "1Gi"}, "max": {"cpu": "3", "mem": "6Gi"}}
FLOOR: Final = {"cpu": "100m", "mem": "512Mi"}
Amounts = tuple[str, str]
LEAST: Final = ("500m", "1Gi")
MORE: Final = ("1", "2Gi")


@dataclass
class World:
    """What the judge is shown: a node of 4 CPUs, and a sandbox that runs in the pod `box`."""

    resizes: dict[int, Resize] = field(default_factory=dict)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.judge = SizeJudge(self.resizes, LEASE)
        self._versions = itertools.count(1)
        self.version = 0
        self.node("4")
        self.lease("gateway1_0123")
        self.pod("box")
        self.sandbox("Running")

    def see(self, kind: Kind, name: str, obj: dict[str, Any], uid: str = "", **more: Any) -> None:
        self.version = next(self._versions)
        metadata = {"name": name, "uid": uid or name} | obj.pop("metadata", {})
        self.judge.take(Seen(self.version, self.now, kind, {"metadata": metadata, **obj}, **more))

    def node(self, cpu: str) -> None:
        self.see(Kind.NODE, "node", {"status": {"allocatable": {"cpu": cpu, "memory": "8Gi"}}})

    def lease(self, holder: str, name: str = LEASE) -> None:
        self.see(Kind.LEASE, name, {"spec": {"holderIdentity": holder}})

    def sandbox(self, phase: str, pod: str = "box", floor: bool = False) -> None:
        config = {"idleFloor": FLOOR} if floor else {}
        metadata = {
            "labels": {"sandbox-gateway.dev/scaling-enabled": "true"},
            "annotations": {
                "sandbox-gateway.dev/scaling-bounds": json.dumps(BOUNDS),
                "sandbox-gateway.dev/scaling-config": json.dumps(config),
            },
        }
        status = {"phase": phase, "podUID": pod}
        self.see(Kind.SANDBOX, "box", {"metadata": metadata, "status": status}, "sandbox")

    def pod(
        self,
        name: str,
        desired: Amounts = LEAST,
        has: Amounts | None = None,
        qos: str = "Guaranteed",
        restarts: int = 0,
        **seen: Any,
    ) -> None:
        def amounts(size: Amounts) -> dict[str, Any]:
            return {"requests": dict(zip(("cpu", "memory"), size, strict=True))}

        told = {"resources": amounts(has or desired), "restartCount": restarts}
        spec = {"nodeName": "node", "containers": [{"resources": amounts(desired)}]}
        status = {"qosClass": qos, "containerStatuses": [told]}
        self.see(Kind.POD, name, {"spec": spec, "status": status}, **seen)

    def resize(
        self, desired: Amounts, who: str | None = "gateway1", meant: str = "box", **pod: Any
    ) -> None:
        """Have the pod resized as the API tells of it: the proxy has seen who did it."""
        if who is not None:
            self.resizes[self.version + 1] = Resize(who, meant)
        self.pod("box", desired, **pod)

    @property
    def wrong(self) -> str:
        """The one thing that is wrong; "" if nothing is."""
        (*others, last) = ["", *self.judge.violations]
        assert len(others) <= 1, others
        return last


@pytest.fixture
def world() -> World:
    return World()


def test_what_may_be_is_let_be(world: World) -> None:
    world.resize(MORE, has=LEAST)
    world.pod("box", MORE)
    world.resize(LEAST)
    assert world.wrong == ""
    assert world.judge.count == 2


@pytest.mark.parametrize("size", [("3250m", "2Gi"), ("1", "6656Mi"), ("250m", "1Gi")])
def test_a_size_out_of_bounds_is_seen(world: World, size: Amounts) -> None:
    world.resize(size)
    assert "its author wants" in world.wrong


def test_the_idle_floor_is_within_bounds_where_there_is_one(world: World) -> None:
    world.sandbox("Running", floor=True)
    world.resize(("100m", "512Mi"))
    assert world.wrong == ""
    world.resize(("50m", "512Mi"))
    assert "its author wants" in world.wrong


def test_a_restart_and_another_qos_class_are_seen(world: World) -> None:
    world.pod("box", restarts=1)
    assert "1 restarts" in world.wrong
    world.judge.violations.clear()
    world.pod("box", restarts=1, qos="Burstable")
    assert "Guaranteed became Burstable" in world.wrong


def test_more_than_a_node_has_is_seen_until_it_is_real_that_another_has_less(world: World) -> None:
    world.pod("other", ("2500m", "2Gi"))
    world.pod("other", ("2500m", "2Gi"), has=("3250m", "2Gi"))
    world.now += GRACE + 1
    world.resize(MORE)
    assert "4250 cpu are taken of a node that has 4000" in world.wrong
    world.judge.violations.clear()
    world.pod("other", ("2500m", "2Gi"))
    world.resize(("1500m", "2Gi"))
    assert world.wrong == ""


def test_what_a_node_has_lost_is_known_a_little_later(world: World) -> None:
    world.node("1")
    world.resize(("1500m", "1Gi"))
    assert world.wrong == ""
    world.now += GRACE + 1
    world.resize(("2", "1Gi"))
    assert "of a node that has 1000" in world.wrong


def test_a_pod_that_has_just_come_may_not_be_known_yet(world: World) -> None:
    world.pod("other", ("3250m", "2Gi"))
    world.resize(MORE)
    assert world.wrong == ""
    world.now += GRACE + 1
    world.resize(("1250m", "2Gi"))
    assert "4500 cpu are taken" in world.wrong


def test_to_have_less_needs_no_room(world: World) -> None:
    world.resize(MORE)
    world.node("250m")
    world.now += GRACE + 1
    world.resize(LEAST)
    assert world.wrong == ""


def test_a_pod_that_is_no_sandboxs_own_is_not_to_be_resized(world: World) -> None:
    world.pod("stranger")
    world.resizes[world.version + 1] = Resize("gateway1", "stranger")
    world.pod("stranger", MORE)
    assert "no right-sized sandbox's own" in world.wrong


def test_another_pod_of_the_same_name_is_not_the_one_that_was_meant(world: World) -> None:
    world.pod("box", uid="new")
    world.sandbox("Running", pod="new")
    world.resize(MORE, meant="box", uid="new")
    assert "gateway1 meant box, another pod" in world.wrong


@pytest.mark.parametrize("holder", ["gateway2_4567", ""])
def test_who_does_not_lead_is_seen_to_write(world: World, holder: str) -> None:
    world.lease("gateway2_4567", name="gateway")
    world.resize(MORE)
    assert world.wrong == ""
    world.lease(holder)
    world.resize(LEAST)
    assert "gateway1 resized it, while" in world.wrong


def test_a_resize_that_nobody_has_sent_is_seen(world: World) -> None:
    world.resize(MORE, who=None)
    assert "nobody known has resized it" in world.wrong


@pytest.mark.parametrize(
    ("phase", "size", "right"),
    [
        ("Pausing", MORE, False),
        ("Pausing", ("100m", "1Gi"), False),
        ("Paused", MORE, False),
        ("Paused", ("100m", "1Gi"), True),
        ("Paused", ("100m", "512Mi"), False),
        ("Paused", ("50m", "1Gi"), False),
        ("Resuming", MORE, True),
        ("Resuming", ("100m", "1Gi"), False),
        ("Terminating", MORE, False),
    ],
)
def test_what_does_not_run_is_left_alone_but_for_its_floor(
    world: World, phase: str, size: Amounts, right: bool
) -> None:
    world.sandbox("Running", floor=True)
    world.sandbox(phase, floor=True)
    world.now += GRACE + 1
    world.resize(size)
    assert (world.wrong == "") == right


def test_a_phase_that_has_just_begun_may_not_be_known_yet(world: World) -> None:
    world.sandbox("Pausing")
    world.resize(MORE)
    assert world.wrong == ""


def test_a_floor_that_nobody_wrote_is_none(world: World) -> None:
    world.sandbox("Paused")
    world.now += GRACE + 1
    world.resize(("100m", "1Gi"))
    assert "while it was Paused" in world.wrong
