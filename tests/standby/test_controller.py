"""The idle controller at work, in virtual time: what it asks, writes and settles, and when."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from gateway.dialects import own
from gateway.replicas.peers import PeerUse, Verdict
from gateway.replicas.sleep import ASKING, WRITING
from gateway.sandbox.activity import Activity
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    Conflict,
    InvalidWrite,
    NotWritten,
    ObjectGone,
    StandbyForbidden,
)
from gateway.sandbox.model import Key, State, WakePolicy
from gateway.sandbox.registry import Registry
from gateway.sandbox.standby import StandbyCheck, StandbyPolicy
from gateway.standby.config import IdleConfig
from gateway.standby.controller import LOOK_MAX, IdleController
from gateway.standby.verdict import Reason, Status
from gateway.telemetry.instruments import Instruments
from tests.standby.doubles import Api, Guests, Lead, Replicas
from tests.standby.world import EPOCH, sandbox
from tests.wake.virtual import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.sandbox.model import Route

SHORT = StandbyPolicy(enabled=True, idle_timeout=10.0)
#: What passes between the end of an idle time and the standby, in seconds, where all goes well.
PROMPT = LOOK_MAX + 0.5


class Rig:
    """A controller and all that it talks to."""

    def __init__(
        self, config: IdleConfig, observers: Any = None, known: Sequence[Route] = ()
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.registry, self.activity = Registry(), Activity()
        self.instruments = Instruments()
        self.registry.subscribe(
            lambda before, after: self.activity.heed(before, after, self.now, EPOCH + self.now)
        )
        self.peers, self.api, self.lead = Replicas(), Api(self.registry), Lead()
        self.guests = Guests()
        for route in known:
            self.registry.apply(route)
        self.controller = IdleController(
            config,
            self.registry,
            self.activity,
            self.peers,
            self.api,
            self.lead,
            self.guests,
            self.instruments,
            observers=observers,
            clock=self.loop.time,
            wall_clock=lambda: EPOCH + self.now,
        )

    @property
    def now(self) -> float:
        return self.loop.time()

    def add(self, *names: str, **changes: Any) -> None:
        for name in names:
            self.registry.apply(sandbox(name, **({"policy": SHORT} | changes)))

    def route(self, name: str = "box") -> Route:
        return self.registry.by_name("team", name)

    def count(self, metric: str, *labels: str) -> float:
        for family in self.instruments.collect():
            for sample in family.samples:
                if (
                    sample.name == f"sandbox_gateway_{metric}"
                    and tuple(sample.labels.values()) == labels
                ):
                    return float(sample.value)
        raise KeyError(metric)

    def told(self, name: str = "box") -> list[tuple[int | None, bool]]:
        """Return what all replicas were told of a sandbox: version, known."""
        return [(one.version, one.known) for one in self.peers.outcomes if one.key.name == name]


@asynccontextmanager
async def running(
    config: IdleConfig | None = None, observers: Any = None, known: Sequence[Route] = ()
) -> AsyncIterator[Rig]:
    rig = Rig(config or IdleConfig(min_uptime=0.0), observers, known)
    task = asyncio.create_task(rig.controller.run())
    try:
        yield rig
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert rig.peers.open == {}, "a question was not settled"


# ---- the sequence -------------------------------------------------------------------------------


@in_virtual_time
async def test_an_idle_sandbox_sleeps_by_one_write_and_all_are_told_its_version() -> None:
    async with running() as rig:
        rig.add("box")
        await asyncio.sleep(9.9)
        assert rig.peers.questions == []
        await asyncio.sleep(0.1 + PROMPT)
        assert rig.api.slept == ["box"]
        assert rig.told() == [(2, True)]
        await asyncio.sleep(1000)
        assert rig.api.calls["sleep"] == 1
        assert rig.count("standbys_total", "slept") == 1


@in_virtual_time
async def test_one_that_is_used_again_and_again_never_sleeps() -> None:
    async with running() as rig:
        rig.add("box")
        for _ in range(50):
            usage = rig.activity.enter("uid-box", rig.now)
            await asyncio.sleep(3)
            usage.leave(rig.now)
            await asyncio.sleep(6.9)
        assert rig.peers.questions == []


@in_virtual_time
async def test_those_that_are_due_together_are_asked_about_together() -> None:
    async with running() as rig:
        rig.add(*(f"s{number}" for number in range(20)))
        await asyncio.sleep(10 + PROMPT)
        assert [len(one) for one in rig.peers.questions] == [20]
        assert len(rig.api.slept) == 20


@in_virtual_time
async def test_a_no_settles_at_once_and_counts_from_that_use() -> None:
    async with running() as rig:
        rig.add("box")
        rig.peers.verdicts["uid-box"] = Verdict(False, 4.0, "peer: used")
        await asyncio.sleep(10 + PROMPT)
        assert rig.told() == [(None, True)]
        rig.peers.verdicts.clear()
        await asyncio.sleep(4)
        assert rig.api.slept == []
        await asyncio.sleep(2 + PROMPT)
        assert rig.api.slept == ["box"]


@in_virtual_time
async def test_as_long_as_a_replica_is_silent_nothing_is_written() -> None:
    async with running() as rig:
        rig.add("a", "b")
        for name in "ab":
            rig.peers.verdicts[f"uid-{name}"] = Verdict(False, None, "peer: silent")
        await asyncio.sleep(500)
        assert rig.api.calls["sleep"] == 0
        assert rig.count("standby_overdue") == 2
        assert rig.count("standby_overdue_seconds") > 400
        rig.peers.verdicts.clear()
        await asyncio.sleep(65)
        assert sorted(rig.api.slept) == ["a", "b"]
        assert rig.count("standby_overdue") == 0


@in_virtual_time
async def test_some_replicas_no_does_not_hold_up_the_others() -> None:
    async with running() as rig:
        rig.add("a", "b", "c")
        rig.peers.verdicts["uid-a"] = Verdict(False, 0.0, "peer: used")
        rig.peers.verdicts["uid-b"] = Verdict(False, None, "peer: unknown")
        await asyncio.sleep(10 + PROMPT)
        assert rig.api.slept == ["c"]
        assert rig.count("standbys_total", "used") == 1
        assert rig.count("standbys_total", "uncertain") == 1


@in_virtual_time
async def test_a_no_is_told_while_others_are_still_written() -> None:
    async with running() as rig:
        rig.add("refused", "slow")
        rig.api.slow["slow"] = 4.0
        rig.peers.verdicts["uid-refused"] = Verdict(False, 0.0, "peer: used")
        await asyncio.sleep(10 + PROMPT)
        assert rig.told("refused") == [(None, True)]
        assert rig.told("slow") == []


@pytest.mark.parametrize(
    ("fault", "known", "outcome"),
    [
        (Conflict("x"), True, "conflict"),
        (ObjectGone("x"), True, "gone"),
        (AccessDenied("x"), True, "denied"),
        (InvalidWrite("x"), True, "invalid"),
        (StandbyForbidden("x"), True, "changed"),
        (NotWritten("x"), True, "unavailable"),
        (ApiUnavailable("x"), False, "unavailable"),
    ],
)
@in_virtual_time
async def test_all_are_told_whether_it_is_known_what_became_of_the_write(
    fault: Exception, known: bool, outcome: str
) -> None:
    async with running() as rig:
        rig.add("box")
        rig.api.faults["box"] = fault
        await asyncio.sleep(10 + PROMPT)
        assert rig.told() == [(None, known)]
        assert rig.count("standbys_total", outcome) == 1


@in_virtual_time
async def test_a_standby_that_failed_is_made_later() -> None:
    async with running() as rig:
        rig.add("box")
        rig.api.faults["box"] = ApiUnavailable("down")
        await asyncio.sleep(600)
        assert 5 < rig.api.calls["sleep"] < 25
        rig.api.faults.clear()
        await asyncio.sleep(65)
        assert rig.api.slept == ["box"]


@in_virtual_time
async def test_a_failure_is_logged_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as rig:
        for _ in range(2):
            rig.add("box", version=rig.api.calls["sleep"] + 100)
            rig.api.faults["box"] = AccessDenied("no such right")
            await asyncio.sleep(600)
            rig.api.faults.clear()
            await asyncio.sleep(65)
        told = [one.getMessage() for one in caplog.records]
        assert told == ["team/box was not put to sleep: AccessDenied: no such right"] * 2


@in_virtual_time
async def test_who_comes_between_the_question_and_the_write_keeps_it_awake() -> None:
    async with running() as rig:
        rig.add("box")
        rig.api.reaches = lambda uid: rig.activity.enter(uid, rig.now)
        await asyncio.sleep(10 + PROMPT)
        assert rig.api.calls["sleep"] == 1
        assert rig.api.slept == []
        assert rig.told() == [(None, True)]
        await asyncio.sleep(100)
        assert rig.api.calls["sleep"] == 1


@in_virtual_time
async def test_a_pin_that_comes_between_the_question_and_the_write_wins() -> None:
    async with running() as rig:
        rig.add("box")
        rig.api.reaches = lambda uid: rig.add("box", version=9, pinned=True)
        await asyncio.sleep(20)
        assert rig.api.calls["sleep"] == 1
        assert rig.api.slept == []
        assert rig.told() == [(None, True)]


@in_virtual_time
async def test_writes_are_bounded_and_begun_within_the_time_that_the_fences_leave() -> None:
    async with running(IdleConfig(concurrency=4, min_uptime=0.0)) as rig:
        rig.api.latency = 0.3
        rig.add(*(f"s{number}" for number in range(100)))
        await asyncio.sleep(60)
        assert sorted(rig.api.slept) == sorted(f"s{number}" for number in range(100))
        assert rig.api.most == 4
        assert all(0 < one <= ASKING + WRITING for one in rig.api.within)


@in_virtual_time
async def test_a_slow_write_does_not_keep_the_others_waiting_for_word() -> None:
    async with running() as rig:
        rig.add("quick", "slow")
        rig.api.slow["slow"] = 4.0
        await asyncio.sleep(10 + PROMPT)
        assert rig.told("quick") == [(2, True)]
        assert rig.told("slow") == []
        await asyncio.sleep(4)
        assert rig.told("slow") == [(2, True)]


@in_virtual_time
async def test_thousands_that_are_due_at_once_all_sleep() -> None:
    async with running() as rig:
        names = [f"s{number:04}" for number in range(3000)]
        rig.add(*names)
        await asyncio.sleep(40)
        assert sorted(rig.api.slept) == names
        assert all(len(one) <= 64 for one in rig.peers.questions)


# ---- cancelled, or leading no more --------------------------------------------------------------


@pytest.mark.parametrize("after", [0.005, 0.015, 0.025, 0.035])
@in_virtual_time
async def test_whenever_it_is_stopped_each_question_is_settled(after: float) -> None:
    async with running() as rig:
        rig.add(*(f"s{number}" for number in range(40)))
        rig.peers.verdicts["uid-s0"] = Verdict(False, 1.0, "peer: used")
        while not rig.peers.open:
            await asyncio.sleep(0.001)
        await asyncio.sleep(after)
    assert rig.peers.open == {}
    slept = set(rig.api.slept)
    for one in rig.peers.outcomes:
        # What was written is never told to be unwritten.
        assert one.key.name not in slept or one.version is not None or not one.known


@in_virtual_time
async def test_a_write_that_was_begun_and_cut_off_is_told_as_unknown() -> None:
    async with running() as rig:
        rig.add("box")
        while not rig.api.under_way:
            await asyncio.sleep(0.001)
    assert rig.told() == [(None, False)]


@in_virtual_time
async def test_who_leads_no_more_when_the_answers_come_writes_nothing() -> None:
    async with running() as rig:
        rig.add("box")
        while not rig.peers.open:
            await asyncio.sleep(0.001)
        rig.lead.pass_on(False)
        await asyncio.sleep(5)
        assert rig.api.calls["sleep"] == 0
        assert rig.told() == [(None, True)]
        assert rig.count("standby_watched") == 0
        await asyncio.sleep(500)
        assert len(rig.peers.questions) == 1


@in_virtual_time
async def test_who_leads_no_more_when_the_api_has_read_it_writes_nothing() -> None:
    async with running() as rig:
        rig.add("box")
        rig.api.reaches = lambda uid: rig.lead.pass_on(False)
        await asyncio.sleep(10 + PROMPT)
        assert rig.api.slept == []
        assert rig.told() == [(None, True)]


@in_virtual_time
async def test_who_begins_to_lead_knows_since_when_each_is_idle() -> None:
    async with running() as rig:
        rig.lead.pass_on(False)
        rig.add("old")
        await asyncio.sleep(95)
        rig.add("new")
        await asyncio.sleep(5)
        rig.lead.pass_on(True)
        await asyncio.sleep(PROMPT)
        assert rig.api.slept == ["old"]
        await asyncio.sleep(5)
        assert rig.api.slept == ["old", "new"]


@in_virtual_time
async def test_a_lead_that_comes_back_finds_everybody_again() -> None:
    async with running() as rig:
        rig.add("box")
        await asyncio.sleep(5)
        rig.lead.pass_on(False)
        await asyncio.sleep(100)
        assert rig.api.slept == []
        rig.lead.pass_on(True)
        await asyncio.sleep(PROMPT)
        assert rig.api.slept == ["box"]


# ---- the guest ----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_guest_has_a_veto() -> None:
    async with running() as rig:
        rig.guests.agree = False
        rig.add("box", check=StandbyCheck(8080, "/may-sleep"))
        await asyncio.sleep(100)
        assert rig.peers.questions == []
        assert 5 < len(rig.guests.asked) < 12
        assert rig.count("standby_vetoes_total") == len(rig.guests.asked)
        assert (rig.count("standby_overdue"), rig.count("standby_overdue_seconds")) == (0, 0)
        told = rig.controller.why(rig.route())
        assert told.as_json()["last_failure"] == "vetoed"
        assert told.vetoed_until is not None
        assert 0 < told.vetoed_until - told.taken_at <= 10 + PROMPT
        rig.guests.agree = True
        await asyncio.sleep(10 + PROMPT)
        assert rig.api.slept == ["box"]


@in_virtual_time
async def test_a_guest_that_takes_its_time_holds_up_nobody_else() -> None:
    async with running() as rig:
        rig.guests.takes = 2.0
        rig.add("asked", check=StandbyCheck(8080, "/"))
        rig.add("other")
        await asyncio.sleep(10 + PROMPT)
        assert rig.api.slept == ["other"]
        await asyncio.sleep(2)
        assert rig.api.slept == ["other", "asked"]


@in_virtual_time
async def test_a_guest_that_is_being_asked_when_the_lead_is_lost_is_asked_again_later() -> None:
    async with running() as rig:
        rig.guests.takes = 2.0
        rig.add("box", check=StandbyCheck(8080, "/"))
        while not rig.guests.asked:
            await asyncio.sleep(0.01)
        rig.lead.pass_on(False)
        await asyncio.sleep(30)
        rig.lead.pass_on(True)
        await asyncio.sleep(2 + 2 * PROMPT)
        assert rig.api.slept == ["box"]


# ---- observers ----------------------------------------------------------------------------------


@dataclass
class Flows:
    count: int = 0
    last_seen: float | None = None
    connected: bool = True


class Observers:
    def __init__(self) -> None:
        self.flows = Flows()
        self.confirmed: list[str] = []
        self.when_asked = Flows()

    def active(self, route: Route) -> Flows:
        return self.flows

    async def confirm(self, routes: Any) -> None:
        self.confirmed += [route.key.name for route in routes]
        await asyncio.sleep(0.01)
        self.flows = self.when_asked


@pytest.mark.parametrize("flows", [Flows(count=1), Flows(connected=False)])
@in_virtual_time
async def test_activity_is_asked_again_at_its_source_just_before(flows: Flows) -> None:
    observers = Observers()
    observers.when_asked = flows
    async with running(observers=observers) as rig:
        rig.add("box")
        await asyncio.sleep(10 + PROMPT)
        assert observers.confirmed == ["box"]
        assert rig.api.slept == []
        assert rig.told() == [(None, True)]
        observers.flows = observers.when_asked = Flows()
        await asyncio.sleep(15 + PROMPT)
        assert rig.api.slept == ["box"]


# ---- notes --------------------------------------------------------------------------------------

LONG = StandbyPolicy(enabled=True, idle_timeout=1800.0)


@in_virtual_time
async def test_the_leader_notes_since_when_one_is_idle_once() -> None:
    async with running() as rig:
        rig.add("box", policy=LONG)
        began = EPOCH + rig.now
        await asyncio.sleep(1790)
        ((_, name, changes),) = rig.api.notes
        written = own.read({**{k: v for k, v in changes.items() if v is not None}}).idle
        assert name == "box"
        assert written.idle_since == pytest.approx(began, abs=1)
        assert written.last_activity_at == pytest.approx(began, abs=1)


@in_virtual_time
async def test_who_does_not_lead_notes_nothing_as_idle_but_takes_off_what_it_saw_used() -> None:
    async with running() as rig:
        rig.lead.pass_on(False)
        rig.add("idle", "used", policy=LONG, idle_since=EPOCH + rig.now - 100)
        await asyncio.sleep(100)
        assert rig.api.notes == []
        assert rig.count("standby_watched") == 0
        rig.activity.enter("uid-used", rig.now).leave(rig.now)
        await asyncio.sleep(15)
        assert {name for _, name, _ in rig.api.notes} == {"used"}
        assert rig.api.notes[0][2][own.IDLE_SINCE] is None
        assert rig.api.notes[0][2][own.LAST_ACTIVITY_AT] is not None


@in_virtual_time
async def test_what_was_known_before_the_controller_began_is_heeded_too() -> None:
    now = EPOCH + asyncio.get_running_loop().time()
    known = [
        sandbox("noted", policy=LONG, idle_since=now - 100),
        sandbox(policy=None, key=Key("deployment", "team", "zero"), state=State.PAUSED),
    ]
    async with running(IdleConfig(deployments_after=300.0), known=known) as rig:
        assert rig.count("workloads_asleep") == 1
        rig.activity.enter("uid-noted", rig.now).leave(rig.now)
        await asyncio.sleep(15)
        assert [name for _, name, _ in rig.api.notes] == ["noted"]


@in_virtual_time
async def test_few_notes_are_written_a_second_and_none_twice_at_a_time() -> None:
    async with running(IdleConfig(notes_per_second=5.0)) as rig:
        rig.add(*(f"s{number}" for number in range(100)), policy=LONG)
        await asyncio.sleep(990)
        times = [at for at, _, _ in rig.api.notes]
        assert len({name for _, name, _ in rig.api.notes}) == len(times) == 100
        assert min(b - a for a, b in pairwise(times)) >= 0.19


@in_virtual_time
async def test_one_that_sleeps_when_its_note_gets_there_is_not_noted() -> None:
    async with running() as rig:
        rig.api.latency = 5.0
        rig.add("box", policy=LONG)
        await asyncio.sleep(902)
        rig.add("box", policy=LONG, version=9, state=State.PAUSED, address=None)
        await asyncio.sleep(10)
        assert rig.count("idle_notes_total", "idle") == 1
        assert rig.api.notes == []


@in_virtual_time
async def test_what_waits_to_be_noted_waits_once() -> None:
    async with running(IdleConfig(notes_per_second=0.05)) as rig:
        rig.add("a", "b", "c", policy=LONG, idle_since=EPOCH + rig.now - 100)
        for name in "abc":
            rig.activity.enter(f"uid-{name}", rig.now)
        await asyncio.sleep(300)
        assert sorted(name for _, name, _ in rig.api.notes) == ["a", "b", "c"]
        assert rig.count("idle_notes_total", "used") == 3


@in_virtual_time
async def test_one_that_is_used_before_its_note_is_written_is_not_noted() -> None:
    async with running(IdleConfig(notes_per_second=1.0)) as rig:
        rig.add("first", "second", policy=LONG)
        await asyncio.sleep(900)
        while not rig.api.notes:
            await asyncio.sleep(0.01)
        rig.activity.enter("uid-first", rig.now)
        rig.activity.enter("uid-second", rig.now)
        await asyncio.sleep(100)
        assert len([one for one in rig.api.notes if one[2][own.IDLE_SINCE]]) == 1


@in_virtual_time
async def test_a_note_that_fails_is_counted_and_nothing_else() -> None:
    async with running() as rig:
        rig.api.faults["annotate"] = ApiUnavailable("down")
        rig.add("box", policy=LONG)
        await asyncio.sleep(1000)
        assert rig.count("idle_notes_total", "failed") == 1
        await asyncio.sleep(800 + PROMPT)
        assert rig.api.slept == ["box"]


# ---- deployments --------------------------------------------------------------------------------


def add_deployment(rig: Rig, **changes: Any) -> None:
    key, wake = Key("deployment", "team", "box"), WakePolicy(True)
    rig.add("box", policy=None, key=key, wake=wake, **changes)


@in_virtual_time
async def test_deployments_go_to_zero_and_back_and_every_outcome_is_counted() -> None:
    async with running(IdleConfig(deployments_after=300.0)) as rig:
        for outcome in ("scaled_down", "woke_up", "wake_failed", "scale_failed"):
            assert rig.count("scaled_to_zero_total", outcome) == 0
        add_deployment(rig)
        rig.api.faults["box"] = AccessDenied("no")
        await asyncio.sleep(300 + PROMPT)
        assert rig.count("scaled_to_zero_total", "scale_failed") == 1
        rig.api.faults.clear()
        await asyncio.sleep(10)
        assert rig.count("scaled_to_zero_total", "scaled_down") == 1
        assert rig.count("workloads_asleep") == 1
        add_deployment(rig, version=10, state=State.RESUMING, address=None)
        add_deployment(rig, version=11)
        assert rig.count("scaled_to_zero_total", "woke_up") == 1
        assert rig.count("workloads_asleep") == 0
        add_deployment(rig, version=12, state=State.RESUMING, address=None)
        add_deployment(rig, version=13, state=State.PAUSED, address=None)
        assert rig.count("scaled_to_zero_total", "wake_failed") == 1


@in_virtual_time
async def test_off_means_no_call_at_all_and_no_metric() -> None:
    async with running() as rig:
        add_deployment(rig)
        await asyncio.sleep(100_000)
        assert (rig.peers.questions, rig.api.notes, rig.api.calls) == ([], [], {})
        with pytest.raises(KeyError):
            rig.count("scaled_to_zero_total", "scaled_down")


# ---- what is told -------------------------------------------------------------------------------


@in_virtual_time
async def test_a_snapshot_has_the_numbers_behind_the_countdown() -> None:
    async with running() as rig:
        rig.add("box", policy=StandbyPolicy(enabled=True, idle_timeout=300.0))
        await asyncio.sleep(200)
        told = rig.controller.why(rig.route()).as_json()
        assert told == {
            "supported": True, "configured": True, "enabled": True, "eligible": True,
            "status": "idle_countdown", "reason": "idle_timeout_not_elapsed",
            "active_inbound_count": 0, "idle_timeout": "5m0s",
            "idle_since": "2026-11-18T11:23:20Z", "last_inbound_activity_at":
            "2026-11-18T11:23:20Z", "next_standby_at": "2026-11-18T11:28:20Z",
            "countdown_remaining": "1m40s", "tracking_mode": "proxy", "hold_until": None,
            "pinned": False, "last_standby": None, "last_failure": None,
            "replicas": [],
        }  # fmt: skip


@in_virtual_time
async def test_a_snapshot_counts_what_other_replicas_count() -> None:
    async with running() as rig:
        rig.add("box")
        rig.peers.others = [PeerUse("two", 2, 0.0), PeerUse("three", 0, None, silent=True)]
        told = await rig.controller.snapshot(rig.route())
        assert (told.status, told.active) == (Status.ACTIVE, 2)
        assert [one.replica for one in told.uses] == ["this", "two", "three"]
        rig.peers.others = [PeerUse("two", 0, 3.0)]
        await asyncio.sleep(6)
        told = await rig.controller.snapshot(rig.route())
        assert told.status is Status.IDLE_COUNTDOWN
        assert told.idle_since == pytest.approx(EPOCH + rig.now - 3, abs=0.1)


@in_virtual_time
async def test_a_snapshot_tells_that_it_is_being_put_to_sleep_and_when_it_was() -> None:
    async with running() as rig:
        rig.add("box")
        rig.api.slow["box"] = 3.0
        await asyncio.sleep(10 + PROMPT)
        told = rig.controller.why(rig.route())
        assert (told.status, told.reason) == (Status.STANDBY_REQUESTED, Reason.READY)
        await asyncio.sleep(3)
        told = rig.controller.why(rig.route())
        assert told.status is Status.INELIGIBLE
        assert told.slept is not None
        assert told.slept.idle_for == pytest.approx(13, abs=PROMPT)
