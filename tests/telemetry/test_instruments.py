"""Instruments as a scrape shows them, read back by prometheus_client's own parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.instruments import LATENCY_BUCKETS, Instruments

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def scrape(instruments: Instruments) -> dict[str, Metric]:
    registry = CollectorRegistry()
    registry.register(instruments)
    text = generate_latest(registry).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(family: Metric) -> dict[tuple[str, ...], float]:
    return {
        (one.name, *(f"{k}={v}" for k, v in one.labels.items())): one.value
        for one in family.samples
    }


def test_a_counter_counts_by_label_values() -> None:
    instruments = Instruments()
    counter = instruments.counter("requests", "Requests, by outcome.", "outcome", "reason")
    counter.prime("answered", "")
    counter.inc("refused", "forbidden")
    counter.inc("refused", "forbidden", by=4)
    family = scrape(instruments)["sandbox_gateway_requests"]
    assert (family.type, family.documentation) == ("counter", "Requests, by outcome.")
    name = "sandbox_gateway_requests_total"
    assert samples(family) == {
        (name, "outcome=answered", "reason="): 0,
        (name, "outcome=refused", "reason=forbidden"): 5,
    }


def test_priming_does_not_forget_what_was_counted() -> None:
    counter = Instruments().counter("requests", "Requests.")
    counter.inc()
    counter.prime()
    assert counter.counts == {(): 1}


def test_the_hot_path_may_keep_a_cell_and_add_to_it() -> None:
    instruments = Instruments()
    counter = instruments.counter("requests", "Requests.", "outcome")
    cell = counter.cell("answered")
    cell.count += 2
    counter.inc("answered")
    assert counter.cell("answered") is cell
    assert counter.counts == {("answered",): 3}
    (sample,) = scrape(instruments)["sandbox_gateway_requests"].samples
    assert sample.value == 3


def test_a_gauge_is_read_when_it_is_asked_for() -> None:
    instruments = Instruments()
    now = [1.0]
    instruments.gauge("open", "Open now.", lambda: now[0])
    assert samples(scrape(instruments)["sandbox_gateway_open"]) == {("sandbox_gateway_open",): 1.0}
    now[0] = 2.5
    assert samples(scrape(instruments)["sandbox_gateway_open"]) == {("sandbox_gateway_open",): 2.5}


def test_gauges_have_one_label() -> None:
    instruments = Instruments()
    instruments.gauges("sandboxes", "Sandboxes.", "state", lambda: {"paused": 2, "running": 1})
    assert samples(scrape(instruments)["sandbox_gateway_sandboxes"]) == {
        ("sandbox_gateway_sandboxes", "state=paused"): 2,
        ("sandbox_gateway_sandboxes", "state=running"): 1,
    }


def test_a_label_value_that_needs_escaping_survives() -> None:
    instruments = Instruments()
    instruments.counter("events", "Events.", "kind").inc('a"b\\c\nd')
    (sample,) = scrape(instruments)["sandbox_gateway_events"].samples
    assert sample.labels == {"kind": 'a"b\\c\nd'}


@pytest.mark.parametrize("bounds", [LATENCY_BUCKETS, (1.0, 2.0)])
def test_a_histogram_counts_a_bound_as_within(bounds: tuple[float, ...]) -> None:
    instruments = Instruments()
    histogram = instruments.histogram("seconds", "Seconds.", bounds)
    for bound in bounds:
        histogram.observe(bound)
    family = scrape(instruments)["sandbox_gateway_seconds"]
    buckets = [one.value for one in family.samples if one.name.endswith("_bucket")]
    assert buckets == [*range(1, len(bounds) + 1), len(bounds)]


@given(st.lists(st.floats(0, 1000), max_size=20))
def test_a_histogram_is_cumulative_and_adds_up(seconds: list[float]) -> None:
    instruments = Instruments()
    histogram = instruments.histogram("seconds", "Seconds.")
    for one in seconds:
        histogram.observe(one)
    family = scrape(instruments)["sandbox_gateway_seconds"]
    assert family.type == "histogram"
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            bound = float(sample.labels["le"])
            assert sample.value == sum(one <= bound for one in seconds)
        elif sample.name.endswith("_count"):
            assert sample.value == len(seconds)
        else:
            assert sample.value == pytest.approx(sum(seconds))


def test_all_instruments_of_a_gateway_are_scraped_together() -> None:
    instruments = Instruments()
    instruments.counter("a", "A.").inc()
    instruments.gauge("b", "B.", lambda: 1)
    instruments.histogram("c", "C.").observe(1)
    assert set(scrape(instruments)) == {f"sandbox_gateway_{name}" for name in "abc"}
