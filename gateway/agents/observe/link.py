"""One observer's conversation with one replica of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from gateway.standby.flow_messages import (
    MAX_ENTRIES,
    Count,
    Counts,
    Hello,
    Sync,
    Synced,
    Watch,
    read_gateway,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.agents.observe.flows import FlowTable, Path

#: Changes that wait to be sent to a replica that does not take them. Past these it is left, and
#: told everything anew when it is back.
MAX_PENDING: Final = 100_000


class Left(Exception):
    """The conversation ended; the text says why."""


class Link:
    """Tells of the connections to those addresses that the replica wants to hear of.

    What waits to be sent is whose count changed, not how often: the count is read when it is sent.
    """

    def __init__(
        self,
        hello: Hello,
        table: FlowTable,
        catch_up: Callable[[], None],
        max_pending: int = MAX_PENDING,
    ) -> None:
        """`catch_up` brings the table to what the kernel has told by now."""
        self._hello = hello
        self._table = table
        self._catch_up = catch_up
        self._max_pending = max_pending
        self._watched: dict[bytes, str] = {}
        self._pending: dict[Path, None] = {}
        self._synced: int | None = None
        self._overfull = asyncio.Event()
        self._stirred = asyncio.Event()

    async def converse(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Talk until one side ends it; raise Left, or what the table's source raises."""
        unsubscribe = self._table.subscribe(self._heed)
        try:
            async with asyncio.TaskGroup() as tasks:
                others = (self._tell(socket), self._leave_when_overfull())
                meanwhile = [tasks.create_task(one) for one in others]
                await self._listen(socket)
                for one in meanwhile:
                    one.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            unsubscribe()
        raise Left("the gateway closed the connection")

    def _heed(self, path: Path) -> None:
        if path[0] not in self._watched or self._overfull.is_set():
            return
        self._pending[path] = None
        self._stirred.set()
        if len(self._pending) > self._max_pending:
            self._overfull.set()

    async def _leave_when_overfull(self) -> None:
        await self._overfull.wait()
        raise Left("the gateway takes less than there is to tell")

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise Left("the gateway sends what is no text")
            try:
                said = read_gateway(message.data)
            except msgspec.DecodeError as error:
                raise Left(f"the gateway's message cannot be understood: {error}") from error
            if isinstance(said, Watch):
                self._watch(said)
            elif isinstance(said, Sync):
                self._catch_up()
                self._synced = said.number
            self._stirred.set()

    def _watch(self, wish: Watch) -> None:
        for text in wish.drop:
            self._watched.pop(packed(text), None)
        for text in wish.add:
            address = packed(text)
            self._watched[address] = text
            self._pending.update(dict.fromkeys(self._table.paths(address)))

    async def _tell(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            await socket.send_str(write(self._hello))
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                await self._tell_all(socket)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Left("the connection broke") from error

    async def _tell_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        synced, self._synced = self._synced, None
        while self._pending:
            await socket.send_str(write(Counts(tuple(self._counts(self._some())))))
        if synced is not None:
            await socket.send_str(write(Synced(synced)))

    def _some(self) -> Sequence[Path]:
        some = [path for path, _ in zip(self._pending, range(MAX_ENTRIES), strict=False)]
        for path in some:
            del self._pending[path]
        return some

    def _counts(self, paths: Iterable[Path]) -> Iterable[Count]:
        for path in paths:
            address, source, port = path
            written = self._watched.get(address)
            if written is not None:
                yield Count(written, _text(source), port, self._table.count(path))


def packed(address: str) -> bytes:
    """Return an address as it is in the kernel's messages; raise Left if it is none."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address).packed
    raise Left("the gateway names an address that is none")


def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
