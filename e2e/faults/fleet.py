"""Several gateways over one API, behind a balancer that lets new connections to ready ones only."""

from __future__ import annotations

import asyncio
import itertools
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.gateways import Gateway, start_serve
from e2e.programs import PATIENCE
from e2e.waiting import soon

from .timeline import Cause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from e2e.programs import Programs

    from .timeline import Timeline

    #: Given the name of a gateway, its way to the API.
    Way = Callable[[str], Path]

#: How often the balancer asks for readiness, in seconds.
_POLL: Final = 0.2
#: From SIGTERM to the refusal of new connections: a few of the balancer's polls.
_SETTINGS: Final = {"drain_delay": "2s", "dialects": "native", "access_log": "false"}


@dataclass(slots=True, eq=False)
class Member:
    """One gateway. `ready` is what the balancer knows of it."""

    gateway: Gateway
    ready: bool = False
    halted: bool = False

    @property
    def data_port(self) -> int:
        return self.gateway.data_port

    @property
    def subject(self) -> str:
        """What a timeline calls it."""
        return str(self.data_port)


class Fleet:
    """Gateways that come and go."""

    def __init__(
        self,
        programs: Programs,
        home: Path,
        kubeconfig: Way,
        timeline: Timeline,
        settings: dict[str, str],
    ) -> None:
        self._programs = programs
        self._home = home
        self._kubeconfig = kubeconfig
        self._timeline = timeline
        self._settings = _SETTINGS | settings
        self._turn = itertools.count()
        self._names = itertools.count(1)
        self.members: list[Member] = []
        self.gone: list[Gateway] = []
        """Those that have ended, as they should or not."""

    @classmethod
    @asynccontextmanager
    async def of(
        cls,
        count: int,
        programs: Programs,
        home: Path,
        kubeconfig: Way,
        timeline: Timeline,
        settings: dict[str, str],
    ) -> AsyncIterator[Fleet]:
        """Run so many gateways for the body's time."""
        fleet = cls(programs, home, kubeconfig, timeline, settings)
        async with fleet.running(count):
            yield fleet

    @asynccontextmanager
    async def running(self, count: int) -> AsyncIterator[None]:
        """Run so many gateways for the body's time, and ask them whether they are ready."""
        async with asyncio.TaskGroup() as group:
            polling = group.create_task(self._poll())
            try:
                await asyncio.gather(*(self.add() for _ in range(count)))
                yield
            finally:
                polling.cancel()

    def place(self) -> Member:
        """Return where a new connection goes: to the ready ones in turn."""
        ready = [one for one in self.members if one.ready]
        chosen = ready or self.members
        return chosen[next(self._turn) % len(chosen)]

    async def add(self) -> Member:
        """Start one more, and return once the balancer knows that it is ready."""
        # A name of its own, and so a log: several may start at once.
        name = f"gateway{next(self._names)}"
        settings = self._settings | await self._settings_of(name)
        gateway = await asyncio.to_thread(
            start_serve, self._programs, self._home, self._kubeconfig(name), name, **settings
        )
        member = Member(gateway)
        self.members.append(member)
        await soon(lambda: member.ready, "a gateway is ready")
        return member

    async def _settings_of(self, name: str) -> dict[str, str]:
        """Return what one gateway has that the others do not."""
        return {}

    async def drain(self, member: Member) -> int:
        """End one as a rolling update does; return its exit status."""
        span = self._timeline.begin(Cause.GATEWAY_DRAINS, member.subject)
        member.gateway.program.signal(signal.SIGTERM)
        status = await asyncio.to_thread(member.gateway.program.wait, PATIENCE)
        span.close()
        self._forget(member)
        return status

    async def restart(self, member: Member) -> int:
        """Start another one, then end this one; return its exit status."""
        await self.add()
        return await self.drain(member)

    async def kill(self, member: Member) -> None:
        """End one without a word. The balancer learns of it when it asks the next time."""
        span = self._timeline.begin(Cause.GATEWAY_KILLED, member.subject)
        await asyncio.to_thread(member.gateway.program.kill)
        await soon(lambda: not member.ready, "the balancer knows")
        span.close()
        self._forget(member)

    @asynccontextmanager
    async def halted(self, member: Member) -> AsyncIterator[None]:
        """Stop one for the body's time as a machine does that has other things to do."""
        span = self._timeline.begin(Cause.GATEWAY_HALTED, member.subject)
        member.ready, member.halted = False, True
        member.gateway.program.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            member.gateway.program.signal(signal.SIGCONT)
            member.halted = False
            span.close()

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over all that run."""
        return sum(one.gateway.metric(name, **labels) for one in self.members)

    def _forget(self, member: Member) -> None:
        self.members.remove(member)
        self.gone.append(member.gateway)

    async def _poll(self) -> None:
        while True:
            for member in [one for one in self.members if not one.halted]:
                ready = await asyncio.to_thread(_is_ready, member.gateway)
                # What one said that has been halted since is of no more use.
                member.ready = ready and not member.halted
            await asyncio.sleep(_POLL)


def _is_ready(gateway: Gateway) -> bool:
    try:
        return gateway.readiness()[0] == 200
    except OSError:
        return False
