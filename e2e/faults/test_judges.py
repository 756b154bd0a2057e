"""What judges the runs of faults: it sees what is wrong, and excuses nothing that is not true."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import math
import socket
import sys
import termios
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import make_mocked_request

from e2e.programs import free_port
from e2e.waiting import DEADLINE, soon

from .ledger import Kind, Outcome, Record
from .plan import Lane, steps
from .pods import Deliveries, Pod
from .timeline import LONGEST, STATUS, UNDISTURBED, Cause, Span, Timeline
from .traffic import Target, Traffic
from .vitals import Memory, Vitals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOX = "team/box"


def refused(reason: str, sent: float = 100.0, ended: float = 101.0) -> Record:
    status = STATUS.get(reason, 400)
    return Record(Kind.GET, "0-1", BOX, 8080, sent, ended, Outcome.REFUSED, status, reason)


def answered(seconds: float) -> Record:
    return Record(Kind.GET, "0-1", BOX, 8080, 100.0, 100.0 + seconds, Outcome.RIGHT, 200)


def past(*spans: Span) -> Timeline:
    timeline = Timeline(grace=3.0)
    for span in spans:
        begun = timeline.begin(span.cause, span.subject)
        begun.begin, begun.end = span.begin, span.end
    return timeline


# ---- the timeline -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "excused"),
    [
        (Span(Cause.POD_DOWN, BOX, 90.0), True),
        (Span(Cause.POD_DOWN, BOX, 90.0, 98.0), True),
        (Span(Cause.POD_DOWN, BOX, 90.0, 96.0), False),
        (Span(Cause.POD_DOWN, BOX, 102.0), False),
        (Span(Cause.POD_DOWN, "team/other", 90.0), False),
        (Span(Cause.PORT_CLOSES, BOX, 98.0, 98.0), True),
        (Span(Cause.PORT_CLOSED, BOX, 90.0), False),
        (Span(Cause.API_FAULT, "", 90.0), False),
    ],
    ids=[
        "now", "just before", "too long ago", "after", "another's", "not accepted yet",
        "another cause", "the API's",
    ],
)  # fmt: skip
def test_a_reset_is_excused_by_the_end_of_that_pod_alone(span: Span, excused: bool) -> None:
    assert past(span).excuses(refused("upstream_reset")) == excused


def test_a_wake_may_fail_only_of_a_sandbox_that_sleeps_while_the_api_fails() -> None:
    asleep, fault = Span(Cause.ASLEEP, BOX, 90.0), Span(Cause.API_REFUSES, "", 90.0)
    slow = Span(Cause.API_FAULT, "", 90.0)
    assert not past(asleep, slow).excuses(refused("wake_failed"))
    assert past(asleep, fault).excuses(refused("wake_failed"))
    assert not past(asleep).excuses(refused("wake_failed"))
    assert not past(fault).excuses(refused("wake_failed"))


def test_one_that_sleeps_is_woken_and_not_called_unreachable() -> None:
    asleep = Span(Cause.ASLEEP, BOX, 90.0)
    assert not past(asleep).excuses(refused("sandbox_unreachable"))
    just_ended = Span(Cause.LIFE_ENDS, BOX, 99.0, 99.0)
    assert past(asleep, just_ended).excuses(refused("sandbox_unreachable"))


def test_a_reason_is_told_by_its_own_status() -> None:
    down = past(Span(Cause.POD_DOWN, BOX, 90.0))
    assert down.excuses(refused("upstream_reset"))
    assert not down.excuses(replace(refused("upstream_reset"), status=418))


def test_no_answer_takes_for_ever_and_none_long_without_a_fault() -> None:
    calm, fault = past(), past(Span(Cause.ASLEEP, BOX, 90.0))
    assert calm.excuses(answered(UNDISTURBED - 1))
    assert not calm.excuses(answered(UNDISTURBED + 1))
    assert fault.excuses(answered(UNDISTURBED + 1))
    assert not fault.excuses(answered(LONGEST + 1))
    assert not fault.excuses(refused("upstream_reset", ended=101.0 + LONGEST))


def test_an_answered_request_must_not_come_once_more() -> None:
    deliveries = Deliveries()
    request = make_mocked_request("POST", "/", headers={"X-For": BOX, "X-Number": "1"})
    deliveries.note(request, BOX)
    deliveries.settle("1")
    assert deliveries.repeated == []
    deliveries.note(request, BOX)
    assert len(deliveries.repeated) == 1


def test_the_end_of_a_fault_is_not_known_before_the_api_can_be_heard() -> None:
    closed = Span(Cause.PORT_CLOSED, BOX, 80.0, 90.0)
    assert not past(closed).excuses(refused("sandbox_unreachable"))
    unheard = Span(Cause.API_FAULT, "", 85.0, 99.0)
    assert past(closed, unheard).excuses(refused("sandbox_unreachable"))


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.UNANSWERED])
def test_what_must_never_be_has_no_excuse(outcome: Outcome) -> None:
    everything = [Span(cause, BOX, 0.0) for cause in Cause]
    record = replace(refused("upstream_reset"), outcome=outcome)
    assert not past(*everything).excuses(record)


def test_a_reason_that_nobody_knows_has_no_excuse() -> None:
    everything = [Span(cause, BOX, 0.0) for cause in Cause]
    assert not past(*everything).excuses(refused("bad_request"))


# ---- the load -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Direct:
    """A pod in the place of a gateway."""

    data_port: int


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    made = Pod("team/other", "127.0.0.1", free_port(), Deliveries())
    await made.open()
    yield made
    await made.kill()


@pytest.mark.parametrize("kind", [Kind.GET, Kind.ECHO, Kind.EVENTS])
@pytest.mark.parametrize(("asked", "outcome"), [("other", "right"), ("box", "wrong")])
async def test_an_answer_of_another_sandbox_is_wrong(
    kind: Kind, asked: str, outcome: str, pod: Pod
) -> None:
    target = Target("team", asked, pod.port)
    traffic = Traffic(lambda: Direct(pod.port), lambda: target)
    record = await traffic.once(kind, target, Direct(pod.port))
    assert record.outcome.value == outcome
    assert record.told_by == ("team/other", pod.uid)
    assert len(pod.deliveries.astray) == (asked == "box")


async def test_a_pod_that_is_silent_or_gone_is_not_connected_to(pod: Pod) -> None:
    target = Target("team", "other", pod.port)
    traffic = Traffic(lambda: Direct(pod.port), lambda: target, patience=0.2)
    await pod.vanish()
    silent = await traffic.once(Kind.GET, target, Direct(pod.port))
    assert silent.outcome is Outcome.UNCONNECTED
    await pod.kill()
    refused = await traffic.once(Kind.GET, target, Direct(pod.port))
    assert refused.outcome is Outcome.UNCONNECTED
    assert traffic.ledger.right == 0
    assert len(traffic.ledger.failed()) == 2


async def test_a_port_that_closes_loses_nothing_that_came_before(pod: Pod) -> None:
    with _asking(pod) as client:  # the kernel has taken it, the pod has not yet
        pod.close_port()
        await soon(lambda: pod.in_flight or pod.deliveries.count, "it is served")
        answer = await asyncio.to_thread(client.recv, 1024)
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_pod_that_vanishes_acknowledges_nothing_of_what_it_had_not_accepted(
    pod: Pod,
) -> None:
    with _asking(pod) as client:
        await pod.vanish()
        await soon(lambda: pod.in_flight, "it is accepted")
        client.sendall(b"what comes now is for nobody")
        unacknowledged = fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4))
    assert int.from_bytes(unacknowledged, sys.byteorder) > 0


def _asking(pod: Pod) -> socket.socket:
    """Return a connection on which a pod is asked something, as far as the kernel knows."""
    client = socket.create_connection((pod.ip, pod.port), timeout=DEADLINE)
    client.sendall(b"GET / HTTP/1.1\r\nHost: box\r\nX-For: team/other\r\nX-Number: 1\r\n\r\n")
    return client


# ---- the plan and the vitals --------------------------------------------------------------------


@pytest.mark.parametrize("lane", Lane)
def test_a_plan_is_the_same_for_the_same_seed(lane: Lane) -> None:
    first, again, other = ([*itertools.islice(steps(seed, lane), 50)] for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert all(math.isfinite(step.quiet + step.lasts) for step in first)


def test_memory_that_grows_is_not_flat() -> None:
    mebibyte = 2**20
    steady = Memory([50 * mebibyte] * 10 + [100 * mebibyte] * 30)
    assert steady.flat, "the warm-up does not count"
    growing = Memory([(100 + number) * mebibyte for number in range(40)])
    assert not growing.flat


def test_what_was_not_there_before_is_left() -> None:
    before = Vitals(20, 10, {"requests_in_flight": 0.0}, 0.0)
    assert Vitals(22, 11, {"requests_in_flight": 0.0}, 0.0).left_since(before) == {}
    after = Vitals(40, 30, {"requests_in_flight": 1.0}, 0.0)
    assert before.at_rest
    assert not after.at_rest
    assert after.left_since(before) == {"requests_in_flight": 1.0, "tasks": 20, "descriptors": 20}
