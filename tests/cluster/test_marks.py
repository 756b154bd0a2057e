"""Annotations of ours are written by compare-and-set, tried again, and never written twice."""

from __future__ import annotations

import asyncio
import json
import math
import time
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import json_merge_patch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster import marks
from gateway.cluster.intake import Intake
from gateway.cluster.marks import PIN, UNPIN
from gateway.cluster.writer import ATTEMPTS, SandboxWriter
from gateway.dialects import own
from gateway.dialects.native import Native
from gateway.sandbox.errors import AccessDenied, ApiUnavailable, Conflict
from gateway.sandbox.model import Key, State
from gateway.sandbox.texts import format_time, parse_time
from tests.dialects.objects import native_object

from .conftest import eventually
from .faultapi import GET, PATCH, Gate, applies_and_resets, fails

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cluster.client import KubeClient
    from gateway.cluster.marks import Changes
    from gateway.cluster.metrics import ClusterCounters
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry

    from .faultapi import FaultApi

KEY = Key("native", "team-a", "a")
NOW = 1_795_342_830.0


def annotated(found: Mapping[str, str] | None) -> dict[str, Any]:
    raw = native_object()
    raw["metadata"]["annotations"] = None if found is None else dict(found)
    return raw


def judged(raw: dict[str, Any]) -> Route:
    return Native().route(raw)


def notes(api: FaultApi) -> object:
    return api.objects["team-a", "a"]["metadata"].get("annotations")


async def there(api: FaultApi, found: Mapping[str, str] | None = None) -> str:
    raw = await api.put("a", metadata={} if found is None else {"annotations": dict(found)})
    return str(raw["metadata"]["uid"])


# ---- what is written ----------------------------------------------------------------------------

NAMES = st.sampled_from([own.PINNED, own.HOLD_UNTIL, own.IDLE_SINCE])
TEXTS = st.sampled_from(["true", "false", "x"])


@given(
    st.none() | st.dictionaries(NAMES, TEXTS),
    st.dictionaries(NAMES, st.none() | TEXTS),
)
def test_a_difference_makes_annotations_so_and_is_none_where_they_are(
    found: dict[str, str] | None, changes: Changes
) -> None:
    raw = annotated(found)
    patch = marks.difference(raw, changes)
    after: dict[str, str | None] = {**(found or {}), **changes}
    wanted = {name: value for name, value in after.items() if value is not None}
    if patch is None:
        assert (found or {}) == wanted
    else:
        changed = json_merge_patch.merge(deepcopy(raw), patch)
        assert changed["metadata"]["annotations"] == wanted
        assert marks.difference(changed, changes) is None


@given(
    st.lists(
        st.tuples(
            st.floats(NOW, NOW + 100_000), st.floats(0.001, 100_000), st.sampled_from([1, 2, 3])
        )
    )
)
def test_a_hold_is_as_long_as_asked_and_never_shortened(
    asked: list[tuple[float, float, int]],
) -> None:
    raw, longest = annotated(None), -math.inf
    for now, seconds, _ in asked:
        until = marks.end_of_hold(now, seconds)
        if marks.extends(judged(raw), until):
            patch = marks.difference(raw, marks.hold(until))
            assert patch is not None
            raw = json_merge_patch.merge(raw, patch)
        held = judged(raw).idle.hold_until
        assert held is not None
        assert held >= max(longest, now + seconds)
        longest = held


def test_a_hold_that_does_not_parse_has_no_end_and_is_left_for_a_person() -> None:
    route = judged(annotated({own.HOLD_UNTIL: "tomorrow"}))
    assert marks.is_held_by_mistake(route)
    assert not marks.extends(route, NOW)
    assert not marks.is_held_by_mistake(judged(annotated({own.HOLD_UNTIL: format_time(NOW)})))


# ---- how it is written --------------------------------------------------------------------------


async def test_an_annotation_is_written_with_the_version_that_was_judged(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    uid = await there(api, {"theirs": "stays"})
    before = api.version
    route = await writer.annotate(KEY, uid, PIN)
    [patch] = [json.loads(one.body) for one in api.seen if one.kind == PATCH]
    assert patch == {
        "metadata": {"annotations": {own.PINNED: "true"}, "resourceVersion": str(before)}
    }
    assert notes(api) == {"theirs": "stays", own.PINNED: "true"}
    assert route.idle.pinned
    assert counters.writes.counts == {("mark", "written"): 1}


async def test_what_is_so_already_is_not_written(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    uid = await there(api)
    assert not (await writer.annotate(KEY, uid, UNPIN)).idle.pinned
    await writer.annotate(KEY, uid, PIN)
    await writer.annotate(KEY, uid, PIN)
    assert not (await writer.annotate(KEY, uid, UNPIN)).idle.pinned
    assert api.count(PATCH) == 2
    assert counters.writes.counts == {("mark", "nothing_to_do"): 2, ("mark", "written"): 2}
    assert notes(api) == {}


async def test_what_forbids_is_judged_on_the_sandbox_just_read(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await there(api)
    await writer.read(KEY, uid)
    held = format_time(NOW)
    await there(api, {own.HOLD_UNTIL: held})
    until = NOW - 60
    route = await writer.annotate(
        KEY, uid, marks.hold(until), lambda route: marks.extends(route, until)
    )
    assert route.idle.hold_until == NOW
    assert api.count(PATCH) == 0


async def test_after_a_conflict_the_sandbox_is_read_and_judged_anew(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    uid = await there(api)

    async def held_longer_meanwhile(server: FaultApi, request: Any) -> Any:
        await there(server, {own.HOLD_UNTIL: format_time(NOW + 60)})
        return await server.patch(request)

    api.queue(PATCH, held_longer_meanwhile)
    route = await writer.annotate(
        KEY, uid, marks.hold(NOW), lambda route: marks.extends(route, NOW)
    )
    assert route.idle.hold_until == NOW + 60
    assert (api.count(GET), api.count(PATCH)) == (2, 1)
    assert counters.writes.counts == {("mark", "nothing_to_do"): 1}


@pytest.mark.parametrize("conflicts", [ATTEMPTS - 1, ATTEMPTS])
async def test_conflicts_are_outlasted_up_to_a_number(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters, conflicts: int
) -> None:
    uid = await there(api)
    api.queue(PATCH, *[fails(409)] * conflicts)
    if conflicts < ATTEMPTS:
        assert (await writer.annotate(KEY, uid, PIN)).idle.pinned
    else:
        with pytest.raises(Conflict):
            await writer.annotate(KEY, uid, PIN)
        assert counters.writes.counts == {("mark", "conflict"): 1}
    assert api.count(PATCH) == ATTEMPTS


@pytest.mark.parametrize(("status", "kind"), [(403, AccessDenied), (503, ApiUnavailable)])
async def test_other_failures_are_told_at_once(
    api: FaultApi, writer: SandboxWriter, status: int, kind: type[Exception]
) -> None:
    uid = await there(api)
    api.queue(PATCH, fails(status))
    with pytest.raises(kind):
        await writer.annotate(KEY, uid, PIN)
    assert api.count(PATCH) == 1


async def test_one_whose_answer_was_lost_may_be_asked_for_again(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await there(api)
    api.queue(PATCH, applies_and_resets)
    with pytest.raises(ApiUnavailable):
        await writer.annotate(KEY, uid, PIN)
    assert (await writer.annotate(KEY, uid, PIN)).idle.pinned
    assert api.count(PATCH) == 1


async def test_marks_of_one_sandbox_follow_each_other_and_all_are_made(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    uid = await there(api)
    ends = [NOW + number * 7 % 20 for number in range(20)]

    async def hold(until: float) -> None:
        def extends(route: Route) -> bool:
            return marks.extends(route, until)

        await writer.annotate(KEY, uid, marks.hold(until), extends)

    await asyncio.gather(*map(hold, ends), *(writer.annotate(KEY, uid, PIN) for _ in range(5)))
    assert notes(api) == {own.PINNED: "true", own.HOLD_UNTIL: format_time(max(ends))}
    assert not [outcome for _, outcome in counters.writes.counts if outcome == "conflict"]
    assert api.count(GET) == 25


async def test_a_wake_does_not_wait_for_a_mark_and_neither_is_lost(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid, gate = await there(api), Gate()
    api.queue(PATCH, gate.patch)
    marking = asyncio.create_task(writer.annotate(KEY, uid, PIN))
    await gate.reached.wait()
    assert (await writer.wake(KEY, uid)).state is State.RESUMING
    gate.open.set()
    assert (await marking).idle.pinned
    assert api.objects["team-a", "a"]["spec"]["desiredState"] == "Running"


async def test_a_mark_waits_for_a_wake_under_way(api: FaultApi, writer: SandboxWriter) -> None:
    uid, gate = await there(api), Gate()
    api.queue(PATCH, gate.patch)
    waking = asyncio.create_task(writer.wake(KEY, uid))
    await gate.reached.wait()
    marking = asyncio.create_task(writer.annotate(KEY, uid, PIN))
    await asyncio.sleep(0.02)
    assert api.count(GET) == 1
    gate.open.set()
    await waking
    assert (await marking).idle.pinned
    assert api.count(PATCH) == 2


async def test_closing_waits_for_marks(api: FaultApi, writer: SandboxWriter) -> None:
    uid, gate = await there(api), Gate()
    api.queue(PATCH, gate.patch)
    marking = asyncio.create_task(writer.annotate(KEY, uid, PIN))
    await gate.reached.wait()
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.open.set()
    await closing
    assert (await marking).idle.pinned
    with pytest.raises(ApiUnavailable):
        await writer.annotate(KEY, uid, UNPIN)


# ---- claims -------------------------------------------------------------------------------------

RUNNING = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
}


async def running(api: FaultApi) -> str:
    raw = await api.put("a", spec={"desiredState": "Running"}, status=RUNNING)
    return str(raw["metadata"]["uid"])


async def test_a_standby_that_comes_after_a_claim_is_a_conflict(
    api: FaultApi,
    writer: SandboxWriter,
    client: KubeClient,
    registry: Registry,
    counters: ClusterCounters,
) -> None:
    uid, gate = await running(api), Gate()
    api.queue(PATCH, gate.patch)
    elsewhere = SandboxWriter(
        client, {"native": Intake(Native(), registry, counters)}, time.time, counters
    )
    late = asyncio.create_task(elsewhere.sleep(KEY, uid, lambda _: True, 60.0))
    await gate.reached.wait()
    claimed = await writer.claim(KEY, uid)
    gate.open.set()
    with pytest.raises(Conflict):
        await late
    await elsewhere.close()
    assert claimed.state is State.RUNNING
    assert api.objects["team-a", "a"]["spec"]["desiredState"] == "Running"


async def test_every_claim_of_what_is_to_run_is_a_write(
    api: FaultApi, writer: SandboxWriter
) -> None:
    uid = await running(api)
    versions = [(await writer.claim(KEY, uid)).version for _ in range(5)]
    assert versions == sorted(set(versions))
    assert api.count(PATCH) == 5


async def test_what_is_to_sleep_is_not_claimed(api: FaultApi, writer: SandboxWriter) -> None:
    uid = await there(api)
    assert (await writer.claim(KEY, uid)).state is State.PAUSED
    assert api.count(PATCH) == 0


# ---- what a sandbox's own controller would end --------------------------------------------------

KRUISE = Key("kruise", "team-a", "a")


async def kruise(api: FaultApi, ahead: float) -> str:
    raw = await api.put(
        "a",
        apiVersion="agents.kruise.io/v1alpha1",
        spec={"pauseTime": format_time(NOW + ahead)},
        status={"phase": "Running"},
    )
    return str(raw["metadata"]["uid"])


async def test_a_pause_that_is_near_is_put_off(api: FaultApi, writer: SandboxWriter) -> None:
    uid = await kruise(api, ahead=10)
    route = await writer.postpone(KRUISE, uid, NOW)
    assert route.idle.pause_at is not None
    assert route.idle.pause_at >= NOW + 60
    pause_time = api.objects["team-a", "a"]["spec"]["pauseTime"]
    assert parse_time(pause_time) == route.idle.pause_at


async def test_a_pause_that_is_far_costs_no_write(
    api: FaultApi, writer: SandboxWriter, counters: ClusterCounters
) -> None:
    uid = await kruise(api, ahead=86_400)
    await writer.postpone(KRUISE, uid, NOW)
    assert api.count(PATCH) == 0
    assert counters.writes.counts == {("mark", "nothing_to_do"): 1}


async def test_what_no_controller_ends_is_not_put_off(api: FaultApi, writer: SandboxWriter) -> None:
    uid = await there(api)
    await writer.postpone(KEY, uid, NOW)
    await eventually(lambda: api.count(GET) == 1)
    assert api.count(PATCH) == 0


# ---- claims -------------------------------------------------------------------------------------


async def test_a_claim_is_a_write_each_time_so_that_no_earlier_judgement_lands(
    api: FaultApi, writer: SandboxWriter
) -> None:
    noted = {"annotations": {own.IDLE_SINCE: format_time(NOW)}}
    raw = await api.put("a", metadata=noted, spec={"desiredState": "Running"})
    uid = str(raw["metadata"]["uid"])
    before = (await writer.read(KEY, uid)).version
    first = await writer.claim(KEY, uid)
    second = await writer.claim(KEY, uid)
    assert before < first.version < second.version
    assert second.idle.idle_since is None
    assert second.idle.last_activity_at is not None


async def test_what_is_to_sleep_needs_no_claim(api: FaultApi, writer: SandboxWriter) -> None:
    uid = await there(api)
    asleep = await writer.read(KEY, uid)
    assert (await writer.claim(KEY, uid)).version == asleep.version
