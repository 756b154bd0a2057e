"""One sandbox through a day in virtual time: its guest, its node, and the agent that decides.

What decides is the gateway's own: the state machine, the sizing, the permits, and the informant's
load averages and its watch for what is lacking. What carries it out is here: calls are answered at
once, and a node takes `SETTLES` seconds for a resize. Time goes by whole seconds, from one at which
something can change to the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from e2e.bench.resize_tally import Tally
from gateway.resize import events
from gateway.resize.core import next_actions
from gateway.resize.guest.load import Load, moved
from gateway.resize.guest.pressure import Memory, Strain, Watch
from gateway.resize.sizing import Metrics, Rules, goal
from gateway.resize.state import TIMING, Pod, State
from gateway.sandbox.quantities import MILLI
from gateway.sandbox.scaling import DEFAULT_LOAD_TARGET

if TYPE_CHECKING:
    from e2e.bench.resize_loads import Life, Need
    from e2e.bench.resize_node import Node
    from e2e.bench.resize_tally import Curve
    from gateway.resize.amounts import Resources
    from gateway.resize.core import Actions
    from gateway.sandbox.scaling import Size

#: Seconds from the API's word to what a pod has in fact.
SETTLES: Final = 1
#: Seconds from one reading of the metrics to the next, and between looks at what is lacking. An
#: informant looks five times a second, but asks no more often for that.
READ_EVERY: Final = 5
LOOK_EVERY: Final = 1
#: Periods of the kernel's CPU limit in a second.
_PERIODS: Final = 10


@dataclass(frozen=True, slots=True)
class Variant:
    """How sizes are chosen.

    `damped`: what five minutes needed is not given up at once. `wished`: for so many seconds what a
    guest asked for counts. `separate`: CPU and memory each go by their own need.
    """

    name: str
    load_target: float = DEFAULT_LOAD_TARGET
    damped: bool = True
    wished: float = TIMING.wished
    separate: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """What one sandbox needed and had from then on."""

    at: int
    need: Need
    size: Size


class Guest:
    """What runs in a sandbox, with its informant."""

    def __init__(self, life: Life, size: Size) -> None:
        self.need, self.size = life.needs[0], size
        self.load = Load(self.busy, self.busy)
        self._watch, self._strain = Watch(), Strain()
        self._stubborn = life.stubborn

    @property
    def busy(self) -> float:
        """What counts as load: CPUs in use, and the share of time in which something waits."""
        cpus = self.size.cpu / MILLI
        return min(self.need.cpu, cpus) + (1 - cpus / self.need.cpu if self._throttled else 0.0)

    @property
    def memory(self) -> Memory:
        """What there is, and what is in use; there cannot be more in use than there is."""
        return Memory(self.size.memory, min(self.need.memory, self.size.memory))

    @property
    def is_strained(self) -> bool:
        """Whether it lacks anything."""
        return self._throttled or self.memory.is_short

    @property
    def overruns(self) -> bool:
        """Whether it needs more memory than there is."""
        return self.need.memory > self.size.memory

    def load_after(self, seconds: int) -> Load:
        """Return what the load is if it goes on as it is."""
        return moved(self.load, self.busy, seconds)

    def spend(self, seconds: int) -> None:
        """Go on as it is."""
        self.load = self.load_after(seconds)
        strain, periods = self._strain, seconds * _PERIODS
        throttled = periods if self._throttled else 0
        self._strain = Strain(0.0, strain.periods + periods, strain.throttled + throttled)

    def wish(self, now: int) -> tuple[bool, bool] | None:
        """Return what it asks for now, of CPU and of memory."""
        self._watch = self._watch.look(self.memory, self._strain, now)
        needs = self._watch.needs
        return None if needs is None else (needs.cpu, needs.memory)

    def hear_of_more(self) -> None:
        """There is more: what was lacking before says nothing any more."""
        self._watch = Watch()

    def agrees(self, memory: int, now: int) -> bool:
        """Whether it can do with so many bytes."""
        begins, ends = self._stubborn
        return self.memory.allows(memory) and not begins <= now < ends

    @property
    def _throttled(self) -> bool:
        return self.need.cpu * MILLI > self.size.cpu


class Sandbox:
    """A guest and its agent. `due`: the second at which there is something to do next."""

    def __init__(
        self, life: Life, node: Node, variant: Variant, curve: Curve, *, observed: bool = False
    ) -> None:
        scaling = msgspec.structs.replace(
            life.scaling, load_target=variant.load_target, separate=variant.separate
        )
        self.life, self.tally = life, Tally()
        #: All that it went through, if it is observed.
        self.moments: list[Moment] | None = [] if observed else None
        self.due = 0
        self._node, self._variant, self._curve = node, variant, curve
        self._slot = scaling.slot
        self._guest = Guest(life, scaling.low)
        rules = Rules.of(scaling)
        timing = replace(TIMING, wished=variant.wished)
        self._state = events.guest_running(State(rules, Pod(rules.low, rules.low), timing))
        self._now = self._turn = self._settles = 0
        # Not all at once.
        self._read_at = -1 - node.place(life.name, scaling) % READ_EVERY
        #: When the agent has something to do by time alone; None: when something happens.
        self._agent_due: int | None = 0
        self._is_settled = self._is_held = self._has_news = False

    def step(self, now: int) -> None:
        """Take what has happened until now, and do what there is to do."""
        self._spend(now)
        if now == self._settles:
            self._settle(now)
        self._meet_needs(now)
        self._look(now)
        if self._has_news or self._agent_due == now:
            self._act(now)
        self.due = self._plan(now)
        if self.moments is not None:
            self.moments.append(Moment(now, self._guest.need, self._guest.size))

    def end(self, now: int) -> None:
        """Reckon what is left."""
        self._spend(now)

    # ---- time goes by -------------------------------------------------------------------------

    def _spend(self, now: int) -> None:
        guest, seconds = self._guest, now - self._now
        if seconds:
            self.tally.spend(guest.need, guest.size, seconds)
            self._curve.spend(guest.need, guest.size, self._now, now)
            self.tally.held += seconds * self._is_held
        # Readings that could not have changed anything were left out; the last one is caught up.
        read_at = now - (now - self._read_at) % READ_EVERY
        if read_at > self._read_at:
            guest.spend(read_at - self._now)
            self._now = self._read_at = read_at
            self._read(read_at)
        guest.spend(now - self._now)
        self._now = now

    def _read(self, now: int) -> None:
        self._state = events.measured(self._state, self._metrics(self._guest.load), now)
        # All agree on a size: then metrics that ask for the same one are no news to anybody.
        self._has_news |= not (self._is_settled and self._suits(self._guest.load))

    def _meet_needs(self, now: int) -> None:
        needs, overran = self.life.needs, self._guest.overruns
        while self._turn < len(needs) and needs[self._turn].at <= now:
            self._guest.need = needs[self._turn]
            self._turn += 1
        self.tally.overruns += self._guest.overruns and not overran

    def _look(self, now: int) -> None:
        if not self._guest.is_strained:
            return
        wish = self._guest.wish(now)
        if wish is not None:
            self.tally.wishes += 1
            self._state = events.wished(self._state, *wish, now)
            self._has_news = True

    def _metrics(self, load: Load) -> Metrics:
        in_use = self._guest.memory.used / self._slot
        return Metrics(load.one, load.five if self._variant.damped else 0.0, in_use)

    # ---- what is done -------------------------------------------------------------------------

    def _act(self, now: int) -> None:
        actions = self._begin(now)
        while (actions.resize, actions.tell, actions.ask) != (None, None, None):
            actions = self._begin(now)
        self._has_news = False
        granted = self._state.permit.granted
        self._is_held = granted is not None and actions.wanted.exceeds(granted)
        self._is_settled = _is_settled(self._state, actions, now)
        waits = None if self._is_settled else actions.wait
        self._agent_due = None if waits is None else now + math.ceil(waits)

    def _begin(self, now: int) -> Actions:
        """Do what there is to do, in the order in which the gateway's agent does it."""
        actions = next_actions(self._state, now)
        if actions.permit is not None:
            self._ask_permit(actions.permit.resources, now)
            actions = next_actions(self._state, now)
        if actions.resize is not None:
            self._resize(actions.resize.target, now)
        if actions.tell is not None:
            self._tell(actions.tell.resources, now)
        if actions.ask is not None:
            self._ask(actions.ask.resources, now)
        return actions

    def _ask_permit(self, wanted: Resources, now: int) -> None:
        before = self._state.permit.granted
        self._state = events.permit_asked(self._state, wanted, now)
        granted, unit = self._node.ask(self.life.name, wanted, self._state.metrics)
        self._state = events.permitted(self._state, granted, unit, migrating=False, now=now)
        if before is not None and wanted.exceeds(before):
            self.tally.asked += 1
            self.tally.denied += wanted.exceeds(granted)

    def _resize(self, target: Resources, now: int) -> None:
        self._state = events.resize_taken(events.resizing(self._state, target, now))
        self._node.promise(self.life.name, target.size(self._slot))
        self._settles = now + SETTLES
        self.tally.resizes += 1
        self.tally.above += target.exceeds(self._state.rules.high)

    def _settle(self, now: int) -> None:
        target = self._state.pod.desired
        overran = self._guest.overruns
        self._guest.size = target.size(self._slot)
        self.tally.overruns += self._guest.overruns and not overran
        self._node.settle(self.life.name)
        self._state = events.observed(self._state, target, target, None, now)
        self._has_news = True

    def _tell(self, more: Resources, now: int) -> None:
        self._state = events.told(events.telling(self._state, more), more)
        self._guest.hear_of_more()
        self._look(now)

    def _ask(self, less: Resources, now: int) -> None:
        self._state = events.asking(self._state, less)
        if self._guest.agrees(less.memory * self._slot, now):
            self._state = events.agreed(self._state, less)
        else:
            self._state = events.refused(self._state, less, now)
            self.tally.refusals += 1

    # ---- until when nothing can change --------------------------------------------------------

    def _plan(self, now: int) -> int:
        """Return the next second at which anything can change."""
        needs = self.life.needs
        due = needs[self._turn].at if self._turn < len(needs) else self.life.seconds
        if self._settles > now:
            due = min(due, self._settles)
        if self._guest.is_strained:
            due = min(due, now + LOOK_EVERY)
        if self._agent_due is not None:
            due = min(due, self._agent_due)
        return min(due, self._next_reading(now, due))

    def _next_reading(self, now: int, until: int) -> int:
        """Return when to read the metrics: no reading until then would change anything.

        While nothing else happens each load only nears what is busy, and the goal grows with each.
        So where it is the same for the least and for the most of them, it is for all between.
        """
        ahead = (until - self._read_at) // READ_EVERY if self._is_settled else 1
        while ahead > 1:
            then = self._read_at + ahead * READ_EVERY
            if self._suit(self._guest.load, self._guest.load_after(then - now)):
                break
            ahead //= 2
        return self._read_at + max(ahead, 1) * READ_EVERY

    def _suit(self, one: Load, other: Load) -> bool:
        least = Load(min(one.one, other.one), min(one.five, other.five))
        most = Load(max(one.one, other.one), max(one.five, other.five))
        return self._suits(least) and self._suits(most)

    def _suits(self, load: Load) -> bool:
        """Return whether the size is the right one for a load."""
        state, metrics = self._state, self._metrics(load)
        unit = state.permit.unit
        return goal(state.using, metrics, None, None, state.rules, unit) == state.using


def _is_settled(state: State, actions: Actions, now: int) -> bool:
    """Return whether all agree on a size, and only metrics can change that."""
    guest, timing, using = state.guest, state.timing, state.using
    agreed = (actions.wanted, state.pod.desired, state.permit.granted, guest.approved)
    return (
        all(size == using for size in agreed)
        and (guest.wish is None or now >= guest.wished_at + timing.wished)
        and (guest.refusal is None or now >= guest.refused_at + timing.refused)
    )
