"""The values that every layer speaks: states, keys, routes.

A `Route` is what a dialect makes of one API object and all that the proxy needs of it. Routes are
immutable; the registry replaces them. Times are seconds since the epoch, durations are seconds.

There may be a hundred thousand routes, and thousands of news a second. So these are structs, which
are as cheap to make as tuples are, and which the garbage collector need not look at (`gc=False`):
to walk over all of them would stop everything for a tenth of a second. None can be in a cycle.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from gateway.sandbox.standby import NO_RULES, IdleRules

if TYPE_CHECKING:
    from gateway.sandbox.scaling import Scaling


class State(Enum):
    """What the gateway makes of a sandbox, whatever its API calls it."""

    CREATING = "creating"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    BLOCKED = "blocked"
    DEAD = "dead"


class Key(msgspec.Struct, frozen=True, order=True, gc=False):
    """Names an object slot. Two sandboxes may hold one key one after the other: compare uids."""

    dialect: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class WakePolicy(msgspec.Struct, frozen=True, gc=False):
    """May traffic wake it, and how long one waking may take (None: the gateway's default)."""

    enabled: bool = False
    timeout: float | None = None

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(enabled: bool, timeout: float | None) -> WakePolicy:
        """Return a policy that equal ones share: few differ, and every sandbox has one."""
        return WakePolicy(enabled, timeout)


class Credential(msgspec.Struct, frozen=True, gc=False):
    """What proves a right to one sandbox: its token in clear, or the token's SHA-256 as hex."""

    token: str | None = None
    sha256: str | None = None

    def __repr__(self) -> str:
        return "Credential()"  # it gets into logs


class UpstreamTls(msgspec.Struct, frozen=True, gc=False):
    """On which ports a sandbox speaks TLS (None: all), and the name that it proves there.

    Without a name, its certificate must be for its address.
    """

    ports: frozenset[int] | None = None
    server_name: str | None = None

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(ports: frozenset[int] | None, server_name: str | None) -> UpstreamTls:
        """Return one that equal ones share: few differ, and there may be many sandboxes."""
        return UpstreamTls(ports, server_name)


class Problem(msgspec.Struct, frozen=True, gc=False):
    """Something on the object that did not parse; the safe reading was used instead."""

    field: str
    message: str


class Backing(msgspec.Struct, frozen=True, gc=False):
    """The Service that tells where a workload is, for an API whose objects do not tell it.

    `named`: the object names it, and its own address will do; else only its endpoints will.
    `available`: the workload takes requests, wherever that is. `life` tells one life of it from the
    next where no pod does.
    """

    service: str
    named: bool
    available: bool
    life: str


NO_WAKE = WakePolicy()


class Route(msgspec.Struct, frozen=True, gc=False):
    """One sandbox as the proxy sees it.

    `incarnation` names one life of the workload: connections of one incarnation never serve
    another. `address` is set only where the workload answers there now. `ports` None means any.
    `tls` None means that no port speaks TLS. `requires_jwt`: no other credential will do.
    `version` is the object's resourceVersion. `reason` explains blocked and dead. `backing` None
    means that the object itself gives the address; else it came from another one. `idle` says when
    it sleeps. `node` is the machine that it runs on, where its API tells that. `scaling` says
    between which sizes it may be while it is awake; None means that its size is left alone.
    """

    key: Key
    uid: str
    id: str
    version: int
    state: State
    incarnation: str
    address: str | None = None
    ports: frozenset[int] | None = None
    expires_at: float | None = None
    reason: str = ""
    wake: WakePolicy = NO_WAKE
    credential: Credential | None = None
    passes_access_token: bool = False
    problems: tuple[Problem, ...] = ()
    tls: UpstreamTls | None = None
    requires_jwt: bool = False
    backing: Backing | None = None
    idle: IdleRules = NO_RULES
    node: str | None = None
    scaling: Scaling | None = None

    def state_at(self, now: float) -> State:
        """Return the state at `now`: time passes without events, so expiry is judged here."""
        if self.expires_at is not None and self.expires_at <= now:
            return State.DEAD
        return self.state

    def allows_port(self, port: int) -> bool:
        """Return whether requests may name this port."""
        return self.ports is None or port in self.ports

    def speaks_tls(self, port: int) -> bool:
        """Return whether this port is spoken to by TLS."""
        return self.tls is not None and (self.tls.ports is None or port in self.tls.ports)
