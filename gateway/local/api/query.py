"""Query parameters and bodies of requests, parsed into options of the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import orjson

from gateway.local.api.errors import (
    BadRequestError,
    Cause,
    UnsupportedMediaTypeError,
    invalid_options,
)
from gateway.local.api.listing import ListOptions, VersionMatch
from gateway.local.api.selectors import parse_selector
from gateway.local.api.strategy import FieldValidation, Preconditions, WriteOptions
from gateway.local.api.table import IncludeObject

if TYPE_CHECKING:
    from gateway.local.api.definitions import Definition
    from gateway.local.api.objects import JsonObject

Query = Mapping[str, str]

_PROPAGATION_POLICIES = ("Orphan", "Background", "Foreground")
_DURATION = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+|0", re.ASCII)


def flag(query: Query, name: str) -> bool:
    """A boolean as the real server reads it: present and neither `false` nor `0` is true."""
    return name in query and query[name].lower() not in ("false", "0")


def number(query: Query, name: str) -> int:
    """A 64-bit integer; 0 where it is left out. Raises `BadRequestError`."""
    text = query.get(name)
    if text is None:
        return 0
    if not re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII):
        raise BadRequestError(f"query parameter {name} must be an integer")
    return int(text)


def check_timeout(query: Query) -> None:
    """Every request may bring a `timeout`, which no answer of this server takes.

    Raises `BadRequestError` for one that is no duration.
    """
    if query.get("timeout") and not _DURATION.fullmatch(query["timeout"]):
        raise BadRequestError("query parameter timeout must be a duration")


def list_options(definition: Definition, namespace: str, query: Query) -> ListOptions:
    """The options of a list, watch, or deletion of a collection.

    Raises `InvalidError` where they do not go together, `BadRequestError` for those that are none.
    """
    number(query, "timeoutSeconds")
    selector = parse_selector(
        query.get("labelSelector", ""),
        query.get("fieldSelector", ""),
        definition.selectable_fields,
    )
    limit = max(0, number(query, "limit"))
    causes = _watch_causes(query) if flag(query, "watch") else _list_causes(query)
    if causes:
        raise invalid_options("ListOptions", *causes)
    return ListOptions(
        namespace=namespace,
        selector=selector,
        limit=limit,
        continue_from=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        match=VersionMatch(query.get("resourceVersionMatch", "")),
    )


def _list_causes(query: Query) -> list[Cause]:
    """Rules: Kubernetes API concepts, "Resource versions": the table of a list's parameters."""
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    causes = []
    if match and not version:
        causes.append(_forbidden("resourceVersionMatch", "without resourceVersion"))
    if match and query.get("continue"):
        causes.append(_forbidden("resourceVersionMatch", "with continue"))
    if match not in set(VersionMatch):
        causes.append(_unsupported("resourceVersionMatch", match, VersionMatch))
    if match == VersionMatch.EXACT and version == "0":
        causes.append(_forbidden("resourceVersionMatch", 'Exact for resourceVersion "0"'))
    if "sendInitialEvents" in query:
        causes.append(_forbidden("sendInitialEvents", "for a list"))
    return causes


def _watch_causes(query: Query) -> list[Cause]:
    """Rules: Kubernetes API concepts, "Streaming lists"."""
    match = query.get("resourceVersionMatch", "")
    causes = []
    if "sendInitialEvents" not in query:
        if match:
            causes.append(_forbidden("resourceVersionMatch", "without sendInitialEvents"))
        return causes
    if not match:
        causes.append(_forbidden("resourceVersionMatch", "unset with sendInitialEvents"))
    elif match != VersionMatch.NOT_OLDER_THAN:
        supported = (VersionMatch.NOT_OLDER_THAN,)
        causes.append(_unsupported("resourceVersionMatch", match, supported))
    return causes


def _forbidden(field: str, how: str) -> Cause:
    return Cause("FieldValueForbidden", field, f"Forbidden: {field} is not allowed {how}")


def _unsupported(field: str, value: str, supported: Iterable[str]) -> Cause:
    listed = ", ".join(f'"{one}"' for one in supported if one)
    message = f'Unsupported value: "{value}": supported values: {listed}'
    return Cause("FieldValueNotSupported", field, message)


def write_options(query: Query, warn: Callable[[str], None], kind: str) -> WriteOptions:
    """The options of a write, called `kind`. Raises `InvalidError` for values that are none."""
    causes = _dry_run_causes([query["dryRun"]] if "dryRun" in query else [])
    validation = query.get("fieldValidation") or FieldValidation.WARN
    if validation not in set(FieldValidation):
        causes.append(_unsupported("fieldValidation", validation, FieldValidation))
    if causes:
        raise invalid_options(kind, *causes)
    return WriteOptions("dryRun" in query, FieldValidation(validation), warn)


def _dry_run_causes(given: list[str]) -> list[Cause]:
    return [_unsupported("dryRun", value, ("All",)) for value in given if value != "All"]


def include_object(query: Query) -> IncludeObject:
    """What the rows of a table carry."""
    try:
        return IncludeObject(query.get("includeObject") or IncludeObject.METADATA)
    except ValueError as error:
        raise BadRequestError("includeObject must be None, Metadata or Object") from error


def parse_object(content_type: str, raw: bytes) -> JsonObject:
    """The object in a body. Raises `UnsupportedMediaTypeError`, `BadRequestError`."""
    # The real server reads a body without a type as JSON.
    if content_type not in ("application/json", ""):
        raise UnsupportedMediaTypeError(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json"
        )
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body of the request is not valid JSON: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise BadRequestError("the body of the request is not an object")
    return document


def delete_options(
    query: Query, content_type: str, raw: bytes
) -> tuple[Preconditions, WriteOptions]:
    """DeleteOptions of body and query. The propagation policy is accepted, and means nothing
    here: there is no garbage collector whose work it would order.
    """
    body = parse_object(content_type, raw) if raw else {}
    if body.get("kind") not in (None, "", "DeleteOptions"):
        raise BadRequestError(f"a deletion has DeleteOptions, not {body['kind']}")
    policy = _text(body.get("propagationPolicy")) or query.get("propagationPolicy", "")
    wanted = body.get("preconditions") or {}
    dry_run = body.get("dryRun") or ([query["dryRun"]] if "dryRun" in query else [])
    grace = body.get("gracePeriodSeconds")
    if not isinstance(wanted, dict) or not isinstance(dry_run, list) or not _is_count(grace):
        raise BadRequestError("malformed DeleteOptions")
    number(query, "gracePeriodSeconds")
    causes = _dry_run_causes([_text(one) for one in dry_run])
    if policy and policy not in _PROPAGATION_POLICIES:
        causes.append(_unsupported("propagationPolicy", policy, _PROPAGATION_POLICIES))
    if policy and body.get("orphanDependents") is not None:
        message = "Invalid value: orphanDependents and propagationPolicy exclude each other"
        causes.append(Cause("FieldValueInvalid", "propagationPolicy", message))
    if causes:
        raise invalid_options("DeleteOptions", *causes)
    preconditions = Preconditions(
        uid=_text(wanted.get("uid")), resource_version=_text(wanted.get("resourceVersion"))
    )
    return preconditions, WriteOptions(dry_run=bool(dry_run))


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequestError("malformed DeleteOptions")
    return value
