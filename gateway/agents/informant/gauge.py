"""What can be read of the guest now: a reading that fails is told once, and tried again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from gateway.resize.guest.sources import Unmeasurable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.resize.guest.load import Load, Usage
    from gateway.resize.guest.pressure import Memory, Strain
    from gateway.resize.guest.sources import Source

_LOG = logging.getLogger(__name__)

Read = TypeVar("Read")


class Gauge:
    """Reads a source. What cannot be read is None: then it is not known, and is not guessed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._unread: set[str] = set()

    def load(self) -> Load | Usage | None:
        """Return the load, or what it is to be reckoned from."""
        return self._read("the load", self._source.load)

    def memory(self) -> Memory | None:
        """Return how much memory there is, and how much is in use."""
        return self._read("the memory", self._source.memory)

    def strain(self) -> Strain | None:
        """Return what has been lacking so far."""
        return self._read("what is lacking", self._source.strain)

    def _read(self, what: str, read: Callable[[], Read]) -> Read | None:
        try:
            found = read()
        except Unmeasurable as error:
            if what not in self._unread:
                self._unread.add(what)
                _LOG.warning("%s cannot be measured any more: %s", what, error)
            return None
        if what in self._unread:
            self._unread.remove(what)
            _LOG.info("%s can be measured again", what)
        return found
