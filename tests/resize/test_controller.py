"""Which sandboxes have an agent, and when: in virtual time, over real registries and pods."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from gateway.resize.care import AFTER_A_MISTAKE, LOOK, UNUSED, Care
from gateway.resize.controller import ASK_AGAIN, ResizeController
from gateway.resize.link_state import EndReason, LinkEnd, Suspended
from gateway.resize.snapshot import Status
from gateway.resize.state import Phase
from gateway.sandbox.errors import ApiUnavailable
from gateway.sandbox.model import Key, State
from gateway.sandbox.scaling import Boost, Size
from tests.cluster.machine_objects import container
from tests.resize.doubles import SCALING, SOON, World, size, written
from tests.standby.doubles import Lead
from tests.wake.virtual import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.cluster.machines import Machines
    from gateway.resize.agent import Agent
    from gateway.resize.snapshot import ResizeSnapshot

FLOOR = replace(SCALING, floor=size(100, 1))
LARGER = replace(SCALING, low=size(2000, 8))
BOOST = replace(SCALING, boost=Boost(size(2000, 8), 60.0))


class Rig:
    """A controller over a world: the lease, and what the cluster gives."""

    unsupported = "this Kubernetes API does not resize pods in place"

    def __init__(self, world: World) -> None:
        self.world, self.lead = world, Lead()
        self.supports: bool | Exception = True
        self.asked = 0
        self.following = 0
        self.unused: dict[str, float | None] = {}
        self.controller = ResizeController(
            world.registry,
            self,
            self.lead,
            lambda _: world.tools,
            lambda route: self.unused.get(route.key.name),
        )

    async def supported(self) -> bool:
        self.asked += 1
        if isinstance(self.supports, Exception):
            raise self.supports
        return self.supports

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[Machines]:
        self.following += 1
        try:
            await asyncio.sleep(0.1)
            yield self.world.machines
        finally:
            self.following -= 1

    def told(self, name: str = "box") -> ResizeSnapshot:
        route = self.world.registry.get(Key("native", "team-a", name))
        assert route is not None
        return self.controller.snapshot(route)

    @property
    def agent(self) -> Agent:
        (found,) = self.controller._agents
        return found

    def phase(self) -> Phase:
        return self.agent.state.phase

    async def done(self, seconds: float = SOON) -> list[str]:
        """Return what is done within so many seconds."""
        mark = len(self.world.diary)
        await asyncio.sleep(seconds)
        return self.world.since(mark)


@asynccontextmanager
async def running(world: World | None = None, *, leads: bool = True) -> AsyncIterator[Rig]:
    """Run a controller; at the end nothing of it is left."""
    before = asyncio.all_tasks()
    rig = Rig(world or World())
    rig.lead.acting = leads
    task = asyncio.create_task(rig.controller.run())
    try:
        yield rig
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert rig.following == 0
        assert rig.controller.agents == rig.world.permits.held == 0
        assert rig.world.registry._listeners == ()
        assert rig.world.machines._pods.listeners._all == ()
        assert rig.world.machines._nodes.listeners._all == ()
        assert all(guest.links == [] for guest in rig.world.guests.values())
        assert asyncio.all_tasks() == before


@asynccontextmanager
async def sized(**changes: Any) -> AsyncIterator[Rig]:
    """Run one that has an agent for a sandbox."""
    async with running() as rig:
        rig.world.pod()
        rig.world.sandbox(**changes)
        await rig.done()
        assert rig.controller.agents == 1
        yield rig


# ---- who has one --------------------------------------------------------------------------------


@in_virtual_time
async def test_a_sandbox_that_asks_for_it_has_an_agent_and_one_that_does_not_has_none() -> None:
    async with running() as rig:
        rig.world.pod("box")
        rig.world.pod("other", address="10.0.0.8")
        rig.world.sandbox("box")
        rig.world.sandbox("other", scaling=None, address="10.0.0.8", incarnation="x")
        await rig.done()
        assert rig.controller.agents == 1
        assert rig.told().status is Status.SIZED
        assert rig.told("other").status is Status.DISABLED


@in_virtual_time
async def test_what_is_there_when_it_begins_to_lead_has_one_too() -> None:
    world = World()
    world.pod()
    world.sandbox()
    async with running(world) as rig:
        await rig.done()
        assert rig.controller.agents == 1


@in_virtual_time
async def test_in_whatever_order_a_sandbox_and_its_pod_become_known_it_has_one() -> None:
    async with running() as rig:
        rig.world.sandbox()
        await rig.done()
        assert rig.told().status is Status.NO_POD
        assert rig.told().reason == "no pod is known to be its own, at its address"
        rig.world.pod()
        await rig.done(0.001)
        assert rig.told().status is Status.UNINFORMED
        assert rig.told().reason == "its informant has not answered yet"
        await rig.done()
        assert rig.told().status is Status.SIZED


@in_virtual_time
async def test_a_pod_of_another_namespace_is_left_alone_though_its_status_names_it() -> None:
    async with running() as rig:
        rig.world.pod()
        rig.world.change_pod(metadata={"namespace": "team-b"})
        rig.world.sandbox()
        await rig.done()
        assert rig.controller.agents == 0


@in_virtual_time
async def test_of_several_pods_at_its_address_the_one_that_its_status_names_is_its_own() -> None:
    async with running() as rig:
        rig.world.pod("another", owner="uid-box")
        rig.world.pod()
        rig.world.sandbox()
        await rig.done()
        assert rig.agent.pod.uid == "pod-box"


@in_virtual_time
async def test_a_pod_at_its_address_that_is_not_proven_its_own_is_left_alone() -> None:
    async with running() as rig:
        # Its address was given to another pod, of which its API has not told yet.
        rig.world.pod("stranger", owner="uid-of-somebody-else")
        rig.world.sandbox()
        await rig.done(10.0)
        assert rig.controller.agents == 0
        assert rig.told().status is Status.NO_POD


@in_virtual_time
async def test_an_address_that_two_pods_have_is_one_once_the_other_has_ended() -> None:
    async with running() as rig:
        rig.world.pod()
        rig.world.pod("last", owner="uid-of-somebody-else")
        rig.world.sandbox(incarnation="uid-box/10.0.0.7@then")  # no pod is named
        await rig.done()
        assert rig.told().status is Status.NO_POD
        rig.world.change_pod("pod-last", status={"phase": "Succeeded"})
        await rig.done()
        assert rig.told().status is Status.SIZED


@pytest.mark.parametrize(
    "proof", [{"owner": "uid-box", "uid": "pod-1"}, {"owner": "else", "uid": "pod-box"}]
)
@in_virtual_time
async def test_what_owns_a_pod_or_names_it_has_it(proof: dict[str, str]) -> None:
    async with running() as rig:
        rig.world.pod(**proof)
        rig.world.sandbox()
        await rig.done()
        assert rig.controller.agents == 1


@in_virtual_time
async def test_a_pod_that_becomes_its_own_by_news_of_the_sandbox_is_taken_on() -> None:
    async with running() as rig:
        rig.world.pod(owner="else", uid="pod-2")
        rig.world.sandbox()
        await rig.done()
        assert rig.controller.agents == 0
        rig.world.sandbox(incarnation="uid-box/pod-2")
        await rig.done()
        assert rig.controller.agents == 1


@in_virtual_time
async def test_one_pod_has_one_agent_whoever_else_claims_it() -> None:
    async with sized() as rig:
        rig.world.sandbox("twin", incarnation="uid-twin/pod-box")
        await rig.done()
        assert rig.controller.agents == 1
        assert rig.told("twin").status is Status.PREPARING
        rig.world.guests["10.0.0.7"].leaving = 2.0
        rig.world.delete_sandbox("box")
        await rig.done()
        assert rig.told("twin").status is Status.PREPARING  # the last agent has not left yet
        await rig.done(2.0)
        assert rig.told("twin").status is Status.SIZED
        assert rig.world.permits.held == 1


@in_virtual_time
async def test_a_pod_with_an_obstacle_is_told_with_it() -> None:
    async with sized() as rig:
        restarts = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
        rig.world.change_pod(spec={"containers": [container(resizePolicy=restarts)]})
        assert (await rig.done())[-1] == "unregister"
        assert (rig.told().status, rig.told().reason) == (Status.OBSTACLE, "restarts")
        rig.world.change_pod(spec={"containers": [container()]})
        assert "register" in await rig.done()


# ---- who has one no more ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"scaling": None},
        {"state": State.DEAD},
        {"uid": "uid-of-a-namesake"},
    ],
)
@in_virtual_time
async def test_a_sandbox_that_is_not_to_be_sized_any_more_loses_its_agent(changes: Any) -> None:
    async with sized() as rig:
        rig.world.sandbox(**changes)
        assert await rig.done() == ["unregister"]
        assert rig.controller.agents == 0


@in_virtual_time
async def test_a_sandbox_that_is_gone_loses_its_agent() -> None:
    async with sized() as rig:
        rig.world.delete_sandbox()
        assert await rig.done() == ["unregister"]


@in_virtual_time
async def test_a_pod_that_vanishes_takes_its_agent_along_and_the_next_one_has_its_own() -> None:
    async with sized() as rig:
        rig.world.delete_pod()
        assert await rig.done() == ["unregister"]
        assert rig.told().status is Status.NO_POD
        rig.world.pod(uid="pod-2")  # of the same name
        assert (await rig.done())[:2] == ["permit 1000m/4Gi", "register"]
        assert rig.agent.pod.uid == "pod-2"


@in_virtual_time
async def test_a_pod_that_ends_is_none() -> None:
    async with sized() as rig:
        rig.world.change_pod(status={"phase": "Failed"})
        assert await rig.done() == ["unregister"]
        assert rig.controller.agents == 0


@in_virtual_time
async def test_one_that_runs_in_another_pod_already_is_sized_there() -> None:
    async with sized() as rig:
        rig.world.change_pod(metadata={"deletionTimestamp": "2026-11-22T10:20:30Z"})
        rig.world.pod("box-2", address="10.0.0.8", owner="uid-box")
        rig.world.sandbox(address="10.0.0.8", incarnation="uid-box/pod-box-2")
        await rig.done()
        assert rig.agent.pod.uid == "pod-box-2"
        assert rig.world.guests["10.0.0.7"].links == []


@in_virtual_time
async def test_another_slot_is_another_agent_once_the_last_one_has_taken_its_leave() -> None:
    async with sized() as rig:
        rig.world.guests["10.0.0.7"].leaving = 2.0
        rig.world.sandbox(scaling=replace(SCALING, slot=2**29))
        assert await rig.done(1.9) == []
        assert (await rig.done(0.5))[:2] == ["unregister", "permit 1000m/8Gi"]
        assert rig.agent.slot == 2**29


@in_virtual_time
async def test_other_bounds_are_the_same_agents() -> None:
    async with sized() as rig:
        agent = rig.agent
        rig.world.sandbox(scaling=LARGER)
        assert "resize 2000m/8Gi" in await rig.done(3.0)  # it was denied before
        assert rig.agent is agent


# ---- what a sandbox's state means for its size --------------------------------------------------


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (State.RUNNING, Phase.AWAKE),
        (State.PAUSING, Phase.CHANGING),
        (State.PAUSED, Phase.ASLEEP),
        (State.RESUMING, Phase.CHANGING),
        (State.CREATING, Phase.CHANGING),
        (State.BLOCKED, Phase.CHANGING),
    ],
)
@in_virtual_time
async def test_what_may_be_done_follows_from_the_state(state: State, phase: Phase) -> None:
    async with sized() as rig:
        rig.world.sandbox(state=state)
        await rig.done()
        assert rig.phase() is phase
        shown = Status.FROZEN if phase is Phase.CHANGING else Status.SIZED
        if phase is not Phase.ASLEEP:
            assert rig.told().status is shown
            assert rig.told().reason in ("", "it is between two states")


@in_virtual_time
async def test_one_that_sleeps_in_its_pod_is_sized_for_that_and_woken_up_again() -> None:
    async with sized(scaling=FLOOR) as rig:
        rig.world.sandbox(state=State.PAUSING, address=None)
        rig.world.pause()
        assert "resize 100m/4Gi" in await rig.done(1.0)
        rig.world.sandbox(state=State.RESUMING)
        await rig.done()
        assert rig.phase() is Phase.WAKING
        assert rig.world.has() == "1000m/4Gi"
        rig.world.sandbox(state=State.RUNNING, address="10.0.0.7")
        assert "register" in await rig.done()
        assert rig.phase() is Phase.AWAKE


@in_virtual_time
async def test_one_that_is_found_paused_in_its_pod_is_sized_for_that_and_woken_up() -> None:
    async with running() as rig:
        rig.world.pod(cpu="100m")
        scaling = replace(FLOOR, low=size(500, 1), boost=BOOST.boost)
        rig.world.sandbox(state=State.PAUSED, address=None, scaling=scaling)
        await rig.done()
        assert rig.phase() is Phase.ASLEEP
        assert (rig.told().status, rig.told().reason) == (
            Status.FROZEN,
            "it is paused in its pod, or on its way back",
        )
        # What it had is not known, but what it must have at least, and in which size it wakes.
        rig.world.sandbox(state=State.RESUMING)
        await rig.done()
        assert rig.world.has() == "2000m/8Gi"
        rig.world.sandbox(state=State.RUNNING, address="10.0.0.7")
        await rig.done(50.0)
        assert rig.world.has() == "2000m/8Gi"
        await rig.done(20.0)
        assert rig.world.has() == "1000m/4Gi"


@in_virtual_time
async def test_one_that_is_found_paused_has_at_least_its_bounds_before_it_runs() -> None:
    async with running() as rig:
        rig.world.pod(cpu="100m")
        rig.world.sandbox(state=State.PAUSED, address=None, scaling=LARGER)
        await rig.done()
        assert rig.world.has() == "100m/4Gi"
        rig.world.sandbox(state=State.RESUMING)
        await rig.done()
        assert rig.world.has() == "2000m/8Gi"


@pytest.mark.parametrize("incarnation", ["uid-box/10.0.0.7@then", "uid-other/pod-box", ""])
@in_virtual_time
async def test_one_that_is_found_paused_and_names_no_pod_is_left_alone(incarnation: str) -> None:
    async with running() as rig:
        rig.world.pod()
        rig.world.sandbox(state=State.PAUSED, address=None, incarnation=incarnation)
        await rig.done()
        assert rig.controller.agents == 0


@in_virtual_time
async def test_one_that_is_found_paused_and_whose_pod_has_ended_is_left_alone() -> None:
    async with running() as rig:
        rig.world.pod()
        rig.world.change_pod(status={"phase": "Failed"})
        rig.world.sandbox(state=State.PAUSED, address=None)
        await rig.done()
        assert rig.controller.agents == 0


@in_virtual_time
async def test_one_whose_pod_is_to_go_is_left_alone_until_it_is_gone() -> None:
    async with sized() as rig:
        rig.world.change_pod(metadata={"deletionTimestamp": "2026-11-22T10:20:30Z"})
        assert await rig.done() == ["unregister"]
        assert rig.told().status is Status.FROZEN
        assert await rig.done(60.0) == []


@in_virtual_time
async def test_one_that_nobody_uses_is_drowsy_and_awake_again_with_its_next_use() -> None:
    async with sized(scaling=FLOOR) as rig:
        rig.world.guests["10.0.0.7"].load = 0.0
        rig.world.guests["10.0.0.7"].memory = 0
        rig.unused["box"] = UNUSED - 1.0
        await rig.done(10.0)
        assert rig.world.has() == "250m/1Gi"
        rig.unused["box"] = UNUSED
        await rig.done(LOOK + SOON)
        assert rig.phase() is Phase.DROWSY
        assert rig.world.has() == "100m/1Gi"
        rig.unused["box"] = None
        await rig.done(LOOK + SOON)
        assert rig.phase() is Phase.AWAKE
        assert rig.world.has() == "250m/1Gi"


@in_virtual_time
async def test_a_node_that_is_to_be_emptied_freezes_its_sandboxes_until_it_is_not() -> None:
    async with sized() as rig:
        rig.world.node(unschedulable=True)
        assert await rig.done() == ["unregister"]
        assert rig.told().status is Status.FROZEN
        rig.world.node()
        assert "register" in await rig.done()
        assert rig.told().status is Status.SIZED


@in_virtual_time
async def test_one_on_such_a_node_is_taken_on_frozen() -> None:
    async with running() as rig:
        rig.world.node(unschedulable=True)
        rig.world.pod()
        rig.world.sandbox()
        assert await rig.done() == []
        assert rig.told().status is Status.FROZEN
        assert (rig.world.permits.held, rig.world.permits.frozen) == (1, 1)


@in_virtual_time
async def test_an_agent_that_learns_it_from_who_permits_goes_on_when_its_node_stays() -> None:
    async with sized() as rig:
        # The permit is asked for before the news of the node has been dealt with.
        (route,) = rig.world.registry
        rig.agent.heard_of_sandbox(replace(route, scaling=LARGER))
        rig.world.node(unschedulable=True)
        assert await rig.done() == ["permit 2000m/8Gi of which 1000m/4Gi", "unregister"]
        assert rig.agent.state.migrating
        assert rig.told().reason == "its node is to be emptied"
        rig.world.node()
        rig.world.sandbox(scaling=LARGER)
        assert "resize 2000m/8Gi" in await rig.done(3.0)  # it was denied before


# ---- the boost of those that were woken ---------------------------------------------------------


@in_virtual_time
async def test_one_that_was_woken_into_a_new_pod_is_boosted() -> None:
    async with running() as rig:
        await rig.done()
        rig.world.sandbox(state=State.PAUSED, address=None, scaling=BOOST)
        rig.world.sandbox(state=State.RESUMING)
        rig.world.sandbox(state=State.RUNNING, address="10.0.0.7")
        await rig.done()
        rig.world.pod()  # of which the news came late
        assert "resize 2000m/8Gi" in await rig.done()


@in_virtual_time
async def test_one_that_was_created_or_is_found_running_is_not() -> None:
    async with running() as rig:
        await rig.done()
        rig.world.pod()
        rig.world.sandbox(state=State.CREATING, address=None, scaling=BOOST)
        rig.world.sandbox(state=State.RUNNING, address="10.0.0.7")
        await rig.done()
        assert rig.world.has() == "1000m/4Gi"


@in_virtual_time
async def test_a_wake_that_is_over_boosts_nothing_later() -> None:
    async with sized(scaling=BOOST) as rig:
        rig.world.sandbox(state=State.RESUMING)  # and never left its pod
        await rig.done()
        rig.world.sandbox(state=State.RUNNING)
        await rig.done()
        rig.world.delete_pod()
        await rig.done()
        rig.world.pod(uid="pod-2")
        await rig.done()
        assert rig.world.has("pod-2") == "1000m/4Gi"


@in_virtual_time
async def test_a_wake_that_came_to_nothing_is_forgotten() -> None:
    async with running() as rig:
        await rig.done()
        rig.world.sandbox(state=State.PAUSED, address=None, scaling=BOOST)
        rig.world.sandbox(state=State.RUNNING, address="10.0.0.7")
        await rig.done()
        assert rig.controller._care is not None
        assert len(rig.controller._care._woken) == 1
        rig.world.delete_sandbox()
        assert len(rig.controller._care._woken) == 0


# ---- the lead -----------------------------------------------------------------------------------


@in_virtual_time
async def test_who_does_not_lead_does_nothing() -> None:
    async with running(leads=False) as rig:
        rig.world.pod()
        rig.world.sandbox()
        assert await rig.done(60.0) == []
        assert rig.asked == 0
        assert (rig.told().status, rig.told().reason) == (
            Status.ELSEWHERE,
            "this replica does not lead",
        )


@in_virtual_time
async def test_with_the_lead_its_agents_are_lost_and_won_back() -> None:
    async with sized() as rig:
        for _ in range(3):
            rig.world.guests["10.0.0.7"].load = 3.6
            rig.lead.pass_on(acting=False)
            assert await rig.done() == ["unregister"]
            assert rig.controller.agents == rig.following == rig.world.permits.held == 0
            assert rig.told().status is Status.ELSEWHERE
            rig.world.sandbox()
            rig.world.change_pod(metadata={"labels": {"some": "news"}})
            assert await rig.done(60.0) == []
            rig.world.guests["10.0.0.7"].load = 0.9
            rig.lead.pass_on(acting=True)
            assert "register" in await rig.done()
            assert rig.told().status is Status.SIZED


@in_virtual_time
async def test_the_lead_may_be_lost_while_the_cluster_is_not_known_yet() -> None:
    async with running() as rig:
        await rig.done(0.05)
        assert rig.following == 1
        rig.lead.pass_on(acting=False)
        await rig.done(0.01)
        assert rig.following == 0


@in_virtual_time
async def test_it_gives_up_the_lead_only_once_every_informant_was_told() -> None:
    async with sized() as rig:
        rig.world.guests["10.0.0.7"].leaving = 2.0
        rig.lead.pass_on(acting=False)
        await rig.done(1.0)
        rig.lead.pass_on(acting=True)  # it is won back before that
        assert await rig.done(0.9) == []
        assert (await rig.done())[:2] == ["unregister", "permit 1000m/4Gi"]


@in_virtual_time
async def test_the_lead_may_be_lost_while_an_agent_takes_its_leave() -> None:
    async with sized() as rig:
        rig.world.guests["10.0.0.7"].leaving = 2.0
        rig.world.delete_sandbox()
        await rig.done()
        rig.lead.pass_on(acting=False)
        assert await rig.done(2.0) == ["unregister"]  # it is not hurried
        assert rig.following == rig.world.permits.held == 0


# ---- what the API can ---------------------------------------------------------------------------


@in_virtual_time
async def test_an_api_that_resizes_no_pods_is_told_of_and_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as rig:
        rig.supports = False
        rig.world.pod()
        rig.world.sandbox()
        await rig.done(3 * ASK_AGAIN + 1.0)
        assert rig.asked == 4
        assert rig.following == 0
        assert (rig.told().status, rig.told().reason) == (
            Status.UNSUPPORTED,
            "this Kubernetes API does not resize pods in place",
        )
        rig.supports = ApiUnavailable("no answer")
        await rig.done(ASK_AGAIN)
        assert rig.told().status is Status.PREPARING
        rig.supports = True
        await rig.done(ASK_AGAIN)
        assert rig.told().status is Status.SIZED
    assert len(caplog.records) == 2  # each of them once


# ---- mistakes of ours ---------------------------------------------------------------------------


@in_virtual_time
async def test_an_agent_that_fails_does_not_stop_the_others_and_is_begun_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sized() as rig:
        rig.world.pod("other", address="10.0.0.8")
        rig.world.sandbox("other", address="10.0.0.8", incarnation="uid-other/pod-other")
        rig.world.guests["10.0.0.7"].faults["metrics"] = RuntimeError("a mistake")
        rig.world.guests["10.0.0.8"].load = 1.8
        await rig.done(10.0)
        assert rig.world.has("pod-other") == "2000m/8Gi"
        assert rig.world.guests["10.0.0.7"].links == []
        assert rig.told().status is Status.UNINFORMED
        assert rig.told().reason == "its agent failed, and is begun again in a minute"
        assert [one.message for one in caplog.records] == ["an agent failed"]
        rig.world.guests["10.0.0.7"].faults.clear()
        await rig.done(AFTER_A_MISTAKE)
        assert rig.told().status is Status.SIZED


@in_virtual_time
async def test_one_sandbox_that_cannot_be_settled_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as rig:
        rig.world.pod("box")
        rig.world.pod("other", address="10.0.0.8")
        broken = replace(SCALING, slot=0)  # which its reader never lets through
        rig.world.sandbox("box", scaling=broken)
        rig.world.sandbox("other", address="10.0.0.8", incarnation="uid-other/pod-other")
        await rig.done()
        assert rig.controller.agents == 1
    assert {one.message for one in caplog.records} == {"an agent failed"}


# ---- many ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_news_of_one_of_a_thousand_sandboxes_costs_what_it_costs_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settled: list[Key] = []
    settle_one = Care._settle_one

    def counted(self: Care, key: Key, group: asyncio.TaskGroup) -> None:
        settled.append(key)
        settle_one(self, key, group)

    monkeypatch.setattr(Care, "_settle_one", counted)
    world = World()
    for number in range(1000):
        name, address = f"box-{number}", f"10.1.{number // 250}.{number % 250 + 1}"
        world.pod(name, address=address, node=f"node-{number // 50}")
        world.sandbox(name, address=address, incarnation=f"uid-{name}/pod-{name}")
    async with running(world) as rig:
        await rig.done()
        assert rig.controller.agents == 1000
        assert len(settled) == 1000
        settled.clear()
        for number in range(0, 1000, 10):
            world.change_pod(f"pod-box-{number}", metadata={"labels": {"some": "news"}})
            await rig.done(0.01)
        await rig.done(2 * LOOK)
        assert len(settled) == 100
        settled.clear()
        world.node("node-7", unschedulable=True)
        await rig.done()
        assert len(settled) == 50


# ---- what is told -------------------------------------------------------------------------------


@in_virtual_time
async def test_it_is_told_how_a_size_stands() -> None:
    async with sized() as rig:
        rig.world.guests["10.0.0.7"].load = 1.8
        await rig.done(7.0)
        told = rig.told().as_json()
        two = {"cpu": "2", "mem": "8Gi"}
        assert told["status"] == "sized"
        for name in ("actual", "desired", "wanted", "permitted", "approved"):
            assert told[name] == two, name
        assert (told["load_1m"], told["load_5m"], told["memory_in_use_bytes"]) == (1.8, 1.8, 2**30)
        assert told["scaling"]["max"] == {"cpu": "4", "mem": "16Gi"}
        assert told["reason"] is None


@in_virtual_time
async def test_it_is_told_why_no_informant_speaks_for_it() -> None:
    async with sized() as rig:
        rig.world.guests["10.0.0.7"].link.hear(Suspended())
        assert rig.told().status is Status.FROZEN
        assert rig.told().reason == "its informant listens to another agent"
        rig.world.guests["10.0.0.7"].end = LinkEnd(EndReason.UNREACHABLE, "no connection: refused")
        rig.world.guests["10.0.0.7"].link.forget()
        await rig.done(6.0)
        assert rig.told().status is Status.UNINFORMED
        assert rig.told().reason == "no connection: refused"


@in_virtual_time
async def test_a_sandbox_that_sleeps_without_a_pod_is_told_as_that() -> None:
    async with running() as rig:
        rig.world.sandbox(state=State.PAUSED, address=None)
        await rig.done()
        assert (rig.told().status, rig.told().reason) == (Status.NO_POD, "it does not run")


@in_virtual_time
async def test_a_namesake_is_not_told_the_size_of_the_one_before() -> None:
    async with sized() as rig:
        rig.world.guests["10.0.0.7"].leaving = 10.0
        route = rig.world.sandbox(uid="uid-of-a-namesake", incarnation="another")
        assert rig.controller.snapshot(route).actual is None


@in_virtual_time
async def test_what_all_of_them_have_is_summed_up() -> None:
    async with sized() as rig:
        rig.world.pod("other", "500m", "2Gi", address="10.0.0.8")
        rig.world.sandbox("other", address="10.0.0.8", incarnation="uid-other/pod-other")
        rig.world.guests["10.0.0.8"].end = LinkEnd(EndReason.SILENT, "")
        await rig.done()
        totals = {name: written(total) for name, total in rig.controller.totals().items()}
        assert totals == {"actual": "1500m/6Gi", "wanted": "1500m/6Gi", "maximum": "8000m/32Gi"}
        standing = {"frozen": 0.0, "uninformed": 1.0, "limited": 0.0, "sized": 1.0}
        assert rig.controller.standing() == standing
        rig.lead.pass_on(acting=False)
        await rig.done()
        assert rig.controller.totals()["actual"] == Size(0, 0)
        assert set(rig.controller.standing().values()) == {0.0}


@in_virtual_time
async def test_a_mistake_in_what_all_agents_share_ends_nothing_but_is_begun_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as rig:
        rig.world.pod()
        rig.world.sandbox()
        rig.supports = RuntimeError("a mistake")
        await rig.done()
        assert rig.told().status is Status.PREPARING
        assert "failed" in rig.told().reason
        rig.supports = True
        await rig.done(AFTER_A_MISTAKE + SOON)
        assert rig.told().status is Status.SIZED
    assert [one.message for one in caplog.records] == ["right-sizing failed, and begins anew"]
