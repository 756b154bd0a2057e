"""Label and field selectors: parsing and matching.

Grammar: Kubernetes documentation, "Labels and Selectors" and "Field Selectors".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gateway.local.api.errors import BadRequestError
from gateway.local.api.objectmeta import is_label_value, is_qualified_name
from gateway.local.api.objects import JsonObject, value_at

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_SET_BASED = re.compile(r"(\S+)\s+(in|notin)\s*\(([^()]*)\)")
_ORDER = re.compile(r"([^\s=!<>]+)\s*([<>])\s*(-?\d+)", re.ASCII)
_EQUALITY = re.compile(r"([^\s=!]+)\s*(==|=|!=)\s*([^\s=!]*)")
# Commas that part requirements, not those within the parentheses of a set.
_COMMA = re.compile(r",(?![^()]*\))")
_FIELD_TERM = re.compile(r"((?:\\.|[^\\,=!])+)(==|=|!=)((?:\\[\\,=]|[^\\,=])*)")
_FIELD_COMMA = re.compile(r"(?<!\\),")
_FIELD_ESCAPE = re.compile(r"\\([\\,=])")
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)
COMMON_FIELDS = ("metadata.name", "metadata.namespace")


class Operator(Enum):
    """How a requirement judges a label's value."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"
    GREATER = ">"
    LESS = "<"


@dataclass(frozen=True, slots=True)
class LabelRequirement:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: dict[str, str]) -> bool:
        match self.operator:
            case Operator.EXISTS:
                return self.key in labels
            case Operator.ABSENT:
                return self.key not in labels
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.GREATER | Operator.LESS:
                return self._is_beyond(labels.get(self.key, ""))

    def _is_beyond(self, text: str) -> bool:
        """A value that is no integer is neither greater nor less."""
        if not _INTEGER.fullmatch(text):
            return False
        (bound,) = map(int, self.values)
        value = int(text)
        return value > bound if self.operator is Operator.GREATER else value < bound


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    path: tuple[str, ...]
    value: str
    equal: bool

    def matches(self, obj: JsonObject) -> bool:
        found = value_at(obj, self.path)
        return (("" if found is None else str(found)) == self.value) is self.equal


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; no requirement selects everything."""

    labels: tuple[LabelRequirement, ...] = ()
    fields: tuple[FieldRequirement, ...] = ()

    @property
    def selects_all(self) -> bool:
        return not self.labels and not self.fields

    def matches(self, obj: JsonObject) -> bool:
        labels = obj["metadata"].get("labels", {})
        return all(requirement.matches(labels) for requirement in self.labels) and all(
            requirement.matches(obj) for requirement in self.fields
        )


EVERYTHING = Selector()


def parse_selector(labels: str, fields: str, selectable: Collection[str]) -> Selector:
    """Read the `labelSelector` and `fieldSelector` of a request.

    `selectable` are the field labels beside name and namespace. Raises `BadRequestError` for a
    malformed selector and for a field that cannot be selected by.
    """
    return Selector(tuple(_label_terms(labels)), tuple(_field_terms(fields, selectable)))


def _label_terms(text: str) -> Iterator[LabelRequirement]:
    if not text.strip():
        return
    for term in _COMMA.split(text):
        requirement = _label_term(term.strip())
        if not is_qualified_name(requirement.key) or not all(
            is_label_value(value) for value in requirement.values
        ):
            raise _malformed(term)
        yield requirement


def _label_term(term: str) -> LabelRequirement:
    if match := _SET_BASED.fullmatch(term):
        key, operator, listed = match.groups()
        values = frozenset(value.strip() for value in listed.split(","))
        return LabelRequirement(key, Operator(operator), values)
    if match := _ORDER.fullmatch(term):
        key, sign, value = match.groups()
        return LabelRequirement(key, Operator(sign), frozenset((value,)))
    if match := _EQUALITY.fullmatch(term):
        key, sign, value = match.groups()
        operator = Operator.NOT_IN if sign == "!=" else Operator.IN
        return LabelRequirement(key, operator, frozenset((value,)))
    if term.startswith("!"):
        return LabelRequirement(term[1:].strip(), Operator.ABSENT)
    return LabelRequirement(term, Operator.EXISTS)


def _field_terms(text: str, selectable: Collection[str]) -> Iterator[FieldRequirement]:
    for term in _FIELD_COMMA.split(text):
        if not term:
            continue
        match = _FIELD_TERM.fullmatch(term)
        if match is None:
            raise _malformed(term)
        label, sign, value = match.groups()
        if label not in COMMON_FIELDS and label not in selectable:
            raise BadRequestError(f"field label not supported: {label}")
        yield FieldRequirement(
            tuple(label.split(".")), _FIELD_ESCAPE.sub(r"\1", value), equal=sign != "!="
        )


def _malformed(term: str) -> BadRequestError:
    return BadRequestError(f"unable to parse requirement: {term!r}")
