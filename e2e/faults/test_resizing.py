"""The Kubernetes API fails in each way it knows while sandboxes are right-sized.

Sizes follow loads as soon as they can, by themselves; at no time is anything resized that must not
be (`size_judge`), and sandboxes answer all the while. `SizedScene.settles` checks that each time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from e2e.real.sized import GI, units
from e2e.waiting import soon
from gateway.sandbox.scaling import Size

from .api_proxy import Deed
from .sizing import ROOM

if TYPE_CHECKING:
    from pathlib import Path

    from .accounts import Account
    from .sizing import SizedScene, SizedStage


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault that is switched on: how, for which requests, and what is counted when it is felt."""

    attribute: str
    value: Any
    deed: Deed | None = None
    aim: str = ""

    def begin(self, scene: SizedScene) -> None:
        scene.way.aim = self.aim
        setattr(scene.way, self.attribute, self.value)

    def felt(self, scene: SizedScene) -> int:
        return 1 if self.deed is None else scene.way.done[self.deed]


RESIZES = "/resize"
#: Through these it goes on, if slowly.
HINDRANCES = {
    "slow": Trouble("delay", 1.0),
    "refusing some": Trouble("refuse", {429: 0.15, 500: 0.15}, Deed.REFUSED),
    "no resize is answered": Trouble("lost_answers", 1.0, Deed.LOST, RESIZES),
    "watches stalled": Trouble("stalled", True),
    "versions expire": Trouble("expired", True, Deed.EXPIRED),
}


@pytest.mark.parametrize("trouble", HINDRANCES.values(), ids=HINDRANCES)
async def test_sizes_follow_loads_through_a_hindrance(
    sized_stage: SizedStage, trouble: Trouble
) -> None:
    async with sized_stage(watch_idle_timeout="2s") as scene:
        before = getattr(scene.way, trouble.attribute)
        trouble.begin(scene)
        await scene.becomes(scene.one, 8)
        await scene.becomes(scene.one, 3)
        await soon(lambda: trouble.felt(scene), "it was felt")
        setattr(scene.way, trouble.attribute, before)


#: Through these nothing can be resized.
OUTAGES = {
    "down": Trouble("down", True),
    "refusing all": Trouble("refuse", {503: 1.0}, Deed.REFUSED),
    "resizes conflict": Trouble("conflicts", 1.0, Deed.CONFLICT, RESIZES),
}


@pytest.mark.parametrize("trouble", OUTAGES.values(), ids=OUTAGES)
async def test_sizes_follow_loads_after_an_outage(
    sized_stage: SizedStage, trouble: Trouble
) -> None:
    async with sized_stage() as scene:
        before = getattr(scene.way, trouble.attribute)
        for count in (8, 3):
            so_far = trouble.felt(scene)
            trouble.begin(scene)
            scene.loads(scene.one, count)
            if trouble.deed is not None:
                await soon(lambda: trouble.felt(scene) > so_far, "it is felt")  # noqa: B023
            if not trouble.aim:
                await soon(lambda: not scene.leading(), "nobody leads for want of the API")
            setattr(scene.way, trouble.attribute, before)
            await scene.has(scene.one, count)


async def test_watches_that_are_cut_while_a_sandbox_grows_and_shrinks(
    sized_stage: SizedStage,
) -> None:
    async with sized_stage() as scene:
        for count in (8, 3):
            async with asyncio.TaskGroup() as group:
                changing = group.create_task(scene.becomes(scene.one, count))
                while not changing.done():
                    await asyncio.to_thread(scene.way.cut)
                    await asyncio.wait({changing}, timeout=0.5)
        assert scene.way.done[Deed.RESET]


async def test_what_is_known_of_a_node_no_more_grants_nothing(sized_stage: SizedStage) -> None:
    async with sized_stage(watch_idle_timeout="2s", stale_after="4s") as scene:
        leader = (await scene.leader()).gateway

        def denied() -> float:
            return leader.metric("resize_permits_total", outcome="partial")

        scene.way.stalled = True
        scene.way.aim, scene.way.refuse = "/nodes", {503: 1.0}
        count = 2
        while not denied():
            count += 1
            scene.loads(scene.one, count)
            await soon(lambda: denied() or scene.one.size == units(count), "it grows, or not")  # noqa: B023
        had = scene.one.size
        # Nobody can hear that there is no room any more.
        await scene.sizes.kubelet.offer(Size(1000, 2 * GI))
        scene.loads(scene.one, 12)
        before = denied()
        await soon(lambda: denied() >= before + 3, "it is denied again and again")
        assert scene.one.size == had
        told = await scene.is_told(scene.one, "limited")
        assert "is not known" in told["reason"]
        scene.way.stalled, scene.way.refuse = False, {}

        def reason() -> object:
            return scene.one.told(leader)["reason"]

        await soon(lambda: reason() == "its node does not have more", "the node is known again")
        await scene.sizes.kubelet.offer(ROOM)
        await scene.has(scene.one, 12)


async def test_the_right_to_resize_is_withdrawn_and_given_back(
    sized_stage: SizedStage, sizer: Account
) -> None:
    token = sizer.issue("only")
    async with sized_stage(token=token) as scene:
        await scene.becomes(scene.one, 4)
        await asyncio.to_thread(sizer.forbid_resizing)
        scene.loads(scene.one, 8)
        leader = (await scene.leader()).gateway
        await soon(lambda: leader.metric("resizes_total", outcome="refused"), "it is refused")
        assert scene.leading(), "the Lease is not concerned"
        await soon(scene.one.events, "its user was told")
        await asyncio.to_thread(sizer.allow, "-resizes")
        await scene.has(scene.one, 8)


async def test_a_token_is_revoked_while_a_sandbox_grows(
    sized_stage: SizedStage, sizer: Account, home: Path
) -> None:
    file = home / "token"
    file.write_text(sizer.issue("first"))
    async with sized_stage(token=file) as scene:
        await asyncio.to_thread(sizer.revoke, "first", file.read_text())
        scene.loads(scene.one, 8)
        await soon(lambda: not scene.leading(), "nobody leads without a token")
        file.write_text(await asyncio.to_thread(sizer.issue, "second"))
        await scene.has(scene.one, 8)
