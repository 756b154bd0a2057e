"""Keeps one selection of objects in step with the API: list, then watch, for ever.

What to do next is decided in `recovery`; this does it and keeps the record. Objects go to a
`Sink`; a relist replaces what the sink holds only when the list is complete.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, NoReturn, Protocol

from gateway.cluster.answers import EventType, event_of
from gateway.cluster.errors import ApiNotInstalled
from gateway.cluster.recovery import (
    FIRST,
    Backoff,
    Ended,
    Event,
    Failed,
    Listed,
    Phase,
    Progress,
    Reason,
    Step,
    next_step,
    watch_timeout,
)
from gateway.cluster.status import ReflectorStatus
from gateway.cluster.turns import turns
from gateway.dialects.base import version_of
from gateway.sandbox.errors import ClusterError, MalformedObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager

    from gateway.cluster.answers import Page
    from gateway.cluster.config import ClusterConfig
    from gateway.cluster.selection import Selection
    from gateway.dialects.base import RawObject

_log = logging.getLogger(__name__)


class Stream(Protocol):
    """An open watch."""

    async def read(self) -> Iterable[RawObject] | None:
        """Wait for frames; None after a clean end. Taking one may raise a ClusterError."""


class Source(Protocol):
    """Where objects come from; every method raises a ClusterError where it fails."""

    async def list_page(self, selection: Selection, token: str | None) -> Page:
        """Read one page of a list; taking one of its items may raise a ClusterError too."""

    def watch(
        self, selection: Selection, version: int, timeout: float
    ) -> AbstractAsyncContextManager[Stream]:
        """Open a watch."""


class Sink(Protocol):
    """Where objects go to. Nothing that an object contains may make these raise."""

    def begin(self) -> None:
        """A list begins; one that was begun before and not completed is void."""

    def page(self, items: Iterable[RawObject]) -> None:
        """Take a part of the list."""

    def complete(self, version: int) -> Iterator[None]:
        """The list is complete as of `version`: what it lacked is gone after the last step."""

    def event(self, kind: EventType, raw: RawObject) -> None:
        """Take news of one object."""

    def forget(self) -> None:
        """The API is not installed any more: nothing exists."""


class Reflector:
    """One list and watch, and what is known of how it fares."""

    def __init__(
        self,
        name: str,
        selection: Selection,
        source: Source,
        sink: Sink,
        config: ClusterConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Give it the monotonic `clock` and the `chance` in [0, 1) that its patience varies by."""
        self.name = name
        self._selection = selection
        self._source = source
        self._sink = sink
        self._config = config
        self._backoff = Backoff(config.backoff_min, config.backoff_max)
        self._clock = clock
        self._chance = chance
        self._phase = Phase.STARTING
        self._since = self._started = clock()
        self._last_contact: float | None = None
        self._synced = asyncio.Event()
        self._version = 0
        self._lists = 0
        self._restarts: Counter[Reason] = Counter()
        self._last_error = ""

    @property
    def status(self) -> ReflectorStatus:
        """What is known now."""
        return ReflectorStatus(
            name=self.name,
            phase=self._phase,
            since=self._since,
            synced=self.synced,
            last_contact=self._last_contact,
            lists=self._lists,
            restarts=dict(self._restarts),
            silent_for=self.silent_for,
            stale=self.stale,
            last_error=self._last_error,
        )

    @property
    def synced(self) -> bool:
        """Whether the routes were complete once; with the API not installed, none is complete."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait until `synced`."""
        await self._synced.wait()

    @property
    def silent_for(self) -> float:
        """Seconds since the last contact, or since the start."""
        last = self._started if self._last_contact is None else self._last_contact
        return self._clock() - last

    @property
    def stale(self) -> bool:
        """Whether the routes may be wrong for want of contact."""
        return self.silent_for > self._config.stale_after

    async def run(self) -> NoReturn:
        """List and watch until cancelled."""
        progress, step = Progress(), FIRST
        while True:
            await asyncio.sleep(step.delay)
            event = await (self._list() if step.version is None else self._watch(step.version))
            progress, step = next_step(
                progress, event, self._backoff, self._clock(), self._chance()
            )
            self._note(event, step)

    async def _list(self) -> Event:
        try:
            version = await self._read_pages()
        except ClusterError as error:
            return Failed(error)
        for turn in turns(self._sink.complete(version), self._clock):
            deque(turn, maxlen=0)
            await asyncio.sleep(0)
        self._lists += 1
        self._synced.set()
        return Listed(version)

    async def _read_pages(self) -> int:
        """Hand all pages to the sink; return the version of which they are the snapshot."""
        self._sink.begin()
        page = first = await self._read_page(None)
        while page.next_token is not None:
            page = await self._read_page(page.next_token)
        return first.version

    async def _read_page(self, token: str | None) -> Page:
        page = await self._source.list_page(self._selection, token)
        self._contact(Phase.LISTING)
        for turn in turns(page.items, self._clock):
            self._sink.page(turn)
            await asyncio.sleep(0)
        return page

    async def _watch(self, version: int) -> Event:
        began = self._clock()
        self._version = version
        timeout = watch_timeout(self._config.watch_timeout, self._chance())
        try:
            async with self._source.watch(self._selection, version, timeout) as stream:
                self._contact(Phase.WATCHING)
                await self._follow(stream)
        except ClusterError as error:
            return Failed(error, self._version, self._clock() - began)
        return Ended(self._version, self._clock() - began)

    async def _follow(self, stream: Stream) -> None:
        while (frames := await stream.read()) is not None:
            for turn in turns(frames, self._clock):
                for frame in turn:
                    self._take(frame)
                self._contact(Phase.WATCHING)
                # What has arrived is read without waiting: a flood must not starve the rest.
                await asyncio.sleep(0)

    def _take(self, frame: RawObject) -> None:
        kind, raw = event_of(frame)
        if kind is not EventType.BOOKMARK:
            self._sink.event(kind, raw)
        try:
            self._version = max(self._version, version_of(raw))
        except MalformedObject:
            # The version stays: the next watch repeats this event, which does no harm.
            _log.warning("%s: a %s event without a version", self.name, kind.value)

    def _contact(self, phase: Phase) -> None:
        self._last_contact = self._clock()
        self._enter(phase)

    def _enter(self, phase: Phase) -> None:
        if phase is not self._phase:
            _log.info("%s: %s, was %s", self.name, phase.value, self._phase.value)
            self._phase, self._since = phase, self._clock()

    def _note(self, event: Event, step: Step) -> None:
        """Keep the record of a step that was decided."""
        if step.reason is not None:
            self._restarts[step.reason] += 1
        if isinstance(event, Failed):
            self._note_error(event.error)
        if step.forget:
            self._sink.forget()
        if step.phase is Phase.NOT_INSTALLED:
            # An answer, and a complete one: there is nothing.
            self._last_contact = self._clock()
            self._synced.set()
        if step.phase is not None:
            self._enter(step.phase)

    def _note_error(self, error: ClusterError) -> None:
        told = f"{type(error).__name__}: {error}"
        if told != self._last_error:
            # An API that is not there is nothing wrong: not every cluster has every one.
            level = logging.INFO if isinstance(error, ApiNotInstalled) else logging.WARNING
            _log.log(level, "%s: %s", self.name, told)
            self._last_error = told
