"""A request body held back, passed on, broken off, or read to its end unread."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.body import HIGH_WATER, NO_BODY, RequestBody
from gateway.sandbox.errors import BadRequest

from .heads import Gathered


class Holds:
    """What a body asked of its connection."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.body = RequestBody(self.asked.append)


def test_what_came_before_the_sink_is_passed_on_as_one_piece() -> None:
    body, sink = Holds().body, Gathered()
    body.feed(b"ab")
    body.feed(b"cd")
    assert body.kept_bytes == 4
    body.attach(sink)
    assert (sink.data, sink.pieces, body.kept_bytes) == (b"abcd", 1, 0)
    body.feed(b"ef")
    body.feed_end([b"X-T: 1\r\n"])
    assert (sink.data, sink.pieces, sink.trailers) == (b"abcdef", 2, [b"X-T: 1\r\n"])


def test_a_body_that_is_whole_is_passed_on_with_its_end() -> None:
    body, sink = Holds().body, Gathered()
    body.feed(b"ab")
    ended = [body.ended]
    body.feed_end([])
    assert [*ended, body.ended] == [False, True]
    body.attach(sink)
    assert sink == Gathered(b"ab", [], None, 1)


def test_an_empty_body_ends_without_a_piece() -> None:
    body, sink = Holds().body, Gathered()
    body.feed_end([])
    body.attach(sink)
    assert sink == Gathered(b"", [], None, 0)


@pytest.mark.parametrize("attached_first", [True, False])
def test_an_error_comes_in_the_place_of_the_end(attached_first: bool) -> None:
    body, sink = Holds().body, Gathered()
    if attached_first:
        body.attach(sink)
    body.feed(b"ab")
    body.feed_error(BadRequest())
    if not attached_first:
        body.attach(sink)
    assert sink == Gathered(b"ab", None, BadRequest, 1)
    assert not body.ended


def test_a_body_over_the_mark_stops_its_connection_until_it_is_taken() -> None:
    holds = Holds()
    holds.body.feed(b"x" * HIGH_WATER)
    assert holds.asked == []
    holds.body.feed(b"x")
    holds.body.feed(b"x")
    assert holds.asked == [True]
    holds.body.attach(Gathered())
    assert holds.asked == [True, False]
    holds.body.feed(b"x" * 2 * HIGH_WATER)
    assert holds.asked == [True, False]


def test_after_the_sink_is_gone_what_comes_is_kept_again() -> None:
    holds, sink = Holds(), Gathered()
    holds.body.attach(sink)
    holds.body.feed(b"ab")
    holds.body.detach()
    holds.body.feed(b"cd")
    assert (sink.data, holds.body.kept_bytes) == (b"ab", 2)
    holds.body.feed(b"x" * HIGH_WATER)
    assert holds.asked == [True]


async def test_the_rest_of_an_unread_body_can_be_read_away() -> None:
    holds = Holds()
    holds.body.feed(b"x" * (HIGH_WATER + 1))
    assert len(await holds.body.readany()) == HIGH_WATER + 1
    assert holds.asked == [True, False]
    assert not holds.body.is_eof()

    reading = asyncio.create_task(holds.body.readany())
    await asyncio.sleep(0)
    holds.body.feed(b"ab")
    holds.body.feed(b"cd")
    assert await reading == b"abcd"

    reading = asyncio.create_task(holds.body.readany())
    await asyncio.sleep(0)
    holds.body.feed_end([])
    assert await reading == b""
    assert holds.body.is_eof()
    assert await holds.body.readany() == b""


async def test_reading_away_ends_at_an_error() -> None:
    body = Holds().body
    reading = asyncio.create_task(body.readany())
    await asyncio.sleep(0)
    body.feed_error(BadRequest())
    assert await reading == b""
    assert body.is_eof()


def test_what_was_kept_is_not_the_end() -> None:
    body = Holds().body
    body.feed(b"ab")
    body.feed_end([])
    assert not body.is_eof()
    body.set_exception(RuntimeError("aiohttp has no use for it any more"))
    assert not body.is_eof()


async def test_a_request_without_a_body_has_nothing_to_give() -> None:
    sink = Gathered()
    NO_BODY.attach(sink)
    NO_BODY.detach()
    assert sink == Gathered()
    assert NO_BODY.is_eof()
    assert NO_BODY.ended
    assert NO_BODY.kept_bytes == 0
    assert await NO_BODY.readany() == b""


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=HIGH_WATER), max_size=5),
    where=st.integers(0, 5),
)
def test_every_byte_arrives_once_whenever_the_sink_comes(pieces: list[bytes], where: int) -> None:
    holds, sink = Holds(), Gathered()
    for number, piece in enumerate(pieces):
        if number == where:
            holds.body.attach(sink)
        holds.body.feed(piece)
    if where >= len(pieces):
        holds.body.attach(sink)
    holds.body.feed_end([])
    assert (sink.data, sink.trailers) == (b"".join(pieces), [])
    assert holds.asked in ([], [True, False])
