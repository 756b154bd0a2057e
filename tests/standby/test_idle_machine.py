"""Whatever happens, in whatever order: who may sleep does, once and in time, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.standby import DISABLED, StandbyCheck, StandbyPolicy
from gateway.standby.config import IdleConfig
from gateway.standby.idle import PAUSE_MAX, REST_MAX, VETO_MAX, Result
from gateway.standby.verdict import Status
from tests.standby.world import EPOCH, World, sandbox

if TYPE_CHECKING:
    from gateway.sandbox.activity import Usage

NAMES = st.sampled_from("abc")
TIMEOUTS = st.sampled_from([1.0, 20.0, 300.0])
POLICIES = st.one_of(
    st.just(None), st.just(DISABLED), TIMEOUTS.map(lambda one: StandbyPolicy(True, one))
)
#: As long as it may take at most until one that should sleep is asked about.
PATIENCE = PAUSE_MAX + REST_MAX + VETO_MAX + 300.0


class IdleMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(IdleConfig(concurrency=2, min_uptime=10.0))
        self.uses: dict[str, list[Usage]] = {name: [] for name in "abc"}
        self.asked: dict[str, Route] = {}
        self.checked: dict[str, Route] = {}
        self.born = 0

    def known(self, name: str) -> Route | None:
        return self.world.registry.get(Key("native", "team", name))

    # ---- news -------------------------------------------------------------------------------

    @rule(name=NAMES, policy=POLICIES, noted=st.booleans(), guest=st.booleans())
    def a_sandbox_is_made(self, name: str, policy: Any, noted: bool, guest: bool) -> None:
        if self.known(name) is None:
            self.born += 1
            since = EPOCH + self.world.now - 100 if noted else None
            check = StandbyCheck(80, "/") if guest else None
            one = sandbox(
                name, uid=f"{name}-{self.born}", version=1 + 1000 * self.born, policy=policy,
                idle_since=since, check=check,
            )  # fmt: skip
            self.world.add(one)

    @rule(name=NAMES)
    def a_sandbox_is_deleted(self, name: str) -> None:
        if self.known(name) is not None:
            self.world.delete(name)

    @rule(
        name=NAMES,
        changes=st.fixed_dictionaries(
            {},
            optional={
                "policy": POLICIES,
                "pinned": st.booleans(),
                "always_on": st.booleans(),
                "state": st.sampled_from([State.RUNNING, State.RUNNING, State.PAUSED]),
                "idle_since": st.sampled_from([None, EPOCH]),
            },
        ),
        held=st.sampled_from([None, None, 5.0, 400.0]),
    )
    def its_object_changes(self, name: str, changes: dict[str, Any], held: float | None) -> None:
        if self.known(name) is not None:
            until = None if held is None else EPOCH + self.world.now + held
            self.world.change(name, **changes, hold_until=until)

    # ---- use --------------------------------------------------------------------------------

    @rule(name=NAMES)
    def somebody_comes(self, name: str) -> None:
        if (route := self.known(name)) is not None:
            self.uses[name].append(self.world.activity.enter(route.uid, self.world.now))

    @rule(name=NAMES)
    def somebody_leaves(self, name: str) -> None:
        if self.uses[name]:
            self.uses[name].pop().leave(self.world.now)

    # ---- time, and what is done in it ---------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 3.0, 30.0, 350.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def a_look_is_taken(self) -> None:
        found = self.world.look()
        for route in found.ask + found.check:
            self.may_sleep(route)
        for route in found.ask:
            assert route.key.name not in self.asked, "it is in a question already"
            self.asked[route.key.name] = route
        for route in found.check:
            assert route.key.name not in {*self.asked, *self.checked}
            self.checked[route.key.name] = route
        assert len(self.checked) <= 2
        for route in found.note:
            assert route.idle.idle_since is None

    def may_sleep(self, route: Route) -> None:
        """Judge by rules of this test's own."""
        usage = self.world.activity.of(route.uid)
        policy, idle = route.idle.policy, route.idle
        assert route == self.known(route.key.name), "what is known by now decides"
        assert policy is not None
        assert policy.enabled
        assert route.state is State.RUNNING
        assert not idle.pinned
        assert not idle.always_on
        assert idle.hold_until is None or idle.hold_until + 1.0 <= EPOCH + self.world.now + 1e-3
        assert usage is not None
        assert usage.count == 0
        assert self.world.now - usage.last >= policy.idle_timeout - 1e-6

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), result=st.sampled_from(Result), ago=st.sampled_from([0.0, 2.0, 500.0]))
    def a_question_is_settled(self, data: st.DataObject, result: Result, ago: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.asked)))
        route = self.asked.pop(name)
        used_ago = ago if result is Result.USED else None
        late = self.world.idle.settle(route, result, self.world.at, used_ago)
        assert late >= 0
        if result is Result.GONE and self.known(name) == route:
            self.world.delete(name)  # whose news comes after the answer

    @precondition(lambda self: self.checked)
    @rule(data=st.data(), agrees=st.booleans())
    def a_guest_answers(self, data: st.DataObject, agrees: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.checked)))
        self.world.idle.consented(self.checked.pop(name), agrees, self.world.at)

    # ---- what always holds --------------------------------------------------------------------

    @invariant()
    def nothing_is_kept_of_what_is_gone(self) -> None:
        idle = self.world.idle
        assert idle.watched <= 3
        assert idle.overdue <= 3
        assert idle.in_progress == len(self.asked) + len(self.checked)

    def teardown(self) -> None:
        """All use ends and all is answered: then who may sleep is asked about in time."""
        for name in "abc":
            while self.uses[name]:
                self.somebody_leaves(name)
        for route in self.asked.values():
            self.world.idle.settle(route, Result.CONFLICT, self.world.at)
        for route in self.checked.values():
            self.world.idle.consented(route, False, self.world.at)
        self.asked, self.checked = {}, {}
        wanted = {route.key.name for route in self.world.registry if self.will_sleep(route)}
        end, found = self.world.now + PATIENCE + 400.0, set()
        while (due := self.world.idle.due) is not None and due <= end:
            self.world.now = max(self.world.now, due)
            look = self.world.look()
            found |= {route.key.name for route in look.ask}
            for route in look.check:
                self.world.idle.consented(route, True, self.world.at)
        assert found == wanted

    def will_sleep(self, route: Route) -> bool:
        """Return whether only time stands between a sandbox and its sleep."""
        status = self.world.judging.verdict(route, self.world.at).status
        waits = {Status.IDLE_COUNTDOWN, Status.READY_FOR_STANDBY}
        waits |= {Status.HELD} if not route.idle.pinned else set()
        runs_since = self.world.judging.verdict(route, self.world.at).until
        return status in waits or (status is Status.INELIGIBLE and runs_since is not None)


IdleMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestIdle = IdleMachine.TestCase
