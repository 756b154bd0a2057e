"""What is checked of each stream of requests, by two parsers on both sides of the gateway."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from tests.conformance.wire import Message

from .readers import (
    Reading,
    Seen,
    requests_by_h11,
    requests_by_httptools,
    responses_by_h11,
    responses_by_httptools,
)
from .rig import stamp
from .strategies import (
    SMUGGLED,
    Body,
    Framing,
    LegalRequest,
    cut,
    cuts,
    legal_request,
    legal_stream,
    mutated,
)
from .tricks import illegal_request

if TYPE_CHECKING:
    from tests.conformance.wire import Client

    from .rig import Rig

#: Fields that the gateway writes, or that are the connection's.
_NOT_END_TO_END: Final = frozenset(
    {b"host", b"via", b"content-length", b"transfer-encoding", b"connection", b"upgrade"}
    | {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
)
_MANY_SPACES: Final = re.compile(rb"  HTTP/1|^[A-Z]+  ", re.MULTILINE)
#: Seconds within which a connection is closed after an error.
_SOON: Final = 2.0
_ABSOLUTE: Final = re.compile(rb"^https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True)
class Stream:
    """Requests of one client connection; `at`: where the reads end."""

    requests: list[LegalRequest]
    at: list[int]


@dataclass(frozen=True)
class Refused:
    """Legal requests, one that must be refused, and a legal one behind it."""

    before: list[LegalRequest]
    refused: bytes
    behind: LegalRequest
    at: list[int]


@dataclass(frozen=True)
class Odd:
    """Bytes that may be anything."""

    sent: bytes
    at: list[int]


streams = st.lists(st.builds(Stream, legal_stream(), cuts), min_size=1, max_size=3)
refusals = st.builds(
    Refused,
    st.just([]) | legal_stream(may_close=False),
    illegal_request,
    legal_request(),
    cuts,
)
#: One that is legal, to stand behind another.
PLAIN: Final = LegalRequest(
    b"GET",
    b"/asked/{marker}",
    b"/asked/{marker}",
    b"box",
    b"1.1",
    (b"Host: a", b"E2b-Sandbox-Id: box", b"E2b-Sandbox-Port: {prt}"),
    (),
    Body(Framing.NONE),
    closes=False,
)
odd_bytes = st.builds(
    Odd,
    legal_stream().flatmap(lambda all_: mutated(b"".join(one.sent for one in all_)))
    | illegal_request.flatmap(mutated),
    cuts,
)


# ---- legal streams -------------------------------------------------------------------------------


async def check_legal(rig: Rig, examples: list[Stream]) -> None:
    """Each sandbox gets exactly the requests it was meant to get, each client its answers."""
    before = rig.gateway.number("requests_total", outcome="answered", reason="")
    expected = [[_expected(rig, request) for request in stream.requests] for stream in examples]
    await asyncio.gather(
        *(_converse(rig, stream, wanted) for stream, wanted in zip(examples, expected, strict=True))
    )
    await rig.stillness()
    after = rig.gateway.number("requests_total", outcome="answered", reason="")
    assert after - before == sum(map(len, expected))
    forwarded = rig.forwarded()
    for name, readings in forwarded.items():
        assert all(reading.clean for reading in readings)
        got = [_end_to_end(one) for reading in readings for one in reading.whole]
        wanted = [one.seen for stream in expected for one in stream if one.sandbox == name]
        assert sorted(map(repr, got)) == sorted(map(repr, wanted))
        for stream in expected:
            _assert_in_order(readings, [one.seen for one in stream if one.sandbox == name])


@dataclass(frozen=True)
class _Expected:
    """A request as it is sent, as a sandbox must see it, and what that answers."""

    sandbox: bytes
    method: str
    closes: bool
    sent: bytes
    seen: Seen
    answer: bytes


def _expected(rig: Rig, request: LegalRequest) -> _Expected:
    sent, marker = rig.mark(request.sent)
    seen = Seen(
        (request.method, rig.placed(request.target, marker)),
        list(request.fields),
        rig.placed(request.body.content, marker),
        [(name.lower(), value) for name, value in request.body.trailers],
    )
    start = b"%b %b HTTP/1.1" % (request.method, rig.placed(request.target, marker))
    answer = stamp(request.sandbox, Message(start, [], seen.body))
    rig.totals.requests += 1
    return _Expected(request.sandbox, request.method.decode(), request.closes, sent, seen, answer)


async def _converse(rig: Rig, stream: Stream, expected: list[_Expected]) -> None:
    client = await rig.client()
    sent = b"".join(one.sent for one in expected)
    if expected[-1].closes:
        sent += rig.mark(SMUGGLED)[0]  # RFC 9112 §9.6: after "close" nothing is a request
    sending = asyncio.create_task(_send(client, sent, stream.at))
    for one in expected:
        await client.response(one.method)
    if expected[-1].closes:
        await client.ended()
    await asyncio.gather(sending, return_exceptions=expected[-1].closes)
    reading = _read_answers(client, [one.method for one in expected], ended=expected[-1].closes)
    assert reading.clean
    bodies = [b"" if one.method == "HEAD" else one.answer for one in expected]
    assert [(one.start, one.body) for one in reading.whole] == [(200, body) for body in bodies]


async def _send(client: Client, data: bytes, at: list[int]) -> None:
    """Send the data so that the reads end where told."""
    for piece in cut(data, at):
        await client.send(piece)
        for _ in range(3):
            await asyncio.sleep(0)


def _read_answers(client: Client, methods: list[str], *, ended: bool) -> Reading:
    """Return what both parsers see in what a client got."""
    received = bytes(client.received)
    reading = responses_by_h11(received, methods, ended=ended)
    assert reading == responses_by_httptools(received, methods, ended=ended), received
    return reading


def _end_to_end(seen: Seen) -> Seen:
    """Return a request without what the gateway wrote."""
    fields = [(name, value) for name, value in seen.fields if name not in _NOT_END_TO_END]
    return Seen(seen.start, fields, seen.body, seen.trailers)


def _assert_in_order(readings: list[Reading], wanted: list[Seen]) -> None:
    """On no connection may a later request of a client come before an earlier one."""
    places = {one.start: place for place, one in enumerate(wanted)}
    for reading in readings:
        order = [places[one.start] for one in reading.whole if one.start in places]
        assert order == sorted(order)


# ---- what must be refused ------------------------------------------------------------------------


async def check_refused(rig: Rig, example: Refused) -> None:
    """What is illegal is answered by an error, once, and nothing behind it is ever a request."""
    before = [_expected(rig, request) for request in example.before]
    refused, marker = rig.mark(example.refused)
    behind = _expected(rig, example.behind)
    client = await rig.client()
    sent = b"".join(one.sent for one in before) + refused + behind.sent
    sending = asyncio.create_task(_send(client, sent, example.at))
    try:
        async with asyncio.timeout(_SOON):
            await client.ended()
    except TimeoutError:
        raise AssertionError("the connection was not closed") from None
    await asyncio.gather(sending, return_exceptions=True)  # it may be closed before all is sent
    methods = [*(one.method for one in before), "GET"]
    reading = _read_answers(client, methods, ended=True)
    assert len(reading.whole) == len(methods), client.received
    *answers, error = reading.whole
    for one, answer in zip(before, answers, strict=True):
        assert (answer.start, answer.body) == (200, b"" if one.method == "HEAD" else one.answer)
    assert isinstance(error.start, int)
    assert 400 <= error.start < 600
    assert error.all(b"connection") == [b"close"]
    assert error.all(b"proxy-status"), error
    assert reading.clean, client.received
    await rig.stillness()
    for name, readings in rig.forwarded().items():
        whole = [_end_to_end(one) for reading in readings for one in reading.whole]
        assert whole == [one.seen for one in before if one.sandbox == name]
        for half in (reading.partial for reading in readings):
            assert half is None or marker in half.start[1]  # type: ignore[index]


# ---- any bytes -----------------------------------------------------------------------------------


async def check_odd(rig: Rig, example: Odd) -> None:
    """Whatever is forwarded, both parsers saw it in what the client sent: in order, and once."""
    sent = rig.mark_each(example.sent)
    if _MANY_SPACES.search(sent):
        return  # llhttp passes over them, as RFC 9112 §3 allows, and h11 does not
    client = await rig.client()
    draining = asyncio.create_task(client.ended())
    await asyncio.gather(_send(client, sent, example.at), return_exceptions=True)
    await rig.stillness()
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)
    client.close()
    await rig.stillness()
    rig.totals.requests += 1
    readings = [one for each in rig.forwarded().values() for one in each]
    _check_answers(client, sent, {one.start for each in readings for one in each.begun})
    for reference in (requests_by_h11(sent), requests_by_httptools(sent)):
        left = reference.begun
        for reading in readings:
            for one in reading.begun:
                is_whole = one is not reading.partial
                among = [asked for asked in left if not is_whole or asked is not reference.partial]
                same = [asked for asked in among if _is_same(one, asked, is_whole=is_whole)]
                assert same, (one, reference, sent)
                left.remove(same[0])


def _check_answers(client: Client, sent: bytes, forwarded: set[object]) -> None:
    """What the client got are answers, the sandboxes' own ones to what was forwarded."""
    asked = requests_by_httptools(sent).begun
    methods = [one.start[0].decode() for one in asked if isinstance(one.start, tuple)]
    reading = responses_by_h11(bytes(client.received), [*methods, "GET"], ended=False)
    assert not reading.broken, client.received
    for answer in reading.whole:
        if answer.start == 200 and answer.body:
            _, method, target, _ = answer.body.split(b" ")
            assert (method, target) in forwarded, answer


def _is_same(forwarded: Seen, asked: Seen, *, is_whole: bool) -> bool:
    """Return whether a request, if not whole then its beginning, is this one of the client's."""
    assert isinstance(forwarded.start, tuple)
    assert isinstance(asked.start, tuple)
    target = _ABSOLUTE.sub(b"", asked.start[1])
    target = target if target.startswith(b"/") else b"/" + target
    if forwarded.start != (asked.start[0], target):
        return False
    if is_whole:
        return asked.body == forwarded.body
    return asked.body.startswith(forwarded.body)
