"""Compare-and-set over real sockets: guards, fences, one write at a time, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cluster.intake import Intake
from gateway.cluster.marks import PIN
from gateway.cluster.writer import SandboxWriter
from gateway.dialects.native import Native
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    Conflict,
    InvalidWrite,
    ObjectGone,
    SandboxIsPausing,
    SandboxIsTerminating,
    ShutdownTimeReached,
    WakeForbidden,
)
from gateway.sandbox.model import Key, State

from .conftest import eventually
from .faultapi import CREATE, GET, PATCH, Gate, answers, events, fails, hangs

if TYPE_CHECKING:
    from gateway.cluster.client import KubeClient
    from gateway.cluster.metrics import ClusterCounters
    from gateway.dialects.base import Patch, RawObject
    from gateway.sandbox.registry import Registry

    from .faultapi import FaultApi, Reply

KEY = Key("native", "team-a", "a")
NOW = 1_795_342_830.0


async def asleep(api: FaultApi, **changes: Any) -> str:
    raw = await api.put("a", **changes)
    return str(raw["metadata"]["uid"])


async def test_a_wake_writes_with_the_version_that_was_judged(
    api: FaultApi, writer: SandboxWriter, registry: Registry, counters: ClusterCounters
) -> None:
    uid = await asleep(api)
    before = api.version
    route = await writer.wake(KEY, uid)
    [patch] = [json.loads(one.body) for one in api.seen if one.kind == PATCH]
    assert patch == {
        "spec": {"desiredState": "Running"},
        "metadata": {"resourceVersion": str(before)},
    }
    assert registry.get(KEY) is route
    assert (route.uid, route.state, route.version) == (uid, State.RESUMING, before + 1)
    assert counters.writes.counts == {("wake", "written"): 1}


async def test_a_wake_of_what_is_asked_for_already_writes_nothing(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    uid = await asleep(api, spec={"desiredState": "Running", "wakeOnTraffic": None})
    route = await writer.wake(KEY, uid)
    assert route.state is State.RESUMING
    assert api.count(PATCH) == 0
    assert counters.writes.counts == {("wake", "nothing_to_do"): 1}


async def test_a_read_enters_what_it_learns(
    api: FaultApi, writer: SandboxWriter, registry: Registry
) -> None:
    uid = await asleep(api)
    route = await writer.read(KEY, uid)
    assert registry.get(KEY) is route


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"status": {"phase": "Pausing"}}, SandboxIsPausing),
        ({"spec": {"shutdownTime": "2020-01-01T00:00:00Z"}}, ShutdownTimeReached),
        ({"spec": {"wakeOnTraffic": {"enabled": False}}}, WakeForbidden),
        ({"spec": {"wakeOnTraffic": None}}, WakeForbidden),
    ],
)
async def test_guards_are_judged_on_the_object_just_read(
    api: FaultApi, writer: SandboxWriter, changes: dict[str, Any], kind: type[Exception]
) -> None:
    uid = await asleep(api)
    await writer.read(KEY, uid)
    await api.put("a", **changes)
    with pytest.raises(kind):
        await writer.wake(KEY, uid)
    assert api.count(PATCH) == 0


async def test_a_sandbox_being_deleted_is_not_woken(api: FaultApi, writer: SandboxWriter) -> None:
    uid = await asleep(api)
    raw = api.objects["team-a", "a"]
    await api.put("a", metadata=raw["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"})
    with pytest.raises(SandboxIsTerminating):
        await writer.wake(KEY, uid)


async def test_another_sandbox_of_the_same_name_is_neither_read_nor_woken(
    api: FaultApi, writer: SandboxWriter, registry: Registry
) -> None:
    uid = await asleep(api)
    api.discard("a")
    await asleep(api)
    for verb in (
        writer.wake,
        writer.read,
        partial(writer.postpone, used_at=NOW),
        partial(writer.sleep, may=lambda _: True, within=5.0),
        partial(writer.annotate, changes=PIN),
    ):
        with pytest.raises(ObjectGone):
            await verb(KEY, uid)
    assert api.count(PATCH) == 0
    assert registry.get(KEY) is None


async def test_an_answer_about_another_sandbox_is_not_taken_for_ours(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await asleep(api)
    other = api.objects["team-a", "a"] | {
        "metadata": {"namespace": "team-a", "name": "a", "uid": "other", "resourceVersion": "99"}
    }
    api.queue(PATCH, answers(json.dumps(other).encode()))
    with pytest.raises(ObjectGone):
        await writer.wake(KEY, uid)


async def test_an_object_that_cannot_be_judged_is_gone_to_us_and_loses_its_route(
    api: FaultApi, writer: SandboxWriter, registry: Registry
) -> None:
    uid = await asleep(api)
    await writer.read(KEY, uid)
    await api.put("a", status={"phase": 7})
    with pytest.raises(ObjectGone):
        await writer.wake(KEY, uid)
    assert registry.get(KEY) is None


@pytest.mark.parametrize(
    ("reply", "kind", "outcome"),
    [
        (fails(409), Conflict, "conflict"),
        (fails(404), ObjectGone, "gone"),
        (fails(403), AccessDenied, "denied"),
        (fails(422), InvalidWrite, "invalid"),
        (fails(503), ApiUnavailable, "unavailable"),
        (hangs, ApiUnavailable, "unavailable"),
        (answers(b"{"), ApiUnavailable, "unavailable"),
    ],
)
@pytest.mark.parametrize("verb", [GET, PATCH])
async def test_each_failure_is_told_and_counted(
    api: FaultApi,
    writer: SandboxWriter,
    counters: ClusterCounters,
    reply: Reply,
    kind: type[Exception],
    outcome: str,
    verb: str,
) -> None:
    uid = await asleep(api)
    api.queue(verb, reply)
    with pytest.raises(kind):
        await writer.wake(KEY, uid)
    assert counters.writes.counts == {("wake", outcome): 1}


async def test_a_conflict_leaves_the_object_as_somebody_else_wrote_it(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await asleep(api)

    async def meanwhile(server: FaultApi, request: Any) -> Any:
        await server.put("a", spec={"note": "theirs"})
        return await server.patch(request)

    api.queue(PATCH, meanwhile)
    with pytest.raises(Conflict):
        await writer.wake(KEY, uid)
    assert api.objects["team-a", "a"]["spec"]["desiredState"] == "Paused"
    assert (await writer.wake(KEY, uid)).state is State.RESUMING


class NoCalendar(Native):
    """A dialect whose arithmetic leads nowhere."""

    def wake_patch(self, raw: RawObject, now: float) -> Patch | None:
        raise OverflowError

    standby_patch = wake_patch

    def postpone_patch(self, raw: RawObject, now: float) -> None:
        raise OverflowError


async def test_a_mistake_in_making_a_patch_is_a_write_that_cannot_be(
    api: FaultApi, client: KubeClient, registry: Registry, counters: ClusterCounters
) -> None:
    uid = await asleep(api)
    intake = Intake(NoCalendar(), registry, counters)
    writer = SandboxWriter(client, {"native": intake}, time.time, counters)
    for verb in (
        writer.wake,
        partial(writer.postpone, used_at=NOW),
        partial(writer.sleep, may=lambda _: True, within=5.0),
    ):
        with pytest.raises(InvalidWrite):
            await verb(KEY, uid)
    await writer.close()
    assert api.count(PATCH) == 0


async def test_a_thousand_wakes_of_one_sandbox_are_one_write(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await asleep(api)
    routes = await asyncio.gather(*(writer.wake(KEY, uid) for _ in range(1000)))
    assert (api.count(GET), api.count(PATCH)) == (1, 1)
    assert len(set(map(id, routes))) == 1


@pytest.mark.parametrize("leaver", [0, 1])
async def test_a_caller_that_leaves_ends_nothing_for_the_others(
    api: FaultApi, writer: SandboxWriter, leaver: int
) -> None:
    uid, gate = await asleep(api), Gate()
    api.queue(PATCH, gate.patch)
    callers = [asyncio.create_task(writer.wake(KEY, uid)) for _ in range(2)]
    await gate.reached.wait()
    leaving = callers.pop(leaver)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    gate.open.set()
    assert (await callers[0]).state is State.RESUMING
    assert api.count(PATCH) == 1


@pytest.mark.parametrize("reply", [None, fails(500)])
async def test_a_write_that_all_have_left_is_finished_before_closing(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters, reply: Reply | None
) -> None:
    uid, gate = await asleep(api), Gate()

    async def held(server: FaultApi, request: Any) -> Any:
        usual = await gate.patch(server, request)
        return usual if reply is None else await reply(server, request)

    api.queue(PATCH, held)
    only = asyncio.create_task(writer.wake(KEY, uid))
    await gate.reached.wait()
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.open.set()
    await closing
    assert sum(counters.writes.counts.values()) == 1
    with pytest.raises(ApiUnavailable):
        await writer.wake(KEY, uid)


async def test_a_wake_waits_for_a_standby_that_has_begun_and_then_has_its_way(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid, gate = await asleep(api, spec={"desiredState": "Running"}), Gate()
    api.queue(PATCH, gate.patch)
    pausing = asyncio.create_task(writer.sleep(KEY, uid, lambda _: True, 5.0))
    await gate.reached.wait()
    waking = asyncio.create_task(writer.wake(KEY, uid))
    joined = asyncio.create_task(writer.wake(KEY, uid))
    await asyncio.sleep(0.02)
    assert api.count(GET) == 1
    gate.open.set()
    assert (await pausing).state is State.PAUSED
    assert (await waking).state is State.RESUMING
    assert await joined is await waking
    assert api.objects["team-a", "a"]["spec"]["desiredState"] == "Running"


async def test_a_standby_that_comes_while_a_wake_is_under_way_is_refused(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid, gate = await asleep(api), Gate()
    api.queue(PATCH, gate.patch)
    waking = asyncio.create_task(writer.wake(KEY, uid))
    await gate.reached.wait()
    with pytest.raises(Conflict):
        await writer.sleep(KEY, uid, lambda _: True, 5.0)
    gate.open.set()
    await waking


async def test_a_wake_is_recorded_as_an_event_on_the_sandbox(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    uid = await asleep(api)
    await writer.wake(KEY, uid)
    await writer.close()
    [event] = events(api)
    assert [one.path for one in api.seen if one.kind == CREATE] == [
        "/api/v1/namespaces/team-a/events"
    ]
    assert (event["reason"], event["type"]) == ("Woken", "Normal")
    assert event["involvedObject"] == {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "namespace": "team-a",
        "name": "a",
        "uid": uid,
        "resourceVersion": str(api.version),
    }
    assert event["metadata"] == {"generateName": "a.", "namespace": "team-a"}
    assert counters.events.counts == {("recorded",): 1}


@pytest.mark.parametrize(("status", "reasons"), [(403, ["WakeFailed"]), (409, []), (503, [])])
async def test_a_wake_that_fails_for_good_is_recorded_too(
    api: FaultApi, writer: SandboxWriter, status: int, reasons: list[str]
) -> None:
    uid = await asleep(api)
    api.queue(PATCH, fails(status))
    with pytest.raises((AccessDenied, Conflict, ApiUnavailable)):
        await writer.wake(KEY, uid)
    await writer.close()
    assert [event["reason"] for event in events(api)] == reasons


@pytest.mark.parametrize("reply", [hangs, fails(403), fails(500)])
async def test_an_event_that_cannot_be_written_delays_and_breaks_nothing(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters, reply: Reply
) -> None:
    uid = await asleep(api)
    api.queue(CREATE, reply)
    assert (await writer.wake(KEY, uid)).state is State.RESUMING
    assert counters.events.counts == {}
    await writer.close()
    assert counters.events.counts == {("failed",): 1}


async def test_events_being_written_are_bounded(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    api.queue(CREATE, *[hangs] * 40)
    for number in range(40):
        raw = await api.put(f"s{number}")
        await writer.wake(Key("native", "team-a", f"s{number}"), raw["metadata"]["uid"])
        if counters.events.counts.get(("dropped",)):
            break
    await eventually(lambda: counters.events.counts.get(("dropped",), 0) >= 1)


@pytest.mark.parametrize("kind", [GET, PATCH])
async def test_closing_that_is_cancelled_cancels_what_is_under_way(
    api: FaultApi, writer: SandboxWriter, kind: str
) -> None:
    uid = await asleep(api)
    api.queue(kind, hangs)
    waking = asyncio.create_task(writer.wake(KEY, uid))
    await eventually(lambda: api.held == 1)
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(asyncio.CancelledError):
        await waking
    await eventually(lambda: api.held == 0)
