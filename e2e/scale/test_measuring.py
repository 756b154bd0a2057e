"""What the figures are made of: the Sandboxes, the load that judges answers, the API's counters."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from e2e.bench.scale_objects import REACHABLE, id_of
from e2e.scale.objects import (
    BUSY,
    DOOMED,
    FIRST_OTHER,
    MOVING,
    PLACES,
    ROLE,
    SERVED,
    SLEEPER,
    SLEEPERS,
    address_of,
    heartbeat,
    manifest,
    namespaces,
)
from e2e.scale.readings import Counters
from e2e.scale.traffic import Heard, Load
from e2e.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


# ---- the Sandboxes ------------------------------------------------------------------------------


def test_no_two_sandboxes_have_one_address() -> None:
    found = [manifest(number)["status"]["podIP"] for number in range(3 * REACHABLE)]
    assert len({*found, *PLACES}) == len(found) + len(PLACES)


def test_servers_listen_where_requests_go() -> None:
    assert {address_of(number) for number in (*BUSY, MOVING, *SLEEPERS)} <= {*SERVED}
    assert manifest(BUSY[0])["status"]["podIP"] == address_of(BUSY[0])


def test_each_sandbox_plays_one_part() -> None:
    parts = [*BUSY, MOVING, *SLEEPERS, *DOOMED]
    assert len({*parts}) == len(parts)
    assert max(parts) < FIRST_OTHER


def test_sleepers_are_paused_and_marked_and_all_others_run() -> None:
    asleep, awake = manifest(SLEEPERS[0]), manifest(BUSY[0])
    assert asleep["spec"]["desiredState"] == asleep["status"]["phase"] == "Paused"
    assert asleep["metadata"]["labels"][ROLE] == SLEEPER
    assert awake["spec"]["desiredState"] == awake["status"]["phase"] == "Running"
    assert ROLE not in awake["metadata"]["labels"]


def test_what_the_api_makes_itself_is_not_written() -> None:
    assert manifest(0)["metadata"].keys() == {"annotations", "labels", "name", "namespace"}


def test_a_heartbeat_changes_conditions_and_keeps_the_sandbox_ready() -> None:
    one, two = (heartbeat(FIRST_OTHER, beat)["status"]["conditions"] for beat in (1, 2))
    before = manifest(FIRST_OTHER)["status"]["conditions"]
    assert one != two
    assert [each["type"] for each in one] == [each["type"] for each in before]
    assert all(each["status"] == "True" for each in one)


def test_each_sandbox_has_its_namespace() -> None:
    wanted = {manifest(number)["metadata"]["namespace"] for number in range(2_500)}
    assert wanted == {*namespaces(2_500)}


# ---- the load -----------------------------------------------------------------------------------


@asynccontextmanager
async def server(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """Answer each request by what is told; give the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(writer)
        try:
            while True:
                writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
        except (EOFError, ConnectionError):
            writer.close()
            clients.remove(writer)

    clients: set[asyncio.StreamWriter] = set()
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
        await soon(lambda: not clients, "all clients are gone")


async def heard_from(answer: Callable[[bytes], bytes], count: int) -> Heard:
    """Return what a load of one connection has heard once so many requests have ended."""
    async with server(answer) as port:
        load = Load(port, 80, 1_000)
        heard = load.heard
        tasks = [asyncio.create_task(one) for one in (load.pace(), load.send())]
        try:
            await soon(
                lambda: len(heard.answered) + len(heard.failed) >= count, f"{count} have ended"
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return heard


def ok(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def by_the_right_one(request: bytes) -> bytes:
    number = next(one for one in BUSY if id_of(one).encode() in request)
    return ok(address_of(number) + "\n")


async def test_answers_of_the_right_sandboxes_are_right() -> None:
    heard = await heard_from(by_the_right_one, 50)
    assert not heard.failed
    assert not heard.wrong


async def test_answers_of_another_sandbox_are_wrong() -> None:
    heard = await heard_from(lambda _: ok(address_of(BUSY[0])), 3)
    assert not heard.failed
    # The first request goes to the first sandbox.
    assert len(heard.wrong) == len(heard.answered) - 1


async def test_what_is_not_200_has_failed_and_the_load_goes_on() -> None:
    def answer(request: bytes) -> bytes:
        if id_of(BUSY[1]).encode() in request:
            return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
        return by_the_right_one(request)

    heard = await heard_from(answer, 10)
    assert len(heard.failed) == 1
    assert "502" in heard.failed[0][1]
    assert len(heard.answered) >= 9


async def test_a_broken_connection_has_failed_and_the_load_goes_on() -> None:
    def answer(request: bytes) -> bytes:
        if id_of(BUSY[1]).encode() in request:
            raise ConnectionError
        return by_the_right_one(request)

    heard = await heard_from(answer, 10)
    assert [why.partition(":")[0] for _, why in heard.failed] == ["IncompleteReadError"]
    assert len(heard.answered) >= 9


def test_what_was_due_in_a_stretch_of_time_counts_in_it() -> None:
    heard = Heard(
        answered=[(0.9, 9.0), (1.0, 0.1), (1.5, 0.3), (2.0, 9.0)],
        wrong=[0.9, 1.5],
        failed=[(1.2, "the reason"), (2.5, "another")],
    )
    served = heard.served(1.0, 2.0)
    assert (served.requests, served.failed, served.wrong) == (3, 1, 1)
    assert (served.p50, served.worst) == pytest.approx((0.1, 0.3))
    assert served.failure == "the reason"


def test_a_stretch_of_time_without_an_answer_has_its_failures() -> None:
    served = Heard(failed=[(1.2, "the reason")]).served(1.0, 2.0)
    assert (served.requests, served.failed, served.worst) == (1, 1, 0.0)


# ---- the API's counters -------------------------------------------------------------------------

EXPOSITION = """\
# HELP apiserver_request_total Counter of apiserver requests
apiserver_request_total{code="200",resource="sandboxes",scope="cluster",verb="LIST"} 4
apiserver_request_total{code="200",resource="sandboxes",scope="cluster",verb="WATCH"} 9
apiserver_request_total{code="200",resource="leases",scope="cluster",verb="LIST"} 100
apiserver_response_sizes_sum{resource="sandboxes",scope="cluster",verb="LIST"} 1e+06
apiserver_response_sizes_sum{resource="sandboxes",scope="resource",verb="GET"} 77
apiserver_request_duration_seconds_sum{resource="sandboxes",verb="LIST"} 0.5
apiserver_watch_events_total{group="a",resource="sandboxes",version="v1"} 10
apiserver_watch_events_sizes_sum{group="a",resource="sandboxes",version="v1"} 20000
"""


def test_counters_are_those_of_sandboxes() -> None:
    assert Counters.parse(EXPOSITION) == Counters(4, 1e6, 0.5, 10, 20_000)


def test_lists_are_what_was_counted_since() -> None:
    lists = Counters(7, 3e6, 1.5, 0, 0).lists_since(Counters.parse(EXPOSITION))
    assert (lists.pages, lists.bytes, lists.seconds) == (3, 2e6, 1.0)
