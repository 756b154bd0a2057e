"""What becomes of a request, given its sandbox's state: one exhaustive table, and who may wake."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.sandbox.errors import (
    GatewayError,
    SandboxBlocked,
    SandboxDead,
    SandboxNotWakeable,
)
from gateway.sandbox.model import Route, State

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verdict(Enum):
    """What the proxy does with a request that is not refused."""

    FORWARD = "forward"
    WAKE = "wake"
    WAIT = "wait"


Outcome = Verdict | type[GatewayError]

#: (state, wake-on-traffic) → what becomes of a request. Exhaustive over both.
TABLE: Final[Mapping[tuple[State, bool], Outcome]] = {
    (State.RUNNING, True): Verdict.FORWARD,
    (State.RUNNING, False): Verdict.FORWARD,
    (State.PAUSED, True): Verdict.WAKE,
    (State.PAUSED, False): SandboxNotWakeable,
    (State.PAUSING, True): Verdict.WAKE,
    (State.PAUSING, False): SandboxNotWakeable,
    (State.CREATING, True): Verdict.WAIT,
    (State.CREATING, False): Verdict.WAIT,
    (State.RESUMING, True): Verdict.WAIT,
    (State.RESUMING, False): Verdict.WAIT,
    (State.BLOCKED, True): SandboxBlocked,
    (State.BLOCKED, False): SandboxBlocked,
    (State.DEAD, True): SandboxDead,
    (State.DEAD, False): SandboxDead,
}


_RUNNING: Final = State.RUNNING
_FORWARD: Final = Verdict.FORWARD


def outcome(route: Route, now: float) -> Outcome:
    """Judge a request for `route` at `now`: a verdict, or the error that answers it."""
    if route.state is _RUNNING and (route.expires_at is None or now < route.expires_at):
        return _FORWARD  # both rows of the table, without hashing an enum: the hot path
    return TABLE[route.state_at(now), route.wake.enabled]


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Some requests, told by any of these.

    Methods are upper case, path prefixes match the forwarded path, user-agent parts match anywhere,
    in any case.
    """

    methods: frozenset[bytes] = frozenset()
    path_prefixes: tuple[bytes, ...] = ()
    user_agents: tuple[bytes, ...] = ()

    def has_line(self, method: bytes, path: bytes) -> bool:
        """Return whether a request with this first line is one of these."""
        return method in self.methods or path.startswith(self.path_prefixes)

    def has_agent(self, agent: bytes) -> bool:
        """Return whether requests with this User-Agent are among these."""
        agent = agent.lower()
        return any(part.lower() in agent for part in self.user_agents)


@dataclass(frozen=True, slots=True)
class NeverCount(RequestFilter):
    """Requests that are no use of a sandbox: they do not keep it awake."""


@dataclass(frozen=True, slots=True)
class NeverWake(RequestFilter):
    """Requests that are forwarded to a running sandbox but never wake a sleeping one.

    Browsers' speculative loads, health checkers and crawlers are not use.
    """

    prefetch: bool = True
    upgrades: bool = False

    def applies(
        self, method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], upgrade: bool
    ) -> bool:
        """Return whether this request may not wake anything."""
        if (self.upgrades and upgrade) or self.has_line(method, path):
            return True
        return any(self._header_forbids(name.lower(), value) for name, value in headers)

    def _header_forbids(self, name: bytes, value: bytes) -> bool:
        if name == b"sec-purpose":
            return self.prefetch and b"prefetch" in value.lower()
        return name == b"user-agent" and self.has_agent(value)
