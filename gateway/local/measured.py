"""What an informant would say for a sandbox, measured from outside by the gateway itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.resize.guest.load import SAMPLE_EVERY, Averages
from gateway.resize.guest.pressure import Watch
from gateway.resize.guest.sources import Unmeasurable
from gateway.resize.informant_client import LinkFailed
from gateway.resize.link_state import EndReason, LinkEnd, Running, UpscaleWanted
from gateway.resize.messages import DownscaleResult
from gateway.resize.scrape import Scraped

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.resize.guest.pressure import Memory
    from gateway.resize.guest.sources import Source
    from gateway.resize.link_state import LinkEvent
    from gateway.sandbox.scaling import Size

#: Seconds from one look at what is lacking to the next.
LOOK_EVERY: Final = 0.2


class Measured:
    """The conversation with an informant that is not there. It runs once."""

    def __init__(self, source: Source, on_event: Callable[[LinkEvent], None]) -> None:
        self._source = source
        self._on_event = on_event
        self._averages = Averages()
        self._watch = Watch()

    async def run(self) -> LinkEnd:
        """Look until cancelled, or until there is nothing to be seen any more."""
        self._on_event(Running())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._measure())
                tasks.create_task(self._look_after())
        except* Unmeasurable as group:
            why = str(group.exceptions[0])
        return LinkEnd(EndReason.UNREACHABLE, why)

    async def downscale(self, size: Size) -> DownscaleResult:
        """Say whether what is in use has room enough in so much; raise LinkFailed."""
        memory = self._memory()
        status = f"{memory.used} bytes of memory are in use"
        return DownscaleResult(ok=memory.can_become(size.memory), status=status)

    async def upscale(self, size: Size) -> None:  # noqa: ARG002 - what there is now is looked up
        """Forget what was lacking before there was more."""
        self._watch = Watch()

    async def metrics(self) -> Scraped:
        """Return the load and the memory now; raise LinkFailed."""
        load, memory = self._averages.load, self._memory()
        if load is None:
            raise LinkFailed("the load is not known yet")
        return Scraped(load.one, load.five, memory.total, memory.available)

    def _memory(self) -> Memory:
        try:
            return self._source.memory()
        except Unmeasurable as error:
            raise LinkFailed(str(error)) from error

    async def _measure(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            self._averages = self._averages.take(self._source.load(), clock())
            await asyncio.sleep(SAMPLE_EVERY)

    async def _look_after(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            memory, strain = self._source.memory(), self._source.strain()
            self._watch = self._watch.look(memory, strain, clock())
            needs = self._watch.needs
            if needs is not None:
                self._on_event(UpscaleWanted(needs.cpu, needs.memory))
            await asyncio.sleep(LOOK_EVERY)
