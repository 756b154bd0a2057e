"""Reading raw objects: the right type, the safe value, or MalformedObject with the path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from gateway.dialects import base
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.model import Key, State

from .objects import json_values

if TYPE_CHECKING:
    from collections.abc import Callable


def _refusal(call: Callable[[], object]) -> str:
    with pytest.raises(MalformedObject) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("raw", [[], "x", 1, 0, True, False, ""])
def test_what_should_be_an_object_and_is_not_is_named(raw: object) -> None:
    assert _refusal(lambda: base.mapping(raw, "spec")) == "spec: is not an object"


def test_a_missing_section_is_empty_at_any_depth() -> None:
    assert base.section({}, "a", "b") == {}
    assert base.section({"a": None}, "a", "b") == {}
    assert base.section({"a": {"b": {"c": 1}}}, "a", "b") == {"c": 1}
    assert base.section({"a": 1}) == {"a": 1}


def test_the_sections_of_an_object_are_metadata_spec_and_status() -> None:
    metadata, spec, status = {"name": "box"}, {"paused": True}, {"phase": "Paused"}
    whole = {"kind": "Sandbox", "metadata": metadata, "spec": spec, "status": status}
    assert base.sections(whole) == (metadata, spec, status)
    assert base.sections({}) == ({}, {}, {})
    assert base.sections({"metadata": None, "spec": None, "status": None}) == ({}, {}, {})


@pytest.mark.parametrize("name", ["metadata", "spec", "status"])
@pytest.mark.parametrize("wrong", [[], "x", 0, False])
def test_a_section_that_is_no_object_is_refused_by_name(name: str, wrong: object) -> None:
    assert _refusal(lambda: base.sections({name: wrong})) == f"{name}: is not an object"


@pytest.mark.parametrize("whole", [[], "x", 0, False])
def test_of_what_is_no_object_there_are_no_sections(whole: Any) -> None:
    assert _refusal(lambda: base.sections(whole)) == "object: is not an object"


def test_a_section_of_another_type_is_named_with_its_path() -> None:
    assert _refusal(lambda: base.section({"a": {"b": 1}}, "a", "b", "c")).startswith("a.b:")
    assert _refusal(lambda: base.section({"a": 1}, "a", "b")).startswith("a:")


def test_an_object_that_is_none_is_refused() -> None:
    raw: Any = ["not", "an", "object"]
    assert _refusal(lambda: base.section(raw, "metadata")) == "object: is not an object"


def test_texts_are_read_or_named() -> None:
    assert base.text({"a": "x"}, "a", "spec") == "x"
    assert [base.text(raw, "a", "spec") for raw in ({}, {"a": None}, {"a": ""})] == [None] * 3
    assert _refusal(lambda: base.required_text({}, "a", "spec")) == "spec.a: is missing"


def test_flags_are_booleans_or_named() -> None:
    read = [base.flag(raw, "a", "spec") for raw in ({}, {"a": None}, {"a": False}, {"a": True})]
    assert read == [False, False, False, True]


@pytest.mark.parametrize("wrong", [0, 1, False, [], {}])
def test_a_text_of_another_type_is_refused(wrong: object) -> None:
    assert _refusal(lambda: base.text({"a": wrong}, "a", "spec")) == "spec.a: is not a string"


@pytest.mark.parametrize("wrong", [0, 1, "true", "", [], {}])
def test_a_flag_of_another_type_is_refused(wrong: object) -> None:
    assert _refusal(lambda: base.flag({"a": wrong}, "a", "spec")) == "spec.a: is not a boolean"


def test_times_are_rfc_3339_or_named() -> None:
    assert base.timestamp({"a": "1970-01-01T00:00:09Z"}, "a", "spec") == 9.0
    assert base.timestamp({}, "a", "spec") is None
    message = _refusal(lambda: base.timestamp({"a": "tomorrow"}, "a", "spec"))
    assert message == "spec.a: is not an RFC 3339 time"
    assert _refusal(lambda: base.timestamp({"a": 9}, "a", "spec")) == "spec.a: is not a string"


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("41", 41), ("1" * 40, int("1" * 40))])
def test_a_resource_version_is_an_integer_of_any_sensible_size(text: str, number: int) -> None:
    assert base.version_of({"metadata": {"resourceVersion": text}}) == number


@pytest.mark.parametrize(
    "version", [None, "", "x", "-1", "+1", " 1", "1.0", "1_0", "\u0661", "\u00b2", "9" * 5000, 41]
)
def test_any_other_resource_version_is_refused(version: object) -> None:
    raw: base.RawObject = {"metadata": {"resourceVersion": version}}
    assert _refusal(lambda: base.version_of(raw)).startswith("metadata.resourceVersion: ")


@pytest.mark.parametrize(("text", "number"), [("9" * 40, int("9" * 40)), ("9" * 41, None)])
def test_whole_numbers_have_forty_digits_at_most(text: str, number: int | None) -> None:
    assert base.whole_number(text) == number


def test_a_condition_is_found_by_its_type_and_true_only_when_it_says_so() -> None:
    status: base.RawObject = {
        "conditions": [
            "odd",
            {"type": "Other", "status": "True"},
            {"type": "Ready", "status": "False"},
            {"type": "Odd", "status": True},
        ]
    }
    assert base.condition(status, "Ready") == {"type": "Ready", "status": "False"}
    assert base.condition(status, "Missing") is None
    assert base.condition_is_true(status, "Other")
    assert not any(base.condition_is_true(status, kind) for kind in ("Ready", "Missing", "Odd"))


@pytest.mark.parametrize("status", [{}, {"conditions": None}, {"conditions": []}])
def test_without_conditions_none_is_true(status: base.RawObject) -> None:
    assert not base.condition_is_true(status, "Ready")


def test_conditions_that_are_no_list_are_refused() -> None:
    status: base.RawObject = {"conditions": {"Ready": "True"}}
    message = _refusal(lambda: base.condition_is_true(status, "Ready"))
    assert message == "status.conditions: is not a list"


@pytest.mark.parametrize("missing", ["namespace", "name", "uid"])
def test_an_object_without_a_name_or_uid_has_no_identity(missing: str) -> None:
    metadata = {"namespace": "team-a", "name": "box", "uid": "uid-1"}
    key = Key("kruise", "team-a", "box")
    assert base.identity({"metadata": metadata}, "kruise") == (key, "uid-1")
    del metadata[missing]
    message = _refusal(lambda: base.identity({"metadata": metadata}, "kruise"))
    assert message == f"metadata.{missing}: is missing"
    assert _refusal(lambda: base.identity_in(metadata, "kruise")) == message


def test_sandboxes_of_one_namespace_share_its_name() -> None:
    one, other = (
        base.identity_in(
            {"namespace": str(b"team-a", "ascii"), "name": name, "uid": name}, "native"
        )
        for name in ("x", "y")
    )
    assert one[0].namespace is other[0].namespace


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, "team-a--box"),
        ({"id": ""}, "team-a--box"),
        ({"id": "b7"}, "b7"),
        ({"id": "other--box"}, "other--box"),
    ],
)
def test_the_id_is_the_label_or_made_of_namespace_and_name(
    labels: dict[str, str], expected: str
) -> None:
    assert base.sandbox_id(labels, Key("native", "team-a", "box"), "id") == expected


@pytest.mark.parametrize("value", [True, 8080, None, ["8080"], {"a": "b"}])
@pytest.mark.parametrize("name", ["labels", "annotations"])
def test_a_label_or_annotation_that_is_no_text_is_refused_with_its_path(
    name: str, value: object
) -> None:
    raw: base.RawObject = {"metadata": {name: {"ok": "x", "id": value}}}
    expected = f"metadata.{name}.id: is not a string"
    assert _refusal(lambda: base.string_map(raw, name)) == expected
    assert _refusal(lambda: base.text_map(raw["metadata"], name)) == expected


@pytest.mark.parametrize("metadata", [{}, {"labels": None}, {"labels": {}}])
def test_without_labels_there_are_none(metadata: base.RawObject) -> None:
    assert base.text_map(metadata, "labels") == {}
    assert base.string_map({"metadata": metadata}, "labels") == {}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (None, None),
        ("10.0.0.7", "10.0.0.7"),
        ("0.10.99.255", "0.10.99.255"),
        ("FD00:0:0::7", "fd00::7"),
    ],
)
def test_an_address_is_literal_and_canonical(text: str | None, address: str | None) -> None:
    assert base.ip_address(text, "status.podIP") == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "10.0.0",
        "010.0.0.7",
        "256.0.0.1",
        "10.0.0.7\n",
        "10.0.0.7:80",
        "10.0.0.0/8",
        "\u0661.0.0.1",
    ],
)
def test_what_is_no_literal_address_is_refused(text: str) -> None:
    message = _refusal(lambda: base.ip_address(text, "status.podIP"))
    assert message == "status.podIP: is not an IP address"


def test_a_life_is_named_by_its_pod_or_else_by_address_and_transition() -> None:
    at_nine: base.RawObject = {"conditions": [{"type": "Ready", "lastTransitionTime": "9"}]}
    assert base.incarnation(at_nine, "u", "p", "10.0.0.7") == "u/p"
    assert base.incarnation(at_nine, "u", None, "10.0.0.7") == "u/10.0.0.7@9"
    assert base.incarnation({}, "u", None, None) == "u/None@None"


@pytest.mark.parametrize("state", State)
def test_an_address_is_an_address_only_while_running(state: State) -> None:
    expected = "10.0.0.7" if state is State.RUNNING else None
    assert base.address_when_running(state, "10.0.0.7") == expected


@pytest.mark.parametrize("state", State)
def test_a_node_is_one_only_while_running(state: State) -> None:
    expected = "node-1" if state is State.RUNNING else None
    assert base.node_when_running(state, {"nodeName": "node-1"}, "status") == expected
    assert base.node_when_running(state, {}, "status") is None
    with pytest.raises(MalformedObject) as caught:
        base.node_when_running(state, {"nodeName": 1}, "status")
    assert caught.value.field == "status.nodeName"


def test_ports_are_a_set_and_none_or_empty_means_any() -> None:
    assert base.port_set(None, "spec.ports") is None
    assert base.port_set([], "spec.ports") is None
    assert base.port_set([1, 65535, 1], "spec.ports") == frozenset({1, 65535})


@pytest.mark.parametrize(
    "raw", [[0], [65536], [-1], [True], ["80"], [80.0], [None], [80, 0], 80, "80", {}, {"a": 1}]
)
def test_ports_of_any_other_form_are_refused(raw: object) -> None:
    message = _refusal(lambda: base.port_set(raw, "spec.ports"))
    assert message == "spec.ports: is not a list of ports from 1 to 65535"


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (None, None, None),
        ({1}, None, {1}),
        (None, {1}, {1}),
        ({1, 2}, {2, 3}, {2}),
        ({1}, {2}, set()),
        (set(), None, set()),
        (None, set(), set()),
    ],
)
def test_the_narrower_of_two_lists_of_ports_wins(
    one: set[int] | None, other: set[int] | None, both: set[int] | None
) -> None:
    def frozen(ports: set[int] | None) -> frozenset[int] | None:
        return None if ports is None else frozenset(ports)

    assert base.narrowest(frozen(one), frozen(other)) == both


@given(json_values)
def test_ports_are_judged_whatever_they_are(raw: object) -> None:
    try:
        ports = base.port_set(raw, "spec.ports")
    except MalformedObject:
        return
    assert ports is None or all(1 <= port <= 65535 for port in ports)
