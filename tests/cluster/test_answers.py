"""Lines, pages, frames and errors: pure reading of what an API server sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.answers import (
    EventType,
    LineSplitter,
    error_of,
    event_of,
    page_of,
)
from gateway.cluster.errors import Expired, Garbled
from gateway.sandbox.errors import AccessDenied, ApiUnavailable, ClusterError

from .conftest import patient

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(
    st.sampled_from(["type", "object", "metadata", "items", "code", "details", "causes"]),
    json_values,
)


@patient
@given(st.lists(st.binary(max_size=8)), st.data())
def test_lines_are_the_same_however_the_bytes_are_cut(parts: list[bytes], data: Any) -> None:
    whole = b"\n".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    splitter, found, start = LineSplitter(), [], 0
    for cut in (*cuts, len(whole)):
        found += splitter.feed(whole[start:cut])
        start = cut
    *complete, _ = whole.split(b"\n")
    assert found == [line for line in complete if line]


def test_a_line_over_the_limit_is_refused_before_its_end() -> None:
    splitter = LineSplitter(limit=10)
    assert splitter.feed(b"12345\n1234567890") == [b"12345"]
    with pytest.raises(Garbled):
        splitter.feed(b"1")


@patient
@given(json_objects)
def test_any_frame_is_an_event_or_an_error_of_ours(frame: dict[str, Any]) -> None:
    try:
        kind, raw = event_of(frame)
    except ClusterError:
        return
    assert isinstance(kind, EventType)
    assert isinstance(raw, dict)


@patient
@given(json_objects)
def test_any_answer_is_a_page_or_garbled(answer: dict[str, Any]) -> None:
    try:
        page = page_of(answer)
    except Garbled:
        return
    assert page.version >= 0


@patient
@given(st.integers(100, 599), st.binary() | json_objects.map(lambda v: json.dumps(v).encode()))
def test_any_failure_has_an_error_of_ours_in_one_line(status: int, body: bytes) -> None:
    error = error_of(status, body, None, "GET x")
    assert isinstance(error, ClusterError)
    assert str(error).isprintable()
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("code", "kind"),
    [(410, Expired), (403, AccessDenied), (500, ApiUnavailable), ("x", ApiUnavailable)],
)
def test_an_error_frame_raises_what_its_code_means(code: object, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        event_of({"type": "ERROR", "object": {"kind": "Status", "code": code}})


@pytest.mark.parametrize(
    "frame", [{}, {"type": "ADDED"}, {"type": "GREW", "object": {}}, {"type": [], "object": {}}]
)
def test_a_frame_that_is_none_is_garbled(frame: dict[str, Any]) -> None:
    with pytest.raises(Garbled):
        event_of(frame)
