"""What other replicas may ask of this one, and tell it: may sandboxes sleep, and who uses them.

None of it is for people, so that it is not in the OpenAPI document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.admin.parts import Operation
from gateway.admin.problems import AdminError
from gateway.replicas import wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.admin.access import AdminAccess
    from gateway.replicas.gate import Gate
    from gateway.replicas.wire import Message, MessageT


class PeerRoutes:
    """A part of the admin API, for who has its token."""

    def __init__(self, gate: Gate, replica: str) -> None:
        """`replica` is the name of our own pod."""
        self._gate = gate
        self._replica = replica

    def operations(self, _: AdminAccess) -> Iterable[Operation]:
        """Return what it does."""
        return (
            Operation("POST", wire.ASK_PATH, self._ask),
            Operation("POST", wire.SETTLE_PATH, self._settle),
            Operation("POST", wire.USES_PATH, self._tell_use),
            Operation("POST", wire.FAREWELL_PATH, self._inherit),
        )

    async def _ask(self, request: web.Request) -> web.Response:
        asked = await _read(request, wire.Question)
        answers = {
            item.uid: self._gate.ask(asked.question, item.uid, item.needed) for item in asked.items
        }
        return _answer(wire.answers_of(self._replica, answers))

    async def _settle(self, request: web.Request) -> web.Response:
        told = await _read(request, wire.Settlement)
        for one in told.outcomes:
            self._gate.settle(told.question, one.key, one.uid, one.version, one.known)
        return _answer(wire.Heard(protocol=wire.PROTOCOL, replica=self._replica))

    async def _inherit(self, request: web.Request) -> web.Response:
        self._gate.inherit((await _read(request, wire.Farewell)).uses)
        return _answer(wire.Heard(protocol=wire.PROTOCOL, replica=self._replica))

    async def _tell_use(self, request: web.Request) -> web.Response:
        use = self._gate.use((await _read(request, wire.UseQuestion)).uid)
        return _answer(
            wire.Use(
                protocol=wire.PROTOCOL,
                replica=self._replica,
                count=use.count,
                unused_for=use.unused_for,
            )
        )


async def _read(request: web.Request, kind: type[MessageT]) -> MessageT:
    try:
        return wire.decode(await request.read(), kind)
    except wire.Unreadable as error:
        raise AdminError("The body is no message between replicas of this version.") from error


def _answer(message: Message) -> web.Response:
    return web.Response(
        body=wire.encode(message),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
