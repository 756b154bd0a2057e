"""The simulated day: it is the same for the same seed, and shows what goes wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from e2e.bench.model import Suite
from e2e.bench.resize_day import Cluster, Outcome, simulate
from e2e.bench.resize_figures import baselines, enough, show_day
from e2e.bench.resize_loads import GIB, GROWTH, HOUR, KINDS, Life, Need, life
from e2e.bench.resize_sandbox import READ_EVERY, Sandbox, Variant
from e2e.bench.resize_tally import fixed, total
from gateway.resize import sizing, wanted
from gateway.resize.permits import Permits
from gateway.sandbox.scaling import DEFAULT_SLOT, Scaling, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.bench.resize_tally import Tally
    from gateway.resize.amounts import Resources

PLAIN = Variant("plain")
LOW, HIGH = Size(250, DEFAULT_SLOT), Size(4000, 8 * GIB)
ROOMY, TIGHT = Size(64_000, 256 * GIB), Size(12_000, 30 * GIB)


@cache
def whole_day(seed: int, number: int) -> Life:
    return life(seed, number)


@dataclass(frozen=True, slots=True)
class Noon(Cluster):
    """The hour from noon on, on a node that has not room for all of it."""

    sandboxes: int = 20
    nodes: int = 1
    node: Size = TIGHT
    seconds: int = HOUR

    def lives(self, node: int) -> Iterator[Life]:
        for number in range(node, self.sandboxes, self.nodes):
            day, noon = whole_day(self.seed, number), 12 * HOUR
            later = [
                replace(need, at=max(need.at, noon) - noon)
                for need, until in day.spans()
                if noon < until and need.at < noon + self.seconds
            ]
            yield replace(day, needs=later, seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Given(Cluster):
    """Sandboxes as a test describes them, on one node."""

    given: tuple[Life, ...] = ()
    nodes: int = 1
    node: Size = ROOMY
    seconds: int = HOUR

    def lives(self, node: int) -> Iterator[Life]:
        yield from self.given


def one(*needs: Need, stubborn: tuple[int, int] = (0, 0), name: str = "dev-0") -> Life:
    return Life(name, "dev", Scaling(LOW, HIGH), HOUR, needs, stubborn)


def only(cluster: Cluster, variant: Variant = PLAIN) -> Tally:
    return simulate(cluster, variant, 1).tallies["dev-0"]


@pytest.fixture(scope="module")
def noon() -> Outcome:
    return simulate(Noon(), PLAIN, 1)


# ---- the loads ----------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_life_and_another_is_not() -> None:
    assert life(1, 5, HOUR) == life(1, 5, HOUR)
    assert life(1, 5) != life(2, 5)


def test_every_kind_needs_something_all_day_but_never_more_than_its_maximum() -> None:
    seen = {}
    for number in range(60):
        found = whole_day(8, number)
        seen[found.kind] = found
        assert found.needs[0].at == 0
        assert sum(until - need.at for need, until in found.spans()) == found.seconds
        assert all(until > need.at for need, until in found.spans())
        assert all(0 < need.cpu * 1000 <= found.scaling.high.cpu for need in found.needs)
        assert all(0 < need.memory <= found.scaling.high.memory for need in found.needs)
    assert set(seen) == set(KINDS)


def test_memory_grows_by_what_a_second_allows() -> None:
    for number in range(20):
        spans = list(whole_day(8, number).spans())
        for (before, _), (after, _) in pairwise(spans):
            assert after.memory - before.memory <= GROWTH


# ---- the whole of it ----------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_figures(noon: Outcome) -> None:
    again = simulate(Noon(), PLAIN, 1)
    assert (again.tallies, again.curve, again.fullest) == (noon.tallies, noon.curve, noon.fullest)


def test_the_hour_has_all_that_is_to_be_shown(noon: Outcome) -> None:
    tally = total(noon.tallies.values())
    assert min(tally.resizes, tally.wishes, tally.cpu.short, tally.held) > 0
    assert tally.asked > tally.denied > 0


def test_nobody_is_above_its_maximum_and_no_node_promises_more_than_it_has(noon: Outcome) -> None:
    for name, tally in noon.tallies.items():
        high = KINDS[name.partition("-")[0]].high
        assert tally.above == 0
        assert tally.cpu.sized <= high.cpu / 1000 * HOUR
        assert tally.memory.sized <= high.memory * HOUR
    (most,), node = noon.fullest, Noon().node
    assert most.cpu <= node.cpu
    assert most.memory <= node.memory
    assert most.cpu == node.cpu, "the node is full at some time"


def test_all_that_was_needed_and_had_is_in_the_sums(noon: Outcome) -> None:
    lives = list(Noon().lives(0))
    assert set(noon.tallies) == {life.name for life in lives}
    for life_ in lives:
        tally, needed = noon.tallies[life_.name], fixed(life_, life_.scaling.high)
        assert tally.seconds == HOUR
        assert tally.cpu.needed == pytest.approx(needed.cpu.needed)
        assert tally.memory.needed == pytest.approx(needed.memory.needed)
        assert tally.cpu.missing <= tally.cpu.needed
    tally = total(noon.tallies.values())
    for spent, points in ((tally.cpu, noon.curve.cpu), (tally.memory, noon.curve.memory)):
        for field, value in asdict(spent).items():
            assert sum(getattr(point, field) for point in points) == pytest.approx(value)


def test_readings_that_are_skipped_would_have_changed_nothing(
    noon: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def next_reading(self: Sandbox, now: int, until: int) -> int:
        return self._read_at + READ_EVERY

    monkeypatch.setattr(Sandbox, "_next_reading", next_reading)
    each = simulate(Noon(), PLAIN, 1)
    assert counts(each) == counts(noon)
    assert sums(each) == pytest.approx(sums(noon))


def counts(outcome: Outcome) -> list[tuple[float, ...]]:
    return [
        (one.resizes, one.asked, one.denied, one.wishes, one.refusals, one.overruns, one.held)
        for one in outcome.tallies.values()
    ]


def sums(outcome: Outcome) -> list[float]:
    tally = total(outcome.tallies.values())
    return [*asdict(tally.cpu).values(), *asdict(tally.memory).values()]


# ---- faults show --------------------------------------------------------------------------------


def test_a_goal_that_is_twice_as_large_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Given(given=(one(Need(0, 1.7, GIB)),))
    right, before = sizing.goal, only(cluster)

    def doubled(*about: object) -> Resources:
        return right(*about).times(2)  # type: ignore[arg-type]

    monkeypatch.setattr(wanted, "goal", doubled)
    after = only(cluster)
    assert after.cpu.sized > before.cpu.sized * 1.5
    assert after.above > before.above == 0


def test_permits_for_more_than_there_is_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Permits, "_promises", lambda *_: iter(()))
    monkeypatch.setattr("e2e.bench.resize_node.Node.claimed", lambda *_: LOW)
    (most,) = simulate(Noon(), PLAIN, 1).fullest
    assert most.cpu > Noon().node.cpu
    suite = Suite("resize", "")
    show_day(suite, Noon(), simulate(Noon(), PLAIN, 1), baselines(Noon().lives(0)))
    assert suite.goals[0].holds is False


# ---- single sandboxes ---------------------------------------------------------------------------


def test_a_constant_load_is_met_and_then_left_alone() -> None:
    cluster = Given(given=(one(Need(0, 1.7, GIB)),))
    seen = simulate(cluster, PLAIN, 1, {"dev-0"})
    tally = seen.tallies["dev-0"]
    last = seen.moments["dev-0"][-1]
    assert last.size == Size(2000, 4 * GIB), "1.7 / 0.9 is 1.9, and CPU brings memory with it"
    assert tally.cpu.short < 60
    changes = [now for before, now in pairwise(seen.moments["dev-0"]) if before.size != now.size]
    assert changes[-1].at < 600


def test_what_five_minutes_needed_is_kept_for_a_while_if_it_is_to_be() -> None:
    cluster = Given(given=(one(Need(0, 3.5, GIB // 4), Need(900, 0.01, GIB // 4)),))
    damped, hasty = only(cluster), only(cluster, Variant("hasty", damped=False))
    assert damped.cpu.sized > hasty.cpu.sized * 1.1


def test_a_node_without_room_denies_and_the_sandbox_stays_as_it_is() -> None:
    tally = only(Given(given=(one(Need(0, 2.0, GIB // 4)),), node=LOW))
    assert tally.resizes == 0
    assert tally.denied == tally.asked > 0
    assert tally.held > HOUR * 0.9
    assert tally.cpu.short == HOUR
    assert tally.cpu.missing == pytest.approx(1.75 * HOUR)


def test_a_guest_that_refuses_to_shrink_does_not_shrink_until_it_agrees() -> None:
    needs = (Need(0, 3.5, GIB // 4), Need(600, 0.01, GIB // 4))
    cluster = Given(given=(one(*needs, stubborn=(600, 3000)),))
    seen = simulate(cluster, PLAIN, 1, {"dev-0"})
    sizes = [moment.size.cpu for moment in seen.moments["dev-0"] if 600 <= moment.at < 3000]
    assert min(sizes) == 4000
    assert seen.moments["dev-0"][-1].size == LOW
    assert seen.tallies["dev-0"].refusals > 0
    assert only(Given(given=(one(*needs),))).refusals == 0


def test_memory_that_comes_at_once_overruns_and_what_grows_slowly_does_not() -> None:
    sudden = only(Given(given=(one(Need(0, 0.1, GIB // 4), Need(60, 0.1, 2 * GIB)),)))
    steps = [Need(60 + 5 * turn, 0.1, GIB // 4 + turn * GIB // 16) for turn in range(28)]
    slow = only(Given(given=(one(Need(0, 0.1, GIB // 4), *steps),)))
    assert (sudden.overruns, slow.overruns) == (1, 0)
    assert sudden.memory.missing > 0


# ---- fixed sizes --------------------------------------------------------------------------------


def test_a_fixed_size_is_reckoned_by_what_is_above_it() -> None:
    tally = fixed(one(Need(0, 1.0, GIB), Need(HOUR // 2, 3.0, 3 * GIB)), Size(2000, 2 * GIB))
    assert tally.cpu.needed == 2.0 * HOUR
    assert tally.cpu.sized == 2.0 * HOUR
    assert tally.cpu.missing == 0.5 * HOUR
    assert tally.cpu.short == tally.memory.short == HOUR / 2
    assert tally.overruns == 1


@pytest.mark.parametrize(("seconds", "cpu"), [(180, 500), (181, 3000)])
def test_what_is_enough_is_exceeded_for_a_twentieth_of_the_time(seconds: int, cpu: int) -> None:
    found = enough(one(Need(0, 2.9, 5 * GIB), Need(seconds, 0.3, GIB)))
    assert found.cpu == cpu
