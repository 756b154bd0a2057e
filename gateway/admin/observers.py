"""Where observers on the nodes connect: a WebSocket on the admin listener."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from gateway.admin.access import AdminAccess
from gateway.admin.parts import Guard, Operation
from gateway.admin.problems import Unauthenticated
from gateway.standby.flow_messages import (
    HEARTBEAT,
    MAX_MESSAGE,
    PATH,
    Counts,
    Hello,
    Synced,
    read_observer,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.standby.observer_link import ObserverLink
    from gateway.standby.observers import Observers

_LOG = logging.getLogger(__name__)

#: Seconds within which an observer says who it is.
_INTRODUCTION: Final = 5.0


class _Improper(Exception):
    """An observer says what none would; the text says what."""


class ObserverRoutes:
    """A part of the admin API, for observers alone: what they tell is put to `Observers`."""

    def __init__(self, observers: Observers, token: str | None) -> None:
        """`token` opens this and nothing else; whom the admin API lets in may come here too."""
        self._observers = observers
        self._token = None if token is None else AdminAccess(token)

    def operations(self, access: AdminAccess) -> Iterable[Operation]:
        """Return what it does."""
        return (Operation("GET", PATH, partial(self._handle, access), Guard.OWN),)

    def replace_token(self, token: str) -> None:
        """Take no other token of observers from now on."""
        self._token = AdminAccess(token)

    async def _handle(self, access: AdminAccess, request: web.Request) -> web.StreamResponse:
        self._check(access, request)
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT, max_msg_size=MAX_MESSAGE, compress=False
        )
        await socket.prepare(request)
        try:
            await self._converse(socket)
        except _Improper as error:
            _LOG.warning("an observer was left", extra={"cause": str(error)})
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=str(error).encode())
        return socket

    def _check(self, access: AdminAccess, request: web.Request) -> None:
        """Return if the request may go on; raise Unauthenticated or Forbidden."""
        if self._token is not None:
            with suppress(Unauthenticated):
                self._token.check(request)
                return
        access.check(request)

    async def _converse(self, socket: web.WebSocketResponse) -> None:
        hello = await _hello(socket)
        link = await self._observers.connect(hello.node)
        _LOG.info("observer connected", extra={"node": hello.node, "version": hello.version})
        speaking = asyncio.create_task(_speak(socket, link))
        try:
            await self._listen(socket, link)
        finally:
            speaking.cancel()
            await self._observers.disconnect(link)
            await asyncio.wait([speaking])
            _LOG.info("observer gone", extra={"node": hello.node})

    async def _listen(self, socket: web.WebSocketResponse, link: ObserverLink) -> None:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                raise _Improper("it sends what is no text")
            try:
                said = read_observer(message.data)
                if isinstance(said, Counts):
                    self._observers.take(link, said.counts)
            except (msgspec.DecodeError, ValueError) as error:
                raise _Improper("its message cannot be understood") from error
            if isinstance(said, Synced):
                self._observers.synced(link, said.number)
            # Messages that are there already come without a pause; requests have their turn.
            await asyncio.sleep(0)


async def _hello(socket: web.WebSocketResponse) -> Hello:
    try:
        async with asyncio.timeout(_INTRODUCTION):
            said = read_observer(await socket.receive_str())
    except (msgspec.DecodeError, TypeError, TimeoutError) as error:
        raise _Improper("it does not say who it is") from error
    if not isinstance(said, Hello):
        raise _Improper("it does not say who it is")
    return said


async def _speak(socket: web.WebSocketResponse, link: ObserverLink) -> None:
    """Say what there is to say, until the link or the connection is closed."""
    with suppress(ConnectionError):
        while (message := await link.next()) is not None:
            await socket.send_str(write(message))
        await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"another one of this node")
