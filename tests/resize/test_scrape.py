"""What guests report is read if it makes sense, and refused whatever else it is."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.resize.scrape import MAX_METRICS, BadMetrics, Scraped, parse_metrics

#: On a busy machine any example may be slow.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

USUAL = {
    "host_load1": "0.5",
    "host_load5": "0.25",
    "host_memory_total_bytes": "4294967296",
    "host_memory_available_bytes": "1.073741824e+09",
}


def text(**changed: str | None) -> bytes:
    """Return the usual metrics, with some of them changed or (None) left out."""
    samples = USUAL | changed
    return "".join(f"{name} {value}\n" for name, value in samples.items() if value).encode()


def test_an_informants_metrics_are_read() -> None:
    assert parse_metrics(text()) == Scraped(0.5, 0.25, 4 * 1024**3, 1024**3)


def test_a_machines_own_exporter_is_read_as_well() -> None:
    found = parse_metrics(
        b"# HELP node_load1 1m load average.\n"
        b"# TYPE node_load1 gauge\n"
        b"node_load1 2\n"
        b"node_load15 9\n"
        b"node_load5 1.5\n"
        b'node_cpu_seconds_total{cpu="0",mode="idle"} 362812.78\n'
        b"node_memory_MemAvailable_bytes 1e+09\n"
        b"node_memory_MemTotal_bytes 2e+09\n"
    )
    assert found == Scraped(2.0, 1.5, 2_000_000_000, 1_000_000_000)


@pytest.mark.parametrize(
    "sample",
    [
        b"host_load1 3 1395066363000\n",
        b"host_load1\t3\n",
        b"host_load1   3  -5 \n",
        b"host_load1 3",
        b"host_load1 +3.0\n",
    ],
)
def test_a_sample_may_have_a_time_and_odd_spaces(sample: bytes) -> None:
    assert parse_metrics(text(host_load1=None) + sample).load1 == 3.0


@pytest.mark.parametrize("name", USUAL)
def test_each_metric_must_be_there(name: str) -> None:
    with pytest.raises(BadMetrics, match=f"{name} is missing"):
        parse_metrics(text(**{name: None}))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1", "1e300", "0x10", "1.2.3", "one"])
@pytest.mark.parametrize("name", USUAL)
def test_what_no_machine_has_is_refused(name: str, value: str) -> None:
    with pytest.raises(BadMetrics, match=name):
        parse_metrics(text(**{name: value}))


def test_the_limits_are_load_of_100000_and_an_exbibyte() -> None:
    found = parse_metrics(text(host_load1="100000", host_memory_total_bytes=str(2**60)))
    assert (found.load1, found.memory_total) == (100_000, 2**60)
    with pytest.raises(BadMetrics, match="host_load1 is out of bounds"):
        parse_metrics(text(host_load1="100000.1"))
    with pytest.raises(BadMetrics, match="host_memory_total_bytes is out of bounds"):
        parse_metrics(text(host_memory_total_bytes=str(2**60 + 2**20)))


def test_what_is_said_twice_is_refused() -> None:
    with pytest.raises(BadMetrics, match="host_load1 is given twice"):
        parse_metrics(text() + b"host_load1 0.5\n")


def test_no_more_can_be_available_than_there_is() -> None:
    with pytest.raises(BadMetrics, match="more memory is available"):
        parse_metrics(text(host_memory_available_bytes="4294967297"))


@pytest.mark.parametrize(
    "line", [b"xhost_load1 3\n", b"host_load1x 3\n", b'host_load1{a="b"} 3\n', b"#host_load1 3\n"]
)
def test_other_metrics_are_not_taken_for_those_that_count(line: bytes) -> None:
    with pytest.raises(BadMetrics, match="host_load1 is missing"):
        parse_metrics(text(host_load1=None) + line)


@patient
@given(st.binary(max_size=200), st.binary(max_size=200))
@example(b"\xff\xfe\x00", b"\r\n\x00")
def test_what_else_there_is_never_matters(before: bytes, after: bytes) -> None:
    assert parse_metrics(before + b"\n" + text() + after) == parse_metrics(text())


VALUES = st.one_of(st.floats().map(repr), st.integers().map(str), st.text(max_size=80))


@patient
@given(st.dictionaries(st.sampled_from(sorted(USUAL)), VALUES))
def test_whatever_comes_is_metrics_within_bounds_or_bad_metrics(values: dict[str, str]) -> None:
    samples = USUAL | values
    body = "".join(f"{name} {value}\n" for name, value in samples.items())
    try:
        found = parse_metrics(body.encode("utf-8", "replace"))
    except BadMetrics:
        return
    assert 0 <= found.load1 <= 100_000
    assert 0 <= found.load5 <= 100_000
    assert 0 <= found.memory_available <= found.memory_total <= 2**60


@patient
@given(st.lists(st.sampled_from([b"host_load1", b" ", b"\t", b"1", b"\n", b"-"]), max_size=40))
def test_no_text_of_a_legal_length_costs_more_than_its_length(pieces: list[bytes]) -> None:
    """A pattern that goes back and forth would not end here within the day."""
    unit = b"".join(pieces) or b"x"
    with pytest.raises(BadMetrics):
        parse_metrics((unit * (MAX_METRICS // len(unit) + 1))[:MAX_METRICS])
