"""Tables, the JSONPath of their columns, ages, timestamps, negotiation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.local.api.definitions import PrinterColumn
from gateway.local.api.errors import NotAcceptableError
from gateway.local.api.jsonpath import find
from gateway.local.api.negotiation import Representation, negotiate
from gateway.local.api.table import IncludeObject, TablePrinter
from gateway.local.api.timestamps import format_timestamp, human_age, parse_timestamp

from .support import TABLE

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OBJ = {
    "metadata": {"name": "demo", "creationTimestamp": "2026-01-01T23:50:00Z"},
    "spec": {"a.b": 1, "list": [{"x": 1}, {"x": 2}], "flag": True},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "B"}, 3]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".metadata.name", ["demo"]),
        ("{.metadata.name}", ["demo"]),
        ("$.metadata.name", ["demo"]),
        (".spec.a\\.b", [1]),
        (".spec['a.b']", [1]),
        (".spec.list[0].x", [1]),
        (".spec.list[-1].x", [2]),
        (".spec.list[7]", []),
        (".spec.list[*].x", [1, 2]),
        (".spec.nothing.at.all", []),
        (".metadata.name[0]", []),
        (".metadata.name.*", []),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type == 'Other')].status", []),
    ],
)
def test_a_path_finds(path: str, found: list[object]) -> None:
    assert find(path, OBJ) == found


@pytest.mark.parametrize("path", ["metadata", ".a[", ".a[?(@.b>1)]", "..a", ".a[x]"])
def test_a_path_beyond_the_subset_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match="unsupported"):
        find(path, OBJ)


@pytest.mark.parametrize(
    ("kind", "path", "cell"),
    [
        ("string", ".metadata.name", "demo"),
        ("string", ".nothing", None),
        ("string", "..", None),
        ("boolean", ".spec.flag", True),
        ("string", ".spec.list[*].x", "1"),
        ("string", ".spec.list[0]", "{'x': 1}"),
        ("date", ".metadata.creationTimestamp", "10m"),
        ("date", ".nothing", None),
        ("date", ".metadata.name", "<invalid>"),
    ],
)
def test_a_cell_shows_what_its_column_says(kind: str, path: str, cell: object) -> None:
    printer = TablePrinter((PrinterColumn("C", kind, path),), IncludeObject.NONE)
    table = printer.table([OBJ], {}, NOW)
    assert table["rows"] == [{"cells": ["demo", cell], "object": None}]


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (599, "9m59s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (12_600, "3h30m"),
        (28_800, "8h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (8 * 86_400, "8d"),
        (2 * 365 * 86_400, "2y"),
        (2 * 365 * 86_400 + 86_400, "2y1d"),
        (9 * 365 * 86_400, "9y"),
    ],
)
def test_ages_are_those_of_kubectl(seconds: int, age: str) -> None:
    assert human_age(seconds) == age


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-01", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00", "2026-02-30T00:00:00Z", "x"],
)
def test_what_is_no_timestamp_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"timestamp|range|day"):
        parse_timestamp(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_timestamp_is_read_back_as_written(moment: datetime) -> None:
    assert parse_timestamp(format_timestamp(moment)) == moment.replace(microsecond=0)


def test_an_offset_and_a_fraction_are_understood() -> None:
    moment = parse_timestamp("2026-01-01T01:00:00.250000001+01:00")
    assert moment == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=250)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Representation.OBJECT),
        ("*/*", Representation.OBJECT),
        ("application/*;q=0.1", Representation.OBJECT),
        ("APPLICATION/JSON", Representation.OBJECT),
        (TABLE, Representation.TABLE),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,*/*", Representation.OBJECT),
        (
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json",
            Representation.METADATA,
        ),
        ("application/yaml, application/json", Representation.OBJECT),
    ],
)
def test_the_first_form_that_is_served_is_chosen(accept: str, form: Representation) -> None:
    assert negotiate(accept) is form


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0", "application/json;as=Table;g=x;v=v1"]
)
def test_no_form_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptableError):
        negotiate(accept)
