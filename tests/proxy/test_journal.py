"""What is counted and logged of a request: once, and never a secret."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.proxy.admission import Admitted
from gateway.proxy.body import NO_BODY
from gateway.proxy.headers import Peer
from gateway.proxy.journal import Journal
from gateway.proxy.request import Request
from gateway.proxy.target import Target
from gateway.sandbox.activity import Activity
from gateway.sandbox.errors import BadRequest, Forbidden, GatewayError
from gateway.sandbox.model import Key, Route, State
from gateway.telemetry.access_log import MAX_PATH, AccessLog
from gateway.telemetry.instruments import Instruments

from .heads import make_head

if TYPE_CHECKING:
    from gateway.proxy.client import Connection
    from gateway.proxy.message import RequestHead

ROUTE = Route(
    key=Key("native", "team", "box"),
    uid="uid-1",
    id="team--box",
    version=1,
    state=State.RUNNING,
    incarnation="life-1",
)


PEER = Peer("203.0.113.9", trusted=False)


@dataclass
class Client:
    """As much of a client's connection as the journal looks at."""

    peer: Peer = PEER


ADMITTED = Admitted(ROUTE, 80, Target(port=80, default_port=80, id="team--box"), [])


class Desk:
    """A journal with its log and its counters."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()
        self.instruments = Instruments()
        self.log = AccessLog(self.stream, self.instruments)
        self.journal = Journal(self.instruments, self.log, lambda: 1_700_000_000.0)

    def begin(self, head: RequestHead | GatewayError | None = None) -> Request:
        request = Request(head or make_head(), NO_BODY, cast("Connection", Client()))
        self.journal.begin(request)
        return request

    def end(self, request: Request, seconds: float = 0.25) -> None:
        """End a request that took so long."""
        self.journal.end(request, request.began + seconds)

    def lines(self) -> list[dict[str, Any]]:
        self.log.flush()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def line(self) -> dict[str, Any]:
        (only,) = self.lines()
        return only

    def counted(self) -> dict[tuple[str, str], float]:
        """Return the outcomes that were counted, with their reasons."""
        return {
            (sample.labels["outcome"], sample.labels["reason"]): sample.value
            for metric in self.instruments.collect()
            for sample in metric.samples
            if "outcome" in sample.labels and sample.value
        }

    def in_flight(self) -> float:
        (value,) = [
            sample.value
            for metric in self.instruments.collect()
            for sample in metric.samples
            if sample.name == "sandbox_gateway_requests_in_flight"
        ]
        return value


async def test_an_answered_request_is_one_line_with_sandbox_and_sizes() -> None:
    desk = Desk()
    request = desk.begin(make_head(method=b"POST", target=b"/a/b?token=s3cret"))
    request.admitted = ADMITTED
    request.status, request.bytes_up, request.bytes_down = 200, 3, 5
    request.answered()
    desk.end(request)
    line = desk.line()
    assert line.pop("duration_ms") == 250.0
    assert line.pop("time").startswith("2023-11-14T22:13:")
    assert line == {
        "peer": "203.0.113.9",
        "method": "POST",
        "path": "/a/b",
        "status": 200,
        "outcome": "answered",
        "bytes_up": 3,
        "bytes_down": 5,
        "sandbox": "team/box",
        "uid": "uid-1",
        "port": 80,
    }
    assert desk.counted() == {("answered", ""): 1}


async def test_no_query_and_no_field_is_ever_logged() -> None:
    desk = Desk()
    secret = [b"Authorization: Bearer s3cret\r\n", b"Cookie: s3cret\r\n"]
    special = {b"x-access-token": [b"s3cret"], b"host": [b"s3cret.example"]}
    for target in (b"/x?s3cret", b"/x??s3cret", b"/?a=b&token=s3cret#"):
        desk.end(desk.begin(make_head(target=target, lines=secret, special=special)))
    assert len(desk.lines()) == 3
    assert b"s3cret" not in desk.stream.getvalue()


async def test_a_long_path_is_cut_and_odd_bytes_stay_one_line() -> None:
    desk = Desk()
    desk.end(desk.begin(make_head(target=b"/" + b"x" * 10_000)))
    desk.end(desk.begin(make_head(target=b'/\xe9"\\\x1b[31m')))
    long, odd = desk.lines()
    assert len(long["path"]) == MAX_PATH
    assert odd["path"] == '/\xe9"\\\x1b[31m'


async def test_a_refusal_is_logged_by_its_reason() -> None:
    desk = Desk()
    request = desk.begin()
    request.refused(Forbidden())
    desk.end(request)
    line = desk.line()
    assert (line["outcome"], line["reason"], line["status"]) == ("refused", "forbidden", 403)
    assert "sandbox" not in line
    assert desk.counted() == {("refused", "forbidden"): 1}


async def test_what_was_no_request_has_no_method_and_no_path() -> None:
    desk = Desk()
    request = desk.begin(BadRequest())
    request.refused(BadRequest())
    desk.end(request)
    assert not {"method", "path"} & set(desk.line())


async def test_an_answer_of_the_gateways_own_is_local() -> None:
    desk = Desk()
    request = desk.begin()
    request.answered_here(204)
    desk.end(request)
    assert (desk.line()["outcome"], desk.line()["status"]) == ("local", 204)


@pytest.mark.parametrize(("status", "logged"), [(0, 499), (200, 200)])
async def test_a_client_that_left_is_gone(status: int, logged: int) -> None:
    desk = Desk()
    request = desk.begin()
    request.status, request.bytes_up, request.bytes_down = status, 0, 0
    request.client_gone()
    desk.end(request)
    assert (desk.line()["outcome"], desk.line()["status"]) == ("gone", logged)


async def test_what_ends_in_no_other_way_was_broken_off() -> None:
    desk = Desk()
    request = desk.begin()
    request.status, request.bytes_up, request.bytes_down = 200, 0, 7
    desk.end(request)
    assert desk.line()["outcome"] == "broken"
    assert desk.counted() == {("broken", ""): 1}


async def test_the_wait_of_a_woken_request_is_logged() -> None:
    desk = Desk()
    for waited in (None, 1.5):
        request = desk.begin()
        request.admitted, request.wake_seconds = ADMITTED, waited
        desk.end(request)
    warm, cold = desk.lines()
    assert "wake_ms" not in warm
    assert cold["wake_ms"] == 1500.0


async def test_requests_under_way_are_counted_until_their_end() -> None:
    desk = Desk()
    first, second = desk.begin(), desk.begin()
    assert (desk.journal.in_flight, desk.in_flight()) == (2, 2)
    desk.end(first)
    assert desk.journal.in_flight == 1
    desk.end(second)
    assert (desk.journal.in_flight, desk.in_flight()) == (0, 0)


async def test_a_use_is_given_back_at_the_end_and_with_a_request_that_is_begun_anew() -> None:
    desk, activity = Desk(), Activity()
    request = desk.begin()
    request.usage = usage = activity.enter("uid-1", 0.0)
    desk.journal.forget(request)
    assert usage.count == 0
    assert usage.last > 0.0
    desk.journal.begin(request)
    request.usage = activity.enter("uid-1", 0.0)
    desk.end(request)
    assert (usage.count, usage.last) == (0, request.began + 0.25)
    refused = desk.begin()
    desk.end(refused, 5.0)
    assert (usage.count, usage.last) == (0, request.began + 0.25)


async def test_without_a_log_requests_are_counted_all_the_same() -> None:
    instruments = Instruments()
    journal = Journal(instruments, None, lambda: 0.0)
    request = Request(make_head(), NO_BODY, cast("Connection", Client()))
    journal.begin(request)
    journal.end(request, request.began)
    durations = [
        sample.value
        for metric in instruments.collect()
        for sample in metric.samples
        if sample.name == "sandbox_gateway_request_duration_seconds_count"
    ]
    assert durations == [1]
