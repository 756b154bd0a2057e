"""What counts of the rounds of a throughput comparison."""

from __future__ import annotations

import pytest

from e2e.bench.comparison import Result, goals
from e2e.bench.loads import GET_1, GET_64, Sample
from e2e.bench.proxies import ENVOY, GATEWAY


def sample(per_second: float, *, busy: float = 1.0) -> Sample:
    return Sample(
        requests=int(per_second), seconds=1.0, p50_us=100.0, p99_us=200.0, cpu_seconds=busy
    )


def seen(gateway: list[Sample], envoy: list[Sample]) -> tuple[str, bool | None]:
    result = Result(GET_64, {GATEWAY: gateway, ENVOY: envoy})
    first = goals([result])[0]
    return first.seen, first.holds


@pytest.mark.parametrize(("per_second", "holds"), [(141, True), (139, False)])
def test_a_goal_is_judged_by_the_median_of_the_rounds_ratios(per_second: int, holds: bool) -> None:
    told, held = seen([sample(per_second)] * 3, [sample(100)] * 3)
    assert told == f"{per_second / 100:.2f} ({per_second / 100:.2f} to {per_second / 100:.2f})"
    assert held is holds


def test_rounds_in_which_one_had_not_its_core_to_itself_do_not_count() -> None:
    gateway = [sample(30, busy=0.3), sample(150), sample(150)]
    envoy = [sample(100), sample(100), sample(30, busy=0.3)]
    told, holds = seen(gateway, envoy)
    assert told.startswith("1.50 (1.50 to 1.50); 1 of 3 rounds")
    assert holds


def test_without_a_good_round_all_are_told_and_nothing_is_shown() -> None:
    told, holds = seen([sample(150, busy=0.5)], [sample(100)])
    assert told == f"1.50 (1.50 to 1.50); {GATEWAY} was 50% busy, not the limit"
    assert holds is None


def test_one_connection_is_not_meant_to_keep_a_proxy_busy() -> None:
    result = Result(GET_1, {GATEWAY: [sample(10, busy=0.5)], ENVOY: [sample(10, busy=0.5)]})
    assert result.saturated(GATEWAY, ENVOY) is result


def test_a_proxy_without_figures_holds_no_goal() -> None:
    (goal, *_) = goals([Result(GET_64, {ENVOY: [sample(100)]})])
    assert (goal.seen, goal.holds) == ("not measured", False)
