"""An agent's closed loop in virtual time: guest, node and who permits as plain values around it.

`Loop` has what is true of them, and carries out what `next_actions` says; `World` decides how they
behave: willing and quick, but where a test has it otherwise.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from gateway.resize import events
from gateway.resize.amounts import Resources
from gateway.resize.core import Actions, next_actions
from gateway.resize.sizing import DEFAULT_UNIT, Metrics, Rules
from gateway.resize.state import TIMING, Denial, Phase, Pod, State, Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

What: TypeAlias = Literal["permit", "resize", "tell", "ask"]

SMALL: Final = Resources(250, 1)
LARGE: Final = Resources(4000, 16)
#: So many turns without any time going by are no progress.
_SPINNING: Final = 100
_TALKING: Final = (Phase.AWAKE, Phase.DROWSY)


class Sent(Enum):
    """What becomes of a call."""

    DONE = "done"
    #: It has not arrived.
    LOST = "lost"
    #: It has arrived, and its answer has not.
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class Step:
    """What a node does with a resize: after so many seconds there is so much, or it is denied."""

    after: float
    what: Resources | Denial


@dataclass(frozen=True, slots=True)
class Deed:
    """What the agent has begun to do, when and about which size."""

    at: float
    what: What
    size: Resources


class World:
    """What an agent acts on. `metrics`: what its guest reports; None: nothing."""

    metrics: Metrics | None = None
    unit = DEFAULT_UNIT
    #: More is not permitted.
    room = LARGE

    def lasts(self, what: What) -> float:
        """Return how many seconds a call takes."""
        return 0.1

    def goes(self, what: What, size: Resources) -> Sent:
        """Return what becomes of a call."""
        return Sent.DONE

    def permits(self, wanted: Resources, held: Resources) -> Resources:
        """Return what is granted to who holds so much already."""
        return wanted.min(held.max(self.room))

    def agrees(self, less: Resources) -> bool:
        """Return whether the guest can do with less."""
        return True

    def settles(self, actual: Resources, desired: Resources) -> Iterable[Step]:
        """Return what the node does to bring a pod from one size to another."""
        return [Step(0.5, desired)]


class Loop:
    """A sandbox and its agent. `run` lets time go by."""

    def __init__(
        self,
        size: Resources = SMALL,
        rules: Rules | None = None,
        world: World | None = None,
        every: float = 5.0,
        timing: Timing = TIMING,
    ) -> None:
        """`size`: of the pod at first. `every`: seconds from one look at the metrics to the next.

        An informant listens from the start.
        """
        self.now = 0.0
        self.world = world or World()
        self.deeds: list[Deed] = []
        #: What is true: what is permitted, what the pod is to have and has, on what its guest
        #: counts.
        self.permitted = self.desired = self.actual = self.counted_on = size
        self.state = events.guest_running(
            State(rules or Rules(SMALL, LARGE), Pod(size, size), timing)
        )
        self._denial: Denial | None = None
        self._every = every
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._serials = count()
        self._generation = self._talk = 0
        self._look()

    # ---- time ---------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let so much time go by, and all happen that is to."""
        end, turns = self.now + seconds, 0
        while True:
            wait = self._act()
            due = [self._coming[0][0]] if self._coming else []
            due += [] if wait is None else [self.now + wait]
            upcoming = min(due, default=end)
            if upcoming > end:
                self.now = end
                return
            turns = 0 if upcoming > self.now else turns + 1
            assert turns < _SPINNING, f"it spins: {self.deeds[-4:]}"
            self.now = upcoming
            if self._coming and self._coming[0][0] <= self.now:
                heapq.heappop(self._coming)[2]()

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        """Have something happen later."""
        heapq.heappush(self._coming, (self.now + seconds, next(self._serials), happens))

    def decide(self) -> Actions:
        """Return what is to be done now; tests look at it here, too."""
        return next_actions(self.state, self.now)

    def resizes(self) -> list[Resources]:
        """Return the sizes that it has been brought to."""
        return [deed.size for deed in self.deeds if deed.what == "resize"]

    # ---- what happens without the agent -------------------------------------------------------

    def take(self, state: State) -> None:
        """Have the agent know that."""
        self.state = state

    def measure(self) -> None:
        """Have its guest's metrics read, now."""
        metrics = self.world.metrics
        if metrics is not None and self._is_talking:
            self.take(events.measured(self.state, metrics, self.now))

    def wish(self, cpu: bool = False, memory: bool = False) -> None:
        """Have its guest ask for more."""
        if self._is_talking:
            self.take(events.wished(self.state, cpu, memory, self.now))

    def enter(self, phase: Phase) -> None:
        """Have the sandbox enter another phase; its informant is spoken with while it runs."""
        was_talking = self._is_talking
        self.take(events.entered(self.state, phase, self.now))
        if was_talking and not self._is_talking:
            self.lose_guest()
        elif self._is_talking and not was_talking:
            self.meet_guest()

    def lose_guest(self) -> None:
        """End the conversation with its informant."""
        self._talk += 1
        self.take(events.guest_gone(self.state))

    def meet_guest(self) -> None:
        """Begin another one. The guest knows what it has lost meanwhile."""
        self._talk += 1
        self.counted_on = self.counted_on.min(self.actual)
        self.take(events.guest_running(self.state))

    def meddle(self, desired: Resources) -> None:
        """Have somebody else resize the pod."""
        self._be_resized(desired)
        self._tell_of_pod()

    # ---- what the agent does ------------------------------------------------------------------

    def _act(self) -> float | None:
        actions = self.decide()
        now = self.now
        if actions.permit is not None:
            size = actions.permit.resources
            self.take(events.permit_asked(self.state, size, now))
            self._begin("permit", size, self._answer_permit)
        if actions.resize is not None:
            size = actions.resize.target
            self.take(events.resizing(self.state, size, now))
            self._begin("resize", size, self._answer_resize)
        if actions.tell is not None:
            size = actions.tell.resources
            self.take(events.telling(self.state, size))
            self._begin("tell", size, partial(self._answer_tell, self._talk))
        if actions.ask is not None:
            size = actions.ask.resources
            self.take(events.asking(self.state, size))
            self._begin("ask", size, partial(self._answer_ask, self._talk))
        left = self.decide()
        assert not (actions.permit and left.permit), "a permit is asked for twice"
        assert not (actions.resize and left.resize), "a resize goes out twice"
        assert not ((actions.tell or actions.ask) and (left.tell or left.ask)), "two calls at once"
        assert left.wait is None or left.wait > 0
        return left.wait

    def _begin(
        self, what: What, size: Resources, answer: Callable[[Resources, Sent], None]
    ) -> None:
        self.deeds.append(Deed(self.now, what, size))
        goes = self.world.goes(what, size)
        self.after(self.world.lasts(what), lambda: answer(size, goes))

    def _answer_permit(self, wanted: Resources, sent: Sent) -> None:
        if sent is not Sent.DONE:
            self.take(events.permit_failed(self.state, self.now))
            return
        self.permitted = self.world.permits(wanted, self.permitted)
        granted = events.permitted(
            self.state, self.permitted, self.world.unit, migrating=False, now=self.now
        )
        self.take(granted)

    def _answer_resize(self, target: Resources, sent: Sent) -> None:
        if sent is not Sent.LOST:
            self._be_resized(target)
        if sent is Sent.DONE:
            self.take(events.resize_taken(self.state))
            self._tell_of_pod()
        else:
            self.take(events.resize_failed(self.state, self.now))
            self.after(0.2, self._tell_of_pod)

    def _answer_tell(self, talk: int, more: Resources, sent: Sent) -> None:
        if talk != self._talk:
            self.take(events.tell_failed(self.state, more, self.now))
            return
        if sent is not Sent.LOST:
            self.counted_on = more
        if sent is Sent.DONE:
            self.take(events.told(self.state, more))
        else:
            self.take(events.tell_failed(self.state, more, self.now))

    def _answer_ask(self, talk: int, less: Resources, sent: Sent) -> None:
        if talk != self._talk or sent is Sent.LOST:
            self.take(events.ask_failed(self.state, less, self.now))
            return
        agrees = self.world.agrees(less)
        if agrees:
            self.counted_on = less
        if sent is Sent.UNANSWERED:
            self.take(events.ask_failed(self.state, less, self.now))
        elif agrees:
            self.take(events.agreed(self.state, less))
        else:
            self.take(events.refused(self.state, less, self.now))

    # ---- the pod, the guest -------------------------------------------------------------------

    def _be_resized(self, desired: Resources) -> None:
        self._generation += 1
        self.desired, self._denial = desired, None
        for step in self.world.settles(self.actual, desired):
            self.after(step.after, partial(self._settle, self._generation, step.what))

    def _settle(self, generation: int, what: Resources | Denial) -> None:
        if generation != self._generation:
            return
        if isinstance(what, Denial):
            self._denial = what
        else:
            self.actual = what
        self._tell_of_pod()

    def _tell_of_pod(self) -> None:
        self.take(events.observed(self.state, self.desired, self.actual, self._denial, self.now))

    @property
    def _is_talking(self) -> bool:
        return self.state.phase in _TALKING

    def _look(self) -> None:
        self.measure()
        self.after(self._every, self._look)
