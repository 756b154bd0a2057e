"""What gateway/proxy/client.py relies on in aiohttp's server, private names included.

aiohttp promises none of this. When one of these tests fails after an upgrade, its message says
which part of the front has to follow; until it does, keep the older aiohttp.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from typing import Any, Final, cast

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler
from aiohttp.web_server import Server

from gateway.proxy import client, front
from gateway.proxy.body import RequestBody
from gateway.proxy.limits import READ_AHEAD
from gateway.proxy.parser import RequestParser
from gateway.proxy.request import CLOSED, KEPT, Done
from gateway.proxy.request import Request as OurRequest


class Parser:
    """Stands where ours does: gives out what a test puts in, remembers what it is called for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.answers: list[tuple[list[Any], bool, bytes]] = []

    def feed_data(self, data: bytes) -> tuple[list[Any], bool, bytes]:
        self.calls.append(("feed_data", data))
        return self.answers.pop(0) if self.answers else ([], False, b"")

    def message_consumed(self) -> None:
        self.calls.append(("message_consumed", None))

    def set_upgraded(self, upgraded: bool) -> None:
        self.calls.append(("set_upgraded", upgraded))

    def pause_reading(self) -> None:
        self.calls.append(("pause_reading", None))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"aiohttp now asks the parser for {name}: give RequestParser that")


class Payload:
    """Stands where RequestBody does."""

    def __init__(self, *, pieces: int = 0) -> None:
        self.pieces = pieces
        self.calls: list[str] = []

    def is_eof(self) -> bool:
        self.calls.append("is_eof")
        return self.pieces == 0

    async def readany(self) -> bytes:
        self.calls.append("readany")
        self.pieces -= 1
        return b"x"

    def set_exception(self, exc: BaseException) -> None:
        self.calls.append("set_exception")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"aiohttp now asks a body for {name}: give RequestBody that")


class Request:
    """Stands where our Request does."""

    def __init__(self, arguments: tuple[object, ...]) -> None:
        self.arguments = arguments
        self.calls: list[str] = []
        self._task: object = None

    def _finish(self) -> None:
        self.calls.append("_finish")

    def _cancel(self, exc: BaseException) -> None:
        self.calls.append("_cancel")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"aiohttp now asks a request for {name}: give request.Request that")


class Wire(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Connection(RequestHandler):
    """Overrides what ours overrides, and remembers that it was called."""

    __slots__ = ("calls",)

    def __init__(self, server: Server, **settings: Any) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=cast("Any", None),
            **settings,
        )
        self.calls: list[str] = []

    def _pause_transport_reading(self) -> None:
        self.calls.append("pause")

    def _resume_transport_reading(self) -> None:
        self.calls.append("resume")

    def handle_error(self, *_args: Any, **_kw: Any) -> Any:
        self.calls.append("handle_error")
        return CLOSED

    def log_exception(self, *_args: Any, **_kw: Any) -> None:
        self.calls.append("log_exception")


class Stage:
    """A server of aiohttp's around a handler, one connection of it, and all that went by."""

    def __init__(self, **settings: Any) -> None:
        self.requests: list[Request] = []
        self.results: list[Done | BaseException] = []
        self.gate: asyncio.Event | None = None
        self.cancelled = 0
        self.server = Server(
            cast("Any", self.handle),
            request_factory=cast("Any", self.make),
            handler_cancellation=True,
        )
        self.connection = Connection(self.server, **settings)
        self.parser = Parser()
        self.connection._parser = cast("Any", self.parser)
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def make(self, *arguments: object) -> Request:
        request = Request(arguments)
        self.requests.append(request)
        return request

    async def handle(self, _: object) -> Done:
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        result = self.results.pop(0) if self.results else KEPT
        if isinstance(result, BaseException):
            raise result
        return result

    async def feed(self, *messages: Any, upgraded: bool = False, tail: bytes = b"") -> None:
        self.parser.answers.append((list(messages), upgraded, tail))
        self.connection.data_received(b"bytes")
        await turns()

    async def leave(self) -> None:
        self.connection.connection_lost(None)
        await turns()


async def turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def test_the_version_is_one_that_these_pins_were_made_for() -> None:
    assert aiohttp.__version__.startswith("3.14."), (
        "read the diff of aiohttp/web_protocol.py and base_protocol.py, then widen the pin"
    )


#: What our two classes take from aiohttp's: names that they read or call, and methods that they
#: replace. One that is not here is not pinned: add it, and a test below of what it does.
TAKEN: Final = {
    client.Connection: {
        "_drain_helper", "_loop", "_messages", "_parser", "_waiter", "force_close", "set_parser",
        "writing_paused",
    },
    front.Front: {"_loop", "connections", "shutdown"},
}  # fmt: skip
REPLACED: Final = {
    client.Connection: {
        "connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing",
        "_pause_transport_reading", "_resume_transport_reading", "handle_error", "log_exception",
    },
    front.Front: set(),
}  # fmt: skip


def names_of_self(of: type) -> set[str]:
    """Return every attribute of `self` that the source of a class reads, calls or sets."""
    (tree,) = ast.parse(inspect.getsource(of)).body
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


async def theirs(ours: type) -> set[str]:
    """Return the names of what ours is made of, as aiohttp makes it."""
    stage = Stage()
    made = stage.server if ours is front.Front else stage.connection
    await stage.leave()
    return set(dir(made)) - {"calls"}


@pytest.mark.parametrize("ours", TAKEN, ids=lambda ours: ours.__name__)
async def test_every_inherited_name_that_is_relied_on_is_pinned(ours: type) -> None:
    used = (names_of_self(ours) & await theirs(ours)) - set(vars(ours))
    assert used == TAKEN[ours], "pin what is new; what is missing is gone from aiohttp or unused"


@pytest.mark.parametrize("ours", REPLACED, ids=lambda ours: ours.__name__)
async def test_no_name_of_ours_replaces_one_of_theirs_by_accident(ours: type) -> None:
    own = {name for name in vars(ours) if not name.startswith("__")}
    own |= names_of_self(ours) - TAKEN[ours]
    assert own & await theirs(ours) == REPLACED[ours], (
        "aiohttp has a name that was ours: rename ours"
    )


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (RequestHandler, {"manager", "loop", "access_log", "keepalive_timeout", "lingering_time"}),
        (Server, {"handler", "request_factory", "handler_cancellation"}),
    ],
)
def test_a_constructor_takes_what_it_is_given(owner: type, names: set[str]) -> None:
    known = set(inspect.signature(owner.__init__).parameters)  # type: ignore[misc]
    assert names <= known, f"{owner.__name__} is made by Connection's or Front's constructor"


@pytest.mark.parametrize(
    ("ours", "stands_for_it", "more"),
    [
        (RequestParser, Parser, {"feed_eof"}),
        (RequestBody, Payload, set()),
        (OurRequest, Request, {"_task"}),
        (Done, Done, {"keep_alive", "prepare", "write_eof"}),
    ],
)
def test_what_is_called_of_a_stand_in_ours_has_too(
    ours: type, stands_for_it: type, more: set[str]
) -> None:
    called = {name for name in vars(stands_for_it) if not name.startswith("__")} | more
    assert called <= set(dir(ours)), f"aiohttp asks {ours.__name__} for it"


@pytest.mark.parametrize("name", sorted(TAKEN[client.Connection]))
async def test_a_connection_has_the_attribute(name: str) -> None:
    stage = Stage()
    assert hasattr(stage.connection, name), f"{name} is gone: proxy/client or handler needs it"
    await stage.leave()


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (RequestHandler, "data_received", ["self", "data"]),
        (RequestHandler, "connection_made", ["self", "transport"]),
        (RequestHandler, "connection_lost", ["self", "exc"]),
        (RequestHandler, "set_parser", ["self", "parser", "data_received_cb"]),
        (RequestHandler, "force_close", ["self"]),
        (RequestHandler, "handle_error", ["self", "request", "status", "exc", "message"]),
        (RequestHandler, "log_exception", ["self", "args", "kw"]),
        (RequestHandler, "start", ["self"]),
        (BaseProtocol, "pause_writing", ["self"]),
        (BaseProtocol, "resume_writing", ["self"]),
        (BaseProtocol, "_pause_transport_reading", ["self"]),
        (BaseProtocol, "_resume_transport_reading", ["self"]),
        (Server, "shutdown", ["self", "timeout"]),
        (Server, "connection_made", ["self", "handler", "transport"]),
        (Server, "connection_lost", ["self", "handler", "exc"]),
    ],
)
def test_a_method_is_called_and_overridden_as_it_was(
    owner: type, name: str, parameters: list[str]
) -> None:
    found = list(inspect.signature(getattr(owner, name)).parameters)
    assert found == parameters, f"{owner.__name__}.{name} changed: so must Connection's or Front's"


async def test_connections_are_kept_by_the_server() -> None:
    stage = Stage()
    assert stage.server.connections == [stage.connection], "Front.connections is what is swept"
    assert stage.server._loop is asyncio.get_running_loop(), "Front._loop schedules the sweep"
    await stage.leave()
    assert stage.server.connections == []


async def test_what_the_parser_gives_is_queued_and_made_a_request_in_this_way() -> None:
    stage = Stage()
    payload = Payload()
    await stage.feed(("head", payload))
    assert stage.parser.calls == [("feed_data", b"bytes"), ("message_consumed", None)], (
        "RequestParser.feed_data has to return (messages, upgraded, tail)"
    )
    (request,) = stage.requests
    assert len(request.arguments) == 5, "front._make_request takes the request_factory's arguments"
    head, body, connection, _, task = request.arguments
    assert (head, body, connection) == ("head", payload, stage.connection)
    assert isinstance(task, asyncio.Task)
    assert request.calls == ["_finish"], "request.Request has the methods that are called here"
    assert request._task is None, "request.Request._task is set to break a cycle"
    assert not stage.wire.closed
    assert stage.wire.written == b"", "aiohttp now writes something of its own"
    await stage.leave()


async def test_bytes_that_bring_no_message_are_fed_all_the_same_and_empty_ones_too() -> None:
    stage = Stage()
    await stage.feed()
    stage.connection.data_received(b"")
    assert [call for call, _ in stage.parser.calls] == ["feed_data"] * 2, (
        "Connection.sweep fetches an expired head by data_received(b'')"
    )
    await stage.leave()


async def test_requests_are_handled_one_after_the_other_in_order() -> None:
    stage = Stage()
    stage.gate = asyncio.Event()
    await stage.feed(*((n, Payload()) for n in range(3)))
    assert len(stage.requests) == 1, "two requests of a connection at once would mix answers"
    assert len(stage.connection._messages) == 2
    stage.gate.set()
    await turns()
    await turns()
    assert [request.arguments[0] for request in stage.requests] == [0, 1, 2]
    await stage.leave()


async def test_the_waiter_tells_an_idle_connection() -> None:
    stage = Stage()
    await turns()
    waiter = stage.connection._waiter
    assert waiter is not None, "Connection.idle"
    assert not waiter.done(), "Connection.idle"
    stage.gate = asyncio.Event()
    stage.parser.answers.append(([("head", Payload())], False, b""))
    stage.connection.data_received(b"bytes")
    assert waiter.done(), "Connection.idle must see a request that was read and not handed over"
    await turns()
    assert stage.connection._waiter is None, "Connection.idle must see a request under way"
    await stage.leave()


async def test_a_request_put_in_the_queue_by_hand_is_handled_once_the_waiter_is_told() -> None:
    stage = Stage()
    await turns()
    payload = Payload()
    stage.connection._messages.append((cast("Any", "head"), cast("Any", payload)))
    waiter = stage.connection._waiter
    assert waiter is not None
    waiter.set_result(None)
    await turns()
    (request,) = stage.requests
    assert request.arguments[:2] == ("head", payload), "Connection.hand_over gives it that way"
    await stage.leave()


async def test_a_closed_answer_ends_the_connection_and_what_is_queued_is_dropped() -> None:
    stage = Stage()
    stage.results = [CLOSED]
    await stage.feed(("first", Payload()), ("second", Payload()))
    assert len(stage.requests) == 1, "requests behind a closing answer must not be handled"
    assert stage.wire.closed, "`keep_alive` of what the handler returns decides"
    await stage.leave()


async def test_a_full_queue_stops_reading_and_a_drained_one_resumes_by_our_methods() -> None:
    stage = Stage()
    stage.gate = asyncio.Event()
    await stage.feed(*((n, Payload()) for n in range(MAX_MSG_QUEUE_SIZE + 2)))
    assert stage.connection.calls == ["pause"], "Connection._pause_transport_reading counts holds"
    stage.gate.set()
    for _ in range(40):
        await turns()
    assert stage.connection.calls == ["pause", "resume"], "Connection._resume_transport_reading"
    assert len(stage.requests) == MAX_MSG_QUEUE_SIZE + 2
    await stage.leave()


async def test_an_unread_body_is_read_and_dropped_before_the_end() -> None:
    stage = Stage()
    stage.results = [CLOSED]
    payload = Payload(pieces=3)
    await stage.feed(("head", payload))
    await turns()
    assert payload.calls.count("readany") == 3, "RequestBody.readany serves the lingering close"
    assert payload.calls[-1] == "set_exception", "RequestBody.set_exception is called at the end"
    assert stage.wire.closed
    await stage.leave()


async def test_lingering_lasts_only_so_long() -> None:
    class Endless(Payload):
        async def readany(self) -> bytes:
            await asyncio.get_running_loop().create_future()
            return b""

    stage = Stage(lingering_time=0.05)
    stage.results = [KEPT]
    await stage.feed(("head", Endless(pieces=1)))
    async with asyncio.timeout(5):
        while not stage.wire.closed:
            await asyncio.sleep(0.01)
    await stage.leave()


async def test_a_client_that_leaves_cancels_the_handler_and_frees_the_parser() -> None:
    stage = Stage()
    stage.gate = asyncio.Event()
    await stage.feed(("head", Payload()))
    await stage.leave()
    assert stage.cancelled == 1, "handler_cancellation is how a waiting request gives up its place"
    assert stage.requests[0].calls == ["_cancel"], "request.Request._cancel is called on departure"
    assert stage.connection._parser is None, "Connection checks for that before it uses the parser"
    assert stage.connection.transport is None


async def test_an_exception_of_the_handler_goes_through_our_two_methods() -> None:
    stage = Stage()
    stage.results = [RuntimeError("a bug")]
    await stage.feed(("head", Payload()))
    assert stage.connection.calls == ["handle_error"], "the stock page echoes input"
    assert stage.wire.written == b""
    assert stage.wire.closed
    await stage.leave()


async def test_after_an_upgrade_bytes_go_to_the_parser_that_was_set() -> None:
    class Sink:
        def __init__(self) -> None:
            self.seen: list[bytes] = []

        def feed_data(self, data: bytes) -> tuple[bool, bytes]:
            self.seen.append(data)
            return False, b""

        def feed_eof(self) -> None:
            self.seen.append(b"eof")

    stage = Stage()
    stage.gate = asyncio.Event()
    await stage.feed(("head", Payload()), upgraded=True, tail=b"early")
    stage.connection.data_received(b" later")
    assert stage.connection._message_tail == b"early later", "bytes before the 101 are kept"
    sink = Sink()
    stage.connection.set_parser(cast("Any", sink))
    stage.connection.data_received(b"now")
    assert sink.seen == [b"early later", b"now"], "front._Tunnel has the methods called here"
    await stage.leave()
    assert sink.seen[-1] == b"eof"


async def test_what_follows_a_declined_upgrade_is_parsed_as_requests() -> None:
    stage = Stage()
    stage.gate = asyncio.Event()
    await stage.feed(("head", Payload()), upgraded=True, tail=b"next")
    stage.parser.answers.append(([("second", Payload())], False, b""))
    stage.gate.set()
    await turns()
    await turns()
    assert stage.parser.calls[-3:] == [
        ("set_upgraded", False),
        ("feed_data", b"next"),
        ("message_consumed", None),
    ], "RequestParser.set_upgraded, then the tail again"
    assert [request.arguments[0] for request in stage.requests] == ["head", "second"]
    await stage.leave()


async def test_nothing_is_read_any_more_once_a_connection_is_to_be_closed() -> None:
    stage = Stage()
    await turns()
    stage.connection.force_close()
    assert stage.wire.closed, "Front.close_idle closes by force_close"
    stage.connection.data_received(b"late")
    assert stage.parser.calls == []
    await stage.leave()


async def test_a_writer_that_is_full_is_told_by_this_property() -> None:
    stage = Stage()
    stage.connection.pause_writing()
    paused = [stage.connection.writing_paused]
    stage.connection.resume_writing()
    paused.append(stage.connection.writing_paused)
    assert paused == [True, False], "Proxy.begin and Connection.drained read it"
    await stage.leave()


async def test_a_full_writer_is_waited_for_and_its_end_wakes_who_waits() -> None:
    stage = Stage()
    stage.connection.pause_writing()
    waiting = asyncio.create_task(stage.connection._drain_helper())
    await turns()
    assert not waiting.done(), "Connection.drained waits by it"
    stage.connection.resume_writing()
    await waiting
    await stage.leave()


async def test_a_drained_queue_asks_for_what_was_put_off() -> None:
    assert MAX_MSG_QUEUE_SIZE == READ_AHEAD, "the parser puts off what is beyond the queue"
    stage = Stage()
    stage.gate = asyncio.Event()
    await stage.feed(*((n, Payload()) for n in range(MAX_MSG_QUEUE_SIZE)))
    stage.parser.calls.clear()
    stage.gate.set()
    for _ in range(40):
        await turns()
    assert ("feed_data", b"") in stage.parser.calls, (
        "RequestParser.feed_data goes on when it is given nothing"
    )
    await stage.leave()
