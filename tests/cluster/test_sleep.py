"""A standby is written on what was just read, in its time or never; doubt is told as doubt."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cluster.client import KubeClient
from gateway.cluster.intake import Intake
from gateway.cluster.writer import SandboxWriter
from gateway.dialects import own
from gateway.dialects.native import Native
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    Conflict,
    InvalidWrite,
    NotWritten,
    ObjectGone,
    StandbyForbidden,
)
from gateway.sandbox.model import Key, State
from gateway.sandbox.texts import parse_duration

from .faultapi import (
    GET,
    PATCH,
    Gate,
    answers,
    applies_and_resets,
    events,
    fails,
    hangs,
    resets,
)

if TYPE_CHECKING:
    from gateway.cluster.metrics import ClusterCounters
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry

    from .conftest import Configure
    from .faultapi import FaultApi, Reply

KEY = Key("native", "team-a", "a")
WITHIN = 5.0
RUNNING = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
}


def always(_: Route) -> bool:
    return True


async def awake(api: FaultApi) -> str:
    raw = await api.put("a", spec={"desiredState": "Running"}, status=RUNNING)
    return str(raw["metadata"]["uid"])


def wanted(api: FaultApi) -> object:
    return api.objects["team-a", "a"]["spec"]["desiredState"]


async def test_it_asks_for_paused_of_what_was_read_and_says_until_when(
    api: FaultApi, writer: SandboxWriter, registry: Registry, counters: ClusterCounters
) -> None:
    uid = await awake(api)
    before = api.version
    route = await writer.sleep(KEY, uid, always, WITHIN)
    [patch] = [one for one in api.seen if one.kind == PATCH]
    assert json.loads(patch.body) == {
        "spec": {"desiredState": "Paused"},
        "metadata": {"resourceVersion": str(before)},
    }
    assert 0 < parse_duration(patch.query["timeout"]) <= WITHIN
    assert (route.state, route.version) == (State.PAUSING, before + 1)
    assert registry.get(KEY) is route
    assert counters.writes.counts == {("pause", "written"): 1}


async def test_a_wake_has_the_apis_own_time(api: FaultApi, writer: SandboxWriter) -> None:
    raw = await api.put("a")
    await writer.wake(KEY, raw["metadata"]["uid"])
    [patch] = [one for one in api.seen if one.kind == PATCH]
    assert "timeout" not in patch.query


async def test_it_is_judged_on_the_sandbox_as_it_is_just_then(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    uid = await awake(api)
    await writer.read(KEY, uid)
    annotations = {"sandbox-gateway.dev/pinned": "true"}
    await api.put("a", metadata={"annotations": annotations})
    with pytest.raises(StandbyForbidden):
        await writer.sleep(KEY, uid, lambda route: not route.idle.pinned, WITHIN)
    assert api.count(PATCH) == 0
    assert counters.writes.counts == {("pause", "forbidden"): 1}


async def test_what_is_asked_for_already_is_not_written_and_nothing_need_allow_it(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    uid = await awake(api)
    first = await writer.sleep(KEY, uid, always, WITHIN)
    assert await writer.sleep(KEY, uid, lambda _: False, WITHIN) == first
    assert api.count(PATCH) == 1
    assert counters.writes.counts == {("pause", "written"): 1, ("pause", "nothing_to_do"): 1}


@pytest.mark.parametrize(
    ("reply", "kind", "outcome"),
    [
        (fails(404), ObjectGone, "gone"),
        (fails(403), AccessDenied, "denied"),
        (fails(503), NotWritten, "not_written"),
        (answers(b"{"), NotWritten, "not_written"),
        (resets, NotWritten, "not_written"),
        (hangs, NotWritten, "not_written"),
    ],
)
async def test_what_cannot_be_read_is_certainly_not_written(
    api: FaultApi,
    writer: SandboxWriter,
    counters: ClusterCounters,
    reply: Reply,
    kind: type[Exception],
    outcome: str,
) -> None:
    uid = await awake(api)
    api.queue(GET, *[reply] * 2)  # a GET that was reset is asked again
    with pytest.raises(kind) as raised:
        await writer.sleep(KEY, uid, always, WITHIN)
    assert not isinstance(raised.value, ApiUnavailable)
    assert api.count(PATCH) == 0
    assert counters.writes.counts == {("pause", outcome): 1}


@pytest.mark.parametrize(
    ("reply", "kind", "outcome"),
    [
        (fails(409), Conflict, "conflict"),
        (fails(404), ObjectGone, "gone"),
        (fails(401), AccessDenied, "denied"),
        (fails(403), AccessDenied, "denied"),
        (fails(422), InvalidWrite, "invalid"),
    ],
)
async def test_what_the_api_refuses_is_certainly_not_written(
    api: FaultApi,
    writer: SandboxWriter,
    counters: ClusterCounters,
    reply: Reply,
    kind: type[Exception],
    outcome: str,
) -> None:
    uid = await awake(api)
    api.queue(PATCH, reply)
    with pytest.raises(kind):
        await writer.sleep(KEY, uid, always, WITHIN)
    assert wanted(api) == "Running"
    assert api.count(PATCH) == 1
    assert counters.writes.counts == {("pause", outcome): 1}


async def speaks_of_another(api: FaultApi, request: Any) -> Any:
    await api.patch(request)
    other = api.objects["team-a", "a"] | {
        "metadata": {"namespace": "team-a", "name": "a", "uid": "other", "resourceVersion": "99"}
    }
    return await answers(json.dumps(other).encode())(api, request)


async def is_no_sandbox_any_more(api: FaultApi, request: Any) -> Any:
    await api.patch(request)
    changed = api.objects["team-a", "a"] | {"status": {"phase": 7}}
    return await answers(json.dumps(changed).encode())(api, request)


@pytest.mark.parametrize(
    "reply",
    [
        fails(504),
        fails(503),
        fails(429),
        answers(b"{"),
        answers(b"nothing is served here", 404),
        resets,
        applies_and_resets,
        speaks_of_another,
        is_no_sandbox_any_more,
    ],
)
async def test_where_the_answer_does_not_tell_nobody_knows(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters, reply: Reply
) -> None:
    uid = await awake(api)
    api.queue(PATCH, reply)
    with pytest.raises(ApiUnavailable):
        await writer.sleep(KEY, uid, always, WITHIN)
    assert counters.writes.counts == {("pause", "unavailable"): 1}
    assert api.count(PATCH) == 1


async def test_a_standby_whose_answer_was_lost_may_be_asked_for_again(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await awake(api)
    api.queue(PATCH, applies_and_resets)
    with pytest.raises(ApiUnavailable):
        await writer.sleep(KEY, uid, always, WITHIN)
    assert (await writer.sleep(KEY, uid, always, WITHIN)).state is State.PAUSING
    assert api.count(PATCH) == 1


async def test_an_answer_is_not_waited_for_much_longer_than_it_can_come(
    api: FaultApi, configure: Configure, registry: Registry, counters: ClusterCounters
) -> None:
    uid = await awake(api)
    api.queue(PATCH, hangs)
    intakes = {"native": Intake(Native(), registry, counters)}
    async with KubeClient.connect(configure(request_timeout=600.0)) as client:
        patient = SandboxWriter(client, intakes, time.time, counters)
        with pytest.raises(ApiUnavailable):
            async with asyncio.timeout(60):
                await patient.sleep(KEY, uid, always, 0.8)
        await patient.close()
    [patch] = [one for one in api.seen if one.kind == PATCH]
    assert 0.5 <= parse_duration(patch.query["timeout"]) <= 0.8


async def test_one_that_waited_for_its_reading_too_long_is_not_written(
    api: FaultApi, configure: Configure, registry: Registry, counters: ClusterCounters
) -> None:
    uid = await awake(api)
    api.queue(GET, hangs)
    intakes = {"native": Intake(Native(), registry, counters)}
    async with KubeClient.connect(configure(request_timeout=600.0)) as client:
        patient = SandboxWriter(client, intakes, time.time, counters)
        with pytest.raises(NotWritten):
            async with asyncio.timeout(60):
                await patient.sleep(KEY, uid, always, 0.6)
        await patient.close()
    assert api.count(PATCH) == 0


async def test_one_that_was_judged_for_too_long_is_not_written(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await awake(api)

    def slowly(_: Route) -> bool:
        time.sleep(0.3)
        return True

    with pytest.raises(NotWritten):
        await writer.sleep(KEY, uid, slowly, 0.7)
    assert api.count(PATCH) == 0


async def test_somebody_elses_write_in_between_is_a_conflict_and_stays(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await awake(api)

    async def meanwhile(server: FaultApi, request: Any) -> Any:
        await server.put("a", metadata={"annotations": {"sandbox-gateway.dev/pinned": "true"}})
        return await server.patch(request)

    api.queue(PATCH, meanwhile)
    with pytest.raises(Conflict):
        await writer.sleep(KEY, uid, always, WITHIN)
    assert wanted(api) == "Running"


async def test_a_gateway_that_closes_puts_nothing_to_sleep(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await awake(api)
    await writer.close()
    with pytest.raises(NotWritten):
        await writer.sleep(KEY, uid, always, WITHIN)
    assert api.seen == []


async def test_who_leaves_does_not_leave_it_half_done(api: FaultApi, writer: SandboxWriter) -> None:
    uid, gate = await awake(api), Gate()
    api.queue(PATCH, gate.patch)
    asked = asyncio.create_task(writer.sleep(KEY, uid, always, WITHIN))
    await gate.reached.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    gate.open.set()
    await writer.close()
    assert wanted(api) == "Paused"


async def test_it_is_recorded_as_an_event_with_its_reason(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await awake(api)
    await writer.sleep(KEY, uid, always, WITHIN, "Idle for 5m2s of 5m0s.")
    await writer.sleep(KEY, uid, always, WITHIN, "It sleeps already.")
    await writer.close()
    [event] = events(api)
    told = (event["reason"], event["type"], event["message"])
    assert told == ("Standby", "Normal", "Idle for 5m2s of 5m0s.")


@pytest.mark.parametrize(("status", "reasons"), [(403, ["StandbyFailed"]), (409, []), (503, [])])
async def test_one_that_fails_for_good_is_recorded_too(
    api: FaultApi, writer: SandboxWriter, status: int, reasons: list[str]
) -> None:
    uid = await awake(api)
    api.queue(PATCH, fails(status))
    with pytest.raises((AccessDenied, Conflict, ApiUnavailable)):
        await writer.sleep(KEY, uid, always, WITHIN)
    await writer.close()
    assert [event["reason"] for event in events(api)] == reasons


async def test_a_standby_takes_off_the_note_that_it_is_idle(
    api: FaultApi, writer: SandboxWriter
) -> None:
    noted = {"annotations": {own.IDLE_SINCE: "2026-11-22T10:00:00Z", "theirs": "kept"}}
    raw = await api.put("a", metadata=noted, spec={"desiredState": "Running"}, status=RUNNING)
    await writer.sleep(KEY, str(raw["metadata"]["uid"]), lambda _: True, within=5.0)
    stored = api.objects["team-a", "a"]
    assert stored["metadata"]["annotations"] == {"theirs": "kept"}
    assert stored["spec"]["desiredState"] == "Paused"
