"""The provider's keys as they are known now: fetched in time, and believed only for a while.

One task fetches, nobody else: before the keys are old, soon again after a failure, and at once if a
request names a key that is not known, though not more often than every few seconds, or requests
could make the gateway a burden to its provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.auth.jwks import KeysUnavailable, parse_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from joserfc.jwk import Key

    from gateway.auth.jwks import KeySource
    from gateway.telemetry.instruments import Instruments

_LOG = logging.getLogger(__name__)

#: Seconds from a failure to the next try: the first time, and at most; it doubles.
_RETRY_MIN: Final = 1.0
_RETRY_MAX: Final = 30.0

_NONE: Final[Mapping[str, Key]] = {}


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds. `refresh`: from one fetch to the next; `max_age`: for how long keys are believed.

    `pause`: the least time between two fetches that requests ask for.
    """

    refresh: float = 300.0
    max_age: float = 3600.0
    pause: float = 2.0


class KeyStore:
    """Keys by key id. Without keys that are fresh enough there are none."""

    def __init__(
        self,
        source: KeySource,
        freshness: Freshness,
        instruments: Instruments,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` tells seconds that never jump."""
        self._source = source
        self._freshness = freshness
        self._clock = clock
        self._keys: Mapping[str, Key] = _NONE
        self._published = b""
        self._loaded_at = self._asked_at = -math.inf
        self._failures = 0
        self._fetching = False
        self._wanted = asyncio.Event()
        self._fetched = asyncio.Event()
        self._fetches = instruments.counter(
            "jwks_fetches", "Fetches of the keys that verify JWTs.", "outcome"
        )
        for outcome in ("loaded", "failed"):
            self._fetches.prime(outcome)
        instruments.gauge("jwks_age_seconds", "Time since those keys were fetched.", self._age)

    @property
    def pause(self) -> float:
        """After how many seconds it is worth asking again."""
        return self._freshness.pause

    @property
    def sure(self) -> bool:
        """Whether a key that is not here does not exist: the provider answered when asked last."""
        return self._failures == 0 and bool(self.current())

    def current(self) -> Mapping[str, Key]:
        """Return the keys that may be believed now; the same object as long as they are the same.

        Once too old, they are dropped for good.
        """
        if self._keys is not _NONE and self._age() > self._freshness.max_age:
            self._keys, self._published = _NONE, b""
        return self._keys

    async def ask(self) -> None:
        """Return once the keys have been fetched anew, or if that was asked for just now."""
        if not (self._fetching or self._wanted.is_set()):
            now = self._clock()
            if now < self._asked_at + self._freshness.pause:
                return
            self._asked_at = now
            self._wanted.set()
        await self._fetched.wait()

    async def run(self) -> None:
        """Fetch again and again, until cancelled."""
        while True:
            self._wanted.clear()
            await self.fetch()
            done, self._fetched = self._fetched, asyncio.Event()
            done.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_next()):
                    await self._wanted.wait()

    async def fetch(self) -> None:
        """Fetch once; what goes wrong is counted, and told in the log when it begins and ends."""
        self._fetching, began = True, self._clock()
        try:
            published = await self._source.fetch()
            if published != self._published:
                self._keys, self._published = parse_keys(published), published
        except KeysUnavailable as error:
            self._failures += 1
            self._fetches.inc("failed")
            if self._failures == 1:
                _LOG.warning("cannot fetch the keys that verify JWTs", extra={"error": str(error)})
        else:
            if self._failures:
                _LOG.warning("fetched the keys that verify JWTs again")
            self._failures = 0
            self._loaded_at = began
            self._fetches.inc("loaded")
        finally:
            self._fetching = False

    def _until_next(self) -> float:
        if self._failures == 0:
            return self._freshness.refresh
        retry = _RETRY_MIN * (1 << min(self._failures - 1, 10))
        return min(retry, _RETRY_MAX, self._freshness.refresh)

    def _age(self) -> float:
        return self._clock() - self._loaded_at
