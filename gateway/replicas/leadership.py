"""Stands for election: does what `election` commands and tells it what happened."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Protocol, Self, assert_never

from gateway.replicas import election
from gateway.replicas.messages import Answered, Ask, Change, Event, Failed, Stop, Tick, Verb
from gateway.sandbox.errors import ClusterError, Conflict

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from gateway.cluster.lease import Lease
    from gateway.replicas.election import ElectionConfig
    from gateway.telemetry.instruments import Instruments

_LOG = logging.getLogger(__name__)


class LeaseStore(Protocol):
    """What is needed of the Kubernetes API; every method raises a ClusterError."""

    async def read(self) -> Lease | None:
        """Return the Lease as it is now, or None if there is none."""

    async def create(self, duration: float) -> Lease:
        """Make the Lease, held by nobody known."""

    async def acquire(self, over: Lease, identity: str, duration: float) -> Lease:
        """Become the holder."""

    async def renew(self, over: Lease, duration: float) -> Lease:
        """Stay the holder."""

    async def release(self, over: Lease) -> Lease:
        """Leave it to whoever comes first."""


def boot_clock() -> float:
    """Return seconds since the machine started.

    Unlike the event loop's clock, CLOCK_BOOTTIME goes on while the machine is suspended, and so
    does everybody else's time.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def unique_identity(pod: str | None = None) -> str:
    """Return a name for this process that no other has or had; a pod's host name is its own."""
    return f"{pod or socket.gethostname()}_{secrets.token_hex(8)}"


class Sole:
    """What `Leadership` is to a replica that is the only one: it leads always."""

    acting: Final = True

    async def wait_won(self) -> None:
        """Return."""

    async def wait_lost(self) -> None:
        """Wait until cancelled."""
        await asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """There is nothing to give up."""


class Leadership:
    """An async context: inside it this replica stands for election, leaving it gives up the lease.

    Giving up waits for what is under way, at most two thirds of the lease's duration. A mistake in
    the code cancels the body, as in any TaskGroup.
    """

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        config: ElectionConfig,
        instruments: Instruments,
        *,
        role: str = "",
        clock: Callable[[], float] = boot_clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`role` tells elections of one replica apart. `clock` gives monotonic seconds.

        `chance` gives a draw of [0, 1).
        """
        self._role = role
        self._store = store
        self._clock = clock
        self._chance = chance
        self._election = election.begin(config, identity, clock())
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._request: asyncio.Task[None] | None = None
        self._group = asyncio.TaskGroup()
        self._stack = AsyncExitStack()
        self._won, self._lost = asyncio.Event(), asyncio.Event()
        self._lost.set()
        self._told: type[ClusterError] | None = None
        self._show(instruments)

    @property
    def acting(self) -> bool:
        """Whether this replica may act now: to be asked in the step that begins an act.

        What is begun then has the election's `grace` to be over in, or must be a write that lands
        only over what was seen.
        """
        return self._election.acting(self._clock())

    async def wait_won(self) -> None:
        """Wait until this replica leads."""
        await self._won.wait()

    async def wait_lost(self) -> None:
        """Wait until this replica leads no more, which `acting` may know a little sooner."""
        await self._lost.wait()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(self._group)
            running = group.create_task(self._run(), name="leadership")
            stack.push_async_callback(self._give_up, running)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._stack.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # The body's own error leaves as it came, and not as a group of one.
            if group.exceptions != (error,):
                raise

    async def _give_up(self, running: asyncio.Task[None]) -> None:
        self._events.put_nowait(Stop())
        await asyncio.wait({running})

    # ---- events in ----------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._election.ended:
            self._take(await self._next_event())

    async def _next_event(self) -> Event:
        try:
            async with asyncio.timeout(self._election.due - self._clock()):
                return await self._events.get()
        except TimeoutError:
            return Tick()

    def _take(self, event: Event) -> None:
        before = self._election
        self._election, commands = election.step(before, event, self._clock(), self._chance())
        self._note_trouble(before)
        if self._request is not None and self._election.asked is not before.asked:
            self._request.cancel()
        for command in commands:
            match command:
                case Ask():
                    self._request = self._group.create_task(self._ask(command))
                case Change():
                    self._change(command)

    # ---- commands out -------------------------------------------------------------------------

    async def _ask(self, ask: Ask) -> None:
        try:
            lease = await self._answer(ask.verb, ask.over)
        except ClusterError as error:
            self._events.put_nowait(Failed(ask.number, error))
        else:
            self._events.put_nowait(Answered(ask.number, lease))

    async def _answer(self, verb: Verb, over: Lease | None) -> Lease | None:
        duration = self._election.config.lease_duration
        if verb is Verb.READ:
            return await self._store.read()
        if verb is Verb.CREATE:
            return await self._store.create(duration)
        assert over is not None, "only what is there can be written over"
        if verb is Verb.ACQUIRE:
            return await self._store.acquire(over, self._election.identity, duration)
        if verb is Verb.RENEW:
            return await self._store.renew(over, duration)
        if verb is Verb.RELEASE:
            return await self._store.release(over)
        assert_never(verb)

    def _change(self, change: Change) -> None:
        self._transitions.inc(change.value)
        if change is Change.LEAD:
            self._won.set()
            self._lost.clear()
            told = {"identity": self._election.identity, "role": self._role or "standby"}
            _LOG.info("this replica leads", extra=told)
        else:
            self._won.clear()
            self._lost.set()
            level = logging.INFO if self._election.stopping else logging.WARNING
            told = {"role": self._role or "standby"}
            _LOG.log(level, "this replica leads no more", extra=told)

    def _note_trouble(self, before: election.Election) -> None:
        """Count failures; log one only where it is of another kind than the last."""
        error = self._election.trouble
        if error is None:
            self._told = None
        elif error is not before.trouble:
            if before.acts_until is not None:
                self._failures.inc()
            if type(error) is not self._told and not isinstance(error, Conflict):
                _LOG.warning("the lease cannot be had: %s: %s", type(error).__name__, error)
                self._told = type(error)

    def _show(self, instruments: Instruments) -> None:
        prefix = f"{self._role}_" if self._role else ""
        instruments.gauge(
            f"{prefix}leader", "Whether this replica leads.", lambda: float(self.acting)
        )
        self._transitions = instruments.counter(
            f"{prefix}leader_transitions",
            "Times that this replica began or ceased to lead.",
            "change",
        )
        self._failures = instruments.counter(
            f"{prefix}lease_renew_failures",
            "Requests about its lease that failed a replica that led.",
        )
        for change in Change:
            self._transitions.prime(change.value)
        self._failures.prime()
