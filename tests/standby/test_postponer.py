"""Sandboxes that their platform pauses by the clock: put off while used, and no longer."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

import pytest

from gateway.sandbox.errors import AccessDenied
from gateway.sandbox.texts import format_time
from gateway.standby.agenda import SLACK
from gateway.standby.postponer import MARGIN, POLL
from tests.wake.virtual import in_virtual_time

from .kruise import Platform, now, replica

#: What a renewed pauseTime is ahead: pauseTimeout, and the rest of a second.
AHEAD = 600.0


def clock() -> float:
    return asyncio.get_running_loop().time()


# ---- what is not used is the platform's -----------------------------------------------------


@in_virtual_time
async def test_a_sandbox_that_nobody_uses_is_paused_on_time_and_never_written() -> None:
    platform = Platform()
    platform.add(pauses_in=120)
    async with replica(platform) as gateway:
        assert len(gateway.postponer) == 1
        await asyncio.sleep(1000)
        assert platform.paused == {"box": 1120.0}
        assert platform.calls == 0
        assert len(gateway.postponer) == 0


@in_virtual_time
async def test_a_sandbox_without_a_pause_time_is_not_watched() -> None:
    platform = Platform()
    platform.add(pauses_in=None)
    async with replica(platform) as gateway:
        assert len(gateway.postponer) == 0
        await gateway.use(1000)
    assert platform.calls == 0


@in_virtual_time
async def test_a_use_whose_end_the_platform_counts_from_already_costs_no_write() -> None:
    platform = Platform()
    platform.add(pauses_in=AHEAD)
    async with replica(platform) as gateway:
        await gateway.use(5)
        await asyncio.sleep(2000)
    assert platform.writes == []
    assert platform.paused == {"box": 1600.0}


# ---- what is used is not paused -------------------------------------------------------------


@pytest.mark.parametrize("every", [0.3, 1.5, 7.0, 45.0])
@pytest.mark.parametrize("pauses_in", [4.0, 90.0])
def test_a_sandbox_in_constant_use_is_never_paused(every: float, pauses_in: float) -> None:
    @in_virtual_time
    async def check() -> None:
        platform = Platform()
        platform.add(pauses_in=pauses_in)
        async with replica(platform) as gateway:
            await gateway.use(0.1)
            await gateway.keep_using(7200, every)
            assert platform.paused == {}
            ended = clock()
            await asyncio.sleep(3600)
            assert platform.paused["box"] == pytest.approx(ended + AHEAD, abs=AHEAD / 10 + every)
            # It has most of its time again after each write.
            assert len(platform.writes) <= 2 + 7200 / (AHEAD - MARGIN)

    check()


@in_virtual_time
async def test_one_long_use_is_not_broken_off_and_idle_time_begins_at_its_end() -> None:
    platform = Platform()
    platform.add(pauses_in=3)
    async with replica(platform) as gateway:
        await gateway.use(4000)
        ended = clock()
        await asyncio.sleep(POLL + 2)
        assert platform.pauses_at() == pytest.approx(ended + AHEAD, abs=1.1)
        await asyncio.sleep(2000)
        assert platform.paused["box"] == pytest.approx(ended + AHEAD, abs=1.1)
        assert gateway.count("pauses_in_use") == 0


@in_virtual_time
async def test_a_use_that_was_over_before_the_pause_came_near_counts_from_its_end() -> None:
    platform = Platform()
    platform.add(pauses_in=300)
    async with replica(platform) as gateway:
        await asyncio.sleep(150)
        await gateway.use(20)
        ended = clock()
        await asyncio.sleep(2000)
    assert platform.paused["box"] == pytest.approx(ended + AHEAD, abs=1.1)
    assert len(platform.writes) == 1


@pytest.mark.parametrize("left", [50.0, 20.0, 5.0, 1.0])
def test_a_use_that_begins_shortly_before_the_pause_is_seen(left: float) -> None:
    @in_virtual_time
    async def check() -> None:
        platform = Platform()
        platform.add(pauses_in=120)
        async with replica(platform) as gateway:
            await asyncio.sleep(120 - left)
            await gateway.use(left + 300)
        assert platform.paused == {}
        assert len(platform.writes) == 1

    check()


@in_virtual_time
async def test_a_cooldown_keeps_the_idle_time_from_beginning() -> None:
    platform = Platform()
    platform.add(pauses_in=3)
    async with replica(platform, cooldown=100) as gateway:
        await gateway.use(200)
        ended = clock()
        await asyncio.sleep(99)
        assert len(platform.writes) == 1
        await asyncio.sleep(2)
        assert len(platform.writes) == 2
    assert platform.pauses_at() == pytest.approx(ended + AHEAD, abs=1.1)


@in_virtual_time
async def test_a_use_during_the_cooldown_begins_it_anew() -> None:
    platform = Platform()
    platform.add(pauses_in=3)
    async with replica(platform, cooldown=100) as gateway:
        await gateway.use(200)
        await asyncio.sleep(50)
        await gateway.use(0.1)
        ended = clock()
        await asyncio.sleep(99)
        assert len(platform.writes) == 1
        await asyncio.sleep(2)
        assert platform.pauses_at() == pytest.approx(ended + AHEAD, abs=1.1)


@in_virtual_time
async def test_a_time_that_is_nearer_than_what_somebody_else_has_set_is_not_written() -> None:
    platform = Platform()
    platform.add(pauses_in=90)
    async with replica(platform) as gateway:
        using = asyncio.create_task(gateway.use(200))
        await asyncio.sleep(10)
        platform.change(pauseTime=format_time(now() + 100_000))
        await using
        await asyncio.sleep(5000)
        assert platform.calls == 0
        assert platform.pauses_in() > 90_000


@in_virtual_time
async def test_a_time_that_somebody_makes_nearer_while_it_is_used_is_put_off() -> None:
    platform = Platform()
    platform.add(pauses_in=5000)
    async with replica(platform) as gateway:
        using = asyncio.create_task(gateway.use(200))
        await asyncio.sleep(100)
        platform.change(pauseTime=format_time(now() + 2))
        await using
    assert platform.paused == {}
    assert platform.pauses_in() > 400


@in_virtual_time
async def test_sandboxes_that_come_later_or_run_again_are_looked_after_too() -> None:
    platform = Platform()
    async with replica(platform) as gateway:
        await asyncio.sleep(100)
        platform.add(pauses_in=20)
        await asyncio.sleep(30)
        assert "box" in platform.paused
        platform.change(paused=False, pauseTime=format_time(now() + 20))
        await gateway.use(100)
    assert platform.paused["box"] == 1120.0
    assert len(platform.writes) == 1


# ---- pins and leases ------------------------------------------------------------------------


@pytest.mark.parametrize("note", ["pinned", "always-on"])
def test_what_is_never_to_sleep_is_never_paused(note: str) -> None:
    @in_virtual_time
    async def check() -> None:
        platform = Platform()
        platform.add(notes={note: "true"})
        async with replica(platform):
            await asyncio.sleep(10_000)
            assert platform.paused == {}
            assert len(platform.writes) <= 2 + 10_000 / (AHEAD - MARGIN)
            platform.change(notes={note: "false"})
            await asyncio.sleep(AHEAD + 2)
            assert "box" in platform.paused

    check()


@in_virtual_time
async def test_a_lease_holds_until_it_is_over() -> None:
    platform = Platform()
    platform.add(notes={"hold-until": format_time(now() + 3000)})
    async with replica(platform):
        await asyncio.sleep(3000)
        assert platform.paused == {}
        await asyncio.sleep(AHEAD + 2)
        assert "box" in platform.paused


@in_virtual_time
async def test_pins_are_the_leaders_and_use_is_everybodys() -> None:
    platform = Platform()
    platform.add("pinned", notes={"pinned": "true"})
    platform.add("used")
    async with replica(platform, leads=False) as gateway:
        await gateway.use(2000, "used")
        assert set(platform.paused) == {"pinned"}
    assert {name for name, _ in platform.writes} == {"used"}


@in_virtual_time
async def test_who_comes_to_lead_goes_on_with_the_pins() -> None:
    platform = Platform()
    platform.add(notes={"pinned": "true"})
    async with replica(platform, leads=True) as old, replica(platform, leads=False) as new:
        await asyncio.sleep(700)
        old.leads[0] = False
        await asyncio.sleep(30)
        new.leads[0] = True
        await asyncio.sleep(5000)
        assert platform.paused == {}


# ---- several replicas -----------------------------------------------------------------------


@in_virtual_time
async def test_replicas_that_all_see_it_used_write_once_for_all() -> None:
    platform = Platform()
    platform.add(pauses_in=120)
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(replica(platform)) for _ in range(3)]
        await asyncio.gather(*(gateway.use(170) for gateway in gateways))
        assert platform.paused == {}
    assert len(platform.writes) == 1


@in_virtual_time
async def test_use_on_any_replica_puts_it_off() -> None:
    platform = Platform()
    platform.add(pauses_in=120)
    async with replica(platform), replica(platform) as second:
        await second.use(1500)
        assert platform.paused == {}


@in_virtual_time
async def test_a_replica_that_begins_anew_takes_nothing_for_use() -> None:
    platform = Platform()
    for number in range(50):
        platform.add(f"box-{number}", pauses_in=30 + number)
    async with replica(platform):
        await asyncio.sleep(100)
    assert platform.calls == 0
    assert len(platform.paused) == 50


# ---- what goes wrong ------------------------------------------------------------------------


@in_virtual_time
async def test_what_fails_is_tried_again_until_it_is_put_off() -> None:
    platform = Platform()
    platform.add(pauses_in=120)
    async with replica(platform) as gateway:
        using = asyncio.create_task(gateway.use(500))
        platform.goes_down()
        await asyncio.sleep(100)
        assert 3 <= gateway.count("pause_postponements", "failed") <= 6
        platform.trouble = None
        await using
        assert platform.paused == {}
        assert gateway.count("pause_postponements", "done") == 1


@in_virtual_time
async def test_the_end_of_a_use_is_told_again_where_that_failed() -> None:
    platform = Platform()
    platform.add(pauses_in=3)
    async with replica(platform) as gateway:
        await gateway.use(300)
        ended = clock()
        platform.goes_down()
        await asyncio.sleep(40)
        assert gateway.count("pause_postponements", "failed") >= 3
        platform.trouble = None
        await asyncio.sleep(30)
    assert platform.pauses_at() == pytest.approx(ended + AHEAD, abs=1.1)


@in_virtual_time
async def test_a_use_of_which_nothing_could_be_written_is_told_when_the_api_is_back() -> None:
    platform = Platform()
    platform.add(pauses_in=120)
    async with replica(platform) as gateway:
        platform.goes_down()
        await gateway.use(30)
        ended = clock()
        await asyncio.sleep(70)
        platform.trouble = None
        await asyncio.sleep(30)
    assert platform.pauses_at() == pytest.approx(ended + AHEAD, abs=1.1)


@in_virtual_time
async def test_a_pause_in_the_middle_of_use_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    platform = Platform()
    for name in ("box", "other"):
        platform.add(name, pauses_in=120)
    platform.trouble = AccessDenied("may not")
    async with replica(platform) as gateway:
        with caplog.at_level(logging.WARNING):
            await asyncio.gather(gateway.use(200), gateway.use(200, "other"))
        assert gateway.count("pauses_in_use") == 2
        assert len(gateway.postponer) == 0
    failures = [line for line in caplog.messages if "cannot be put off" in line]
    assert failures == ["the pause of team-a/box cannot be put off: AccessDenied: may not"]
    assert "team-a/box was paused by its platform's clock while in use" in caplog.messages


@in_virtual_time
async def test_a_pause_that_somebody_asked_for_is_not_counted_as_one_by_the_clock() -> None:
    platform = Platform()
    platform.add(pauses_in=1000)
    async with replica(platform) as gateway:
        using = asyncio.create_task(gateway.use(200))
        await asyncio.sleep(100)
        platform.change(paused=True)
        await using
        assert gateway.count("pauses_in_use") == 0


@in_virtual_time
async def test_a_sandbox_that_vanishes_is_forgotten() -> None:
    platform = Platform()
    for name in ("box", "unheard"):
        platform.add(name, pauses_in=120)
    async with replica(platform) as gateway:
        using = [asyncio.create_task(gateway.use(300, name)) for name in ("box", "unheard")]
        await asyncio.sleep(10)
        platform.delete("box")
        del platform.objects["uid-unheard"]
        await asyncio.gather(*using)
        assert len(gateway.postponer) == 0
        assert gateway.count("pause_postponements", "gone") == 1
    assert platform.calls == 1


@in_virtual_time
async def test_of_sandboxes_that_are_gone_nothing_is_kept_until_their_pause() -> None:
    platform = Platform()
    async with replica(platform) as gateway:
        for number in range(4 * SLACK):
            platform.add(f"s{number}", pauses_in=1_000_000)
            platform.delete(f"s{number}")
        assert len(gateway.postponer) == 0
        assert len(gateway.postponer._agenda._heap) <= SLACK


@in_virtual_time
async def test_a_sandbox_whose_life_is_over_is_not_brought_back() -> None:
    platform = Platform()
    platform.add(pauses_in=120)
    platform.change(shutdownTime=format_time(now() + 50))
    async with replica(platform) as gateway:
        await gateway.use(200)
    assert platform.calls == 0


@in_virtual_time
async def test_a_late_platform_is_asked_as_long_as_the_sandbox_is_used() -> None:
    platform = Platform(stuck=True)
    platform.add(pauses_in=120)
    async with replica(platform) as gateway:
        await asyncio.sleep(200)
        using = asyncio.create_task(gateway.use(30))
        await asyncio.sleep(POLL + 1)
        assert platform.pauses_in() > 500
        await using


# ---- many ------------------------------------------------------------------------------------


@in_virtual_time
async def test_few_writes_are_under_way_at_once_and_none_is_left_out() -> None:
    platform = Platform(latency=0.1)
    names = [f"box-{number}" for number in range(300)]
    for name in names:
        platform.add(name, pauses_in=90)
    async with replica(platform, concurrency=4) as gateway:
        await asyncio.gather(*(gateway.use(120, name) for name in names))
        assert platform.paused == {}
    assert platform.most_writing == 4
    assert sorted(name for name, _ in platform.writes) == sorted(names)
