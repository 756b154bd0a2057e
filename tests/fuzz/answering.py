"""What is checked of each response: how it comes through, and what becomes of a broken one."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from tests.conformance.harness import eventually

from .readers import Seen, responses_by_h11, responses_by_httptools
from .replies import Kind, replies
from .strategies import cut

if TYPE_CHECKING:
    from tests.conformance.upstream import Leg, Script
    from tests.conformance.wire import Client

    from .replies import Reply
    from .rig import Rig

#: What a client asks for and with which version: one exchange after the other.
Conversation = list[tuple["Reply", bytes]]

conversations = replies.flatmap(
    lambda some: st.tuples(
        *(st.tuples(st.just(one), st.sampled_from([b"1.1", b"1.1", b"1.0"])) for one in some)
    ).map(list)
)

#: Fields that are the connection's, on the client's side too.
_NOT_END_TO_END: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})


class Answers:
    """What the sandboxes have been told to answer, by marker."""

    def __init__(self) -> None:
        self.by_marker: dict[bytes, tuple[Reply, bytes]] = {}
        self._last: Leg | None = None

    def script(self, _name: bytes) -> Script:
        """Answer as told."""

        async def script(leg: Leg) -> None:
            leg.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                marker = (await leg.request()).target.removeprefix(b"/asked/")
                reply, sent = self.by_marker[marker]
                self._last = leg
                for piece in filter(None, (*cut(sent, reply.at), reply.later)):
                    await leg.send(piece)
                    for _ in range(3):
                        await asyncio.sleep(0)
                if reply.resets:
                    return leg.reset()
                if reply.closes:
                    return None

        return script

    async def check(self, rig: Rig, conversation: Conversation) -> None:
        """Whole answers are those that the sandbox gave; a broken one is seen to be broken."""
        client, methods = await rig.client(), list[str]()
        for reply, version in conversation:
            sent, marker = rig.mark(reply.sent)
            self.by_marker[marker] = reply, sent
            rig.totals.requests += 1
            methods.append(reply.method)
            await client.send(_request(rig, reply.method, marker, version))
            whole = await _next_answer(client, methods)
            _judge(rig, reply, version, marker, whole)
            if reply.closes or reply.kind is not Kind.LEGAL:
                # What comes while the next request waits would be taken for what came of that one.
                await eventually(self._is_over, "a connection of no more use was kept", 2.0)
            if whole is None or b"close" in whole.all(b"connection"):
                client, methods = await rig.client(), []
        self.by_marker.clear()

    def _is_over(self) -> bool:
        """Whether the connection that was used last is closed."""
        return self._last is not None and self._last.sock.fileno() < 0


def _request(rig: Rig, method: str, marker: bytes, version: bytes) -> bytes:
    fields = ["Content-Length: 4"] if method == "POST" else []
    head = rig.gateway.head(method, f"/asked/{marker.decode()}", *fields)
    head = head.replace(b"HTTP/1.1", b"HTTP/" + version)
    return head + (b"body" if method == "POST" else b"")


async def _next_answer(client: Client, methods: list[str]) -> Seen | None:
    """Return the answer to the last of the requests, None if it was broken off.

    Both parsers must see the same in all that ever came.
    """
    ended = reset = False
    while not (ended or reset):
        received = bytes(client.received)
        if len(responses_by_h11(received, methods, ended=False).whole) == len(methods):
            break
        try:
            ended = not await client.fill()
        except ConnectionError:
            reset = True
    received = bytes(client.received)
    reading = responses_by_h11(received, methods, ended=ended)
    other = responses_by_httptools(received, methods, ended=ended)
    if len(reading.whole) < len(methods):
        assert reading.whole == other.whole, received
        return None
    assert reading == other, received
    assert reading.clean, received
    return reading.whole[-1]


def _judge(rig: Rig, reply: Reply, version: bytes, marker: bytes, whole: Seen | None) -> None:
    """Compare what a client got with what a sandbox sent."""
    if reply.kind in {Kind.LEGAL, Kind.SURPLUS}:
        assert whole is not None
        fields = [field for field in whole.fields if field[0] not in _NOT_END_TO_END]
        assert fields == [(name, rig.placed(value, marker)) for name, value in reply.fields]
        assert (whole.start, whole.body) == (reply.status, rig.placed(reply.body, marker))
        is_1_1 = version == b"1.1"
        assert whole.interims == (list(reply.interims) if is_1_1 else [])
        assert whole.trailers == (list(reply.trailers) if is_1_1 else [])
    elif whole is None or whole.all(b"proxy-status"):
        assert whole is None or whole.start == 502, whole
    else:
        assert reply.kind is Kind.ODD, whole
        sent = rig.placed(reply.sent, marker)
        for read in (responses_by_h11, responses_by_httptools):
            reading = read(sent, [reply.method], ended=not reply.resets)
            # h11 refuses some that are in no doubt, such as one behind an empty line.
            same = [(one.start, one.body) for one in reading.whole] == [(whole.start, whole.body)]
            assert same or (read is responses_by_h11 and reading.broken), sent
