"""The gateway's end of one observer's connection: what to say to it, and how far it has come."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

from gateway.standby.flow_messages import MAX_ENTRIES, Sync, Watch

if TYPE_CHECKING:
    from collections.abc import Iterable


class ObserverLink:
    """What waits to be said is which addresses to watch, not how that came about.

    `addresses`: those of which it has told connections. `sees`: it has told of all addresses, and
    answers.
    """

    def __init__(self, node: str, watched: Iterable[str]) -> None:
        """`watched`: the addresses to begin with."""
        self.node = node
        self.addresses: set[str] = set()
        self.closed = False
        self._wishes = dict.fromkeys(watched, True)
        self._asked = 1
        self._said = 0
        self._answered = 0
        self._late = False
        self._stirred = asyncio.Event()
        self._stirred.set()
        self._waiting: dict[int, asyncio.Event] = {}

    @property
    def sees(self) -> bool:
        return self._answered > 0 and not self._late and not self.closed

    def watch(self, address: str) -> None:
        """Ask it to tell of an address."""
        self._wish(address, wanted=True)

    def unwatch(self, address: str) -> None:
        """Ask it to tell of an address no more."""
        self._wish(address, wanted=False)

    def _wish(self, address: str, *, wanted: bool) -> None:
        # Of one address the last wish alone matters: what is wished for is always told as a whole.
        self._wishes[address] = wanted
        self._stirred.set()

    async def next(self) -> Watch | Sync | None:
        """Return what to say next, when there is something; None: it is closed.

        Call it again when that was said.
        """
        while True:
            await self._stirred.wait()
            if self.closed:
                return None
            if self._wishes:
                return self._take_wishes()
            if self._said < self._asked:
                self._said = self._asked
                return Sync(self._asked)
            self._stirred.clear()

    def _take_wishes(self) -> Watch:
        some = dict(islice(self._wishes.items(), MAX_ENTRIES))
        for address in some:
            del self._wishes[address]
        dropped = tuple(address for address, wanted in some.items() if not wanted)
        return Watch(tuple(address for address, wanted in some.items() if wanted), dropped)

    async def confirm(self, within: float) -> None:
        """Return when it has told all that began before, or after so many seconds."""
        if self.closed:
            return
        if self._asked == self._said:
            self._asked += 1
            self._stirred.set()
        answer = self._waiting.setdefault(self._asked, asyncio.Event())
        try:
            async with asyncio.timeout(within):
                await answer.wait()
        except TimeoutError:
            self._late = True

    def synced(self, number: int) -> bool:
        """Take its answer; return whether it is the first."""
        first = self._answered == 0
        self._answered = max(self._answered, min(number, self._said))
        self._late = self._late and self._answered < self._asked
        for asked in [one for one in self._waiting if one <= self._answered]:
            self._waiting.pop(asked).set()
        return first and self._answered > 0

    def close(self) -> None:
        """Wake those who wait: no answer will come."""
        self.closed = True
        self._stirred.set()
        for answer in self._waiting.values():
            answer.set()
        self._waiting.clear()
