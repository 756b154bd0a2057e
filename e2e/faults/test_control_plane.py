"""The Kubernetes API fails in each way it knows: sandboxes that run do not notice.

What sleeps meanwhile is woken, or refused for the true reason; once the fault is over each wakes
by exactly one write, nobody having been restarted (`Scene.settles` checks that after each test).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from e2e.waiting import soon

from .api_proxy import Deed
from .control import Answer, refused

if TYPE_CHECKING:
    from .control import Stage

#: Nobody waits for these longer than for a fault to be told apart from a slow machine.
IMPATIENT: Final = "4s"
MANY: Final = [f"sleeper-{number}" for number in range(10)]
ANSWERED: Final = [Answer(200)] * len(MANY)
UNREACHED: Final = "The Kubernetes API could not be reached in time."
CONTESTED: Final = "Others kept changing the sandbox until the time was up."


async def test_an_api_that_is_down(stage: Stage) -> None:
    async with stage() as scene:
        await scene.sleepers("impatient", timeout=IMPATIENT)
        await scene.sleepers("patient")
        scene.proxy.down = True
        await soon(lambda: scene.health() == 0.0, "the loss is seen")
        patient = asyncio.create_task(scene.ask("patient"))
        assert refused(await scene.ask("impatient"), "wake_failed", UNREACHED)
        await scene.waited_for("patient", trouble="api_unavailable")

        assert scene.watch()["phase"] == "backing_off"
        assert scene.watch()["last_error"].startswith("ApiUnreachable: ")
        status, told = scene.gateway.readiness()
        assert (status, told["reflectors"]) == (200, {scene.watch_name: "backing_off"})
        assert scene.restarts("unreachable") >= 1

        scene.proxy.down = False
        assert (await patient).status == 200
        await scene.recovers("impatient")


async def test_watches_that_break_again_and_again(stage: Stage) -> None:
    async with stage() as scene:
        await scene.sleepers(*MANY)
        asking = asyncio.gather(*(scene.ask(name) for name in MANY))
        for cuts in range(1, 6):
            scene.proxy.cut()
            # The gateway hears of it later: until then the watch is open, as far as it knows.
            await soon(lambda: scene.restarts("unreachable") >= cuts, "the loss is seen")  # noqa: B023
            await soon(lambda: scene.health() == 1.0, "the watch is open again")
        assert await asking == ANSWERED
        assert scene.restarts("expired") == 0


async def test_versions_that_expire(stage: Stage) -> None:
    async with stage() as scene:
        await scene.sleepers(*MANY)
        scene.proxy.expired = True
        await soon(lambda: scene.restarts("expired") >= 3, "lists are tried")
        assert await scene.asked(*MANY) == ANSWERED
        assert scene.watch()["last_error"].startswith("Expired: ")
        scene.proxy.expired = False


async def test_an_api_that_is_slow_and_then_slower_than_patience(stage: Stage) -> None:
    async with stage() as scene:
        await scene.sleepers("slow")
        await scene.sleepers("impatient", timeout="7s")  # two calls that take too long
        scene.proxy.delay = 2.0
        assert (await scene.ask("slow")).status == 200
        scene.proxy.delay = 8.0
        assert refused(await scene.ask("impatient"), "wake_failed", UNREACHED)
        assert scene.writes("unavailable") >= 1
        scene.proxy.delay = 0.0
        await scene.recovers("impatient")


async def test_an_api_that_refuses_some_and_then_all(stage: Stage) -> None:
    async with stage() as scene:
        await scene.sleepers(*MANY)
        await scene.sleepers("impatient", timeout=IMPATIENT)
        scene.proxy.refuse = {429: 0.15, 500: 0.15}
        assert await scene.asked(*MANY) == ANSWERED
        assert scene.writes("unavailable") >= 1
        scene.proxy.refuse = {503: 1.0}
        assert refused(await scene.ask("impatient"), "wake_failed", UNREACHED)
        assert scene.health() == 1.0, "the watch is not concerned"
        scene.proxy.refuse = {}
        await scene.recovers("impatient")


async def test_others_who_keep_writing_first(stage: Stage) -> None:
    async with stage() as scene:
        await scene.sleepers(*MANY)
        await scene.sleepers("impatient", timeout=IMPATIENT)
        scene.proxy.conflicts = 0.5
        assert await scene.asked(*MANY) == ANSWERED
        assert scene.gateway.metric("wake_conflicts_total") >= 1
        scene.proxy.conflicts = 1.0
        answer = await scene.ask("impatient")
        assert refused(answer, "wake_timeout", CONTESTED)
        assert scene.told("impatient")["waking"]["last_failure"] == CONTESTED
        scene.proxy.conflicts = 0.0
        await scene.recovers("impatient")


async def test_patches_whose_answers_are_lost(stage: Stage) -> None:
    async with stage() as scene:
        await scene.sleepers(*MANY)
        scene.proxy.lost_answers = 1.0
        assert await scene.asked(*MANY) == ANSWERED
        done = scene.proxy.done
        assert (done[Deed.PATCHED], done[Deed.LOST]) == (len(MANY), len(MANY))


async def test_watches_that_stall_silently(stage: Stage) -> None:
    async with stage(watch_idle_timeout="2s", stale_after="60s") as scene:
        await scene.sleepers(*MANY)
        await scene.platform.create("doomed", paused=True)
        await soon(lambda: scene.state("doomed") == "paused", "it is known")
        scene.proxy.stalled = True
        assert await scene.asked(*MANY) == ANSWERED
        await scene.platform.api.delete("doomed")
        await soon(lambda: scene.state("doomed") is None, "a list tells of its end")
        assert scene.restarts("silence") >= 2
        assert scene.watch()["last_error"] == "Silence: the watch went silent"
        await soon(lambda: scene.silence() > 1.0, "the silence is shown")
        assert scene.gateway.readiness()[0] == 200, "lists keep the routes right"
        scene.proxy.stalled = False


async def test_neither_watches_nor_lists_bring_news(stage: Stage) -> None:
    async with stage(watch_idle_timeout="2s", stale_after="6s") as scene:
        scene.proxy.stalled = True
        scene.proxy.refuse = {503: 1.0}
        await soon(lambda: scene.gateway.readiness()[0] == 503, "it says that it is unready")
        assert scene.gateway.readiness()[1]["checks"]["not_stale"] is False
        assert scene.gateway.metric("watch_stale", watch=scene.watch_name) == 1.0
        assert scene.watch()["stale"] is True
        scene.proxy.stalled = False
        scene.proxy.refuse = {}


async def test_an_api_server_that_does_not_know_sandboxes_for_a_while(stage: Stage) -> None:
    async with stage() as scene:
        await scene.sleepers("impatient", timeout=IMPATIENT)
        await scene.sleepers("patient")
        scene.proxy.missing = True
        scene.proxy.cut()
        await soon(lambda: scene.restarts("not_installed") >= 1, "it is noticed")
        patient = asyncio.create_task(scene.ask("patient"))
        assert refused(await scene.ask("impatient"), "wake_failed", UNREACHED)
        assert scene.watch()["last_error"].startswith("ApiNotInstalled: ")
        scene.proxy.missing = False
        assert (await patient).status == 200
        await scene.recovers("impatient")
