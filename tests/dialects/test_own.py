"""Our annotations: what they say, and that a typo takes the safe reading and is reported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import own
from gateway.sandbox.model import Credential, Problem, UpstreamTls, WakePolicy

HEX = "0123456789abcdef" * 4


def read(**values: str) -> own.Annotations:
    named = {own.PREFIX + name.replace("_", "-"): value for name, value in values.items()}
    return own.read(named)


@pytest.mark.parametrize("annotations", [{}, {"other/x": "maybe"}])
def test_without_our_annotations_nothing_is_said(annotations: dict[str, str]) -> None:
    assert own.read(annotations) == own.Annotations(None, None, None, None, ())


def test_an_annotation_of_ours_that_another_part_reads_says_nothing_here() -> None:
    assert read(replicas="2") == own.Annotations()


def test_names_that_only_resemble_ours_are_not_read() -> None:
    assert own.read({"xsandbox-gateway.dev/wake-on-traffic": "true"}).wake is None


@pytest.mark.parametrize(("value", "wake"), [("true", True), ("false", False)])
def test_wake_on_traffic_is_true_or_false(value: str, wake: bool) -> None:
    assert read(wake_on_traffic=value) == own.Annotations(wake=wake)


@pytest.mark.parametrize("value", ["True", "TRUE", "yes", "1", "", " true", "true\n", "fals"])
def test_any_other_wake_on_traffic_forbids_and_is_reported(value: str) -> None:
    found = read(wake_on_traffic=value)
    assert found.wake is False
    (problem,) = found.problems
    assert problem == Problem(own.WAKE_ON_TRAFFIC, 'must be "true" or "false"; read as "false"')


@pytest.mark.parametrize(
    ("value", "seconds"), [("90s", 90.0), ("1m30s", 90.0), ("1ns", 1e-9), ("24h", 86_400.0)]
)
def test_wake_timeout_is_a_go_duration(value: str, seconds: float) -> None:
    assert read(wake_timeout=value) == own.Annotations(wake_timeout=seconds)


@pytest.mark.parametrize("value", ["", "90", "0", "0s", "-5s", "five", "9" * 400 + "h"])
def test_any_other_wake_timeout_leaves_the_default_and_is_reported(value: str) -> None:
    found = read(wake_timeout=value)
    assert found.wake_timeout is None
    (problem,) = found.problems
    assert problem.field == own.WAKE_TIMEOUT
    assert problem.message == "must be a duration over 0, such as 90s; the default is used"


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        ("8080", {8080}),
        ("1,65535", {1, 65535}),
        (" 8080 ,\t9000 ", {8080, 9000}),
        ("8080,8080", {8080}),
        ("08080", {8080}),
    ],
)
def test_ports_are_a_list(value: str, ports: set[int]) -> None:
    assert read(ports=value) == own.Annotations(ports=frozenset(ports))


@pytest.mark.parametrize(
    "value",
    ["", ",", "8080,", "0", "65536", "-1", "+80", "80-90", "0x50", "8080 9000", "http", "8_0",
     "\u0668\u0660", "\u00b2", "[8080]", "9" * 5000],
)  # fmt: skip
def test_ports_that_do_not_parse_allow_no_port_and_are_reported(value: str) -> None:
    found = read(ports=value)
    assert found.ports == frozenset()
    (problem,) = found.problems
    assert problem.field == own.PORTS
    assert problem.message == "must list ports, such as 8080,9000; no port is allowed"


@pytest.mark.parametrize("value", [HEX, HEX.upper()])
def test_a_token_digest_is_hex_in_any_case(value: str) -> None:
    assert read(access_token_sha256=value) == own.Annotations(credential=Credential(sha256=HEX))


@pytest.mark.parametrize("value", ["", HEX[:-1], HEX + "0", HEX[:-1] + "g", HEX + "\n", "secret"])
def test_a_digest_that_does_not_parse_accepts_no_token_and_is_reported(value: str) -> None:
    found = read(access_token_sha256=value)
    assert found.credential == Credential(token=None, sha256=None)
    (problem,) = found.problems
    assert problem.field == own.TOKEN_SHA256
    assert problem.message == "must be a SHA-256 in hex; no token is accepted"


def test_every_annotation_is_judged_and_every_fault_reported() -> None:
    found = read(wake_on_traffic="x", wake_timeout="x", ports="x", access_token_sha256="x")
    assert [problem.field for problem in found.problems] == [
        own.WAKE_ON_TRAFFIC,
        own.WAKE_TIMEOUT,
        own.PORTS,
        own.TOKEN_SHA256,
    ]


@pytest.mark.parametrize(
    ("api", "ours", "enabled"),
    [
        (None, None, False),
        (None, True, True),
        (None, False, False),
        (True, None, True),
        (True, True, True),
        (True, False, False),
        (False, None, False),
        (False, True, False),
        (False, False, False),
    ],
)
def test_the_rule_of_the_api_comes_first_and_ours_can_always_forbid(
    api: bool | None, ours: bool | None, enabled: bool
) -> None:
    assert own.Annotations(wake=ours).wake_policy(api) == WakePolicy(enabled, None)


@pytest.mark.parametrize(
    ("api", "ours", "expected"), [(None, None, None), (None, 5.0, 5.0), (3.0, 5.0, 3.0)]
)
def test_the_timeout_of_the_api_comes_first(
    api: float | None, ours: float | None, expected: float | None
) -> None:
    assert own.Annotations(wake_timeout=ours).wake_policy(True, api).timeout == expected


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_no_text_at_all_makes_reading_fail_and_only_true_enables(
    wake: str, timeout: str, ports: str, digest: str
) -> None:
    found = read(
        wake_on_traffic=wake, wake_timeout=timeout, ports=ports, access_token_sha256=digest
    )
    assert found.wake is (wake == "true")
    assert found.wake_timeout is None or found.wake_timeout > 0
    assert found.ports is not None
    assert all(1 <= port <= 65535 for port in found.ports)
    assert found.credential == Credential()


# ---- TLS -----------------------------------------------------------------------------------------

SEALED = UpstreamTls()


@pytest.mark.parametrize(
    ("value", "tls"),
    [
        ("true", SEALED),
        ("false", None),
        ("8443", UpstreamTls(frozenset({8443}))),
        ("8443, 9443", UpstreamTls(frozenset({8443, 9443}))),
    ],
)
def test_upstream_tls_is_for_every_port_for_some_or_for_none(
    value: str, tls: UpstreamTls | None
) -> None:
    assert read(upstream_tls=value) == own.Annotations(tls=tls)


@pytest.mark.parametrize("value", ["", "True", "yes", "on", "0", "70000", "8443;9443", "8443,x"])
def test_any_other_upstream_tls_is_never_plain_text_and_is_reported(value: str) -> None:
    found = read(upstream_tls=value)
    assert found.tls == SEALED
    (problem,) = found.problems
    assert problem.field == own.UPSTREAM_TLS
    assert problem.message.endswith("every port is asked by TLS")


def test_a_server_name_is_proved_in_the_place_of_the_address() -> None:
    found = read(upstream_tls="8443", upstream_tls_server_name="Box.internal")
    assert found == own.Annotations(tls=UpstreamTls(frozenset({8443}), "Box.internal"))
    assert read(upstream_tls="false", upstream_tls_server_name="box") == own.Annotations()


def test_a_server_name_alone_is_tls_on_every_port_and_is_reported() -> None:
    found = read(upstream_tls_server_name="box.internal")
    assert found.tls == UpstreamTls(None, "box.internal")
    assert [problem.field for problem in found.problems] == [own.UPSTREAM_TLS]


@pytest.mark.parametrize(
    "name",
    ["", ".box", "box.", "a b", "*.box", "-box", "b\u00f6x", "box\n", "a" * 64, "a." * 127 + "a"],
)
def test_a_server_name_that_is_none_leaves_the_address_to_be_proved(name: str) -> None:
    found = read(upstream_tls="true", upstream_tls_server_name=name)
    assert found.tls == SEALED
    assert [problem.field for problem in found.problems] == [own.SERVER_NAME]


def test_equal_readings_are_one_object() -> None:
    assert read(upstream_tls="8443").tls is read(upstream_tls="8443").tls
