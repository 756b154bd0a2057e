"""A Kubernetes API with very many Sandboxes, as a process that costs next to nothing per answer.

`python -m e2e.bench.scale_api DIRECTORY COUNT` writes a kubeconfig to the directory and serves
until it is ended; it says "serving PORT" once it does. It speaks what the gateway asks: the list by
pages and the watch, which lasts until it is ended from here. It keeps no history: a watch from any
version but the newest is told 410. All times are of the monotonic clock, which processes share.
`/control/...` makes it send heartbeats, change objects in silence and end watches, and tells when
what was asked for.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

import uvloop

from e2e.bench.scale_collection import PAGE, Collection, GoneError
from e2e.bench.scale_objects import GROUP_VERSION, PATH
from gateway.local.api import write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Query = Mapping[str, str]

_TOKEN: Final = "benchmark"
#: How often a watch learns the version, in seconds.
_BOOKMARK_EVERY: Final = 30.0
#: How often it is seen which heartbeats are due, in seconds.
_TICK: Final = 0.001
#: Between two objects that a heartbeat comes for: prime to any round number of them, so that
#: neighbours in time are far apart in the list.
_STRIDE: Final = 61_803

_EXPIRED: Final = {
    "apiVersion": "v1",
    "kind": "Status",
    "metadata": {},
    "status": "Failure",
    "message": "too old resource version",
    "reason": "Expired",
    "code": 410,
}


@dataclass(slots=True)
class Marks:
    """What was asked for so far, and when last."""

    list_began: float = 0.0
    watch_opened: float = 0.0
    watches: int = 0
    lists: int = 0
    #: Lists and watches that were answered 410 since what they asked for was gone.
    gone: int = 0


class Connection(asyncio.Protocol):
    """One client: requests without a body, one after the other; perhaps a watch in the end."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._api.watchers.discard(self)

    def data_received(self, data: bytes) -> None:
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for head in heads:
            method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
            parts = urlsplit(target)
            self._api.answer(self, method, parts.path, dict(parse_qsl(parts.query)))

    def send(self, status: int, body: bytes) -> None:
        """Send a whole answer."""
        head = b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.write(head % (status, len(body)) + body)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    # ---- a watch: one chunk an event

    def open_watch(self) -> None:
        """Agree to a watch."""
        self.write(
            b"HTTP/1.1 200 -\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    def send_event(self, kind: bytes, body: bytes) -> None:
        line = b'{"type":"%s","object":%s}\n' % (kind, body)
        self.write(b"%x\r\n%s\r\n" % (len(line), line))

    def end_watch(self) -> None:
        self.write(b"0\r\n\r\n")


class Heartbeats:
    """Writes objects anew at a steady rate, whatever the watches take."""

    def __init__(self, write: Callable[[int], None]) -> None:
        """`write` is given the count of heartbeats before."""
        self._write = write
        self._rate = 0.0
        self._began = 0.0
        self._before = self._sent = 0

    def start(self, rate: float) -> None:
        """Begin, at so many a second."""
        self._rate, self._began, self._sent = rate, time.monotonic(), 0
        self._tick()

    def stop(self) -> dict[str, float]:
        """End; return how many there were in how many seconds."""
        lasted = time.monotonic() - self._began
        self._rate = 0.0
        self._before += self._sent
        return {"sent": self._sent, "seconds": lasted}

    def _tick(self) -> None:
        if not self._rate:
            return
        due = int((time.monotonic() - self._began) * self._rate)
        for count in range(self._sent, due):
            self._write(self._before + count)
        self._sent = due
        asyncio.get_running_loop().call_later(_TICK, self._tick)


class Api:
    """What all connections share."""

    def __init__(self, collection: Collection) -> None:
        self.watchers: set[Connection] = set()
        self._collection = collection
        #: The version that the open watches have reached.
        self._published = collection.version
        self._marks = Marks()
        self._hold = 0.0
        self._heartbeats = Heartbeats(self._beat)
        self._controls: dict[str, Callable[[Query], Mapping[str, Any] | None]] = {
            "/control/marks": lambda _: asdict(self._marks),
            "/control/hold": self._hold_lists,
            "/control/heartbeats": self._change_heartbeats,
            "/control/pause": self._pause,
            "/control/expire": self._expire,
            "/control/end": self._end,
        }

    def answer(self, connection: Connection, method: str, path: str, query: Query) -> None:
        control = self._controls.get(path)
        if method != "GET":
            connection.send(405, b"{}")
        elif control is not None:
            connection.send(200, json.dumps(control(query) or {}).encode())
        elif path != PATH:
            connection.send(404, b"{}")
        elif query.get("watch"):
            self._watch(connection, query)
        else:
            self._list(connection, query)

    # ---- what a Kubernetes API does

    def _list(self, connection: Connection, query: Query) -> None:
        if query.get("limit") != str(PAGE):
            connection.send(400, b"{}")
        elif "continue" in query:
            self._send_page(connection, query["continue"])
        else:
            asyncio.get_running_loop().call_later(self._hold, self._begin_list, connection)

    def _begin_list(self, connection: Connection) -> None:
        self._marks.lists += 1
        self._marks.list_began = time.monotonic()
        self._send_page(connection, "")

    def _send_page(self, connection: Connection, token: str) -> None:
        try:
            connection.send(200, self._collection.page(token))
        except GoneError:
            self._send_gone(connection)

    def _send_gone(self, connection: Connection) -> None:
        self._marks.gone += 1
        connection.send(410, json.dumps(_EXPIRED).encode())

    def _watch(self, connection: Connection, query: Query) -> None:
        if query.get("resourceVersion") != str(self._collection.version):
            self._send_gone(connection)
            return
        self._marks.watches += 1
        self._marks.watch_opened = time.monotonic()
        self._published = self._collection.version
        self.watchers.add(connection)
        connection.open_watch()

    async def send_bookmarks(self) -> None:
        """Tell the open watches their version now and then, for ever."""
        while True:
            await asyncio.sleep(_BOOKMARK_EVERY)
            metadata = {"resourceVersion": str(self._published), "creationTimestamp": None}
            bookmark = {"apiVersion": GROUP_VERSION, "kind": "Sandbox", "metadata": metadata}
            self._publish(b"BOOKMARK", json.dumps(bookmark).encode())

    def _publish(self, kind: bytes, body: bytes) -> None:
        for connection in self.watchers:
            connection.send_event(kind, body)

    def _beat(self, count: int) -> None:
        number = count * _STRIDE % len(self._collection)
        self._publish(b"MODIFIED", self._collection.touch(number))
        self._published = self._collection.version

    # ---- what the benchmark asks for

    def _hold_lists(self, query: Query) -> None:
        """Let each list from now on wait for so long before its first page."""
        self._hold = float(query["seconds"])

    def _change_heartbeats(self, query: Query) -> Mapping[str, float] | None:
        rate = float(query["rate"])
        if rate:
            self._heartbeats.start(rate)
            return None
        return self._heartbeats.stop()

    def _pause(self, query: Query) -> None:
        """Put sandboxes to sleep without a word to the watches, which must be expired then."""
        first, step, count = (int(query[name]) for name in ("first", "step", "count"))
        self._collection.pause(range(first, first + step * count, step))
        self._collection.encode()

    def _expire(self, _: Query) -> Mapping[str, float]:
        """End all watches by 410; return when."""
        at = time.monotonic()
        self._publish(b"ERROR", json.dumps(_EXPIRED).encode())
        self._end({})
        return {"at": at}

    def _end(self, _: Query) -> Mapping[str, float]:
        """End all watches in good order; return when."""
        at = time.monotonic()
        while self.watchers:
            self.watchers.pop().end_watch()
        return {"at": at}


async def main(directory: Path, count: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    api = Api(Collection(count))
    gc.freeze()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(api), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    write_kubeconfig(directory / "kubeconfig", f"http://127.0.0.1:{port}", _TOKEN)
    print(f"serving {port}", flush=True)
    async with server:
        await api.send_bookmarks()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2])))
