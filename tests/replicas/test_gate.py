"""Requests at shut gates, in virtual time: who waits, for what, and who claims for all."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

import pytest

from gateway.replicas.gate import Gate, Use
from gateway.replicas.sleep import FENCE, Used, Word
from gateway.sandbox.activity import Activity
from gateway.sandbox.errors import ApiUnavailable, ClusterError, ObjectGone
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry
from tests.sandbox.routes import KEY, make_route
from tests.wake.virtual import in_virtual_time

UID, NEEDED, EPOCH = "uid-1", 60.0, 1_795_342_830.0


@dataclass
class Replica:
    """One replica that knows one sandbox, which nobody has used for long; `api` is the truth."""

    api: Route = field(default_factory=make_route)
    latency: float = 0.01
    faults: deque[ClusterError] = field(default_factory=deque)
    claims: int = 0

    def __post_init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.activity, self.registry = Activity(), Registry()
        self.gate = Gate(self.activity, self.registry, self.claim, clock)
        self.registry.subscribe(
            lambda before, after: self.activity.heed(before, after, clock(), EPOCH)
        )
        self.registry.subscribe(self.gate.heed)
        self.registry.apply(self.api)
        usage = self.activity.of(UID)
        assert usage is not None
        usage.last -= 2 * NEEDED

    async def claim(self, key: Key, uid: str) -> None:
        """Claim it as a write does: what is asked is done before the answer is there."""
        self.claims += 1
        await asyncio.sleep(self.latency)
        if self.faults:
            raise self.faults.popleft()
        self.registry.apply(self.api)

    def ask(self, question: str = "q1") -> object:
        return self.gate.ask(question, UID, NEEDED)

    def settle(self, version: int | None, *, known: bool = True, question: str = "q1") -> None:
        self.gate.settle(question, KEY, UID, version, known)

    def sleeps(self, version: int) -> None:
        self.api = make_route(version=version, state=State.PAUSED, address=None)

    def come(self) -> asyncio.Task[float]:
        """A request comes, and tells when it got through."""

        async def waited() -> float:
            await self.gate.wait(KEY, UID)
            return asyncio.get_running_loop().time()

        return asyncio.get_running_loop().create_task(waited())


async def turn(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


# ---- answers ----------------------------------------------------------------------------------


@in_virtual_time
async def test_what_is_used_gets_a_no_and_what_is_not_a_yes_and_a_shut_gate() -> None:
    replica = Replica()
    usage = replica.activity.enter(UID, 0.0)
    assert replica.ask() == Used(0.0)
    usage.leave(asyncio.get_running_loop().time() - 20.0)
    assert replica.ask() == Used(20.0)
    assert not replica.gate.is_shut(UID)
    usage.last -= NEEDED
    assert replica.ask() is Word.UNUSED
    assert replica.gate.is_shut(UID)
    assert len(replica.gate) == 1


@in_virtual_time
async def test_what_is_not_known_here_may_be_used_here() -> None:
    replica = Replica()
    assert replica.gate.ask("q1", "uid-of-nobody", 0.0) is Word.UNKNOWN
    usage = replica.activity.enter(UID, 0.0)
    replica.registry.remove(KEY, UID, 5)
    usage.leave(0.0)
    assert replica.ask() is Word.UNKNOWN
    assert len(replica.gate) == 0


@in_virtual_time
async def test_how_a_sandbox_is_used_is_told_without_a_fence() -> None:
    replica = Replica()
    assert replica.gate.use(UID) == Use(0, 2 * NEEDED)
    replica.activity.enter(UID, 0.0)
    assert replica.gate.use(UID) == Use(1, 0.0)
    assert replica.gate.use("uid-of-nobody") == Use(0, None)
    assert not replica.gate.is_shut(UID)


# ---- waiting for the word ---------------------------------------------------------------------


@in_virtual_time
async def test_an_open_gate_holds_nobody_up() -> None:
    replica = Replica()
    await replica.gate.wait(KEY, UID)
    assert replica.claims == 0


@in_virtual_time
async def test_a_no_lets_all_who_wait_through_and_nobody_asks_the_api() -> None:
    replica = Replica()
    replica.ask()
    waiting = [replica.come() for _ in range(50)]
    await asyncio.sleep(1.0)
    assert not any(one.done() for one in waiting)
    replica.settle(None)
    before = asyncio.get_running_loop().time()
    assert await asyncio.gather(*waiting) == [before] * 50
    assert replica.claims == 0


@in_virtual_time
async def test_after_a_standby_the_sandbox_is_known_as_it_is_before_anybody_gets_through() -> None:
    replica = Replica()
    replica.ask()
    waiting = replica.come()
    await turn()
    replica.sleeps(7)
    replica.settle(7)
    await waiting
    assert replica.registry.by_id(make_route().id).state is State.PAUSED
    assert replica.claims == 1


@in_virtual_time
async def test_a_standby_that_the_watch_told_of_already_opens_with_the_word() -> None:
    replica = Replica()
    replica.ask()
    replica.sleeps(7)
    replica.registry.apply(replica.api)
    assert replica.gate.is_shut(UID)
    replica.settle(7)
    assert not replica.gate.is_shut(UID)
    assert replica.claims == 0


@in_virtual_time
async def test_news_of_the_standby_open_a_gate_at_which_nobody_waits() -> None:
    replica = Replica()
    replica.ask()
    replica.settle(7)
    assert replica.gate.is_shut(UID)
    replica.registry.apply(make_route(version=6))
    assert replica.gate.is_shut(UID)
    replica.registry.apply(make_route(version=8))
    assert not replica.gate.is_shut(UID)
    assert len(replica.gate) == 0


# ---- in doubt ---------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [False, True])
@in_virtual_time
async def test_in_doubt_one_of_those_who_wait_claims_for_all(told: bool) -> None:
    replica = Replica()
    began = asyncio.get_running_loop().time()
    replica.ask()
    waiting = [replica.come() for _ in range(50)]
    await turn()
    if told:
        replica.settle(None, known=False)
    passed = await asyncio.gather(*waiting)
    assert passed == [pytest.approx(began + (0.01 if told else FENCE + 0.01))] * 50
    assert replica.claims == 1
    assert not replica.gate.is_shut(UID)


@in_virtual_time
async def test_where_nobody_waits_nothing_is_claimed_until_somebody_comes() -> None:
    replica = Replica()
    replica.ask()
    await asyncio.sleep(1000.0)
    assert replica.claims == 0
    assert replica.gate.is_shut(UID)
    await replica.gate.wait(KEY, UID)
    assert replica.claims == 1


@in_virtual_time
async def test_as_long_as_the_api_is_down_nobody_gets_through_and_soon_after_all_do() -> None:
    replica = Replica()
    replica.ask()
    replica.settle(None, known=False)
    replica.faults.extend([ApiUnavailable("down")] * 6)
    waiting = [replica.come() for _ in range(3)]
    began = asyncio.get_running_loop().time()
    passed = await asyncio.gather(*waiting)
    # 0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 2.0 between seven attempts
    assert passed == [pytest.approx(began + 5.1 + 7 * 0.01)] * 3
    assert replica.claims == 7


@in_virtual_time
async def test_a_word_that_comes_late_saves_the_wait_for_an_api_that_is_down() -> None:
    replica = Replica()
    replica.ask()
    await asyncio.sleep(FENCE)
    replica.faults.extend([ApiUnavailable("down")] * 100)
    waiting = replica.come()
    await asyncio.sleep(10.0)
    assert not waiting.done()
    replica.settle(None)
    now = asyncio.get_running_loop().time()
    assert await waiting == now


@in_virtual_time
async def test_a_sandbox_that_is_gone_holds_nobody_up() -> None:
    replica = Replica()
    replica.ask()
    replica.settle(None, known=False)
    replica.faults.append(ObjectGone("gone"))
    await replica.gate.wait(KEY, UID)
    assert replica.claims == 1


@in_virtual_time
async def test_a_question_that_comes_while_it_is_claimed_is_waited_for() -> None:
    replica = Replica(latency=1.0)
    replica.ask("q1")
    replica.settle(None, known=False, question="q1")
    waiting = replica.come()
    await asyncio.sleep(0.5)
    assert replica.ask("q2") is Word.UNUSED  # the request is one that does not count
    await asyncio.sleep(2.0)
    assert not waiting.done()
    replica.settle(None, question="q2")
    again = asyncio.get_running_loop().time() + replica.latency
    assert await waiting == pytest.approx(again)
    assert replica.claims == 2


@in_virtual_time
async def test_a_deleted_sandbox_opens_its_gate_and_a_word_on_it_disturbs_nothing() -> None:
    replica = Replica()
    replica.ask()
    waiting = replica.come()
    await turn()
    replica.registry.remove(KEY, UID, 5)
    await turn()
    assert not waiting.done()  # its API may seem to be gone, and the standby is still on its way
    replica.settle(None)
    await waiting
    replica.settle(None)
    assert len(replica.gate) == 0


@in_virtual_time
async def test_a_deletion_ends_the_wait_for_an_api_that_is_down() -> None:
    replica = Replica()
    replica.faults.extend([ApiUnavailable("down")] * 100)
    replica.ask()
    replica.settle(None, known=False)
    waiting = replica.come()
    await asyncio.sleep(10.0)
    replica.registry.remove(KEY, UID, 5)
    now = asyncio.get_running_loop().time()
    assert await waiting == now


@in_virtual_time
async def test_gates_of_deleted_sandboxes_do_not_pile_up() -> None:
    replica = Replica()
    for number in range(100):
        key, uid = Key("kruise", "team-a", f"box-{number}"), f"uid-{number}-of-many"
        route = make_route(key=key, uid=uid, id=f"box-{number}", version=100 + number)
        replica.registry.apply(route)
        assert replica.gate.ask(f"q-{number}", uid, 0.0) is Word.UNUSED
        replica.registry.remove(key, uid, 1000 + number)
        await asyncio.sleep(FENCE)
    assert len(replica.gate) <= 1


# ---- those who wait leave ---------------------------------------------------------------------


@pytest.mark.parametrize("leaves_after", [0.0, 0.5, FENCE + 0.005, FENCE + 0.05])
@in_virtual_time
async def test_who_leaves_at_any_time_leaves_the_rest_to_the_others(leaves_after: float) -> None:
    replica = Replica()
    replica.faults.append(ApiUnavailable("down"))
    replica.ask()
    first, second = replica.come(), replica.come()
    await asyncio.sleep(leaves_after)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert not replica.gate.is_shut(UID)


@in_virtual_time
async def test_when_all_have_left_nothing_is_kept_of_them() -> None:
    replica = Replica()
    replica.faults.extend([ApiUnavailable("down")] * 100)
    replica.ask()
    waiting = [replica.come() for _ in range(3)]
    await asyncio.sleep(FENCE + 1.0)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    replica.faults.clear()
    claims = replica.claims
    await replica.gate.wait(KEY, UID)
    assert replica.claims == claims + 1
