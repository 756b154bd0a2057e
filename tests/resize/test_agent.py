"""One sandbox's agent at work, in virtual time: what it does in which order, and what it leaves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from gateway.cluster.errors import NodeTooSmall
from gateway.resize.agent import Agent
from gateway.resize.link_state import EndReason, LinkEnd, Running, Suspended, UpscaleWanted
from gateway.resize.scrape import BadMetrics
from gateway.resize.snapshot import Status, standing
from gateway.resize.snapshot import sized as snapshot
from gateway.resize.state import Phase
from gateway.sandbox.errors import AccessDenied, ApiUnavailable, Conflict
from gateway.sandbox.scaling import Boost
from tests.cluster.machine_objects import told
from tests.resize.doubles import GI, NO_ANSWER, SCALING, SOON, World, size
from tests.wake.virtual import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.resize.doubles import Guest

#: Seconds in which metrics are there, and all that follows from them is done.
MEASURED = 7.0


class Sized:
    """An agent that runs, and its world."""

    def __init__(self, world: World, agent: Agent, task: asyncio.Task[None]) -> None:
        self.world, self.agent, self.task = world, agent, task

    @property
    def guest(self) -> Guest:
        return self.world.guests["10.0.0.7"]

    async def done(self, seconds: float = SOON) -> list[str]:
        """Return what is done within so many seconds."""
        mark = len(self.world.diary)
        await asyncio.sleep(seconds)
        return self.world.since(mark)

    async def loaded(self, load: float) -> list[str]:
        """Have the guest be so busy; return what is done about it."""
        self.guest.load = load
        return await self.done(MEASURED)


@asynccontextmanager
async def sized(world: World | None = None, **kwargs: Any) -> AsyncIterator[Sized]:
    """Run an agent of a sandbox of 1 CPU and 4 GiB; at the end nothing of it is left."""
    world = world or World()
    sandbox = world.sandbox(scaling=kwargs.pop("scaling", SCALING))
    agent = Agent(world.tools, sandbox, world.pod(memory=kwargs.pop("memory", "4Gi")), **kwargs)
    before = asyncio.all_tasks()
    task = asyncio.create_task(agent.run())
    unsubscribe = world.machines.subscribe(
        lambda _, pod: None if pod is None else agent.heard_of_pod(pod)
    )
    try:
        yield Sized(world, agent, task)
    finally:
        unsubscribe()
        task.cancel()
        await asyncio.wait({task})
        assert world.permits.held == 0
        assert all(guest.links == [] for guest in world.guests.values())
        assert asyncio.all_tasks() == before


def plain(diary: list[str]) -> list[str]:
    """Return what was done but for what is said again and again."""
    return [
        one for i, one in enumerate(diary) if not one.startswith("permit") or one not in diary[:i]
    ]


# ---- the order of things ------------------------------------------------------------------------


@in_virtual_time
async def test_to_grow_is_a_permit_then_a_resize_then_a_word_to_the_guest() -> None:
    async with sized() as one:
        assert await one.done() == ["permit 1000m/4Gi", "register"]
        assert plain(await one.loaded(1.8)) == [
            "permit 2000m/8Gi",
            "resize 2000m/8Gi",
            "upscale 2000m/8Gi",
        ]
        assert one.world.has() == "2000m/8Gi"
        assert one.world.notes == [("Resized", "Resized to 2 CPU and 8Gi of memory.")]
        assert one.world.count("resizes_total", "grown") == 1
        assert one.world.count("resize_permits_total", "granted") == 2
        assert one.world.count("resize_informant_calls_total", "upscale", "done") == 1


@in_virtual_time
async def test_to_shrink_is_a_question_to_the_guest_then_a_resize_then_word_of_it() -> None:
    async with sized() as one:
        assert plain(await one.loaded(0.45)) == [
            "permit 1000m/4Gi",
            "register",
            "downscale 500m/2Gi",
            "resize 500m/2Gi",
            "permit 500m/2Gi",
        ]
        assert one.world.count("resizes_total", "shrunk") == 1
        assert one.world.count("resize_informant_calls_total", "downscale", "done") == 1


@in_virtual_time
async def test_a_guest_that_refuses_is_not_shrunk_but_asked_for_less_of_it() -> None:
    async with sized() as one:
        one.guest.agrees = False
        done = plain(await one.loaded(0.45))
        assert done[2:] == ["downscale 500m/2Gi", "downscale 750m/3Gi"]
        assert one.world.has() == "1000m/4Gi"
        assert one.world.count("resize_informant_calls_total", "downscale", "denied") == 2


@in_virtual_time
async def test_without_an_informant_nothing_shrinks_and_nothing_is_asked() -> None:
    async with sized() as one:
        one.guest.end = LinkEnd(EndReason.UNREACHABLE, "no connection: refused")
        done = plain(await one.done(60))
        assert set(done) == {"permit 1000m/4Gi", "register", "unregister"}
        assert one.agent.trouble == "no connection: refused"


@in_virtual_time
async def test_memory_that_is_a_slot_in_part_does_not_stay_below_the_least_size() -> None:
    least = replace(SCALING, low=size(250, 2))
    async with sized(scaling=least, memory="1200Mi") as one:
        await one.loaded(0.45)
        assert one.world.has() == "500m/2Gi"
        assert one.agent.pod.actual == size(500, 2)
        assert plain(await one.done(60.0)) == ["permit 500m/2Gi"]


@in_virtual_time
async def test_a_guest_whose_metrics_are_none_is_left_as_it_is() -> None:
    async with sized() as one:
        one.guest.faults["metrics"] = BadMetrics("host_load1 is missing")
        assert plain(await one.done(60)) == ["permit 1000m/4Gi", "register"]
        assert one.world.count("resize_informant_calls_total", "metrics", "failed") > 5
        del one.guest.faults["metrics"]
        assert "downscale 500m/2Gi" in await one.loaded(0.45)


@in_virtual_time
async def test_metrics_that_are_old_shrink_nothing() -> None:
    async with sized() as one:
        one.guest.agrees = False
        await one.loaded(0.45)
        one.guest.faults["metrics"] = NO_ANSWER
        await one.done(30)
        one.guest.agrees = True
        assert plain(await one.done(60)) == ["permit 1000m/4Gi"]


# ---- what a guest asks for ----------------------------------------------------------------------


@in_virtual_time
async def test_a_guest_that_asks_for_more_has_it_at_once() -> None:
    async with sized() as one:
        await one.done(2.0)
        one.guest.link.hear(UpscaleWanted(cpu=False, memory=True))
        assert await one.done(0.3) == [
            "permit 1250m/5Gi",
            "resize 1250m/5Gi",
            "upscale 1250m/5Gi",
        ]
        assert one.world.count("resize_upscales_requested_total") == 1
        assert one.world.count("resize_requested_seconds_count") == 1
        assert 0.1 < one.world.count("resize_requested_seconds_sum") < 0.3


@in_virtual_time
async def test_how_long_a_guest_waits_counts_from_its_first_request() -> None:
    async with sized() as one:
        await one.done(2.0)
        one.world.kubelet = 4.0
        for _ in range(3):
            one.guest.link.hear(UpscaleWanted(cpu=True, memory=False))
            await one.done(1.0)
        await one.done(2.0)
        assert one.world.count("resize_upscales_requested_total") == 3
        assert one.world.count("resize_requested_seconds_count") == 1
        assert 4.0 < one.world.count("resize_requested_seconds_sum") < 5.0


@in_virtual_time
async def test_what_a_guest_asked_for_before_it_was_lost_is_no_wait_of_the_next() -> None:
    async with sized() as one:
        await one.done(2.0)
        one.world.kubelet = None
        one.guest.link.hear(UpscaleWanted(cpu=True, memory=False))
        await one.done(1.0)
        one.guest.link.forget()
        await one.done(20.0)
        one.world.kubelet = 0.1
        await one.loaded(1.8)
        await one.done(90.0)
        assert one.world.count("resize_informant_calls_total", "upscale", "done") > 0
        assert one.world.count("resize_requested_seconds_count") == 0


# ---- failures -----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_permit_that_fails_is_asked_for_again_and_complained_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sized() as one:
        one.world.permits.broken = True
        await one.loaded(1.8)
        assert one.world.has() == "1000m/4Gi"
        assert one.world.count("resize_permits_total", "failed") > 1
        one.world.permits.broken = False
        assert "resize 2000m/8Gi" in await one.done(3.5)
    assert [one.message for one in caplog.records] == ["no permit"]


@in_virtual_time
async def test_a_resize_that_fails_is_tried_again_and_complained_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sized() as one:
        one.world.fault = ApiUnavailable("no answer")
        done = await one.loaded(1.8)
        assert "upscale 2000m/8Gi" not in done
        done += await one.done(4.0)
        assert done.count("resize 2000m/8Gi") == 2  # after 3 s, then 6, then 12
        assert one.world.count("resizes_total", "failed") == 2
        assert standing(one.agent) == (Status.LIMITED, "the API fails: no answer")
        one.world.fault = Conflict("another wrote first")
        await one.done(6.0)
        one.world.fault = None
        done = [each for each in await one.done(12.0) if not each.startswith("permit")]
        assert done == ["resize 2000m/8Gi", "upscale 2000m/8Gi"]
        assert standing(one.agent) == (Status.SIZED, "")
        assert one.world.count("resizes_total", "refused") == 0
    assert [(one.message, one.__dict__["cause"]) for one in caplog.records] == [
        ("not resized", "no answer"),
        ("not resized", "another wrote first"),
    ]


@in_virtual_time
async def test_what_was_complained_of_and_went_well_is_complained_of_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sized() as one:
        for load in (1.8, 3.6):
            one.world.fault = ApiUnavailable("no answer")
            await one.loaded(load)
            one.world.fault = None
            await one.done(10.0)
        assert one.world.has() == "4000m/16Gi"
    assert len(caplog.records) == 2


@in_virtual_time
async def test_a_guest_that_cannot_be_told_is_told_again() -> None:
    async with sized() as one:
        one.guest.faults["upscale"] = NO_ANSWER
        done = await one.loaded(1.8)
        assert done[-1] == "upscale 2000m/8Gi"
        assert one.world.count("resize_informant_calls_total", "upscale", "failed") == 1
        one.guest.faults.clear()
        assert await one.done(3.5) == ["upscale 2000m/8Gi"]
        assert await one.done(3.5) == []


@in_virtual_time
async def test_a_guest_that_cannot_be_asked_is_not_shrunk_and_asked_again() -> None:
    async with sized() as one:
        one.guest.faults["downscale"] = NO_ANSWER
        assert plain(await one.loaded(0.45))[2:] == ["downscale 500m/2Gi"]
        assert one.world.count("resize_informant_calls_total", "downscale", "failed") == 1
        assert one.world.has() == "1000m/4Gi"
        one.guest.faults.clear()
        assert "resize 500m/2Gi" in await one.done(3.5)


@in_virtual_time
async def test_what_a_node_does_not_give_now_is_taken_back_and_asked_for_later() -> None:
    async with sized() as one:
        one.world.verdict = "Deferred"
        done = await one.loaded(1.8)
        assert plain(done)[3:] == ["resize 2000m/8Gi", "resize 1000m/4Gi"]
        assert one.world.count("resizes_total", "deferred") == 1
        assert one.world.notes == []
        one.world.verdict = None
        assert "upscale 2000m/8Gi" in await one.done(10.0)


@in_virtual_time
async def test_what_a_node_can_never_give_is_told_to_users_and_not_asked_for_again() -> None:
    async with sized() as one:
        one.world.verdict = "Infeasible"
        await one.loaded(1.8)
        assert one.world.notes == [
            ("ResizeInfeasible", "Its node can never give it 2 CPU and 8Gi of memory.")
        ]
        assert one.world.count("resizes_total", "infeasible") == 1
        # It has taken that back meanwhile, and so its node says nothing any more.
        assert standing(one.agent) == (Status.LIMITED, "its node says: infeasible")
        one.world.verdict = None
        assert "resize 2000m/8Gi" not in await one.done(60.0)


@in_virtual_time
async def test_an_api_that_says_so_itself_is_taken_at_its_word() -> None:
    async with sized() as one:
        one.world.fault = NodeTooSmall("the node has less")
        assert (await one.loaded(1.8)).count("resize 2000m/8Gi") == 1
        assert one.world.count("resizes_total", "infeasible") == 1
        assert [reason for reason, _ in one.world.notes] == ["ResizeInfeasible"]
        one.world.fault = None
        assert "resize 2000m/8Gi" not in await one.done(60.0)


@in_virtual_time
async def test_what_a_node_says_is_told_in_plain_characters_and_not_at_length() -> None:
    async with sized() as one:
        one.world.verdict = "Deferred"
        await one.loaded(1.8)
        pending = {"type": "PodResizePending", "status": "True", "reason": "Deferred"}
        pending["message"] = "no room:\x1b[31m\n" + "x" * 1000
        one.world.kubelet = None
        one.world.change_pod(status={"conditions": [pending]})
        status, reason = standing(one.agent)
        assert status is Status.LIMITED
        assert reason.startswith("its node says: no room: [31m xxx")
        assert len(reason) < 400


@in_virtual_time
async def test_what_the_api_refuses_keeps_no_room_from_others_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sized() as one:
        one.world.fault = AccessDenied("a policy")
        done = await one.loaded(1.8)
        done += await one.done(8.0)
        assert [each for each in done if each.startswith("resize")] == [
            "resize 2000m/8Gi",
            "resize 1500m/6Gi",
            "resize 1250m/5Gi",
        ]
        # What is not given is not held either.
        assert done[-1] == "permit 1000m/4Gi"
        assert one.agent.state.permit.granted == one.agent.state.using
        assert standing(one.agent) == (Status.LIMITED, "the API does not take it: a policy")
        shown = snapshot(one.world.sandbox(), one.agent)
        assert shown.wanted == {"cpu": "2", "mem": "8Gi"}
        mark = len(one.world.diary)
        await one.done(3600.0)
        tries = [each for each in one.world.since(mark) if each.startswith("resize")]
        assert len(tries) < 50  # some 3 every 5 minutes
        told = "The API does not let it have 2 CPU and 8Gi of memory: a policy"
        assert one.world.notes == [("ResizeRefused", told)]
        assert one.world.count("resizes_total", "refused") == len(tries) + 3
        assert one.world.count("resizes_total", "failed") == 0
        one.world.fault = None
        await one.done(310.0)
        assert one.world.has() == "2000m/8Gi"
        assert standing(one.agent) == (Status.SIZED, "")
    assert [one.message for one in caplog.records] == ["not resized"]


@pytest.mark.parametrize("cpu", [1000, 1250, 1700, 2000, 3900])
@in_virtual_time
async def test_of_what_a_quota_allows_all_is_had(cpu: int) -> None:
    async with sized() as one:
        one.world.quota = size(cpu, 16)
        await one.loaded(3.6)
        await one.done(120.0)
        units = cpu // 250
        assert one.world.has().startswith(f"{units * 250}m/")
        assert one.agent.state.guest.approved == one.agent.state.using
        assert standing(one.agent)[0] is Status.LIMITED
        assert len([each for each in one.world.notes if each[0] == "ResizeRefused"]) == 1
        one.world.quota = None
        await one.done(310.0)
        assert one.world.has() == "4000m/16Gi"
        assert standing(one.agent)[0] is Status.SIZED


@in_virtual_time
async def test_an_api_that_takes_no_shrink_is_asked_less_and_less_often() -> None:
    async with sized() as one:
        one.world.only_grows = True
        await one.loaded(0.45)
        why = "memory limits cannot be decreased"
        noted = f"The API does not let it have 500m CPU and 2Gi of memory: {why}"
        assert one.world.notes == [("ResizeRefused", noted)]
        told = f"the API does not take it: {why}"
        assert standing(one.agent) == (Status.LIMITED, told)
        # 3 s later its CPU alone, and 6 s later the same again; then after 12 s.
        assert plain(await one.done(4.2))[:2] == ["resize 500m/4Gi", "permit 500m/4Gi"]
        assert standing(one.agent) == (Status.LIMITED, told)
        assert one.world.count("resizes_total", "refused") == 2
        await one.done(10.0)
        assert one.world.count("resizes_total", "refused") == 2
        # To grow is another matter.
        assert "resize 2000m/8Gi" in await one.loaded(1.8)
        assert standing(one.agent) == (Status.SIZED, "")
        done = await one.done(300.0)
        done += await one.loaded(0.45)
        assert standing(one.agent) == (Status.LIMITED, told)
        done += await one.done(1800.0)
        assert 3 < len([each for each in done if each.startswith("resize")]) < 15
        assert one.world.has() == "500m/8Gi"
        assert [reason for reason, _ in one.world.notes].count("ResizeRefused") == 1


@in_virtual_time
async def test_where_memory_cannot_be_taken_back_cpu_is_given_all_the_same() -> None:
    world = World()
    async with sized(world, scaling=replace(SCALING, low=size(2000, 1))) as one:
        world.only_grows = True
        one.guest.memory = 0
        await one.loaded(0.45)
        await one.done(10.0)
        assert world.has() == "2000m/4Gi"


@in_virtual_time
async def test_of_a_node_that_has_no_more_that_is_told() -> None:
    async with sized(World(cpu="1500m")) as one:
        await one.loaded(1.8)
        assert standing(one.agent) == (Status.LIMITED, "its node does not have more")
        one.world.is_stale = True
        status, reason = standing(one.agent)
        assert status is Status.LIMITED
        assert reason.startswith("how much its node has left is not known")


@in_virtual_time
async def test_an_answer_that_is_older_than_the_news_of_a_pod_changes_nothing() -> None:
    async with sized() as one:
        one.world.answers = 1.0  # and the node is done by then
        assert "upscale 2000m/8Gi" in await one.loaded(1.8)
        assert one.agent.pod is one.world.machines.pod("pod-box")
        assert one.world.notes == [("Resized", "Resized to 2 CPU and 8Gi of memory.")]


@in_virtual_time
async def test_of_what_a_node_has_left_a_part_is_taken_and_the_rest_asked_for_again() -> None:
    async with sized(World(cpu="1500m")) as one:
        done = plain(await one.loaded(1.8))
        assert done[2:] == [
            "permit 2000m/8Gi of which 1500m/8Gi",
            "resize 1500m/8Gi",
            "upscale 1500m/8Gi",
        ]
        assert one.world.count("resize_permits_total", "partial") > 0
        assert one.world.permits.pressure() == {"node-1": size(500, 0)}
        assert "permit 2000m/8Gi of which 1500m/8Gi" in await one.done(2.5)


# ---- the conversation ---------------------------------------------------------------------------


@in_virtual_time
async def test_an_informant_that_restarts_is_met_anew() -> None:
    async with sized() as one:
        await one.loaded(0.9)
        one.guest.link.forget()
        assert await one.done() == ["unregister"]
        assert one.agent.state.guest.approved is None
        assert one.agent.state.metrics is None
        assert one.agent.trouble == "it does not know the agent"
        assert "register" in await one.done(6.0)
        assert one.agent.trouble == ""
        assert "downscale 500m/2Gi" in await one.loaded(0.45)


@in_virtual_time
async def test_while_a_guest_listens_to_another_agent_nothing_is_done() -> None:
    async with sized() as one:
        await one.loaded(0.9)
        one.guest.link.hear(Suspended())
        assert await one.loaded(3.6) == []
        one.guest.link.hear(Running())
        assert "resize 4000m/16Gi" in await one.done(MEASURED)


@in_virtual_time
async def test_one_conversation_is_over_before_the_next_one_begins() -> None:
    async with sized() as one:
        one.guest.leaving = 2.0
        await one.done()
        one.agent.enter(Phase.CHANGING)
        await one.done(0.1)
        for _ in range(3):  # it must not be hurried either
            one.agent.enter(Phase.AWAKE)
            one.agent.enter(Phase.CHANGING)
            await one.done(0.1)
        one.agent.enter(Phase.AWAKE)
        assert plain(await one.done(1.0)) == []
        assert plain(await one.done(1.0)) == ["unregister", "register"]
        assert one.agent.state.guest.approved is not None
        assert "downscale 500m/2Gi" in await one.loaded(0.45)


@in_virtual_time
async def test_what_was_agreed_to_in_another_conversation_does_not_count() -> None:
    async with sized() as one:
        await one.done()
        one.guest.takes = 4.0
        assert await one.loaded(0.45) == ["downscale 500m/2Gi"]  # the answer is still to come
        one.guest.takes = 0.01
        one.agent.enter(Phase.CHANGING)
        await one.done(0.1)
        one.agent.enter(Phase.AWAKE)
        assert plain(await one.done(4.0)) == ["register"]
        assert one.world.count("resize_informant_calls_total", "downscale", "done") == 1


@in_virtual_time
async def test_a_pod_that_has_another_address_is_spoken_to_there() -> None:
    async with sized() as one:
        await one.done()
        one.world.guests["10.0.0.8"] = type(one.guest)(one.world.diary)
        elsewhere = {"podIP": "10.0.0.8", "podIPs": [{"ip": "10.0.0.8"}]}
        one.world.change_pod(status=elsewhere)
        assert await one.done() == ["unregister", "register"]
        assert one.world.guests["10.0.0.7"].links == []
        assert len(one.world.guests["10.0.0.8"].links) == 1
        one.world.change_pod(status={"podIP": None, "podIPs": None})
        assert await one.done() == ["unregister"]


# ---- states of the sandbox ----------------------------------------------------------------------

FLOOR = replace(SCALING, floor=size(100, 1))
BOOST = replace(SCALING, boost=Boost(size(2000, 8), 60.0))


@in_virtual_time
async def test_between_two_states_a_sandbox_is_left_alone_and_its_permit_is_frozen() -> None:
    async with sized() as one:
        await one.loaded(0.9)
        one.agent.enter(Phase.CHANGING)
        one.guest.load = 3.6
        assert await one.done(30.0) == ["unregister"]
        assert one.world.permits.frozen == 1
        one.agent.enter(Phase.AWAKE)
        assert one.world.permits.frozen == 0
        assert "resize 4000m/16Gi" in await one.done(MEASURED)


@in_virtual_time
async def test_a_sandbox_that_nobody_uses_may_have_as_little_as_its_floor() -> None:
    async with sized(scaling=FLOOR) as one:
        one.guest.memory = 0
        assert "resize 250m/1Gi" in await one.loaded(0.0)
        one.agent.enter(Phase.DROWSY)
        assert "resize 100m/1Gi" in await one.loaded(0.0)


@in_virtual_time
async def test_one_that_sleeps_in_its_pod_gives_its_cpu_back_and_has_it_again_to_wake() -> None:
    async with sized(scaling=FLOOR) as one:
        await one.loaded(0.9)
        one.agent.enter(Phase.ASLEEP)
        assert plain(await one.done(1.0)) == ["resize 100m/4Gi", "unregister", "permit 100m/4Gi"]
        one.agent.enter(Phase.WAKING)
        assert await one.done() == ["permit 1000m/4Gi", "resize 1000m/4Gi"]
        one.agent.enter(Phase.AWAKE)
        assert await one.done() == ["register"]


@in_virtual_time
async def test_one_that_was_just_woken_is_boosted_and_then_has_what_it_needs() -> None:
    async with sized(scaling=BOOST, woken=True) as one:
        assert "resize 2000m/8Gi" in await one.loaded(0.1)
        await one.done(50.0)
        assert one.world.has() == "2000m/8Gi"
        await one.done(20.0)
        assert one.world.has() == "500m/2Gi"  # for the memory that it uses


@in_virtual_time
async def test_bounds_that_its_author_changes_count_at_once() -> None:
    async with sized() as one:
        await one.loaded(0.9)
        route = one.world.sandbox(scaling=replace(SCALING, low=size(2000, 8)))
        one.agent.heard_of_sandbox(route)
        assert (await one.done())[-1] == "upscale 2000m/8Gi"


@in_virtual_time
async def test_a_node_that_is_to_be_emptied_freezes_it_until_it_is_not() -> None:
    async with sized() as one:
        await one.done()
        one.world.node(unschedulable=True)
        await one.loaded(3.6)
        assert one.agent.state.migrating
        assert one.world.has() == "1000m/4Gi"
        assert await one.done(60.0) == []
        one.world.node()
        one.agent.stays()
        assert "resize 4000m/16Gi" in await one.done(1.0)


# ---- its end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0.0, 0.005, 0.02, 4.999, 5.005, 5.02, 5.1, 5.125, 5.2, 9.0])
@in_virtual_time
async def test_wherever_it_is_cancelled_all_is_given_back(at: float) -> None:
    async with sized() as one:
        one.guest.load = 1.8
        await asyncio.sleep(at)
        one.task.cancel()
        await asyncio.wait({one.task})
        assert one.world.diary.count("register") == one.world.diary.count("unregister")
        assert await one.done(60.0) == []


@pytest.mark.parametrize("call", ["downscale", "upscale"])
@in_virtual_time
async def test_a_call_that_hangs_holds_its_end_up_no_longer_than_the_last_word(call: str) -> None:
    async with sized() as one:
        await one.done()
        one.guest.load = 1.8 if call == "upscale" else 0.45
        await one.done(4.8)
        one.guest.takes = 3600.0
        await one.done(1.0)
        one.guest.leaving = 2.0
        began = asyncio.get_running_loop().time()
        one.task.cancel()
        await asyncio.wait({one.task})
        assert asyncio.get_running_loop().time() - began <= 2.0


@in_virtual_time
async def test_a_mistake_of_ours_ends_it_with_all_given_back() -> None:
    async with sized() as one:
        await one.done()
        one.guest.faults["upscale"] = RuntimeError("a mistake")
        await one.loaded(1.8)
        assert one.task.done()
        with pytest.raises(ExceptionGroup) as raised:
            one.task.result()
        assert [str(error) for error in raised.value.exceptions] == ["a mistake"]


@in_virtual_time
async def test_so_does_a_mistake_over_metrics() -> None:
    async with sized() as one:
        one.guest.faults["metrics"] = RuntimeError("a mistake")
        await one.done(MEASURED)
        assert one.task.done()
        assert one.task.exception() is not None


@in_virtual_time
async def test_a_pod_larger_than_any_message_can_tell_costs_its_agent_nothing_but_permits() -> None:
    world = World()
    async with sized(world, scaling=replace(SCALING, slot=GI // 1024)) as one:
        one.guest.agrees = False
        huge = {"name": "web", "resources": {"requests": {"cpu": "1", "memory": "64Gi"}}}
        has = told(memory="64Gi")
        world.change_pod(spec={"containers": [huge]}, status={"containerStatuses": [has]})
        await one.done(10.0)
        assert world.count("resize_permits_total", "failed") > 1
        assert not one.task.done()
