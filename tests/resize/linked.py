"""Links as who owns them has them: a server, and what was told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.resize.agent_server import AgentServer
from gateway.resize.link import Link
from gateway.resize.link_state import Running
from tests.conformance.harness import eventually
from tests.wake.virtual import in_virtual_time

from .fake_informant import FakeInformant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.resize.link_state import LinkEnd, LinkEvent

#: Virtual time, with sockets: they have these real seconds to bring what is on its way.
on_the_wire: Final = partial(in_virtual_time, patience=0.02)


@dataclass
class Owned:
    """A link that runs."""

    link: Link
    running: asyncio.Task[LinkEnd]
    events: list[LinkEvent] = field(default_factory=list)

    async def resumed(self) -> None:
        """Wait until it is listened to."""
        await eventually(lambda: self.events[-1:] == [Running()], "it is not listened to")

    async def end(self, within: float = 60.0) -> LinkEnd:
        """Wait until it is over."""
        async with asyncio.timeout(within):
            return await asyncio.shield(self.running)


class Owner:
    """Begins links, and has what they need."""

    def __init__(self, server: AgentServer) -> None:
        self.server = server
        self.owned: list[Owned] = []

    def begin(self, informant: tuple[str, int]) -> Owned:
        """Begin a link."""
        events: list[LinkEvent] = []
        link = Link(informant, self.server, events.append)
        owned = Owned(link, asyncio.get_running_loop().create_task(link.run()), events)
        self.owned.append(owned)
        return owned

    async def reach(self, informant: FakeInformant) -> Owned:
        """Begin a link, and wait until it is listened to."""
        owned = self.begin(informant.address)
        await owned.resumed()
        return owned


@asynccontextmanager
async def owner() -> AsyncIterator[Owner]:
    """Give an owner of links; at the end all are cancelled."""
    server = AgentServer("127.0.0.1", 0)
    await server.start()
    owned = Owner(server)
    try:
        yield owned
    finally:
        for one in owned.owned:
            one.running.cancel()
            with suppress(asyncio.CancelledError):
                await one.running
        await server.stop()


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[FakeInformant, Owner, Owned]]:
    """Give an informant, and an owner of links with one that it listens to."""
    async with FakeInformant() as informant, owner() as own:
        yield informant, own, await own.reach(informant)
