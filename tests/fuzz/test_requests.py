"""Streams of requests through the real listener, judged by two parsers of other people."""

from __future__ import annotations

from .differential import (
    PLAIN,
    Refused,
    check_legal,
    check_odd,
    check_refused,
    odd_bytes,
    refusals,
    streams,
)
from .exploring import explore
from .rig import rig
from .tricks import ILLEGAL


async def test_legal_streams_reach_their_sandboxes_and_are_answered_in_order() -> None:
    """Exactly those requests, byte for byte, once; exactly those answers (RFC 9112 §9.3.2)."""
    async with rig() as made:
        await explore(made, check_legal, streams, 40)


async def test_each_known_trick_is_refused_and_nothing_behind_it_is_a_request() -> None:
    """RFC 9112 §11.2: a message that two recipients may read differently is no message."""
    async with rig() as made:
        for refused in ILLEGAL:
            await made.judged(check_refused(made, Refused([], refused, PLAIN, [])))


async def test_what_is_illegal_is_refused_behind_whatever_is_legal() -> None:
    """The same, among other requests and however the reads fall."""
    async with rig() as made:
        await explore(made, check_refused, refusals, 40)


async def test_of_odd_bytes_only_what_every_parser_takes_for_a_request_is_forwarded() -> None:
    """Nor does a body, or a part of it, ever turn into a request on the way."""
    async with rig() as made:
        await explore(made, check_odd, odd_bytes, 60)
