"""Structural schemas (openAPIV3Schema of a CRD): prune, default, validate.

Rules: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions".
Not evaluated: `x-kubernetes-validations` (CEL).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jsonschema import Draft4Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from gateway.local.api.errors import Cause
from gateway.local.api.objects import JsonObject, clone
from gateway.local.api.timestamps import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonschema.protocols import Validator

# What every object has beside its schema's own properties; ObjectMeta has rules of its own.
_ROOT_FIELDS = frozenset({"apiVersion", "kind", "metadata"})
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_EMBEDDED = "x-kubernetes-embedded-resource"


class ObjectSchema:
    """The schema of one kind of object."""

    def __init__(self, open_api: JsonObject) -> None:
        self.open_api = open_api
        root = _to_json_schema(open_api)
        root.get("properties", {}).pop("metadata", None)
        self._validator = _StructuralValidator(root, format_checker=_FORMATS)

    def prune(self, obj: JsonObject) -> list[str]:
        """Drop what the schema does not know, in place; returns the paths dropped."""
        dropped: list[str] = []
        _prune(self.open_api, obj, "", dropped, keep=_ROOT_FIELDS)
        return dropped

    def default(self, obj: JsonObject) -> None:
        """Fill in defaults, in place, wherever the object that would hold them is present, and
        drop nulls that mean nothing.
        """
        _default(self.open_api, obj)

    def validate(self, obj: JsonObject) -> list[Cause]:
        """All violations, in the order of their fields."""
        errors = sorted(self._validator.iter_errors(obj), key=lambda error: _path(error.path))
        return [_cause(error) for error in errors]


def _prune(
    schema: Mapping[str, Any],
    value: object,
    path: str,
    dropped: list[str],
    keep: frozenset[str] = frozenset(),
) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _prune(schema.get("items", {}), item, f"{path}[{index}]", dropped)
    elif isinstance(value, dict):
        if schema.get(_EMBEDDED):
            keep = _ROOT_FIELDS
        _prune_fields(schema, value, path, dropped, keep)


def _prune_fields(
    schema: Mapping[str, Any],
    value: JsonObject,
    path: str,
    dropped: list[str],
    keep: frozenset[str],
) -> None:
    properties = schema.get("properties", {})
    additional = schema.get("additionalProperties")
    open_ended = schema.get(_PRESERVE) or additional is True
    for key in list(value):
        field = f"{path}.{key}" if path else key
        if key in keep:
            continue
        if key in properties:
            _prune(properties[key], value[key], field, dropped)
        elif isinstance(additional, dict):
            _prune(additional, value[key], field, dropped)
        elif not open_ended:
            del value[key]
            dropped.append(field)


def _default(schema: Mapping[str, Any], value: object) -> None:
    if isinstance(value, list):
        for item in value:
            _default(schema.get("items", {}), item)
    elif isinstance(value, dict):
        for key, child in schema.get("properties", {}).items():
            if "default" in child and _is_unset(child, value, key):
                value[key] = clone({"value": child["default"]})["value"]
            elif key in value and _is_unset(child, value, key):
                del value[key]
            _default(child, value.get(key))
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            for key in value.keys() - schema.get("properties", {}).keys():
                _default(additional, value[key])


def _is_unset(schema: Mapping[str, Any], value: JsonObject, key: str) -> bool:
    """An explicit null counts as unset where null is no legal value."""
    is_open = schema.get("nullable") or schema.get(_PRESERVE)
    return key not in value or (value[key] is None and not is_open)


def _to_json_schema(schema: Mapping[str, Any]) -> JsonObject:
    """OpenAPI 3.0's dialect in terms that JSON Schema (draft 4, its nearest kin) knows."""
    translated = {key: _translate(key, value) for key, value in schema.items()}
    if schema.get(_INT_OR_STRING):
        translated["type"] = ["integer", "string"]
    if schema.get(_EMBEDDED):
        translated["required"] = [*schema.get("required", ()), "apiVersion", "kind"]
    if schema.get("nullable"):
        kinds = translated.get("type", [])
        translated["type"] = ([kinds] if isinstance(kinds, str) else kinds) + ["null"]
        if "enum" in translated:
            translated["enum"] = [*translated["enum"], None]
    return translated


def _translate(key: str, value: Any) -> Any:
    match key:
        case "properties":
            return {name: _to_json_schema(child) for name, child in value.items()}
        case "items" | "not" | "additionalProperties" if isinstance(value, dict):
            return _to_json_schema(value)
        case "allOf" | "anyOf" | "oneOf":
            return [_to_json_schema(child) for child in value]
        case _:
            return value


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    """RE2 matches `$` at the very end of the text only; Python also before a final newline."""
    if pattern.endswith("$") and not pattern.endswith(r"\$"):
        pattern = pattern[:-1] + r"\Z"
    return re.compile(pattern)


def _check_pattern(
    _: Validator, pattern: str, instance: object, __: JsonObject
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _compile(pattern).search(instance):
        yield ValidationError(f"should match '{pattern}'")


def _check_required(
    _: Validator, required: list[str], instance: object, __: JsonObject
) -> Iterator[ValidationError]:
    """As jsonschema's own, but each error's path leads to the field that is missing."""
    if isinstance(instance, dict):
        for name in required:
            if name not in instance:
                yield ValidationError("Required value", path=[name])


def _check_list_type(
    _: Validator, list_type: str, instance: object, schema: JsonObject
) -> Iterator[ValidationError]:
    """A `set` holds each value once, a `map` each combination of its keys."""
    if list_type == "atomic" or not isinstance(instance, list):
        return
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen = []
    for index, item in enumerate(instance):
        identity = [item.get(key) for key in keys] if isinstance(item, dict) and keys else item
        if identity in seen:
            yield ValidationError("Duplicate value", path=[index])
        seen.append(identity)


_FORMATS = FormatChecker(formats=())
_MICROSECONDS = re.compile(r"\.\d{6}(?!\d)", re.ASCII)


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    if isinstance(value, str):
        parse_timestamp(value)
    return True


@_FORMATS.checks("micro-time", raises=ValueError)
def _is_micro_time(value: object) -> bool:
    """`metav1.MicroTime`, of built-in resources alone: six digits of fraction, no more, no less."""
    return _is_date_time(value) and (
        not isinstance(value, str) or _MICROSECONDS.search(value) is not None
    )


@_FORMATS.checks("int32")
def _is_int32(value: object) -> bool:
    return not isinstance(value, int) or -(2**31) <= value < 2**31


_StructuralValidator: type[Validator] = extend(  # type: ignore[no-untyped-call]
    Draft4Validator,
    {
        "pattern": _check_pattern,
        "required": _check_required,
        "x-kubernetes-list-type": _check_list_type,
    },
)

_REASONS = {
    "required": "FieldValueRequired",
    "enum": "FieldValueNotSupported",
    "type": "FieldValueTypeInvalid",
    "format": "FieldValueTypeInvalid",
    "maxLength": "FieldValueTooLong",
    "maxItems": "FieldValueTooMany",
    "maxProperties": "FieldValueTooMany",
    "x-kubernetes-list-type": "FieldValueDuplicate",
}


def _cause(error: ValidationError) -> Cause:
    keyword = str(error.validator)
    field = _path(error.path)
    reason = _REASONS.get(keyword, "FieldValueInvalid")
    if keyword == "required":
        return Cause(reason, field, "Required value")
    return Cause(reason, field or "<nil>", _explain(keyword, error))


def _explain(keyword: str, error: ValidationError) -> str:
    shown = _show(error.instance)
    wanted: Any = error.validator_value
    match keyword:
        case "enum":
            allowed = ", ".join(_show(value) for value in wanted)
            return f"Unsupported value: {shown}: supported values: {allowed}"
        case "type":
            return f"Invalid value: {shown}: must be of type {_types(wanted)}"
        case "x-kubernetes-list-type":
            return error.message
        case "allOf" | "anyOf" | "oneOf" | "not":
            return f"Invalid value: {shown}: must validate the schema ({keyword})"
        case _:
            return f"Invalid value: {shown}: must satisfy {keyword} {wanted}"


def _types(declared: str | list[str]) -> str:
    return declared if isinstance(declared, str) else " or ".join(declared)


def _show(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, int | float) else f"<{type(value).__name__}>"


def _path(parts: Any) -> str:
    rendered = ""
    for part in parts:
        rendered += f"[{part}]" if isinstance(part, int) else f".{part}"
    return rendered.removeprefix(".")
