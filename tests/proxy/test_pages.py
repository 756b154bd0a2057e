"""What browsers are shown, who is one, and what a template may say."""

from __future__ import annotations

import pytest

from gateway.proxy import pages
from gateway.proxy.pages import TemplateInvalid, parse_template, render
from gateway.sandbox import errors

from .heads import make_head

HTML = b"Accept: text/html,application/xhtml+xml,*/*;q=0.8"


def test_a_page_says_what_happened() -> None:
    text = render(pages.DEFAULT, errors.SandboxDead()).decode()
    for part in ("Sandbox gone", "terminating, expired", "502", "sandbox_dead"):
        assert part in text


def test_a_page_tells_waiting_from_failure() -> None:
    template = parse_template("<body class=$state>")
    assert render(template, errors.StillWaking()) == b"<body class=waiting>"
    assert render(template, errors.WakeTimeout()) == b"<body class=failed>"


def test_a_text_is_escaped_in_a_page() -> None:
    page = render(pages.DEFAULT, errors.WakeFailed("<script>alert(1)</script> & more"))
    assert b"<script>" not in page
    assert b"&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page


def test_a_template_may_name_what_there_is_and_nothing_else() -> None:
    text = "".join(f"${{{name}}}" for name in sorted(pages.PLACEHOLDERS)) + "$$5"
    assert render(parse_template(text), errors.Forbidden()).endswith(b"$5")
    with pytest.raises(TemplateInvalid, match=r"\$host is no placeholder"):
        parse_template("$title $host")
    with pytest.raises(TemplateInvalid, match="must be written"):
        parse_template("costs 5$")


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ([], False),
        ([HTML], True),
        ([b"ACCEPT:  Text/HTML"], True),
        ([b"Accept: */*"], False),
        ([b"Accept: application/json"], False),
        ([b"Accept: application/json, text/html"], False),
        ([b"Accept: "], False),
    ],
)
def test_who_prefers_html_is_a_browser(accept: list[bytes], page: bool) -> None:
    assert pages.wants_page(make_head(lines=[line + b"\r\n" for line in accept])) is page


def test_whoever_sent_no_legal_head_gets_no_page() -> None:
    assert pages.wants_page(None) is False


@pytest.mark.parametrize(
    ("method", "lines", "looked_at"),
    [
        (b"GET", [HTML], True),
        (b"GET", [HTML, b"Sec-Fetch-Mode: navigate"], True),
        (b"GET", [HTML, b"Sec-Fetch-Mode: cors"], False),
        (b"GET", [b"Sec-Fetch-Mode: navigate"], False),
        (b"HEAD", [HTML], False),
        (b"POST", [HTML], False),
    ],
)
def test_a_navigation_is_what_somebody_looks_at(
    method: bytes, lines: list[bytes], looked_at: bool
) -> None:
    head = make_head(method=method, lines=[line + b"\r\n" for line in lines])
    assert pages.is_navigation(head) is looked_at


def test_a_field_that_is_kept_apart_counts_too() -> None:
    head = make_head(lines=[HTML + b"\r\n"], special={b"sec-fetch-mode": [b"cors"]})
    assert pages.is_navigation(head) is False


def test_an_upgrade_is_no_navigation() -> None:
    head = make_head(lines=[HTML + b"\r\n"], upgrade=b"websocket")
    assert pages.is_navigation(head) is False
