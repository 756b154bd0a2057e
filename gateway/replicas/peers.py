"""Asks the other replicas, and this one, whether sandboxes may sleep; tells them what came of it.

Who the others are is read from the API before each question. A replica counts until its pod is gone
or has ended, and not only as long as it holds a lease or is ready: one that is cut off from the API
goes on serving. So one that cannot be asked keeps everything awake; that is the price.

A pod to which the API knows no address yet does not count: nobody is sent there. It will be new
when it comes to serve, and what keeps new ones back (`sleep`) begins later than the question does.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cluster.pods import Pod
from gateway.replicas import wire
from gateway.replicas.leadership import boot_clock
from gateway.replicas.sleep import ASKING, Inquiry, Standing, Word
from gateway.sandbox.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.replicas.gate import Gate
    from gateway.replicas.wire import Item, Outcome
    from gateway.telemetry.instruments import Instruments

#: Seconds for the farewell of a replica that leaves; how many sandboxes it tells of at most, those
#: that were used last; and how many in one message.
LEAVING: Final = 5.0
BEQUEATHED: Final = 20_000
_PAGE: Final = 500
#: Seconds between two looks at who the others are, where their addresses matter.
SIGHT: Final = 10.0

#: What a question about one sandbox ends in, beside what `sleep` calls the answers.
_GRANTED: Final = "granted"
_UNKNOWN_PEERS: Final = "peers_unknown"
_OUTCOMES: Final = (
    _GRANTED,
    "used",
    *(word.value for word in Word if word is not Word.UNUSED),
    _UNKNOWN_PEERS,
)


class PodList(Protocol):
    """Where the replicas' pods are read from."""

    async def living(self) -> Sequence[Pod]:
        """Return all that are there and have not ended; raise a ClusterError."""


class Caller(Protocol):
    """How other replicas are called; `silent` says of each that did not answer why that was."""

    silent: dict[str, str]

    def keep(self, replicas: Collection[str]) -> None:
        """Forget the silence of all others."""

    async def call(
        self, pod: Pod, path: str, message: wire.Message, kind: type[wire.ReplyT], within: float
    ) -> wire.ReplyT | None:
        """Return a replica's answer within so many seconds; None where it is silent."""


class Alone:
    """The pods of a replica that is the only one."""

    def __init__(self, replica: str) -> None:
        self._own = Pod(replica, None)

    async def living(self) -> Sequence[Pod]:
        """Return its own."""
        return (self._own,)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a standby is granted; if not, `why`, and where that is it: when it was last used."""

    granted: bool
    used_ago: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class PeerUse:
    """How one replica uses a sandbox, and for how many seconds it has not.

    `unused_for` None: it does not know the sandbox, or is `silent`.
    """

    replica: str
    count: int
    unused_for: float | None
    silent: bool = False


class PeersUnknown(Exception):
    """Nobody can tell who all the replicas are; the text says why."""


class Peers:
    """All replicas, as one of them asks them."""

    def __init__(
        self,
        replica: str,
        gate: Gate,
        pods: PodList,
        calls: Caller,
        instruments: Instruments,
        *,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        """`replica` is the name of our own pod. `clock` goes on while the machine is suspended."""
        self._replica = replica
        self._gate = gate
        self._pods = pods
        self._calls = calls
        self._clock = clock
        self._others: tuple[Pod, ...] = ()
        self._show(instruments)

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses of all other replicas, as they were last known."""
        return frozenset(pod.address for pod in self._others if pod.address is not None)

    async def ask(self, question: str, items: Sequence[Item]) -> Mapping[str, Verdict]:
        """Ask all replicas, within `ASKING`, whether these sandboxes may sleep; answer by uid.

        `question` is a name that no other has or had. It is to be settled, whatever the answer.
        """
        began = self._clock()
        try:
            others = await self._all_others(began + ASKING)
        except PeersUnknown as error:
            verdicts = {item.uid: Verdict(False, why=str(error)) for item in items}
            self._questions.inc(_UNKNOWN_PEERS, by=len(verdicts))
            return verdicts
        inquiries = self._ask_ourselves(question, items, others, began)
        asked = [item for item in items if not inquiries[item.uid].no]
        message = wire.Question(protocol=wire.PROTOCOL, question=question, items=tuple(asked))
        replies = await self._call_each(
            others if asked else (), wire.ASK_PATH, message, wire.Answers, began + ASKING
        )
        for pod, reply in replies:
            for item in asked:
                answer = Word.SILENT if reply is None else reply.of(item.uid)
                inquiries[item.uid] = inquiries[item.uid].answered(pod.name, answer)
        now = self._clock()
        self._duration.observe(now - began)
        return {uid: self._judged(one, now) for uid, one in inquiries.items()}

    async def settle(self, question: str, outcomes: Sequence[Outcome]) -> None:
        """Tell all who may have been asked what came of it, as far as they hear it in `ASKING`."""
        for one in outcomes:
            self._gate.settle(question, one.key, one.uid, one.version, one.known)
        message = wire.Settlement(
            protocol=wire.PROTOCOL, question=question, outcomes=tuple(outcomes)
        )
        before = self._clock() + ASKING
        await self._call_each(self._others, wire.SETTLE_PATH, message, wire.Heard, before)

    async def uses(self, uid: str) -> Sequence[PeerUse]:
        """Return how each replica uses a sandbox, this one first."""
        before = self._clock() + ASKING
        try:
            others = await self._all_others(before)
        except PeersUnknown:
            others = self._others
        message = wire.UseQuestion(protocol=wire.PROTOCOL, uid=uid)
        replies = await self._call_each(others, wire.USES_PATH, message, wire.Use, before)
        own = self._gate.use(uid)
        return [
            PeerUse(self._replica, own.count, own.unused_for),
            *(
                PeerUse(pod.name, 0, None, silent=True)
                if reply is None
                else PeerUse(pod.name, reply.count, reply.unused_for)
                for pod, reply in replies
            ),
        ]

    async def take_leave(self) -> None:
        """Tell all others what was used here, as far as they hear it in some seconds.

        Nobody else knows that, and this replica is not asked any more once it is gone.
        """
        before = self._clock() + LEAVING
        try:
            others = await self._all_others(before)
        except PeersUnknown:
            others = self._others
        uses = tuple(self._gate.bequest(BEQUEATHED).items()) if others else ()
        for start in range(0, len(uses), _PAGE):
            part = dict(uses[start : start + _PAGE])
            message = wire.Farewell(protocol=wire.PROTOCOL, uses=part)
            if self._clock() >= before:
                return
            await self._call_each(others, wire.FAREWELL_PATH, message, wire.Heard, before)

    async def keep_in_sight(self) -> None:
        """Read again and again who the others are, for `addresses`, until cancelled."""
        while True:
            with contextlib.suppress(PeersUnknown):
                await self._all_others(self._clock() + ASKING)
            await asyncio.sleep(SIGHT)

    # ---- who they are, and what they say --------------------------------------------------

    async def _all_others(self, before: float) -> tuple[Pod, ...]:
        try:
            async with asyncio.timeout(before - self._clock()):
                pods = await self._pods.living()
        except (ClusterError, TimeoutError) as error:
            raise PeersUnknown(f"the replicas cannot be listed: {type(error).__name__}") from error
        if self._replica not in {pod.name for pod in pods}:
            # Then others may be missing too.
            raise PeersUnknown("peer_selector does not select this replica's own pod")
        self._others = tuple(pod for pod in pods if pod.name != self._replica and pod.address)
        self._calls.keep({pod.name for pod in self._others})
        return self._others

    def _ask_ourselves(
        self, question: str, items: Sequence[Item], others: Sequence[Pod], began: float
    ) -> dict[str, Inquiry]:
        awaited = frozenset((self._replica, *(pod.name for pod in others)))
        return {
            item.uid: Inquiry(began, awaited).answered(
                self._replica, self._gate.ask(question, item.uid, item.needed)
            )
            for item in items
        }

    async def _call_each(
        self,
        pods: Sequence[Pod],
        path: str,
        message: wire.Message,
        kind: type[wire.ReplyT],
        before: float,
    ) -> list[tuple[Pod, wire.ReplyT | None]]:
        within = before - self._clock()
        calls = (self._calls.call(pod, path, message, kind, within) for pod in pods)
        return list(zip(pods, await asyncio.gather(*calls), strict=True))

    def _judged(self, inquiry: Inquiry, now: float) -> Verdict:
        if inquiry.standing(now) is Standing.GRANTED:
            self._questions.inc(_GRANTED)
            return Verdict(True)
        no, by = (inquiry.no, inquiry.by) if inquiry.no else (Word.LATE.value, self._replica)
        self._questions.inc(no)
        return Verdict(False, inquiry.used_ago, f"{by}: {no}")

    def _show(self, instruments: Instruments) -> None:
        self._questions = instruments.counter(
            "standby_questions", "Sandboxes about which all replicas were asked.", "outcome"
        )
        self._duration = instruments.histogram(
            "standby_question_seconds", "How long it took all replicas to answer one question."
        )
        instruments.gauge(
            "silent_replicas",
            "Other replicas that did not answer when last called: while there is one, nothing "
            "is put to sleep.",
            lambda: len(self._calls.silent),
        )
        for outcome in _OUTCOMES:
            self._questions.prime(outcome)
