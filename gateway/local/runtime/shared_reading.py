"""One expensive look at the machine, shared by all who ask for it at the same time."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Reading = TypeVar("Reading")


class SharedReading(Generic[Reading]):
    """Reads in a thread. A reading is given to everyone who asked before it began.

    So a thousand sandboxes that are frozen at once cost a few readings, not a thousand, and
    nobody gets one that is older than the question.
    """

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._begun = 0
        self._last: tuple[int, Reading] | None = None

    async def fresh(self) -> Reading:
        """Return a reading that began after this call."""
        asked = self._begun
        async with self._lock:
            if self._last is not None and self._last[0] > asked:
                return self._last[1]
            self._begun += 1
            number = self._begun
            reading = await asyncio.to_thread(self._read)
            self._last = (number, reading)
            return reading
