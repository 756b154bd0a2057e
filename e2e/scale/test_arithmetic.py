"""The arithmetic for a million: from figures that are easy to follow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from e2e.scale import arithmetic, results
from e2e.scale.arithmetic import Case, of_the_api, per_replica
from e2e.scale.constants import Constants, NotMeasuredError
from e2e.scale.figures import (
    Churned,
    Fan,
    FanOut,
    Filled,
    Listed,
    Lists,
    Most,
    Relist,
    Results,
    Served,
    Start,
    Steady,
    Stored,
    Use,
)

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
COUNT = 1_000
SERVED = Served(10, 1.0, 0.001, 0.002, 0.003, 0, 0)
IDLE = Use(10.0, 0.0, 1.0, 0, 0, 0)


def use(**used: float) -> Use:
    """Return a use that is nothing but what is told, in ten seconds."""
    nothing = {"seconds": 10.0, "gateway_cpu": 0.0, "api_cpu": 0.0}
    memory = {"gateway_resident": 0, "gateway_peak": 0, "api_resident": 0}
    return msgspec.convert(nothing | memory | used, Use)


def fan(gateways: int, api_cpu: float) -> Fan:
    """Return what 1,000 writes in ten seconds cost."""
    churned = Churned(100.0, 10.0, 1_000, 0, 0, 0.001, 0.002)
    used = use(api_cpu=api_cpu, gateway_cpu=0.5 * gateways)
    return Fan(gateways, churned, used, 1_000 * gateways, 2_000.0)


def run() -> Results:
    """Return a run with 1,000 sandboxes."""
    lists = Lists(2, COUNT * 2_500.0, 0.1)
    empty = Start(1.0, use(gateway_resident=100 * MIB, gateway_cpu=1.0))
    full = Start(3.0, use(gateway_resident=101 * MIB, gateway_cpu=2.0, api_cpu=0.5))
    return Results(
        machine={
            "date": "2026-01-01",
            "commit": "abc",
            "cpu": "a cpu",
            "cores": "2",
            "kernel": "Linux",
            "python": "3.11",
            "uvloop": "1",
        },
        asked={"sandboxes": COUNT, "churn": 100, "rate": 10, "seconds": 10, "wakes": 1},
        stored=Stored(
            filled=Filled(COUNT, 4.0, 500.0, 0.01, 0.02),
            api_empty=200 * MIB,
            api_full=210 * MIB,
            etcd_empty=MIB,
            etcd_full=6 * MIB,
        ),
        listed=Listed(empty, full, COUNT, lists),
        steady=Steady(SERVED, use(), Most(10_000.0, 0.001, 0.002), 0.0),
        fan_out=FanOut(IDLE, 2.0, 1.0, lists, fan(1, 4.0), fan(3, 6.0)),
        relist=Relist(
            away=10.0,
            changed=10,
            deleted=1,
            first_page=1.0,
            in_step=2.0,
            expired=1,
            wrong=0,
            lists=lists,
            resident_before=101 * MIB,
            use=use(gateway_peak=102 * MIB),
            served_away=SERVED,
            served_listing=SERVED,
            late=0.0,
        ),
    )


def value(lines: list[arithmetic.Line], what: str) -> float:
    return next(line.value for line in lines if line.what == what)


def test_constants_are_what_each_sandbox_write_and_watch_adds() -> None:
    found = Constants.of(run())
    assert found.base_memory == 100 * MIB
    assert found.route_memory == pytest.approx(MIB / COUNT)
    assert found.peak_memory == pytest.approx(2 * MIB / COUNT)
    assert found.object_bytes == 2_500
    assert found.page_objects == 500
    assert found.list_time == pytest.approx(0.002)
    assert found.list_gateway_cpu == pytest.approx(0.001)
    assert found.list_api_cpu == pytest.approx(0.0005)
    # 1,000 writes cost 3 s with one watch and 5 s with three, beside 1 s of idling.
    assert found.watch_api_cpu == pytest.approx(0.001)
    assert found.write_api_cpu == pytest.approx(0.002)
    assert found.event_gateway_cpu == pytest.approx(0.0005)
    assert found.stored_bytes == pytest.approx(5 * MIB / COUNT)
    assert found.api_memory == pytest.approx(10 * MIB / COUNT)
    assert found.replica_requests == 10_000


def test_differences_below_the_noise_are_nothing_and_not_less() -> None:
    measured = run()
    assert measured.fan_out is not None
    measured.fan_out = replace(measured.fan_out, three=fan(3, 3.9))
    assert Constants.of(measured).watch_api_cpu == 0.0


@pytest.mark.parametrize(
    ("figures", "phase"),
    [
        ("stored", "list"),
        ("listed", "list"),
        ("fan_out", "fan-out"),
        ("steady", "steady"),
        ("relist", "relist"),
    ],
)
def test_a_phase_that_was_not_run_is_named(figures: str, phase: str) -> None:
    measured = run()
    setattr(measured, figures, None)
    with pytest.raises(NotMeasuredError, match=f"^{phase}$"):
        Constants.of(measured)


def test_a_relist_may_be_of_another_run() -> None:
    without, other = run(), run()
    without.relist = None
    assert other.stored is not None
    other.stored = replace(other.stored, filled=Filled(COUNT * 2, 4.0, 500.0, 0.01, 0.02))
    assert Constants.of(without, other).peak_memory == Constants.of(other).peak_memory
    assert Constants.of(run(), other).peak_memory == Constants.of(run()).peak_memory


def test_what_a_replica_needs_grows_with_the_sandboxes_that_it_watches() -> None:
    constants = Constants.of(run())
    whole = per_replica(Case(1_000_000, 8, 100.0, 20_000.0), constants)
    assert value(whole, "memory") == pytest.approx((100 + 1_000) * MIB)
    assert value(whole, "memory, peak of a relist") == pytest.approx((100 + 2_000) * MIB)
    assert value(whole, "pages of a list") == 2_000
    assert value(whole, "a list, until ready or in step") == pytest.approx(2_000)
    assert value(whole, "of its core for events") == pytest.approx(0.05)
    # 20,000 over 0.95 * 10,000 * 0.6.
    assert value(whole, "replicas for the requests") == 4

    quarter = per_replica(Case(1_000_000, 8, 100.0, 20_000.0, shards=4), constants)
    assert value(quarter, "sandboxes watched") == 250_000
    assert value(quarter, "memory") == pytest.approx((100 + 250) * MIB)
    assert value(quarter, "of its core for events") == pytest.approx(0.0125)


def test_each_shard_has_a_replica_however_few_requests_there_are() -> None:
    constants = Constants.of(run())
    lines = per_replica(Case(1_000, 5, 0.0, 1.0, shards=5), constants)
    assert value(lines, "replicas for the requests") == 5


def test_events_that_take_the_whole_core_leave_nothing_for_requests() -> None:
    lines = per_replica(Case(1_000, 5, 2_000.0, 1.0), Constants.of(run()))
    assert value(lines, "of its core for events") == 1.0
    assert "more shards" in next(
        line.shown for line in lines if line.what == "replicas for the requests"
    )


def test_shards_spare_the_api_server_watches_and_lists_but_no_writes_and_no_memory() -> None:
    constants = Constants.of(run())
    whole = of_the_api(Case(1_000_000, 8, 100.0, 0.0), constants)
    quarter = of_the_api(Case(1_000_000, 8, 100.0, 0.0, shards=4), constants)
    for same in ("etcd's file", "memory with etcd", "status writes"):
        assert value(whole, same) == value(quarter, same)
    for spared in (
        "their way to all watches",
        "sent to all watches",
        "all replicas list at once: cpu",
        "all replicas list at once: sent",
    ):
        assert value(whole, spared) == pytest.approx(4 * value(quarter, spared))
    assert value(whole, "status writes") == pytest.approx(0.2)
    assert value(whole, "their way to all watches") == pytest.approx(0.8)
    assert value(whole, "all replicas list at once: cpu") == pytest.approx(4_000)
    assert value(whole, "sent to all watches") == pytest.approx(100 * 8 * 2_000)


@pytest.mark.parametrize(
    ("sandboxes", "told"),
    [(100_000, "500.00 MiB"), (1_000_000, "larger quota"), (2_000_000, "more than etcd's")],
)
def test_what_etcd_does_not_hold_is_said(sandboxes: int, told: str) -> None:
    line = of_the_api(Case(sandboxes, 1, 0.0, 0.0), Constants.of(run()))[0]
    assert told in line.shown


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    measured = run()
    results.save(tmp_path, measured)
    assert results.load(tmp_path / results.FIGURES) == measured
    shown = (tmp_path / results.PAGE).read_text()
    assert "## Fan-out" in shown
    assert "## Churn" not in shown, "it was not run"


def test_the_page_names_what_was_asked_and_every_constant() -> None:
    constants = Constants.of(run())
    shown = arithmetic.page(Case(1_000_000, 8, 100.0, 0.0), constants, "a run")
    assert "1,000,000 sandboxes, 8 replicas in 1 shards" in shown
    for name in Constants.__slots__:
        assert f"`{name}`" in shown
