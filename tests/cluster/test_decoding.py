"""What is decoded of the API's answers: all that is read, whatever else there is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cluster.answers import event_of, read_page
from gateway.cluster.decoding import decode_frame, decode_item, decode_list, decode_object
from gateway.cluster.errors import Expired, Garbled
from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.sandbox.errors import MalformedObject
from tests.dialects.objects import agent_object, kruise_object, native_object, paths_of, with_field

from .conftest import patient

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.dialects.base import Dialect, RawObject

DEEP = b'{"spec":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
SAMPLES: list[tuple[Dialect, RawObject]] = [
    (Native(), native_object()),
    (Native(local=True), native_object()),
    (Kruise(), kruise_object()),
    (AgentSandbox(), agent_object("v1beta1")),
    (AgentSandbox(), agent_object("v1alpha1")),
]
FIELDS = [(dialect, raw, path) for dialect, raw in SAMPLES for path in paths_of(raw)]
ODD_VALUES: list[Any] = [None, True, 0, -1, 3.5, "", "odd", [], ["odd"], {}, {"a": 1}]


def item(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def judged(dialect: Dialect, raw: RawObject) -> object:
    """Return the route of an object, or why there is none."""
    try:
        return dialect.route(raw)
    except MalformedObject as error:
        return str(error)


@pytest.mark.parametrize("value", ODD_VALUES)
def test_what_is_decoded_is_judged_as_the_whole_object_is(value: object) -> None:
    for dialect, raw, path in FIELDS:
        changed = with_field(raw, path, value)
        expected = judged(dialect, changed)
        assert judged(dialect, decode_item(item(changed))) == expected
        line = json.dumps({"type": "ADDED", "object": changed}).encode()
        assert judged(dialect, event_of(decode_frame(line))[1]) == expected


@pytest.mark.parametrize("value", [7, "x", [], None, True, 1.5])
def test_what_is_no_object_at_all_is_passed_on_as_it_is(value: object) -> None:
    assert decode_item(item(value)) == value


def test_what_nothing_reads_is_left_out() -> None:
    raw = native_object()
    raw["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    assert "managedFields" not in decode_item(item(raw))["metadata"]
    assert "kind" not in decode_item(item(raw))


def test_an_error_frame_keeps_what_its_error_is_made_of() -> None:
    status = {
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": "too old",
        "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]},
        "code": 504,
    }
    with pytest.raises(Expired, match="504 too old"):
        event_of(decode_frame(json.dumps({"type": "ERROR", "object": status}).encode()))


def test_a_page_is_decoded_as_it_is_taken() -> None:
    page = read_page(b'{"metadata":{"resourceVersion":"7","continue":"t"},"items":[{},{"spec":1}]}')
    assert (page.version, page.next_token) == (7, "t")
    items = iter(page.items)
    assert next(items) == {}
    assert next(items) == {"spec": 1}
    assert next(items, None) is None


@pytest.mark.parametrize("items", [b"", b',"items":null', b',"items":[]'])
def test_a_page_may_have_no_items(items: bytes) -> None:
    assert list(read_page(b'{"metadata":{"resourceVersion":"7"}%s}' % items).items) == []


GARBAGE = [
    b"",
    b"{",
    b"[1]",
    b'"x"',
    b"7",
    b"\xff",
    b'{"spec":"\\ud800"}',
    b'{"spec":"\xff"}',
    DEEP,
]


@pytest.mark.parametrize("data", GARBAGE)
def test_what_is_not_a_json_object_is_garbled(data: bytes) -> None:
    with pytest.raises(Garbled):
        decode_object(data)
    with pytest.raises(Garbled):
        event_of(decode_frame(b'{"type":"ADDED","object":%s}' % data))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"spec":"\\ud800"}', DEEP])
def test_an_item_that_is_not_json_is_garbled(data: bytes) -> None:
    with pytest.raises(Garbled):
        decode_item(msgspec.Raw(data))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"items":{}}', b'{"items":[}', b'{"items":7}', DEEP]
)
def test_a_list_that_is_none_is_garbled(data: bytes) -> None:
    with pytest.raises(Garbled):
        list(read_page(data).items)


@patient
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_decoded_or_garbled(data: bytes) -> None:
    decoders: list[Callable[[], object]] = [
        lambda: decode_object(data),
        lambda: decode_list(data),
        lambda: decode_frame(data),
        lambda: decode_item(msgspec.Raw(data)),
        lambda: list(read_page(data).items),
    ]
    for decode in decoders:
        try:
            decode()
        except Garbled:
            continue
        # Another reader agrees that it is JSON. (Texts that are passed over may be no UTF-8.)
        json.loads(data.decode(errors="replace"))
