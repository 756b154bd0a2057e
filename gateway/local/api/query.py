"""Query parameters and bodies of requests, parsed into options of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import orjson

from gateway.local.api.errors import BadRequestError, InvalidError, UnsupportedMediaTypeError
from gateway.local.api.listing import ListOptions, VersionMatch
from gateway.local.api.selectors import parse_selector
from gateway.local.api.strategy import FieldValidation, Preconditions, WriteOptions
from gateway.local.api.table import IncludeObject

if TYPE_CHECKING:
    from gateway.local.api.definitions import Definition
    from gateway.local.api.objects import JsonObject

Query = Mapping[str, str]

_PROPAGATION_POLICIES = ("", "Orphan", "Background", "Foreground")


def flag(query: Query, name: str) -> bool:
    """A boolean as the real server reads it: present and neither `false` nor `0` is true."""
    return name in query and query[name].lower() not in ("false", "0")


def number(query: Query, name: str) -> int:
    """A count of at least 0; 0 where it is left out. Raises `BadRequestError`."""
    text = query.get(name, "")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequestError(f"query parameter {name} must be a number of at least 0")
    return int(text)


def list_options(definition: Definition, namespace: str, query: Query) -> ListOptions:
    """The options of a list, watch, or deletion of a collection."""
    try:
        match = VersionMatch(query.get("resourceVersionMatch", ""))
    except ValueError as error:
        raise BadRequestError("resourceVersionMatch must be Exact or NotOlderThan") from error
    return ListOptions(
        namespace=namespace,
        selector=parse_selector(
            query.get("labelSelector", ""),
            query.get("fieldSelector", ""),
            definition.selectable_fields,
        ),
        limit=number(query, "limit"),
        continue_from=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        match=match,
    )


def write_options(query: Query, warn: Callable[[str], None]) -> WriteOptions:
    """The options of a write. Raises `InvalidError` for a dry run of another kind than `All`."""
    try:
        validation = FieldValidation(query.get("fieldValidation") or FieldValidation.WARN)
    except ValueError as error:
        raise BadRequestError("fieldValidation must be Ignore, Warn or Strict") from error
    return WriteOptions(_dry_run(query.get("dryRun", "")), validation, warn)


def _dry_run(value: str) -> bool:
    if value not in ("", "All"):
        raise InvalidError("dryRun: Unsupported value: supported values: All")
    return value == "All"


def include_object(query: Query) -> IncludeObject:
    """What the rows of a table carry."""
    try:
        return IncludeObject(query.get("includeObject") or IncludeObject.METADATA)
    except ValueError as error:
        raise BadRequestError("includeObject must be None, Metadata or Object") from error


def parse_object(content_type: str, raw: bytes) -> JsonObject:
    """The object in a body. Raises `UnsupportedMediaTypeError`, `BadRequestError`."""
    # aiohttp reports a body without a type as octet-stream; the real server reads it as JSON.
    if content_type not in ("application/json", "application/octet-stream", ""):
        raise UnsupportedMediaTypeError(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json"
        )
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body of the request is not valid JSON: {error}") from error
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
    policy = body.get("propagationPolicy") or query.get("propagationPolicy", "")
    if policy not in _PROPAGATION_POLICIES:
        raise InvalidError("propagationPolicy: Unsupported value")
    wanted = body.get("preconditions") or {}
    dry_run = body.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    if not isinstance(wanted, dict) or not isinstance(dry_run, list):
        raise BadRequestError("malformed DeleteOptions")
    preconditions = Preconditions(
        uid=_text(wanted.get("uid")), resource_version=_text(wanted.get("resourceVersion"))
    )
    return preconditions, WriteOptions(dry_run=any(_dry_run(_text(one)) for one in dry_run))


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequestError("malformed DeleteOptions")
    return value
