"""The gateway's own answers against the table of reasons, and the tree of the other errors."""

from __future__ import annotations

import pytest

from gateway.sandbox import errors
from gateway.sandbox.errors import (
    ApiUnavailable,
    ClusterError,
    GatewayError,
    MalformedObject,
    NotResumable,
)

#: reason → status, as the contract has it.
CONTRACT = {
    "invalid_target": 400,
    "bad_request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "sandbox_not_found": 502,
    "ambiguous_target": 502,
    "sandbox_blocked": 502,
    "sandbox_not_wakeable": 502,
    "sandbox_dead": 502,
    "sandbox_unreachable": 502,
    "upstream_protocol_error": 502,
    "upstream_reset": 502,
    "wake_failed": 503,
    "wake_timeout": 503,
    "wake_overloaded": 503,
    "not_ready": 503,
    "upstream_timeout": 504,
    "payload_too_large": 413,
    "uri_too_long": 414,
    "headers_too_large": 431,
}

#: What HTTP (RFC 9110) asks for besides, the answer to a loop, and the page for who waits.
BESIDES = {
    "overloaded": 503,
    "waking": 503,
    "internal_error": 500,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "not_implemented": 501,
    "version_not_supported": 505,
    "loop_detected": 508,
    "auth_unavailable": 503,
}

#: The error types that RFC 9209 §2.3 registers, as far as a gateway may use them.
PROXY_ERRORS = {
    "destination_not_found",
    "destination_unavailable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_limit_reached",
    "http_request_error",
    "http_request_denied",
    "http_protocol_error",
    "http_response_timeout",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_loop_detected",
}


def _tree(error: type[GatewayError]) -> list[type[GatewayError]]:
    return [error, *(below for sub in error.__subclasses__() for below in _tree(sub))]


GATEWAY_ERRORS = _tree(GatewayError)


def test_reasons_and_statuses_are_those_of_the_contract() -> None:
    assert {error.reason: error.status for error in GATEWAY_ERRORS} == CONTRACT | BESIDES


def test_each_reason_belongs_to_one_class() -> None:
    assert len({error.reason for error in GATEWAY_ERRORS}) == len(GATEWAY_ERRORS)


@pytest.mark.parametrize("error", GATEWAY_ERRORS)
def test_each_answer_says_something_of_its_own_and_uses_a_registered_proxy_error(
    error: type[GatewayError],
) -> None:
    assert error.proxy_error in PROXY_ERRORS
    assert sum(other.title == error.title for other in GATEWAY_ERRORS) == 1
    assert sum(other.detail == error.detail for other in GATEWAY_ERRORS) == 1


def test_an_answer_takes_its_class_text_or_another_and_a_hint() -> None:
    plain = errors.WakeOverloaded()
    assert plain.text == str(plain) == errors.WakeOverloaded.detail
    assert plain.retry_after is None
    hinted = errors.WakeOverloaded("The breaker is open.", retry_after=2.5)
    assert hinted.text == str(hinted) == "The breaker is open."
    assert hinted.retry_after == 2.5


def test_the_reasons_not_to_wake_are_siblings() -> None:
    assert {error.__name__ for error in NotResumable.__subclasses__()} == {
        "SandboxIsTerminating",
        "ShutdownTimeReached",
        "SandboxIsPausing",
        "SandboxPhaseNotAllowed",
        "WakeForbidden",
    }
    assert not any(error.__subclasses__() for error in NotResumable.__subclasses__())


def test_the_families_of_errors_are_apart() -> None:
    families = (GatewayError, NotResumable, ClusterError, MalformedObject)
    for one in families:
        assert [other for other in families if issubclass(one, other)] == [one]


def test_what_was_certainly_not_written_is_never_told_as_doubt() -> None:
    certain = (
        errors.AccessDenied,
        errors.Conflict,
        errors.InvalidWrite,
        errors.NotWritten,
        errors.ObjectGone,
        errors.StandbyForbidden,
    )
    assert not any(issubclass(one, ApiUnavailable) for one in certain)
    assert all(issubclass(one, ClusterError) for one in certain)


def test_errors_of_the_api_and_of_objects_keep_what_is_known() -> None:
    assert ApiUnavailable("busy", 3.0).retry_after == 3.0
    assert ApiUnavailable("busy").retry_after is None
    assert isinstance(ApiUnavailable("busy"), ClusterError)
    malformed = MalformedObject("spec.paused", "is not a boolean")
    assert malformed.field == "spec.paused"
    assert str(malformed) == "spec.paused: is not a boolean"
