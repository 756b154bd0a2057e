"""One sandbox's agent: does what `core` says is to be done, and takes what came of it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.cluster.errors import NodeTooSmall
from gateway.cluster.pod_facts import Pending
from gateway.meanwhile import meanwhile
from gateway.resize import events
from gateway.resize.amounts import NOTHING, Resources, exact
from gateway.resize.core import Actions, next_actions
from gateway.resize.informant_client import LinkFailed
from gateway.resize.link_state import Running, Suspended, UpscaleWanted
from gateway.resize.messages import AgentRequest, LoadMetrics, PodName, ResourceAmounts
from gateway.resize.permits import Refused
from gateway.resize.scrape import BadMetrics
from gateway.resize.sizing import Metrics, Rules
from gateway.resize.state import Denial, Phase, Pod, State
from gateway.resize.versions import PLUGIN_V2_0
from gateway.resize.wanted import needed
from gateway.sandbox.errors import AccessDenied, ClusterError, InvalidWrite
from gateway.sandbox.texts import plain

if TYPE_CHECKING:
    from gateway.cluster.pod_facts import PodFacts
    from gateway.resize.link_state import LinkEnd, LinkEvent
    from gateway.resize.scrape import Scraped
    from gateway.resize.tools import Conversation, Tools
    from gateway.sandbox.model import Route
    from gateway.sandbox.scaling import Size

_LOG = logging.getLogger(__name__)

_DENIALS = {Pending.DEFERRED: Denial.DEFERRED, Pending.INFEASIBLE: Denial.INFEASIBLE}


class Agent:
    """Right-sizes one pod of one sandbox while `run` runs."""

    def __init__(self, tools: Tools, route: Route, pod: PodFacts, *, woken: bool = False) -> None:
        """`woken`: the sandbox has just been woken, and its pod made for that."""
        scaling, size = route.scaling, pod.desired
        assert scaling is not None, "only what is to be sized has an agent"
        assert size is not None, "what has no amounts has an obstacle"
        self._tools = tools
        self._route, self._pod, self._scaling = route, pod, scaling
        desired, actual = self._slots(size), self._slots(pod.actual or size)
        uneven = size.memory % scaling.slot != 0
        self._state = State(Rules.of(scaling), Pod(desired, actual, uneven=uneven))
        if woken:
            self._state = events.woken(self._state, tools.clock())
        self.actions = Actions(actual)
        #: Why no informant listens, for people; "": one does, or is about to.
        self.trouble = ""
        #: Why a resize or a permit came to nothing last, for people.
        self.hindrance = ""
        self._changed = asyncio.Event()
        self._talk: asyncio.Task[None] | None = None
        self._talks_to: str | None = None
        self._link: Conversation | None = None
        #: When the guest asked for more that it has not been told of yet.
        self._wished_at: float | None = None
        #: What it had when the last resize began.
        self._had = actual
        self._told_of: type[Exception] | None = None
        #: The refusals that users were told of: of which kind, and whether it was to grow.
        self._refusals: set[tuple[type[Exception], bool]] = set()

    @property
    def shortage(self) -> str:
        """Why it is permitted no more, for people."""
        return self._tools.permits.shortage(self._pod)

    @property
    def state(self) -> State:
        """What is known."""
        return self._state

    @property
    def pod(self) -> PodFacts:
        """The pod as it was heard of last."""
        return self._pod

    @property
    def slot(self) -> int:
        """Bytes of a slot of memory."""
        return self._scaling.slot

    @property
    def needed(self) -> Resources:
        """The size that it should have now, also where that was denied."""
        return needed(self._state, self._tools.clock())

    @property
    def is_denied(self) -> bool:
        """Whether `hindrance` still is in the way of what it needs."""
        pod, now, wanted = self._state.pod, self._tools.clock(), self.needed
        cap = pod.cap_at(now)
        if cap is not None and wanted.exceeds(cap):
            return True
        if pod.kept_at(now).exceeds(wanted):
            return True
        has_failed = pod.target is not None and pod.failed_at is not None
        return has_failed or self._state.permit.failed_at is not None

    # ---- events in ----------------------------------------------------------------------------

    def heard_of_sandbox(self, route: Route) -> None:
        """Take its object as it is now. Its slot stays: what is under way is reckoned in it."""
        self._route = route
        if route.scaling is not None and route.scaling != self._scaling:
            self._scaling = route.scaling
            self._take(events.ruled(self._state, Rules.of(self._scaling)))

    def heard_of_pod(self, pod: PodFacts) -> None:
        """Take its pod as it is now."""
        self._pod = pod
        if pod.desired is None:
            return
        before = self._state
        denial = None if pod.pending is None else _DENIALS[pod.pending]
        if denial is not None:
            self.hindrance = f"its node says: {plain(pod.pending_message) or denial.value}"
        desired, actual = self._slots(pod.desired), self._slots(pod.actual or pod.desired)
        self._take(events.observed(before, desired, actual, denial, self._tools.clock()))
        self._note_resize(before, denial)

    def enter(self, phase: Phase) -> None:
        """Say what may be done to it now."""
        if phase is not self._state.phase:
            self._take(events.entered(self._state, phase, self._tools.clock()))
            self._tools.permits.freeze(self._pod.namespace, self._pod.name, self._is_frozen)

    def stays(self) -> None:
        """Its node is not to be emptied after all."""
        self._take(events.stays(self._state))

    def _hear(self, event: LinkEvent) -> None:
        match event:
            case Running():
                self.trouble = ""
                self._take(events.guest_running(self._state))
            case Suspended():
                self._take(events.guest_elsewhere(self._state))
            case UpscaleWanted(cpu=cpu, memory=memory):
                now = self._tools.clock()
                self._wished_at = now if self._wished_at is None else self._wished_at
                self._tools.counters.wishes.inc()
                self._take(events.wished(self._state, cpu, memory, now))

    def _take(self, state: State) -> None:
        self._state = state
        self._changed.set()

    @property
    def _is_frozen(self) -> bool:
        return self._state.phase is Phase.CHANGING

    # ---- what is done -------------------------------------------------------------------------

    async def run(self) -> None:
        """Right-size it until cancelled; then nothing of it is left."""
        permits, pod = self._tools.permits, self._pod
        held, frozen = self._state.held(self._tools.clock()), self._is_frozen
        permits.admit(pod.namespace, pod.name, pod.uid, self.slot, held, frozen=frozen)
        try:
            async with asyncio.TaskGroup() as work:
                while True:
                    self._changed.clear()
                    wait = self._act(work)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._changed.wait()
        finally:
            permits.dismiss(pod.namespace, pod.name, pod.uid)

    def _act(self, work: asyncio.TaskGroup) -> float | None:
        """Begin what is to be done; return for how long there is nothing else."""
        self._converse(work)
        actions = next_actions(self._state, self._tools.clock())
        if actions.permit is not None:
            self._ask_permit(actions.permit.resources)
            actions = next_actions(self._state, self._tools.clock())
        self.actions = actions
        now = self._tools.clock()
        if actions.resize is not None:
            self._had = self._state.using
            self._state = events.resizing(self._state, actions.resize.target, now)
            work.create_task(self._resize(actions.resize.target))
        if actions.tell is not None and self._link is not None:
            self._state = events.telling(self._state, actions.tell.resources)
            work.create_task(self._tell(self._link, actions.tell.resources))
        if actions.ask is not None and self._link is not None:
            self._state = events.asking(self._state, actions.ask.resources)
            work.create_task(self._ask(self._link, actions.ask.resources))
        return actions.wait

    def _ask_permit(self, wanted: Resources) -> None:
        now = self._tools.clock()
        self._state = events.permit_asked(self._state, wanted, now)
        try:
            answer = self._tools.permits.handle(self._permit_request(wanted))
            granted = Resources(answer.permit.vcpus, answer.permit.mem)
            unit = Resources(answer.unit.vcpus, answer.unit.mem)
            leaving = answer.migrate is not None
            self._state = events.permitted(self._state, granted, unit, leaving, now)
        except (Refused, ValueError) as error:
            self._complain("no permit", error)
            self.hindrance = f"no permit: {error}"
            self._tools.counters.permits.inc("failed")
            self._state = events.permit_failed(self._state, now)
            return
        self._tools.counters.permits.inc("partial" if wanted.exceeds(granted) else "granted")

    def _permit_request(self, wanted: Resources) -> AgentRequest:
        metrics = self._state.metrics
        load = None if metrics is None else LoadMetrics(load1=metrics.load1, load5=metrics.load5)
        return AgentRequest(
            proto_version=PLUGIN_V2_0,
            pod=PodName(namespace=self._pod.namespace, name=self._pod.name),
            resources=ResourceAmounts(vcpus=wanted.cpu, mem=wanted.memory),
            metrics=load,
        )

    async def _resize(self, target: Resources) -> None:
        pod = self._pod
        assert pod.desired is not None, "it had amounts when it was taken over"
        grows = not self._state.pod.desired.exceeds(target)
        try:
            is_whole = self._state.pod.uneven
            size = target.size(self.slot) if is_whole else exact(target, pod.desired, self.slot)
            changed = await self._tools.surgeon.resize(pod, size)
        except (AccessDenied, InvalidWrite) as error:
            self._refuse_resize(error, target, grows)
            return
        except ClusterError as error:
            self._tools.counters.resizes.inc("failed")
            self.hindrance = f"the API fails: {error}"
            self._complain("not resized", error)
            self._take(events.resize_failed(self._state, self._tools.clock()))
            return
        self._told_of = None
        self._take(events.resize_taken(self._state))
        self._forget_refusals(grows)
        # The node may have been so quick that its word of it came first.
        self.heard_of_pod(max(changed, self._pod, key=lambda one: one.version))

    def _refuse_resize(
        self, error: AccessDenied | InvalidWrite, target: Resources, grows: bool
    ) -> None:
        """Go by what the API has said: as things are, it does not take this."""
        now = self._tools.clock()
        if isinstance(error, NodeTooSmall):
            self.hindrance = f"its node does not have more: {error}"
            self._take(events.resize_failed(self._state, now, Denial.INFEASIBLE))
            self._note_denial(Denial.INFEASIBLE, target)
            return
        self._tools.counters.resizes.inc("refused")
        self.hindrance = f"the API does not take it: {error}"
        self._take(events.resize_refused(self._state, now))
        if (type(error), grows) not in self._refusals:
            self._refusals.add((type(error), grows))
            self._complain("not resized", error)
            text = f"The API does not let it have {self._told(target)}: {error}"
            self._tools.journal.note(self._route, "ResizeRefused", text, warning=True)

    def _forget_refusals(self, grows: bool) -> None:
        """Tell of refusals anew once a whole step was taken, and not only the part that may be."""
        pod, now = self._state.pod, self._tools.clock()
        is_part = pod.cap_at(now) is not None if grows else pod.kept_at(now) != NOTHING
        if not is_part:
            self._refusals = {one for one in self._refusals if one[1] is not grows}

    def _complain(self, what: str, error: Exception) -> None:
        """Log a failure, unless it is of the kind of the last one: it is tried again and again."""
        if type(error) is not self._told_of:
            self._told_of = type(error)
            _LOG.warning(what, extra={"sandbox": str(self._route.key), "cause": str(error)})

    def _note_resize(self, before: State, denial: Denial | None) -> None:
        """Count a resize that is over, and tell of it."""
        after, target = self._state, before.pod.target
        if target is None or after.pod.target is not None:
            return
        if after.pod.actual == target:
            if target != self._had:  # else what was denied is taken back
                self._tools.counters.resizes.inc("grown" if target.exceeds(self._had) else "shrunk")
                told = f"Resized to {self._told(target)}."
                self._tools.journal.note(self._route, "Resized", told)
        elif denial is not None:
            self._note_denial(denial, target)

    def _note_denial(self, denial: Denial, target: Resources) -> None:
        self._tools.counters.resizes.inc(denial.value)
        if denial is Denial.INFEASIBLE:
            text = f"Its node can never give it {self._told(target)}."
            self._tools.journal.note(self._route, "ResizeInfeasible", text, warning=True)

    async def _tell(self, link: Conversation, resources: Resources) -> None:
        try:
            await link.upscale(resources.size(self.slot))
        except LinkFailed:
            self._tools.counters.calls.inc("upscale", "failed")
            self._take(events.tell_failed(self._state, resources, self._tools.clock()))
            return
        self._tools.counters.calls.inc("upscale", "done")
        if self._wished_at is not None:
            self._tools.counters.wish_seconds.observe(self._tools.clock() - self._wished_at)
            self._wished_at = None
        self._take(events.told(self._state, resources))

    async def _ask(self, link: Conversation, resources: Resources) -> None:
        try:
            answer = await link.downscale(resources.size(self.slot))
        except LinkFailed:
            self._tools.counters.calls.inc("downscale", "failed")
            self._take(events.ask_failed(self._state, resources, self._tools.clock()))
            return
        self._tools.counters.calls.inc("downscale", "done" if answer.ok else "denied")
        if answer.ok:
            self._take(events.agreed(self._state, resources))
        else:
            self._take(events.refused(self._state, resources, self._tools.clock()))

    # ---- the conversation with the guest ------------------------------------------------------

    def _converse(self, work: asyncio.TaskGroup) -> None:
        """Speak with the informant as long as the sandbox runs: a frozen one cannot answer.

        One conversation is over before the next one begins.
        """
        runs = self._state.phase in (Phase.AWAKE, Phase.DROWSY)
        address = self._pod.addresses[0] if runs and self._pod.addresses else None
        if self._talk is not None:
            if address != self._talks_to and not self._talk.cancelling():
                self._talk.cancel()
        elif address is not None:
            self._talks_to = address
            self._talk = work.create_task(self._keep_talking(self._pod))
            self._talk.add_done_callback(self._end_talk)

    def _end_talk(self, _: asyncio.Task[None]) -> None:
        self._talk = None
        self._changed.set()

    async def _keep_talking(self, pod: PodFacts) -> None:
        while True:
            end = await self._talk_once(pod)
            self.trouble = end.why
            await asyncio.sleep(end.retry_after)

    async def _talk_once(self, pod: PodFacts) -> LinkEnd:
        link = self._link = self._tools.link(pod, self._hear)
        try:
            async with meanwhile(self._scrape(link)):
                return await link.run()
        finally:
            self._link = self._wished_at = None
            self._take(events.guest_gone(self._state))

    async def _scrape(self, link: Conversation) -> None:
        while True:
            await asyncio.sleep(self._tools.interval)
            try:
                found = await link.metrics()
            except (LinkFailed, BadMetrics):
                self._tools.counters.calls.inc("metrics", "failed")
                continue
            self._tools.counters.calls.inc("metrics", "done")
            self._take(events.measured(self._state, self._read(found), self._tools.clock()))

    def _read(self, found: Scraped) -> Metrics:
        in_use = max(found.memory_total - found.memory_available, 0)
        return Metrics(found.load1, found.load5, in_use / self.slot)

    # ---- sizes --------------------------------------------------------------------------------

    def _slots(self, size: Size) -> Resources:
        return Resources.of(size, self.slot)

    def _told(self, resources: Resources) -> str:
        written = resources.size(self.slot).as_json()
        return f"{written['cpu']} CPU and {written['mem']} of memory"
