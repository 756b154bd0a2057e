"""Versions of the protocols: their names, what they promise, and which one two sides share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.resize.versions import (
    INFORMANT_V1_0,
    INFORMANT_V1_1,
    INFORMANT_V1_2,
    INFORMANT_V2_0,
    PLUGIN_V1_0,
    PLUGIN_V1_1,
    PLUGIN_V2_0,
    RUNNER_V1,
    InformantVersion,
    PluginVersion,
    RunnerVersion,
    Version,
    VersionRange,
    latest_shared_version,
)

KINDS: list[type[Version]] = [InformantVersion, PluginVersion, RunnerVersion]


def spoken(oldest: int, newest: int) -> VersionRange[InformantVersion]:
    return VersionRange(InformantVersion(oldest), InformantVersion(newest))


@pytest.mark.parametrize(
    ("version", "number", "name"),
    [
        (INFORMANT_V1_0, 1, "v1.0"),
        (INFORMANT_V1_1, 2, "v1.1"),
        (INFORMANT_V1_2, 3, "v1.2"),
        (INFORMANT_V2_0, 4, "v2.0"),
        (PLUGIN_V1_0, 1, "v1.0"),
        (PLUGIN_V1_1, 2, "v1.1"),
        (PLUGIN_V2_0, 3, "v2.0"),
        (RUNNER_V1, 1, "v1"),
    ],
)
def test_a_version_is_a_number_and_has_a_name(version: Version, number: int, name: str) -> None:
    assert version == number
    assert str(version) == f"{version}" == name
    assert version.is_valid


@pytest.mark.parametrize("kind", KINDS)
def test_zero_is_no_version_and_prints_so(kind: type[Version]) -> None:
    assert not kind(0).is_valid
    assert str(kind(0)) == "<invalid: zero>"


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (InformantVersion(5), "<unknown = v2.0 + 1>"),
        (InformantVersion(7), "<unknown = v2.0 + 3>"),
        (PluginVersion(4), "<unknown = v2.0 + 1>"),
        (RunnerVersion(2), "<unknown = v1 + 1>"),
        (RunnerVersion(2**32 - 1), "<unknown = v1 + 4294967294>"),
    ],
)
def test_a_version_of_the_future_is_told_by_its_distance(version: Version, name: str) -> None:
    assert str(version) == name
    assert version.is_valid


@pytest.mark.parametrize(
    ("version", "asks_for_more", "is_asked_for_health", "signs"),
    [
        (InformantVersion(0), False, False, False),
        (INFORMANT_V1_0, False, False, False),
        (INFORMANT_V1_1, True, False, False),
        (INFORMANT_V1_2, True, True, False),
        (INFORMANT_V2_0, True, True, True),
        (InformantVersion(9), True, True, True),
    ],
)
def test_each_informant_version_has_what_those_before_it_have(
    version: InformantVersion, asks_for_more: bool, is_asked_for_health: bool, signs: bool
) -> None:
    assert version.has_try_upscale is asks_for_more
    assert version.allows_health_check is is_asked_for_health
    assert version.signs_resource_updates is signs


@pytest.mark.parametrize(
    ("version", "nil_metrics", "fractions"),
    [
        (PluginVersion(0), False, False),
        (PLUGIN_V1_0, False, False),
        (PLUGIN_V1_1, True, False),
        (PLUGIN_V2_0, True, True),
        (PluginVersion(9), True, True),
    ],
)
def test_each_plugin_version_has_what_those_before_it_have(
    version: PluginVersion, nil_metrics: bool, fractions: bool
) -> None:
    assert version.allows_nil_metrics is nil_metrics
    assert version.supports_fractional_cpu is fractions


@pytest.mark.parametrize(
    ("versions", "printed"),
    [
        (spoken(2, 2), "v1.1"),
        (spoken(1, 4), "v1.0 to v2.0"),
        (spoken(4, 6), "v2.0 to <unknown = v2.0 + 2>"),
        (spoken(0, 0), "<invalid: zero>"),
        (spoken(0, 1), "<invalid: zero> to v1.0"),
        (spoken(3, 2), "v1.2 to v1.1"),
    ],
)
def test_a_range_prints_its_ends_or_the_one_that_there_is(
    versions: VersionRange[InformantVersion], printed: str
) -> None:
    assert str(versions) == printed


def test_a_range_has_both_of_its_ends_and_what_is_between() -> None:
    assert [InformantVersion(n) in spoken(2, 4) for n in range(6)] == [
        False, False, True, True, True, False,
    ]  # fmt: skip
    assert InformantVersion(2) not in spoken(3, 1)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (spoken(1, 4), spoken(1, 4), INFORMANT_V2_0),
        (spoken(1, 4), spoken(2, 3), INFORMANT_V1_2),
        (spoken(1, 2), spoken(2, 4), INFORMANT_V1_1),
        (spoken(4, 4), spoken(4, 9), INFORMANT_V2_0),
        (spoken(5, 9), spoken(1, 7), InformantVersion(7)),
        (spoken(4, 4), spoken(1, 3), None),
        (spoken(1, 1), spoken(2, 2), None),
        (spoken(4, 1), spoken(1, 4), None),
        (spoken(3, 2), spoken(3, 2), None),
    ],
)
def test_the_newest_version_of_both_is_chosen(
    one: VersionRange[InformantVersion],
    other: VersionRange[InformantVersion],
    shared: InformantVersion | None,
) -> None:
    assert latest_shared_version(one, other) == shared


ranges = st.builds(spoken, st.integers(0, 6), st.integers(0, 6))


@given(ranges, ranges)
def test_what_is_shared_is_the_newest_in_both_whichever_side_asks(
    one: VersionRange[InformantVersion], other: VersionRange[InformantVersion]
) -> None:
    shared = latest_shared_version(one, other)
    both = [InformantVersion(n) for n in range(7)]
    both = [version for version in both if version in one and version in other]
    assert shared == latest_shared_version(other, one) == max(both, default=None)
    assert shared is None or isinstance(shared, InformantVersion)
