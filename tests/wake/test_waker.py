"""Requests that wait for sandboxes, against a small cluster in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    Conflict,
    GatewayError,
    InvalidWrite,
    NotReady,
    SandboxBlocked,
    SandboxDead,
    SandboxNotWakeable,
    WakeFailed,
    WakeOverloaded,
    WakeTimeout,
)
from gateway.sandbox.model import Route, State
from gateway.telemetry.instruments import Instruments
from gateway.wake.config import WakeConfig
from gateway.wake.episode import Phase, Trouble
from gateway.wake.limits import Opened
from gateway.wake.waker import Ready, Waker, Waking

from .cluster import Cluster
from .virtual import in_virtual_time

EPOCH = 1_800_000_000.0


def wall() -> float:
    return EPOCH + asyncio.get_running_loop().time()


@dataclass
class Scene:
    cluster: Cluster
    waker: Waker
    instruments: Instruments

    def ask(self, route: Route, timeout: float = 300.0, held: int = 0) -> asyncio.Task[Ready]:
        return asyncio.create_task(self.waker.ready(route, timeout=timeout, held_bytes=held))

    def metric(self, name: str, **labels: str) -> float:
        for family in self.instruments.collect():
            for sample in family.samples:
                if sample.name == f"sandbox_gateway_{name}" and sample.labels == labels:
                    return sample.value
        raise LookupError(name)


@asynccontextmanager
async def scene(config: WakeConfig | None = None) -> AsyncIterator[Scene]:
    cluster, instruments = Cluster(), Instruments()
    waker = Waker(cluster.registry, cluster, config or WakeConfig(), instruments, wall)
    made = Scene(cluster, waker, instruments)
    try:
        yield made
    finally:
        await waker.close()
        await asyncio.sleep(0)
        assert made.metric("wake_waiting_requests") == 0
        assert made.metric("wake_waiting_bytes") == 0
        assert made.metric("wake_episodes_active") == 0
        assert not +cluster.writing
        assert cluster.most_writing <= 1


async def error_of(waiting: Awaitable[Ready]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await waiting
    return caught.value


# ---- waking -----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_sleeping_sandbox_is_patched_once_and_its_request_goes_on() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        ready = await s.waker.ready(asleep, timeout=60.0)
        assert ready.route.state is State.RUNNING
        assert ready.route is s.cluster.registry.get(asleep.key)
        assert ready.cold
        assert ready.wake_seconds == pytest.approx(0.52)
        assert (s.cluster.patches, s.cluster.reads) == ({asleep.uid: 1}, 0)
        assert s.metric("wake_episodes_total", outcome="woken") == 1
        assert s.metric("wake_patches_total") == 1
        assert s.metric("wake_seconds_count") == 1
        assert s.metric("wake_seconds_sum") == pytest.approx(0.52)
        assert s.metric("wake_patch_seconds_sum") == 0.0
        assert s.metric("wake_resume_seconds_sum") == pytest.approx(0.52)


@in_virtual_time
async def test_a_running_sandbox_is_ready_without_waiting() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        running = s.cluster.change(asleep.key, State.RUNNING)
        assert await s.waker.ready(asleep, timeout=60.0) == Ready(running, 0.0, cold=False)
        assert s.waker.explain(asleep.uid) == Waking()


@in_virtual_time
async def test_waiters_are_released_within_the_callback_that_brings_the_news() -> None:
    async with scene() as s:
        resuming = s.cluster.add(State.RESUMING)
        waiting = [s.ask(resuming) for _ in range(3)]
        await asyncio.sleep(0)
        s.cluster.change(resuming.key, State.RUNNING)
        assert s.waker.explain(resuming.uid) == Waking()
        await asyncio.sleep(0)
        assert all(one.done() for one in waiting)


@pytest.mark.parametrize("state", [State.CREATING, State.RESUMING])
@in_virtual_time
async def test_what_comes_up_by_itself_is_waited_for_without_a_patch(state: State) -> None:
    async with scene() as s:
        coming = s.cluster.add(state, wake=False)
        s.cluster.after(30.0, coming.key, state, State.RUNNING)
        assert (await s.waker.ready(coming, timeout=60.0)).wake_seconds == pytest.approx(30.0)
        assert not s.cluster.calls
        assert s.metric("wake_patch_seconds_count") == 0


@in_virtual_time
async def test_a_pause_is_waited_out_and_then_patched() -> None:
    async with scene() as s:
        pausing = s.cluster.add(State.PAUSING)
        s.cluster.after(0.8, pausing.key, State.PAUSING, State.PAUSED)
        ready = await s.waker.ready(pausing, timeout=60.0)
        assert ready.wake_seconds == pytest.approx(0.8 + 0.02 + 0.5)
        assert (s.cluster.patches, s.cluster.reads) == ({pausing.uid: 1}, 0)
        assert s.metric("wake_patch_seconds_sum") == pytest.approx(0.8)


@in_virtual_time
async def test_a_silent_watch_is_made_up_for_by_reading() -> None:
    async with scene() as s:
        pausing = s.cluster.add(State.PAUSING)
        s.cluster.watching = False
        s.cluster.after(0.5, pausing.key, State.PAUSING, State.PAUSED)
        ready = await s.waker.ready(pausing, timeout=60.0)
        assert ready.route.state is State.RUNNING
        assert ready.wake_seconds < 5.0
        assert s.cluster.patches[pausing.uid] == 1
        known = s.cluster.registry.get(pausing.key)
        assert known is not None
        assert known.state is State.RUNNING, "the registry learns what was read"


@in_virtual_time
async def test_what_is_read_of_a_sandbox_that_left_the_registry_does_not_bring_it_back() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        waiting = s.ask(asleep)
        await asyncio.sleep(0.005)
        s.cluster.registry.remove(asleep.key, asleep.uid, asleep.version)
        assert isinstance(await error_of(waiting), WakeFailed)
        await asyncio.sleep(1.0)
        assert s.cluster.registry.get(asleep.key) is None


@in_virtual_time
async def test_a_thousand_requests_to_one_sleeper_are_one_patch() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        waiting = [s.ask(asleep, held=100) for _ in range(1_000)]
        await asyncio.sleep(0.1)
        assert s.metric("wake_waiting_requests") == 1_000
        assert s.metric("wake_waiting_bytes") == 100_000
        assert s.metric("wake_episodes_active") == 1
        assert s.waker.explain(asleep.uid).waiters == 1_000
        results = await asyncio.gather(*waiting)
        assert {one.route.uid for one in results} == {asleep.uid}
        assert s.cluster.patches == {asleep.uid: 1}


@in_virtual_time
async def test_a_thousand_sleepers_at_once_all_wake_and_the_budget_is_kept() -> None:
    async with scene() as s:
        asleep = [
            s.cluster.add(State.PAUSED, f"box-{n}", namespace=f"team-{n % 10}")
            for n in range(1_000)
        ]
        waiting = [s.ask(one) for one in asleep]
        results = await asyncio.gather(*waiting)
        assert [one.route.uid for one in results] == [one.uid for one in asleep]
        assert set(s.cluster.patches.values()) == {1}
        times = sorted(s.cluster.patched_at.values())
        assert times[-1] - times[0] == pytest.approx(8.0, abs=0.1)
        assert all(times[n + 300] - times[n] > 0.99 for n in range(700))


@in_virtual_time
async def test_a_greedy_tenant_delays_only_itself() -> None:
    async with scene() as s:
        greedy = [s.cluster.add(State.PAUSED, f"g{n}", namespace="greedy") for n in range(500)]
        waiting = [s.ask(one) for one in greedy]
        await asyncio.sleep(0.1)
        modest = s.cluster.add(State.PAUSED, "m", namespace="modest")
        assert (await s.waker.ready(modest, timeout=60.0)).wake_seconds == pytest.approx(0.52)
        assert sum(one.done() for one in waiting) < 200
        await asyncio.gather(*waiting)


@in_virtual_time
async def test_somebody_who_wakes_it_first_takes_it_off_the_queue() -> None:
    async with scene(WakeConfig(patches_per_second=0.1, patches_burst=1)) as s:
        first, second, third = (s.cluster.add(State.PAUSED, name) for name in "abc")
        waiting = [s.ask(one) for one in (first, second, third)]
        await asyncio.sleep(1.0)
        assert s.waker.explain(second.uid).phase is Phase.QUEUED
        s.cluster.change(second.key, State.RUNNING)
        ready = await waiting[2]
        assert ready.wake_seconds == pytest.approx(10.52)
        assert (await waiting[1]).wake_seconds == pytest.approx(1.0)
        assert s.cluster.calls == {first.uid: 1, third.uid: 1}


@in_virtual_time
async def test_a_conflict_is_read_and_judged_again() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        touched: list[Route] = []

        def touch(seen: Route) -> None:
            if len(touched) < 3:
                touched.append(s.cluster.change(seen.key))

        s.cluster.meanwhile = touch
        ready = await s.waker.ready(asleep, timeout=60.0)
        assert ready.route.state is State.RUNNING
        assert (s.cluster.patches[asleep.uid], s.cluster.calls[asleep.uid]) == (1, 4)
        assert s.metric("wake_conflicts_total") == 3
        assert s.metric("wake_patches_total") == 1


@in_virtual_time
async def test_two_replicas_converge_on_one_write() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        other = Waker(s.cluster.registry, _Elsewhere(s.cluster), WakeConfig(), Instruments(), wall)
        both = await asyncio.gather(
            s.waker.ready(asleep, timeout=60.0), other.ready(asleep, timeout=60.0)
        )
        await other.close()
        assert {one.route.state for one in both} == {State.RUNNING}
        assert s.cluster.patches[asleep.uid] == 1


class _Elsewhere:
    """The same cluster through another replica's writer."""

    def __init__(self, cluster: Cluster) -> None:
        self.read = cluster.read
        self.wake = cluster._wake


@in_virtual_time
async def test_an_api_that_restarts_loses_none() -> None:
    async with scene() as s:
        asleep = [s.cluster.add(State.PAUSED, f"box-{n}") for n in range(20)]
        s.cluster.down = True
        waiting = [s.ask(one) for one in asleep]
        await asyncio.sleep(20.0)
        explained = s.waker.explain(asleep[0].uid)
        assert explained.trouble is Trouble.API_UNAVAILABLE
        assert explained.phase in (Phase.BACKING_OFF, Phase.READING)
        s.cluster.down = False
        results = await asyncio.gather(*waiting)
        assert {one.route.state for one in results} == {State.RUNNING}
        assert set(s.cluster.patches.values()) == {1}
        assert max(one.wake_seconds for one in results) < 20.0 + 2.0 * 1.5 + 1.0


@in_virtual_time
async def test_the_api_is_left_alone_for_as_long_as_it_asks() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        s.cluster.faults.append(ApiUnavailable("busy", 30.0))
        ready = await s.waker.ready(asleep, timeout=60.0)
        assert ready.wake_seconds == pytest.approx(30.0 + 0.01 + 0.01 + 0.52)


@in_virtual_time
async def test_a_sandbox_put_back_to_sleep_is_woken_again_a_few_times() -> None:
    async with scene() as s:
        s.cluster.never_ready = True
        asleep = s.cluster.add(State.PAUSED)
        waiting = s.ask(asleep)
        for _ in range(3):
            await asyncio.sleep(1.0)
            s.cluster.change(asleep.key, State.PAUSED)
        assert "put back to sleep" in (await error_of(waiting)).text
        assert s.cluster.patches[asleep.uid] == 3


# ---- ends that are not a running sandbox -------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "wake", "error"),
    [
        (State.PAUSED, False, SandboxNotWakeable),
        (State.PAUSING, False, SandboxNotWakeable),
        (State.BLOCKED, True, SandboxBlocked),
        (State.DEAD, True, SandboxDead),
    ],
)
@in_virtual_time
async def test_what_cannot_be_waited_for_is_refused_by_the_policy_table(
    state: State, wake: bool, error: type[GatewayError]
) -> None:
    async with scene() as s:
        assert type(await error_of(s.ask(s.cluster.add(state, wake=wake)))) is error
        assert s.waker.explain("uid-box") == Waking()


@in_virtual_time
async def test_a_sandbox_that_does_not_exist_any_more_is_not_waited_for() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        s.cluster.delete(asleep.key)
        error = await error_of(s.ask(asleep))
        assert (type(error), error.retry_after) == (WakeFailed, 1.0)
        s.cluster.add(State.RUNNING, uid="another")
        assert type(await error_of(s.ask(asleep))) is WakeFailed


@in_virtual_time
async def test_a_sandbox_recreated_under_its_name_gets_no_request_of_the_old_one() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        waiting = s.ask(asleep)
        await asyncio.sleep(0.1)
        s.cluster.add(State.RUNNING, uid="another")
        error = await error_of(waiting)
        assert (type(error), error.retry_after) == (WakeFailed, 1.0)
        assert s.metric("wake_episodes_total", outcome="failed") == 1


@in_virtual_time
async def test_a_recreation_that_the_watch_has_not_told_is_seen_at_the_patch() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        s.cluster.watching = False
        s.cluster.add(State.RUNNING, uid="another")
        assert type(await error_of(s.ask(asleep))) is WakeFailed


@pytest.mark.parametrize("state", [State.DEAD, State.BLOCKED])
@in_virtual_time
async def test_a_sandbox_that_ends_while_waking_is_a_failed_wake(state: State) -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        waiting = s.ask(asleep)
        await asyncio.sleep(0.2)
        s.cluster.change(asleep.key, state)
        assert type(await error_of(waiting)) is WakeFailed


@in_virtual_time
async def test_waking_that_is_turned_off_meanwhile_is_refused() -> None:
    async with scene(WakeConfig(patches_per_second=0.1, patches_burst=1)) as s:
        before = s.ask(s.cluster.add(State.PAUSED, "first"))
        asleep = s.cluster.add(State.PAUSED)
        waiting = s.ask(asleep)
        await asyncio.sleep(0.1)
        s.cluster.forbid_waking(asleep.key)
        assert type(await error_of(waiting)) is SandboxNotWakeable
        assert s.metric("wake_episodes_total", outcome="not_wakeable") == 1
        assert s.waker.explain(asleep.uid) == Waking(), "that is no failure to remember"
        await before


@in_virtual_time
async def test_a_shutdown_time_that_passes_while_waiting_fails_the_wake() -> None:
    async with scene() as s:
        resuming = s.cluster.add(State.RESUMING, expires_at=wall() + 7.25)
        began = asyncio.get_running_loop().time()
        assert type(await error_of(s.ask(resuming))) is WakeFailed
        assert asyncio.get_running_loop().time() - began == pytest.approx(7.25)


@pytest.mark.parametrize("fault", [AccessDenied("rbac"), InvalidWrite("webhook"), OSError("bug")])
@in_virtual_time
async def test_a_refused_patch_fails_the_wake_at_once(fault: Exception) -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        s.cluster.faults.append(fault)
        error = await error_of(s.ask(asleep))
        assert type(error) is WakeFailed
        assert str(fault) not in error.text
        assert s.cluster.calls[asleep.uid] == 1


@in_virtual_time
async def test_an_unexpected_error_of_the_writer_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene() as s:
        s.cluster.faults.append(OSError("bug"))
        await error_of(s.ask(s.cluster.add(State.PAUSED)))
    assert [one.exc_info[0] for one in caplog.records if one.exc_info] == [OSError]


@in_virtual_time
async def test_never_ready_is_a_timeout_for_all_and_the_next_attempt_is_backed_off() -> None:
    async with scene() as s:
        s.cluster.never_ready = True
        asleep = s.cluster.add(State.PAUSED, timeout=10.0)
        first = s.ask(asleep)
        await asyncio.sleep(9.0)
        late = s.ask(asleep)
        errors = [await error_of(first), await error_of(late)]
        assert [type(one) for one in errors] == [WakeTimeout, WakeTimeout]
        assert errors[0] is not errors[1]
        assert [one.retry_after for one in errors] == [2.0, 2.0]
        refused = await error_of(s.ask(s.cluster.objects[asleep.key]))
        assert type(refused) is WakeOverloaded
        assert refused.retry_after == pytest.approx(2.0)
        assert errors[0].text in refused.text
        assert s.metric("wake_refusals_total", cause="breaker") == 1
        assert s.metric("wake_breakers_open") == 1
        assert s.metric("wake_episodes_total", outcome="timeout") == 1
        assert s.waker.explain(asleep.uid) == Waking(
            breaker=Opened(2.0, errors[0].text), last_failure=errors[0].text
        )


@in_virtual_time
async def test_after_the_breaker_the_next_request_tries_again() -> None:
    async with scene() as s:
        s.cluster.never_ready = True
        asleep = s.cluster.add(State.PAUSED, timeout=10.0)
        await error_of(s.ask(asleep))
        s.cluster.change(asleep.key, State.PAUSED)
        s.cluster.never_ready = False
        await asyncio.sleep(2.0)
        ready = await s.waker.ready(asleep, timeout=60.0)
        assert ready.route.state is State.RUNNING
        assert s.waker.explain(asleep.uid) == Waking()
        assert s.metric("wake_breakers_open") == 0


@in_virtual_time
async def test_three_failures_in_a_row_open_the_breaker_and_a_deletion_forgets_them() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        for _ in range(3):
            s.cluster.faults.append(AccessDenied("rbac"))
            assert type(await error_of(s.ask(asleep))) is WakeFailed
        refused = await error_of(s.ask(asleep))
        assert type(refused) is WakeOverloaded
        assert "credentials" in refused.text
        assert s.cluster.calls[asleep.uid] == 3
        s.cluster.delete(asleep.key)
        assert s.waker.explain(asleep.uid) == Waking()


@in_virtual_time
async def test_an_api_that_is_down_until_the_deadline_is_a_failed_wake() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED, timeout=10.0)
        s.cluster.down = True
        error = await error_of(s.ask(asleep))
        assert type(error) is WakeFailed
        assert "API could not be reached" in error.text


@in_virtual_time
async def test_a_patch_that_gets_no_turn_is_an_overload_and_no_fault_of_the_sandbox() -> None:
    async with scene(WakeConfig(patches_per_second=0.01, patches_burst=1)) as s:
        before = s.ask(s.cluster.add(State.PAUSED, "first"))
        asleep = s.cluster.add(State.PAUSED, timeout=10.0)
        waiting = [s.ask(asleep), s.ask(asleep, timeout=5.0)]
        errors = [await error_of(one) for one in waiting]
        assert [type(one) for one in errors] == [WakeOverloaded, WakeOverloaded]
        assert errors[0].retry_after == 1.0
        assert s.metric("wake_episodes_total", outcome="overloaded") == 1
        assert s.waker.explain(asleep.uid) == Waking()
        await before


# ---- waiters ----------------------------------------------------------------------------------


@in_virtual_time
async def test_each_request_has_its_own_time_and_the_episode_goes_on() -> None:
    async with scene() as s:
        resuming = s.cluster.add(State.RESUMING)
        s.cluster.after(20.0, resuming.key, State.RESUMING, State.RUNNING)
        short, long = s.ask(resuming, timeout=5.0), s.ask(resuming, timeout=30.0)
        error = await error_of(short)
        assert (type(error), error.retry_after) == (WakeTimeout, 1.0)
        assert s.waker.explain(resuming.uid).waiters == 1
        assert (await long).wake_seconds == pytest.approx(20.0)


@in_virtual_time
async def test_a_client_that_leaves_gives_up_its_own_place_and_nothing_else() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        leaving, staying = s.ask(asleep, held=7), s.ask(asleep, held=5)
        await asyncio.sleep(0.1)
        leaving.cancel()
        await asyncio.sleep(0)
        assert s.metric("wake_waiting_requests") == 1
        assert s.metric("wake_waiting_bytes") == 5
        assert leaving.cancelled()
        assert (await staying).route.state is State.RUNNING


@pytest.mark.parametrize("when", [0.0, 0.005, 0.015, 0.1])
@in_virtual_time
async def test_an_episode_whose_waiters_all_left_goes_on_to_its_end(when: float) -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        leaving = s.ask(asleep)
        await asyncio.sleep(when)
        leaving.cancel()
        await asyncio.sleep(0)
        assert leaving.cancelled()
        assert s.metric("wake_waiting_requests") == 0
        retry = s.ask(asleep)
        assert (await retry).route.state is State.RUNNING
        assert s.cluster.patches[asleep.uid] == 1
        assert s.metric("wake_episodes_total", outcome="woken") == 1


@in_virtual_time
async def test_a_client_may_leave_in_the_very_moment_of_its_release() -> None:
    async with scene() as s:
        resuming = s.cluster.add(State.RESUMING)
        waiting = s.ask(resuming)
        failing = s.ask(s.cluster.add(State.RESUMING, "other"))
        await asyncio.sleep(0.1)
        s.cluster.change(resuming.key, State.RUNNING)
        s.cluster.delete(s.cluster.registry.by_name("team", "other").key)
        waiting.cancel()
        failing.cancel()
        await asyncio.wait({waiting, failing})
        assert waiting.cancelled()
        assert failing.cancelled()
        assert s.metric("wake_waiting_requests") == 0


@in_virtual_time
async def test_a_client_may_have_left_in_the_very_moment_before_the_release() -> None:
    async with scene() as s:
        resuming = s.cluster.add(State.RESUMING)
        leaving, staying = s.ask(resuming), s.ask(resuming)
        await asyncio.sleep(0.1)
        leaving.cancel()
        s.cluster.change(resuming.key, State.RUNNING)
        assert (await staying).route.state is State.RUNNING
        assert leaving.cancelled()


@in_virtual_time
async def test_a_client_may_leave_before_it_began() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        waiting = s.ask(asleep)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert s.waker.explain(asleep.uid) == Waking()


@in_virtual_time
async def test_a_client_that_is_released_as_its_time_is_up_has_one_outcome() -> None:
    async with scene() as s:
        resuming = s.cluster.add(State.RESUMING)
        s.cluster.after(5.0, resuming.key, State.RESUMING, State.RUNNING)
        assert (await s.waker.ready(resuming, timeout=5.0)).cold


@in_virtual_time
async def test_a_client_whose_time_is_up_as_it_is_released_has_one_outcome() -> None:
    async with scene() as s:
        resuming = s.cluster.add(State.RESUMING)
        waiting = s.ask(resuming, timeout=5.0)
        await asyncio.sleep(0)
        s.cluster.after(5.0, resuming.key, State.RESUMING, State.RUNNING)
        assert type(await error_of(waiting)) is WakeTimeout


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        (WakeConfig(waiters_per_sandbox=2), "sandbox"),
        (WakeConfig(waiters_total=2), "total"),
        (WakeConfig(waiting_bytes_total=29), "bytes"),
    ],
)
@in_virtual_time
async def test_a_request_over_the_bounds_is_refused_at_once(config: WakeConfig, cause: str) -> None:
    async with scene(config) as s:
        asleep = s.cluster.add(State.PAUSED)
        waiting = [s.ask(asleep, held=10) for _ in range(2)]
        error = await error_of(s.ask(asleep, held=10))
        assert (type(error), error.retry_after) == (WakeOverloaded, 1.0)
        assert s.metric("wake_refusals_total", cause=cause) == 1
        await asyncio.gather(*waiting)
        assert (await s.waker.ready(asleep, timeout=1.0)).route.state is State.RUNNING


@in_virtual_time
async def test_a_full_sandbox_does_not_affect_the_others() -> None:
    async with scene(WakeConfig(waiters_per_sandbox=1)) as s:
        full, other = s.cluster.add(State.PAUSED, "full"), s.cluster.add(State.PAUSED, "other")
        waiting = s.ask(full)
        await error_of(s.ask(full))
        assert (await s.waker.ready(other, timeout=60.0)).cold
        await waiting


# ---- writes and the life of an episode ---------------------------------------------------------


@in_virtual_time
async def test_a_new_episode_waits_for_the_write_of_the_one_before() -> None:
    async with scene() as s:
        s.cluster.latency = 3.0
        asleep = s.cluster.add(State.PAUSED)
        first = s.ask(asleep)
        await asyncio.sleep(1.0)
        s.cluster.change(asleep.key, State.RUNNING)
        await first
        s.cluster.change(asleep.key, State.PAUSED)
        assert (await s.waker.ready(asleep, timeout=60.0)).route.state is State.RUNNING
        assert s.cluster.calls[asleep.uid] == 2


@in_virtual_time
async def test_a_patch_that_hangs_is_given_up_at_the_deadline() -> None:
    async with scene() as s:
        s.cluster.latency = 1_000.0
        asleep = s.cluster.add(State.PAUSED, timeout=10.0)
        assert type(await error_of(s.ask(asleep))) is WakeTimeout
        await asyncio.sleep(0)
        assert not +s.cluster.writing


@in_virtual_time
async def test_a_read_that_hangs_does_not_keep_the_episode_from_its_news() -> None:
    async with scene() as s:
        pausing = s.cluster.add(State.PAUSING)
        s.cluster.latency = 50.0
        waiting = s.ask(pausing)
        await asyncio.sleep(5.0)
        assert s.waker.explain(pausing.uid).phase is Phase.READING
        s.cluster.latency = 0.01
        s.cluster.change(pausing.key, State.PAUSED)
        assert (await waiting).wake_seconds == pytest.approx(5.52)


@in_virtual_time
async def test_a_second_read_takes_the_place_of_one_that_hangs() -> None:
    async with scene() as s:
        pausing = s.cluster.add(State.PAUSING)
        s.cluster.latency = 100.0
        waiting = s.ask(pausing)
        await asyncio.sleep(5.0)
        s.cluster.latency = 0.01
        s.cluster.faults.append(Conflict("somebody"))
        s.cluster.change(pausing.key, State.PAUSED)
        assert (await waiting).wake_seconds < 10.0
        assert s.cluster.reads == 2


@in_virtual_time
async def test_a_wall_clock_that_is_set_does_not_end_an_episode() -> None:
    ahead = 0.0
    async with scene() as s:
        other = Waker(
            s.cluster.registry, s.cluster, WakeConfig(), Instruments(), lambda: wall() + ahead
        )
        resuming = s.cluster.add(State.RESUMING)
        s.cluster.after(20.0, resuming.key, State.RESUMING, State.RUNNING)
        waiting = asyncio.create_task(other.ready(resuming, timeout=60.0))
        await asyncio.sleep(5.0)
        ahead = 3600.0
        assert (await waiting).wake_seconds == pytest.approx(20.0)
        await other.close()


@in_virtual_time
async def test_what_goes_on_can_be_explained() -> None:
    async with scene() as s:
        asleep = s.cluster.add(State.PAUSED)
        waiting = s.ask(asleep)
        began = wall()
        await asyncio.sleep(0.1)
        explained = s.waker.explain(asleep.uid)
        assert explained.since == pytest.approx(began + 0.02)
        assert explained.deadline == pytest.approx(began + 120.0)
        assert replace(explained, since=None, deadline=None) == Waking(
            phase=Phase.WAITING, waiters=1, patches=1
        )
        await waiting


# ---- the end ----------------------------------------------------------------------------------


@in_virtual_time
async def test_closing_answers_those_who_wait_and_ends_all_calls() -> None:
    async with scene(WakeConfig(patches_per_second=0.1, patches_burst=1)) as s:
        s.cluster.latency = 5.0
        patching, queued, reading = (
            s.ask(s.cluster.add(state, name))
            for state, name in [
                (State.PAUSED, "a"),
                (State.PAUSED, "b"),
                (State.PAUSING, "c"),
            ]
        )
        await asyncio.sleep(2.0)
        await s.waker.close()
        for one in (patching, queued, reading):
            error = await error_of(one)
            assert (type(error), error.retry_after) == (NotReady, 1.0)
        assert s.metric("wake_episodes_total", outcome="closed") == 3
        assert not +s.cluster.writing
        refused = await error_of(s.ask(s.cluster.add(State.PAUSED, "d")))
        assert type(refused) is NotReady
        s.cluster.change(s.cluster.registry.by_name("team", "a").key, State.RUNNING)


@in_virtual_time
async def test_every_outcome_and_cause_is_shown_from_the_start() -> None:
    async with scene() as s:
        for outcome in ("woken", "failed", "timeout", "overloaded", "not_wakeable", "closed"):
            assert s.metric("wake_episodes_total", outcome=outcome) == 0
        for cause in ("sandbox", "total", "bytes", "breaker"):
            assert s.metric("wake_refusals_total", cause=cause) == 0
        assert s.metric("wake_patches_total") == s.metric("wake_conflicts_total") == 0
