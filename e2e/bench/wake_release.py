"""A crowd that waits for one sandbox: what it holds in memory, and how soon it is let go."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from e2e.bench.wake_crowd import Crowd
from e2e.bench.wake_rig import RigError
from e2e.bench.wake_stage import WakeStage, wait_for_gauge

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.bench.wake_stage import Subject
    from e2e.gateways import Gateway

#: Clients of the gateway's first wake, which loads what only a wake loads and does not count.
WARM_UP: Final = 64
#: Descriptors that a gateway needs beside those of connections.
SPARE: Final = 100


@dataclass(frozen=True, slots=True)
class Release:
    """One release. Seconds since Running was said, None where nobody looked.

    `first` is the first byte at the sandbox's server, `last` the end of the last request there,
    `answered` the last answer in its client's hands. `connections` are those to the server.
    """

    first: float
    last: float
    connections: int
    answered: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of a gateway: without clients, with idle ones, with the same ones waiting."""

    crowd: int
    empty: int
    connected: int
    waiting: int

    @property
    def per_waiting_request(self) -> float:
        """Bytes for each request that waits, its connection included."""
        return (self.waiting - self.empty) / self.crowd

    @property
    def per_idle_connection(self) -> float:
        """Bytes for each connection without a request."""
        return (self.connected - self.empty) / self.crowd


@dataclass(slots=True)
class Releases:
    """What one size of crowd showed, by rounds.

    `bare` opens a connection for each request, `bare_reusing` as many as the gateway did.
    """

    crowd: int
    memory: Memory
    gateway: list[Release] = field(default_factory=list)
    bare: list[Release] = field(default_factory=list)
    bare_reusing: list[Release] = field(default_factory=list)


def measure(place: Path, crowd: int, rounds: int, descriptors: int) -> Releases:
    """Let a crowd of this size go, in alternating rounds. Raise RigError.

    `descriptors` is how many each program may have open.
    """
    if crowd + SPARE > descriptors:
        raise RigError(f"a process may have {descriptors} files open: too few for {crowd} clients")
    with WakeStage(place) as stage:
        subject = stage.gateway_subject("gateway")
        assert subject.gateway is not None
        _through_gateway(subject, subject.gateway, WARM_UP)
        memory, release = _through_gateway(subject, subject.gateway, crowd)
        connections = min(release.connections, crowd)
        bare = stage.bare_subject("bare", "uvloop", crowd, crowd)
        reusing = stage.bare_subject("bare-reusing", "uvloop", crowd, connections)
        _release_bare(bare, crowd)
        _release_bare(reusing, crowd)
        taken = Releases(crowd, memory)
        for number in range(rounds):
            print(f"wake: crowd of {crowd}, {number} of {rounds} rounds", file=sys.stderr)
            taken.gateway.append(_through_gateway(subject, subject.gateway, crowd)[1])
            taken.bare.append(_release_bare(bare, crowd))
            taken.bare_reusing.append(_release_bare(reusing, crowd))
    _check_descriptors(taken, descriptors)
    return taken


def _check_descriptors(taken: Releases, descriptors: int) -> None:
    """Raise RigError if the gateway cannot have opened all the connections that it wanted."""
    needed = taken.crowd + max(one.connections for one in taken.gateway) + SPARE
    if needed > descriptors:
        raise RigError(f"a process may have {descriptors} files open: the gateway ran out of them")


def _release_bare(bare: Subject, crowd: int) -> Release:
    bare.rig.tell("ask")
    told = bare.rig.tell("release", requests=crowd)
    _settle(bare, crowd)
    return Release(told["first"], told["last"], told["connections"])


def _through_gateway(subject: Subject, gateway: Gateway, crowd: int) -> tuple[Memory, Release]:
    """Let clients connect, ask and wait, and let them go."""
    program = gateway.program
    wait_for_gauge(gateway, "client_connections", 0)
    empty = program.resident_bytes
    with Crowd() as clients:
        clients.connect(gateway.data_port, crowd)
        wait_for_gauge(gateway, "client_connections", crowd)
        connected = program.resident_bytes
        clients.ask(subject.request)
        wait_for_gauge(gateway, "wake_waiting_requests", crowd)
        waiting = program.resident_bytes
        told = subject.rig.tell("release", requests=crowd)
        answered = clients.read_answers() - told["began"]
        _settle(subject, crowd)
    release = Release(told["first"], told["last"], told["connections"], answered)
    return Memory(crowd, empty, connected, waiting), release


def _settle(subject: Subject, crowd: int) -> None:
    """Put the sandbox to sleep; raise RigError if more came than was sent."""
    came = subject.rig.tell("pause")["requests"]
    if came != crowd:
        raise RigError(f"{crowd} requests were sent to {subject.name}, {came} arrived")
