"""The gateway's own answers: what they say, and what they never say."""

from __future__ import annotations

import json
import re

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy import answers, pages
from gateway.sandbox import errors
from gateway.sandbox.errors import GatewayError


def _tree(error: type[GatewayError]) -> list[type[GatewayError]]:
    return [error, *(below for sub in error.__subclasses__() for below in _tree(sub))]


ALL = _tree(GatewayError)

#: An item of a list of RFC 9209 §2: a token, then parameters; as RFC 9651 spells them.
_KEY = r"[a-z*][a-z0-9_.*-]*"
_SF_TOKEN = r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*"
PROXY_STATUS = re.compile(rf"({_SF_TOKEN})((?:; *{_KEY}=(?:{_SF_TOKEN}|\"[ -~]*\"|\d+))*)")

#: The error types that RFC 9209 §2.3 registers.
REGISTERED = frozenset(
    {
        "dns_timeout",
        "dns_error",
        "destination_not_found",
        "destination_unavailable",
        "destination_ip_prohibited",
        "destination_ip_unroutable",
        "connection_refused",
        "connection_terminated",
        "connection_timeout",
        "connection_read_timeout",
        "connection_write_timeout",
        "connection_limit_reached",
        "tls_protocol_error",
        "tls_certificate_error",
        "tls_alert_received",
        "http_request_error",
        "http_request_denied",
        "http_response_incomplete",
        "http_response_header_section_size",
        "http_response_header_size",
        "http_response_body_size",
        "http_response_trailer_section_size",
        "http_response_trailer_size",
        "http_response_transfer_coding",
        "http_response_content_coding",
        "http_response_timeout",
        "http_upgrade_failed",
        "http_protocol_error",
        "proxy_internal_response",
        "proxy_internal_error",
        "proxy_configuration_error",
        "proxy_loop_detected",
    }
)


class Answer:
    """A response as a client reads it."""

    def __init__(self, raw: bytes, *, method: str = "GET") -> None:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(raw)
        response = client.next_event()
        assert isinstance(response, h11.Response)
        self.status = response.status_code
        self.reason = response.reason.decode()
        self.fields = [(name.decode(), value.decode()) for name, value in response.headers]
        self.body = b""
        while isinstance(event := client.next_event(), h11.Data):
            self.body += event.data
        assert isinstance(event, h11.EndOfMessage)
        assert client.trailing_data[0] == b""

    def field(self, name: str) -> str | None:
        found = [value for given_name, value in self.fields if given_name == name]
        assert len(found) <= 1
        return found[0] if found else None


def answer(
    error: GatewayError, *, page: bool = False, to_head: bool = False, kept: bool = True
) -> Answer:
    shown = pages.render(pages.DEFAULT, error) if page else None
    raw = answers.error_response(error, shown, to_head=to_head, keep_alive=kept)
    return Answer(raw, method="HEAD" if to_head else "GET")


@pytest.mark.parametrize("error", ALL)
def test_an_error_is_a_problem_that_says_what_happened(error: type[GatewayError]) -> None:
    got = answer(error())
    assert got.status == error.status
    assert got.field("content-type") == "application/problem+json"
    assert got.field("cache-control") == "no-store"
    assert json.loads(got.body) == {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "reason": error.reason,
    }


@pytest.mark.parametrize("error", ALL)
def test_an_error_can_be_told_from_the_sandboxs_own(error: type[GatewayError]) -> None:
    status = answer(error()).field("proxy-status")
    assert status is not None
    match = PROXY_STATUS.fullmatch(status)
    assert match is not None
    assert match[1] == "sandbox-gateway"
    assert match[2].removeprefix("; error=") in REGISTERED


@pytest.mark.parametrize("error", ALL)
def test_a_browser_gets_a_page(error: type[GatewayError]) -> None:
    got = answer(error(), page=True)
    assert got.field("content-type") == "text/html; charset=utf-8"
    assert f"<title>{error.title}</title>" in got.body.decode()
    assert got.field("proxy-status") is not None


@pytest.mark.parametrize("error", ALL)
def test_only_the_page_of_a_wake_loads_itself_again(error: type[GatewayError]) -> None:
    wanted = "1" if error is errors.StillWaking else None
    assert answer(error(), page=True).field("refresh") == wanted
    assert answer(error()).field("refresh") is None


@pytest.mark.parametrize("page", [True, False])
def test_the_answer_to_head_has_the_length_and_no_body(page: bool) -> None:
    error = errors.SandboxDead()
    whole, bare = answer(error, page=page), answer(error, page=page, to_head=True)
    assert bare.body == b""
    assert bare.fields == whole.fields
    assert whole.field("content-length") == str(len(whole.body))


@pytest.mark.parametrize(
    ("hint", "shown"), [(None, "1"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (59.1, "60")]
)
def test_a_503_says_when_to_come_again_in_whole_seconds(hint: float | None, shown: str) -> None:
    for error in (errors.WakeFailed, errors.StillWaking, errors.NotReady):
        assert answer(error(retry_after=hint)).field("retry-after") == shown


@pytest.mark.parametrize("error", [error for error in ALL if error.status != 503])
def test_no_other_status_does(error: type[GatewayError]) -> None:
    assert answer(error(retry_after=5.0)).field("retry-after") is None


def test_statuses_carry_the_fields_that_http_asks_for() -> None:
    assert answer(errors.Unauthenticated()).field("www-authenticate") == 'Bearer realm="sandbox"'
    allow = answer(errors.MethodNotAllowed()).field("allow")
    assert allow is not None
    assert {"GET", "POST"} <= set(allow.split(", "))
    assert not {"CONNECT", "TRACE"} & set(allow.split(", "))
    assert answer(errors.Forbidden()).field("www-authenticate") is None
    assert answer(errors.Forbidden()).field("allow") is None


def test_an_answer_says_when_the_connection_ends() -> None:
    assert answer(errors.BadRequest(), kept=False).field("connection") == "close"
    assert answer(errors.BadRequest()).field("connection") is None


def test_health_and_options_are_answered_for_the_gateway_itself() -> None:
    health = Answer(answers.health(keep_alive=True))
    assert (health.status, health.reason, json.loads(health.body)) == (200, "OK", {"status": "ok"})
    options = Answer(answers.options(keep_alive=False))
    assert (options.status, options.body) == (204, b"")
    assert options.field("content-length") is None
    assert options.field("connection") == "close"
    assert "GET" in (options.field("allow") or "")


@given(st.text(max_size=30), st.booleans())
def test_any_text_makes_a_response_that_ends_where_it_says(text: str, page: bool) -> None:
    text = text.encode(errors="ignore").decode()
    got = answer(errors.WakeFailed(text), page=page)
    if not page and text:
        assert json.loads(got.body)["detail"] == text
