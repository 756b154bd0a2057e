"""One question, from the asking to the settling: every replica is asked, then the API.

The order is that of `replicas.sleep`, which says why it is safe. Whatever happens in between, each
sandbox that was asked about is settled: a replica that said yes keeps its requests waiting.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.replicas.leadership import boot_clock
from gateway.replicas.sleep import time_left
from gateway.replicas.wire import Item, Outcome
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    InvalidWrite,
    NotWritten,
    ObjectGone,
    StandbyForbidden,
)
from gateway.sandbox.texts import format_duration
from gateway.standby.idle import FAILED, Result
from gateway.standby.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from gateway.replicas.peers import PeerUse, Verdict
    from gateway.sandbox.model import Key, Route
    from gateway.standby.judging import Judging, Moment

    #: Told what became of a sandbox, and for how many seconds no replica had used it.
    Tell = Callable[[Route, Result, float | None], None]

_LOG = logging.getLogger(__name__)

#: Seconds in which what is done is gathered, to be told to the others at once.
_GATHER: Final = 0.25

#: First match wins. After `ApiUnavailable` nobody knows whether it was written; after any other
#: error it was not.
_RESULTS: Final[tuple[tuple[type[ClusterError], Result], ...]] = (
    (StandbyForbidden, Result.CHANGED),
    (ObjectGone, Result.GONE),
    (Conflict, Result.CONFLICT),
    (AccessDenied, Result.DENIED),
    (InvalidWrite, Result.INVALID),
    (NotWritten, Result.UNAVAILABLE),
    (ApiUnavailable, Result.UNAVAILABLE),
)


class Asking(Protocol):
    """All replicas."""

    async def ask(self, question: str, items: Sequence[Item]) -> Mapping[str, Verdict]:
        """Ask them, within `replicas.sleep.ASKING`; return their verdicts by uid."""

    async def settle(self, question: str, outcomes: Sequence[Outcome]) -> None:
        """Tell them what came of it; this ends by itself."""

    async def uses(self, uid: str) -> Sequence[PeerUse]:
        """Return how each uses a sandbox, this one first."""


class Sleeper(Protocol):
    """What asks the API for a standby; raises a ClusterError."""

    async def sleep(
        self, key: Key, uid: str, may: Callable[[Route], bool], within: float, why: str = ""
    ) -> Route:
        """Write it, if it `may` be, `within` so many seconds or never."""


class Leading(Protocol):
    """Whether this replica leads."""

    @property
    def acting(self) -> bool:
        """Whether it may act now."""

    async def wait_won(self) -> None:
        """Wait until it leads."""

    async def wait_lost(self) -> None:
        """Wait until it leads no more."""


class Observers(Protocol):
    """Who sees connections that bypass the gateway."""

    async def confirm(self, routes: Sequence[Route]) -> None:
        """Have them tell all that they have seen of these sandboxes until now."""


@dataclass(slots=True, eq=False)
class _Case:
    """One sandbox of a question, and what is known of it."""

    route: Route
    result: Result = Result.NOT_LEADING
    used_ago: float | None = None
    version: int | None = None
    known: bool = True
    settled: bool = False
    why: str = ""

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.route.key, self.route.uid, self.version, self.known)


class Standbys:
    """Puts sandboxes to sleep of which this replica knows no use."""

    def __init__(
        self,
        peers: Asking,
        writer: Sleeper,
        leadership: Leading,
        observers: Observers | None,
        judging: Judging,
        moment: Callable[[], Moment],
        concurrency: int,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        """`concurrency` are written at one time. `clock` goes on while the machine is suspended."""
        self._peers = peers
        self._writer = writer
        self._leadership = leadership
        self._observers = observers
        self._judging = judging
        self._moment = moment
        self._lanes = asyncio.Semaphore(concurrency)
        self._clock = clock
        self._logged: set[Result] = set()

    async def put_to_sleep(self, routes: Sequence[Route], tell: Tell) -> None:
        """Ask about these sandboxes, write what may be, and settle all; `tell` of each, once."""
        question, began = secrets.token_hex(16), self._clock()
        cases = [_Case(route) for route in routes]
        try:
            granted = await self._ask(question, cases)
            await self._settle(question, [one for one in cases if one not in granted], tell)
            if granted:
                await self._write_all(question, granted, began, tell)
        finally:
            self._log(cases)
            await _to_its_end(self._settle(question, cases, tell))

    async def _ask(self, question: str, cases: list[_Case]) -> list[_Case]:
        """Ask all replicas; return those that all of them granted."""
        items = [
            Item(one.route.key, one.route.uid, self._judging.timeout_of(one.route)) for one in cases
        ]
        verdicts = await self._peers.ask(question, items)
        found = [(one, verdicts[one.route.uid]) for one in cases]
        answered = any(verdict.granted or verdict.used_ago is not None for _, verdict in found)
        for case, verdict in found:
            if verdict.used_ago is not None:
                case.result, case.used_ago = Result.USED, verdict.used_ago
            elif not verdict.granted:
                case.result = Result.UNCERTAIN if answered else Result.SILENT
                case.why = verdict.why
        return [case for case, verdict in found if verdict.granted]

    async def _write_all(self, question: str, cases: list[_Case], began: float, tell: Tell) -> None:
        if self._observers is not None:
            await self._observers.confirm([one.route for one in cases])
        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(self._write(one, began)): one for one in cases}
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, timeout=_GATHER)
                await self._settle(question, [tasks[one] for one in done], tell)

    async def _write(self, case: _Case, began: float) -> None:
        route = case.route
        async with self._lanes:
            if not self._leadership.acting:
                return
            case.known = False
            case.result = Result.UNAVAILABLE
            try:
                within = time_left(began, self._clock())
                written = await self._writer.sleep(
                    route.key,
                    route.uid,
                    # The writer's own clock may stand still while the machine does.
                    lambda read: self._may(read) and time_left(began, self._clock()) > 0,
                    within,
                    self._why(route),
                )
            except ClusterError as error:
                case.known = not isinstance(error, ApiUnavailable)
                case.result = next(
                    (result for kind, result in _RESULTS if isinstance(error, kind)),
                    Result.UNAVAILABLE,
                )
                case.why = f"{type(error).__name__}: {error}"
            else:
                case.known, case.version, case.result = True, written.version, Result.SLEPT

    def _may(self, route: Route) -> bool:
        """Judge once more, on what was just read."""
        ready = self._judging.verdict(route, self._moment()).status is Status.READY_FOR_STANDBY
        return ready and self._leadership.acting

    def _why(self, route: Route) -> str:
        idle_for = self._judging.unused_for(route, self._moment().now)
        return f"Nobody used it for {format_duration(round(idle_for))}."

    def _log(self, cases: list[_Case]) -> None:
        """Log each kind of failure once, until standbys succeed without it."""
        failed = {one.result: one for one in cases if one.result in FAILED}
        for result, one in failed.items():
            if result not in self._logged:
                _LOG.warning("%s was not put to sleep: %s", one.route.key, one.why)
        slept = any(one.result is Result.SLEPT for one in cases)
        self._logged = set(failed) if slept else self._logged | set(failed)

    async def _settle(self, question: str, cases: list[_Case], tell: Tell) -> None:
        left = [one for one in cases if not one.settled]
        if not left:
            return
        for one in left:
            one.settled = True
            tell(one.route, one.result, one.used_ago)
        await self._peers.settle(question, [one.outcome for one in left])


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Await work that ends by itself, also where the one who awaits it is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
