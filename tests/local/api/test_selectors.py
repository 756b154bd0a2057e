"""Label and field selectors."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.local.api import BadRequestError, parse_selector

FIELDS = ("involvedObject.name", "reason")


def selects(labels: str, found: dict[str, str]) -> bool:
    return parse_selector(labels, "", FIELDS).matches({"metadata": {"labels": found}})


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a=", {"a": ""}, True),
        ("a=b", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a in (b,c)", {}, False),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("!a", {"a": "b"}, False),
        ("a in (b,c),d=e , !f", {"a": "b", "d": "e"}, True),
        ("a in (b,c),d=e", {"a": "b", "d": "x"}, False),
        ("example.dev/role=x", {"example.dev/role": "x"}, True),
    ],
)
def test_labels_are_selected_as_kubernetes_does(
    selector: str, labels: dict[str, str], expected: bool
) -> None:
    assert selects(selector, labels) is expected


@pytest.mark.parametrize(
    "selector", ["a b", "a=b=c", "=b", "a in b", "a in (b", "a b in (c)", "a=-", "a,,b", "!", "a>b"]
)
def test_a_malformed_label_selector_is_a_bad_request(selector: str) -> None:
    with pytest.raises(BadRequestError):
        parse_selector(selector, "", ())


@given(st.text(alphabet="ab=!(), in", max_size=20))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(BadRequestError):
        parse_selector(text, "", ()).matches({"metadata": {}})


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name=x", True),
        ("metadata.name==x,metadata.namespace=n", True),
        ("metadata.name!=x", False),
        ("involvedObject.name=a\\,b\\=c", True),
        ("reason=", True),
        ("reason!=Started", True),
        ("", True),
    ],
)
def test_fields_are_selected(selector: str, expected: bool) -> None:
    obj = {
        "metadata": {"name": "x", "namespace": "n"},
        "involvedObject": {"name": "a,b=c"},
    }
    assert parse_selector("", selector, FIELDS).matches(obj) is expected


@pytest.mark.parametrize("selector", ["spec.foo=x", "metadata.name", "a=b=c", "metadata.uid=x"])
def test_another_or_a_malformed_field_is_a_bad_request(selector: str) -> None:
    with pytest.raises(BadRequestError):
        parse_selector("", selector, FIELDS)
