"""Times as RFC 3339 and durations as Go write them, with the odd forms of both."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.texts import format_time, parse_duration, parse_time, plain, remembered


@pytest.mark.parametrize(
    ("written", "epoch"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:01z", 1.0),
        ("1970-01-01T00:00:00.5Z", 0.5),
        ("1970-01-01T00:00:00.123456789Z", 0.123456),
        ("1970-01-01T01:30:00+01:30", 0.0),
        ("1969-12-31T23:00:00-01:00", 0.0),
        ("1970-01-01T00:00:00-00:00", 0.0),
        ("2026-11-22T10:20:30Z", 1_795_342_830.0),
        ("2024-02-29T00:00:00Z", 1_709_164_800.0),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140.0),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139.0),
    ],
)
def test_these_are_rfc_3339_times(written: str, epoch: float) -> None:
    assert parse_time(written) == pytest.approx(epoch, abs=1e-6)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "2026-11-22",
        "2026-11-22T10:20:30",
        "2026-11-22 10:20:30Z",
        "2026-11-22T10:20Z",
        "2026-11-22T10:20:30.Z",
        "2026-11-22T10:20:30.1234567890Z",
        "2026-11-22T10:20:30,5Z",
        "2026-11-22T10:20:30+0100",
        "2026-11-22T10:20:30+01",
        "2026-11-22T10:20:30+24:00",
        "2026-11-22T10:20:30UTC",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-11-22T25:00:00Z",
        "2026-11-22T10:60:00Z",
        "2026-11-22T10:20:60Z",
        "0000-01-01T00:00:00Z",
        "20261122T102030Z",
        "2026-W47-7T10:20:30Z",
        " 2026-11-22T10:20:30Z",
        "2026-11-22T10:20:30Z\n",
        "٢٠٢٦-11-22T10:20:30Z",
        "1795342830",
        "never",
    ],
)
def test_these_are_not(written: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the class is the contract
        parse_time(written)


@pytest.mark.parametrize(
    ("epoch", "written"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (0.999, "1970-01-01T00:00:00Z"),
        (1_795_342_830.0, "2026-11-22T10:20:30Z"),
    ],
)
def test_a_time_is_written_in_utc_and_whole_seconds(epoch: float, written: str) -> None:
    assert format_time(epoch) == written


@given(st.integers(0, 253_402_300_799))
def test_a_written_time_reads_back(epoch: int) -> None:
    assert parse_time(format_time(epoch)) == epoch


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0", 0.0),
        ("+0", 0.0),
        ("0s", 0.0),
        ("90s", 90.0),
        ("+90s", 90.0),
        ("1h30m", 5400.0),
        ("5m0s", 300.0),
        ("30m1h", 5400.0),
        ("1s1s", 2.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("250ms", 0.25),
        ("1us", 1e-6),
        ("1\u00b5s", 1e-6),
        ("1\u03bcs", 1e-6),
        ("3ns", 3e-9),
        ("1h2m3.5s4ms5us6ns", 3723.504005006),
        ("2562047h", 2562047 * 3600.0),
    ],
)
def test_these_are_go_durations(written: str, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "5",
        "1",
        "00",
        "+",
        "s",
        ".s",
        ".",
        "-5s",
        "-0",
        "++5s",
        "5 s",
        " 5s",
        "5s ",
        "5s\n",
        "5S",
        "5d",
        "5sec",
        "1,5s",
        "1e3s",
        "1_0s",
        "0x5s",
        "1s-1s",
        "1..5s",
        "\u0665s",
        "inf",
        "nan",
        "2562048h",
        "9223372037s",
        "9" * 400 + "h",
    ],
)
def test_these_are_not_durations(written: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the class is the contract
        parse_duration(written)


@given(st.text(alphabet="0123456789.+-hmsnuµμe ", max_size=20) | st.text(max_size=8))
def test_a_text_is_a_finite_duration_that_is_not_negative_or_it_is_refused(written: str) -> None:
    try:
        seconds = parse_duration(written)
    except ValueError:
        return
    assert math.isfinite(seconds)
    assert seconds >= 0


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_what_go_prints_reads_back(hours: int, minutes: int, seconds: int, millis: int) -> None:
    printed = f"{hours}h{minutes}m{seconds}.{millis:03}s"
    expected = hours * 3600 + minutes * 60 + seconds + millis / 1000
    assert parse_duration(printed) == pytest.approx(expected)


def test_short_texts_are_parsed_once_and_long_or_wrong_ones_again() -> None:
    parsed = []

    @remembered
    def parse(text: str) -> list[str]:
        parsed.append(text)
        if not text:
            raise ValueError(text)
        return [text]

    assert parse("90s") is parse("90s")
    assert parse("x" * 64) is parse("x" * 64)
    assert parse("x" * 65) == parse("x" * 65)
    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011
            parse("")
    assert parsed == ["90s", "x" * 64, "x" * 65, "x" * 65, "", ""]


def test_what_is_remembered_is_bounded() -> None:
    parsed = []

    @remembered
    def parse(text: str) -> str:
        parsed.append(text)
        return text

    for number in (*range(2000), 0, 1999):
        parse(str(number))
    assert parsed[2000:] == ["0"]


@pytest.mark.parametrize(
    ("value", "nearest"),
    [
        ("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z"),
        ("0001-01-01T00:00:00+12:00", "0001-01-01T00:00:00Z"),
    ],
)
def test_a_time_that_utc_cannot_write_becomes_the_nearest(value: str, nearest: str) -> None:
    assert format_time(parse_time(value)) == nearest


def test_what_others_say_can_neither_drive_a_terminal_nor_fill_it() -> None:
    assert plain("a\x1b[2Jb\nc\u202ed \xe9") == "a [2Jb c d \xe9"
    assert len(plain("long" * 1000)) == 300
