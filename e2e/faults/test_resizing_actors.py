"""Whoever has a part in a resize fails in the midst of one: sizes follow loads all the same.

That nobody resizes who does not lead, and no other pod than was meant, is judged at all times; see
`SizedScene.settles`.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

import pytest

from e2e.guest import answering
from e2e.real.sized import GI, units
from e2e.waiting import soon
from gateway.sandbox.scaling import Size

from .sizing import ROOM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .fleet import Member
    from .sizing import SizedScene, SizedStage

    #: How a leader ends.
    End = Callable[[SizedScene, Member], Awaitable[None]]

#: Seconds that a resize needs until it reaches the API: less than it has, by leases of 5 s.
ON_ITS_WAY: Final = 0.8
GARBAGE: Final = {
    "no text": b"\xff\x00",
    "no JSON": b"{",
    "another message": b'{"Ok": "perhaps"}',
}


async def begin_to_grow(scene: SizedScene, to: int = 8) -> None:
    """Have the node asked for more, which it does not give yet."""
    scene.sizes.kubelet.hold()
    scene.loads(scene.one, to)
    await scene.asked_for(scene.one, to)


# ---- the leader ---------------------------------------------------------------------------------


async def killed(scene: SizedScene, leader: Member) -> None:
    await scene.fleet.kill(leader)


async def drained(scene: SizedScene, leader: Member) -> None:
    assert await scene.fleet.drain(leader) == 0


@pytest.mark.parametrize("end", [killed, drained], ids=["killed", "drained"])
async def test_a_leader_ends_while_a_node_acts(sized_stage: SizedStage, end: End) -> None:
    async with sized_stage() as scene:
        await begin_to_grow(scene)
        await end(scene, await scene.leader())
        scene.sizes.kubelet.release()
        await scene.has(scene.one, 8)
        await scene.becomes(scene.one, 3)


@pytest.mark.parametrize("end", [killed, drained], ids=["killed", "drained"])
async def test_a_leader_ends_while_its_resize_is_on_its_way(
    sized_stage: SizedStage, end: End
) -> None:
    async with sized_stage() as scene:
        leader = await scene.leader()
        scene.way.aim, scene.way.lag = "/resize", ON_ITS_WAY
        scene.loads(scene.one, 8)
        await soon(lambda: scene.way.resizing, "it is on its way")
        await end(scene, leader)
        scene.way.lag = 0.0
        await scene.has(scene.one, 8)


async def test_a_leader_that_was_halted_for_longer_than_its_lease_resizes_nothing_any_more(
    sized_stage: SizedStage,
) -> None:
    async with sized_stage() as scene:
        former = await scene.leader()
        await begin_to_grow(scene)
        async with scene.fleet.halted(former):
            following = await scene.leader()
            scene.sizes.kubelet.release()
            await scene.has(scene.one, 8)
            scene.loads(scene.one, 3)
            scene.sizes.kubelet.hold()
            await scene.asked_for(scene.one, 3)
            scene.loads(scene.other, 6)
        written = dict(scene.way.resizes)
        scene.sizes.kubelet.release()
        await asyncio.gather(scene.has(scene.one, 3), scene.has(scene.other, 6))
        assert scene.leading() == [following]
        await scene.becomes(scene.one, 5)
        resizes = dict(scene.way.resizes)  # the way is a thread of its own
        since = [one.who for version, one in resizes.items() if version not in written]
        assert set(since) == {following.gateway.program.name.partition("-")[0]}


# ---- the informant ------------------------------------------------------------------------------


async def test_an_informant_is_killed_while_its_sandbox_grows_and_begins_anew(
    sized_stage: SizedStage,
) -> None:
    async with sized_stage() as scene:
        await begin_to_grow(scene)
        scene.one.informant.kill()
        scene.sizes.kubelet.release()
        await scene.is_told(scene.one, "uninformed")
        scene.loads(scene.one, 3)
        # It has what it was to have, and nothing is taken back unasked.
        await scene.one.becomes(units(8))
        await scene.becomes(scene.other, 5)
        assert scene.one.size == units(8)
        scene.one.start_informant()
        await scene.has(scene.one, 3)


async def test_an_informant_hangs_while_its_sandbox_is_to_shrink(sized_stage: SizedStage) -> None:
    async with sized_stage() as scene:
        await scene.becomes(scene.one, 8)
        scene.one.informant.signal(signal.SIGSTOP)
        try:
            scene.loads(scene.one, 3)
            await scene.is_told(scene.one, "uninformed")
            assert scene.one.size == units(8)
        finally:
            scene.one.informant.signal(signal.SIGCONT)
        await scene.has(scene.one, 3)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_an_informant_answers_garbage_while_its_sandbox_is_to_shrink(
    sized_stage: SizedStage, garbage: bytes
) -> None:
    async with sized_stage() as scene:
        await scene.becomes(scene.one, 8)
        scene.one.informant.kill()
        async with answering(scene.one.address, scene.sizes.port, garbage) as asked:
            scene.loads(scene.one, 3)
            await soon(lambda: len(asked) >= 5, "it is asked")
            await scene.becomes(scene.other, 5)
            assert scene.one.size == units(8)
        scene.one.start_informant()
        await scene.has(scene.one, 3)


# ---- pods, nodes and kubelets -------------------------------------------------------------------


@pytest.mark.parametrize("stalled", [False, True], ids=["heard of", "unheard of"])
async def test_a_pod_is_made_anew_while_it_grows(sized_stage: SizedStage, stalled: bool) -> None:
    async with sized_stage() as scene:
        leader = (await scene.leader()).gateway
        await begin_to_grow(scene, 6)
        scene.way.stalled = stalled
        await scene.one.put_in_another_pod()
        scene.sizes.kubelet.release()
        if stalled:
            scene.loads(scene.one, 8)
            await soon(
                lambda: leader.metric("resizes_total", outcome="failed"),
                "more is asked for, of the pod that was",
            )
            assert scene.one.size == units(2)
        scene.way.stalled = False
        await scene.becomes(scene.one, 8)


async def test_a_node_that_has_less_gives_no_more_until_it_has(sized_stage: SizedStage) -> None:
    async with sized_stage() as scene:
        await begin_to_grow(scene, 6)
        await scene.sizes.kubelet.offer(Size(2000, 4 * GI))
        scene.sizes.kubelet.release()
        await scene.has(scene.one, 6)
        scene.loads(scene.other, 6)
        told = await scene.is_told(scene.other, "limited")
        assert told["reason"] == "its node does not have more"
        assert scene.other.size == units(2)
        await scene.becomes(scene.one, 3)
        await scene.has(scene.other, 5)
        await scene.sizes.kubelet.offer(ROOM)
        await scene.has(scene.other, 6)


async def test_a_kubelet_does_nothing_for_long_and_then_all_at_once(
    sized_stage: SizedStage,
) -> None:
    async with sized_stage() as scene:
        await begin_to_grow(scene, 4)
        for count in (6, 8):
            scene.loads(scene.one, count)
            await scene.asked_for(scene.one, count)
        scene.loads(scene.one, 5)
        await scene.is_told_units(scene.one, "wanted", 5)
        assert scene.one.size == units(2)
        scene.sizes.kubelet.release()
        await scene.has(scene.one, 5)


async def test_a_sandbox_is_paused_and_resumed_while_it_grows(sized_stage: SizedStage) -> None:
    floor = {"cpu": "100m", "mem": "1Gi"}
    async with sized_stage(config={"idleFloor": floor}) as scene:
        await begin_to_grow(scene)
        async with scene.asleep(scene.one):
            scene.one.change(spec={"desiredState": "Paused"})
            scene.one.report("Pausing")
            await scene.is_told(scene.one, "frozen")
            scene.sizes.kubelet.release()
            scene.one.report("Paused")
            await scene.one.becomes(Size(100, units(8).memory))
            scene.one.change(spec={"desiredState": "Running"})
            scene.one.report("Resuming")
            await soon(lambda: scene.one.size.cpu >= units(8).cpu, "it has its CPU again")
            scene.one.report("Running")
        await scene.has(scene.one, 8)
