"""Which requests are a use of their sandbox, and from when to when.

A request is one from its admission until its last byte was handed to the client: while it waits,
while its bodies are streamed, while its tunnel is open. Its journal gives the use back, on whatever
path it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.proxy.websocket import FrameBoundary, Frames
from gateway.sandbox.activity import Usage
from gateway.sandbox.policy import NeverCount

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.admission import Admitted
    from gateway.proxy.exchange import Exchange
    from gateway.proxy.message import RequestHead
    from gateway.proxy.request import Request
    from gateway.replicas.gate import Gate

    _Tunnels = dict[str, set[Exchange]]

_USER_AGENT: Final = b"user-agent:"


@dataclass(frozen=True, slots=True)
class CountConfig:
    """What is a use. `pings`: a WebSocket is one as long as it is open, else by its data alone."""

    never_count: NeverCount = field(default_factory=NeverCount)
    pings: bool = True


class Uses:
    """Counts requests as uses of their sandboxes."""

    def __init__(self, gate: Gate, config: CountConfig) -> None:
        never = config.never_count
        #: The sandboxes of which it is being decided now whether they sleep, by uid.
        self.shut = gate.shut
        self._enter = gate.activity.enter
        self._known = gate.activity.by_uid.get
        self._never = never
        self._by_agent = bool(never.user_agents)
        self._by_line = bool(never.methods or never.path_prefixes)
        self._selective = self._by_agent or self._by_line
        self._pings = config.pings
        #: Those that count by their data alone, by the life that they lead to.
        self._tunnels: _Tunnels = {}

    def count(self, request: Request, head: RequestHead, admitted: Admitted) -> None:
        """Count an admitted request from now on, unless it is no use."""
        if self._selective and not self._counts(head, admitted):
            return
        uid = admitted.route.uid
        usage = self._known(uid)
        if usage is None:
            request.usage = self._enter(uid, request.began)
        else:  # as `enter` does, without a call: the hot path
            usage.count += 1
            request.usage = usage

    def _counts(self, head: RequestHead, admitted: Admitted) -> bool:
        if self._by_agent:
            counts = head.findings.counts
            if counts is None:
                counts = head.findings.counts = not self._has_agent(head)
            if not counts:
                return False
        target = admitted.target.path or head.target
        return not (self._by_line and self._never.has_line(head.method, target))

    def frames(self, request: Request) -> Frames:
        """Return what follows the frames of a request that may become a WebSocket."""
        usage = request.usage
        if self._pings or not isinstance(usage, Usage):
            return Frames()
        return _DataFrames(usage, request.connection.loop.time, self._tunnels)

    def end_tunnels(self, incarnation: str) -> None:
        """End the tunnels into a life that is over which have not kept it from ending.

        Their clients would wait for a sandbox that is frozen; told to come again, they wake it.
        """
        for exchange in self._tunnels.pop(incarnation, ()):
            exchange.end_tunnel()

    def _has_agent(self, head: RequestHead) -> bool:
        agents = (line for line in head.lines if line[:11].lower() == _USER_AGENT)
        return any(self._never.has_agent(line[11:]) for line in agents)


class _DataFrames(Frames):
    """Those of a WebSocket that uses its sandbox whenever data passes, but not by being open."""

    __slots__ = ("_clock", "_tunnels", "_up", "_usage")

    def __init__(self, usage: Usage, clock: Callable[[], float], tunnels: _Tunnels) -> None:
        super().__init__()
        self._up = FrameBoundary()
        self._usage = usage
        self._clock = clock
        self._tunnels = tunnels

    def opened(self, exchange: Exchange) -> None:
        exchange.request.leave(self._clock())
        exchange.request.usage = _Listed(exchange, self._tunnels)

    def down(self, data: bytes) -> None:
        if self._down.feed(data):
            self._usage.touch(self._clock())

    def up(self, data: bytes) -> None:
        if self._up.feed(data):
            self._usage.touch(self._clock())


class _Listed:
    """Such a WebSocket, in the place of a use: it is given back as one is, on whatever path."""

    __slots__ = ("_exchange", "_tunnels")

    def __init__(self, exchange: Exchange, tunnels: _Tunnels) -> None:
        self._exchange = exchange
        self._tunnels = tunnels
        tunnels.setdefault(exchange.upstream.incarnation, set()).add(exchange)

    def leave(self, now: float) -> None:  # noqa: ARG002 - that it was open is no use
        """Take it off the list, if it is there still."""
        incarnation = self._exchange.upstream.incarnation
        listed = self._tunnels.get(incarnation)
        if listed is not None:
            listed.discard(self._exchange)
            if not listed:
                del self._tunnels[incarnation]
