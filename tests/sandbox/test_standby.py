"""The standby policy: what is taken, its canonical form, and everything that is wrong at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.standby import DISABLED, PolicyError, parse_policy, read_policy
from gateway.sandbox.texts import format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ({"enabled": True, "idle_timeout": "300s"}, {"enabled": True, "idle_timeout": "5m0s"}),
        ({"enabled": True, "idle_timeout": "1.5h"}, {"enabled": True, "idle_timeout": "1h30m0s"}),
        (
            {
                "enabled": True,
                "idle_timeout": "5m",
                "ignore_source_cidrs": [" 10.1.2.3/8 ", "", "fd00::1/64", "10.0.0.0/8", "1.2.3.4"],
                "ignore_destination_ports": [9100, 22, 9100],
            },
            {
                "enabled": True,
                "idle_timeout": "5m0s",
                "ignore_source_cidrs": ["1.2.3.4/32", "10.0.0.0/8", "fd00::/64"],
                "ignore_destination_ports": [22, 9100],
            },
        ),
        (
            {"enabled": True, "idle_timeout": "1s", "ignore_source_cidrs": [" "]},
            {"enabled": True, "idle_timeout": "1s"},
        ),
        ({"enabled": False}, {"enabled": False}),
        ({"enabled": False, "idle_timeout": "5m"}, {"enabled": False}),
    ],
)
def test_a_policy_has_one_canonical_form(written: Any, canonical: Any) -> None:
    policy = read_policy(written)
    assert policy.as_json() == canonical
    assert read_policy(policy.as_json()) == policy
    assert parse_policy(json.dumps(written)) == policy


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("", ["is not JSON"]),
        ("[]", ["is not a JSON object"]),
        ("[" * 100_000, ["is not JSON"]),
        ("{}", ["enabled"]),
        ('{"enabled": "true"}', ["enabled"]),
        ('{"enabled": true}', ["idle_timeout"]),
        ('{"enabled": true, "idle_timeout": "0s"}', ["idle_timeout"]),
        ('{"enabled": true, "idle_timeout": "-5m"}', ["idle_timeout"]),
        ('{"enabled": true, "idle_timeout": 300}', ["idle_timeout"]),
        ('{"enabled": false, "idle_timeout": "soon"}', ["idle_timeout"]),
        (
            '{"enabled": 1, "idle_timeout": "soon", "ignore_source_cidrs": [7], "more": 1}',
            ["enabled", "idle_timeout", "ignore_source_cidrs must be a list of texts", "'more'"],
        ),
        (
            '{"enabled": true, "idle_timeout": "1s", "ignore_source_cidrs": ["10.0.0.0/40"]}',
            ["10.0.0.0/40"],
        ),
        (
            '{"enabled": true, "idle_timeout": "1s", "ignore_destination_ports": [true]}',
            ["ignore_destination_ports must be a list of numbers"],
        ),
        (
            '{"enabled": true, "idle_timeout": "1s", "ignore_destination_ports": [0]}',
            ["ignore_destination_ports must be ports"],
        ),
        ('{"enabled": false, "enabled": true, "idle_timeout": "1s"}', ["names each field once"]),
        (
            '{"enabled": true, "idle_timeout": "1s", "ignore_destination_ports": [65536]}',
            ["ignore_destination_ports"],
        ),
        ('{"enabled": true, "idle_timeout": "1s", "ignore_source_cidrs": "10.0.0.0/8"}',
         ["ignore_source_cidrs"]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_is_named_at_once(written: str, named: list[str]) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policy(written)
    for name in named:
        assert name in str(refused.value)


@pytest.mark.parametrize(
    ("name", "one"), [("ignore_source_cidrs", "10.0.0.0/8"), ("ignore_destination_ports", 80)]
)
def test_a_list_is_bounded(name: str, one: object) -> None:
    written = {"enabled": True, "idle_timeout": "1s"}
    assert read_policy(written | {name: [one] * 64}).enabled
    with pytest.raises(PolicyError, match=f"{name} must have 64 entries at most"):
        read_policy(written | {name: [one] * 65})


def test_what_is_said_of_a_long_text_is_short() -> None:
    with pytest.raises(PolicyError) as refused:
        read_policy({"x" * 10_000 + str(number): 1 for number in range(1000)})
    assert "x" * 64 in str(refused.value)
    assert len(str(refused.value)) <= 1024


def test_equal_policies_are_one() -> None:
    written = {"enabled": True, "idle_timeout": "5m", "ignore_source_cidrs": ["10.0.0.0/8"]}
    assert read_policy(written) is read_policy(dict(written))
    assert read_policy(written) is not read_policy(written | {"idle_timeout": "6m"})


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0/33", "10.0.0", "10.0.0.0/", "0/0", "fe80::1%eth0", "fd00::%1/64", "all", "x/8"],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match="which is no network"):
        read_policy({"enabled": True, "idle_timeout": "1s", "ignore_source_cidrs": [text]})


def test_one_that_is_off_is_the_same_whatever_else_it_says() -> None:
    assert read_policy({"enabled": False, "ignore_destination_ports": [1]}) == DISABLED


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"), (1e-9, "1ns"), (1.5e-6, "1.5µs"), (0.3, "300ms"), (0.999999999, "999.999999ms"),
        (1, "1s"), (1.5, "1.5s"), (59.25, "59.25s"), (60, "1m0s"), (300, "5m0s"),
        (3600, "1h0m0s"), (5400.5, "1h30m0.5s"), (360_000, "100h0m0s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_go_does(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


@given(st.integers(0, 10**15))
def test_a_duration_that_was_written_is_read_back(microseconds: int) -> None:
    seconds = microseconds / 1e6
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)
