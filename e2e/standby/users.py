"""Users who come and go: each uses one sandbox for a while, then leaves it alone for a while.

What they do is drawn from a seed: short requests, streams and WebSockets, each through whichever
gateway the balancer chooses. The times of each use are kept, to judge by when a sandbox slept.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from e2e.faults.ledger import Kind, Ledger
from e2e.faults.traffic import Mix, Traffic

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from e2e.faults.traffic import Place, Target

#: A stream takes 5 s or so, a conversation a little longer: more than the shortest idle time.
MIX: Final = Mix(events=50, messages=40, pause=0.1)


@dataclass(slots=True)
class User:
    """The one user of a sandbox. `idle_timeout`: what its policy says, in seconds."""

    target: Target
    idle_timeout: float
    place: Callable[[], Place]
    ledger: Ledger
    chance: random.Random
    #: When the last use ended; infinite while one is under way.
    last: float = field(default_factory=time.monotonic)
    uses: int = 0

    async def live(self, until: float) -> None:
        """Use the sandbox now and then."""
        traffic = Traffic(self.place, lambda: self.target, MIX, self.ledger)
        while time.monotonic() < until:
            self.last = float("inf")
            await self._use(traffic)
            self.uses += 1
            self.last = time.monotonic()
            await asyncio.sleep(self._break())

    async def _use(self, traffic: Traffic) -> None:
        how = self.chance.random()
        if how < 0.15:
            await traffic.once(Kind.EVENTS, self.target, self.place())
        elif how < 0.3:
            await traffic.talk(self.target, self.place())
        elif how < 0.5:
            count = self.chance.randint(2, 6)
            kinds = [self.chance.choice((Kind.GET, Kind.ECHO)) for _ in range(count)]
            await asyncio.gather(*(traffic.once(kind, self.target, self.place()) for kind in kinds))
        else:
            await traffic.once(Kind.GET, self.target, self.place())

    def _break(self) -> float:
        """Return for how long nobody uses it: often about as long as it takes to fall asleep.

        Those are the moments at which a request and a standby meet.
        """
        drawn = self.chance.random()
        if drawn < 0.4:
            return self.chance.uniform(0.0, 0.9) * self.idle_timeout
        if drawn < 0.8:
            return self.idle_timeout + self.chance.uniform(-0.05, 0.3)
        return self.idle_timeout + self.chance.uniform(5.0, 8.0)
