"""Amounts of CPU and memory: Kubernetes' grammar, its rounding, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.quantities import (
    format_cpu,
    format_memory,
    parse_cpu,
    parse_memory,
    parse_quantity,
)

#: A text, its milli-CPUs and its bytes, as `resource.ParseQuantity` of Kubernetes 1.36 has them.
KUBERNETES: list[tuple[str, int, int]] = [
    ("0", 0, 0),
    ("1", 1000, 1),
    ("+1", 1000, 1),
    ("00012", 12_000, 12),
    ("0.5", 500, 1),
    (".5", 500, 1),
    ("1.", 1000, 1),
    ("1.5", 1500, 2),
    ("0.1", 100, 1),
    ("100m", 100, 1),
    ("250m", 250, 1),
    ("1500m", 1500, 2),
    ("0.1m", 1, 1),
    ("0.0001", 1, 1),
    ("0.0000000001", 1, 1),
    ("1.00000000000000000001", 1001, 2),
    ("1u", 1, 1),
    ("1n", 1, 1),
    ("1001n", 1, 1),
    ("1k", 1_000_000, 1000),
    ("1M", 10**9, 10**6),
    ("1G", 10**12, 10**9),
    ("1T", 10**15, 10**12),
    ("1P", 10**18, 10**15),
    ("1Ki", 1_024_000, 1024),
    ("0.5Ki", 512_000, 512),
    ("1.1Ki", 1_126_400, 1127),
    ("512Mi", 536_870_912_000, 536_870_912),
    ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
    ("1e3", 1_000_000, 1000),
    ("1E3", 1_000_000, 1000),
    ("1e+3", 1_000_000, 1000),
    ("1E+3", 1_000_000, 1000),
    ("1e-3", 1, 1),
    ("1.5e3", 1_500_000, 1500),
    ("1e-99", 1, 1),
    ("0e99", 0, 0),
    ("1".zfill(40), 1000, 1),
]


@pytest.mark.parametrize(("written", "milli", "count"), KUBERNETES)
def test_these_are_quantities(written: str, milli: int, count: int) -> None:
    assert parse_cpu(written) == milli
    assert parse_memory(written) == math.ceil(parse_quantity(written)) == count


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("1Ti", 2**40),
        ("1Pi", 2**50),
        ("1Ei", 2**60),
        ("1E", 10**18),
        ("9223372036854775807", 2**63 - 1),
        ("1.0000000000000000000000000000001Ei", 2**60 + 1),
    ],
)
def test_amounts_are_exact_up_to_63_bits(written: str, count: int) -> None:
    assert parse_memory(written) == math.ceil(parse_quantity(written)) == count


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "+", "-", ".", "m", "Gi", "-1", "-0", "++1", "+-1", "1..2", "1.2.3", "1,5",
        "1_000", "0x10", " 1", "1 ", "1\n", "1 Gi", "1K", "1ki", "1mi", "1gi", "1KI", "1Kim",
        "1KiB", "1mm", "1m1", "1e", "1e+", "1e1.5", "1e3Ki", "1ee3", "1d", "one", "inf", "nan",
        "NaN", "Infinity", "\u0661", "\u00bd", "1\u00b5", "8Ei", "10E", "9223372036854775808",
        "1e19", "1e99", "1e100",
        "9" * 41, "0" * 41, "9" * 5000, "1e" + "9" * 30,
    ],
)  # fmt: skip
def test_these_are_none(written: str) -> None:
    for parse in (parse_quantity, parse_cpu, parse_memory):
        with pytest.raises(ValueError):  # noqa: PT011 - the class is the contract
            parse(written)


SUFFIXES = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
}


@given(
    st.sampled_from(["", "+"]),
    st.integers(0, 10**6),
    st.integers(0, 10**6) | st.none(),
    st.sampled_from(sorted(SUFFIXES)),
)
def test_a_quantity_is_its_number_times_its_suffix_and_nothing_of_it_is_lost(
    sign: str, whole: int, part: int | None, suffix: str
) -> None:
    decimals = "" if part is None else f".{part:07}"
    exact = (whole + Fraction(part or 0, 10**7)) * SUFFIXES[suffix]
    written = f"{sign}{whole}{decimals}{suffix}"
    assert parse_quantity(written) == exact
    assert parse_cpu(written) == math.ceil(exact * 1000)
    assert parse_memory(written) == math.ceil(exact)


@given(st.integers(0, 10**4), st.integers(-20, 14), st.sampled_from("eE"), st.booleans())
def test_a_quantity_may_have_a_decimal_exponent(
    number: int, exponent: int, letter: str, signed: bool
) -> None:
    written = f"{number}{letter}{exponent:+}" if signed else f"{number}{letter}{exponent}"
    assert parse_quantity(written) == number * Fraction(10) ** exponent


@given(st.text(alphabet="0123456789.+-eEinumkKMGTP ", max_size=14) | st.text(max_size=8))
def test_a_text_is_an_amount_of_63_bits_that_is_not_negative_or_it_is_refused(text: str) -> None:
    try:
        amount = parse_quantity(text)
    except ValueError:
        return
    assert 0 <= amount < 2**63


@pytest.mark.parametrize(
    ("milli", "written"),
    [(0, "0"), (1, "1m"), (250, "250m"), (1000, "1"), (1500, "1500m"), (64_000, "64")],
)
def test_cpu_is_written_in_whole_cpus_or_in_milli_cpus(milli: int, written: str) -> None:
    assert format_cpu(milli) == written


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0"),
        (1, "1"),
        (1000, "1000"),
        (1023, "1023"),
        (1024, "1Ki"),
        (1025, "1025"),
        (1_024_000, "1000Ki"),
        (1_610_612_736, "1536Mi"),
        (2**30, "1Gi"),
        (2**40, "1Ti"),
        (2**50, "1Pi"),
        (7 * 2**60, "7Ei"),
        (2**63 - 1, "9223372036854775807"),
    ],
)
def test_memory_is_written_in_the_largest_unit_that_it_is_whole_in(
    count: int, written: str
) -> None:
    assert format_memory(count) == written


@given(st.integers(0, 2**53))
def test_a_written_cpu_reads_back(milli: int) -> None:
    assert parse_cpu(format_cpu(milli)) == milli


@given(st.integers(0, 2**63 - 1) | st.integers(0, 2**13).map(lambda count: count * 2**30))
def test_a_written_memory_reads_back(count: int) -> None:
    assert parse_memory(format_memory(count)) == count
