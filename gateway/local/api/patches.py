"""Patch documents: from bytes of a content type to the patched object.

JSON Patch is RFC 6902, merge patch RFC 7386. A custom resource has no patch strategies, so the
real server refuses strategic merge for it; server-side apply is not implemented here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import json_merge_patch
import jsonpatch
import jsonpointer
import orjson

from gateway.local.api.errors import (
    BadRequestError,
    InvalidError,
    UnsupportedMediaTypeError,
    too_large,
)
from gateway.local.api.objects import OBJECT_LIMIT, JsonObject, clone

if TYPE_CHECKING:
    from gateway.local.api.definitions import Definition

_OPERATIONS_LIMIT = 10_000
# The only lists of Event and Lease that strategic merge would merge instead of replacing them.
_MERGED_LISTS = ("finalizers", "ownerReferences")


class PatchType(StrEnum):
    """Content types of a PATCH."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


def accepted_patch_type(definition: Definition, content_type: str) -> PatchType:
    """The patch type to apply. Raises `UnsupportedMediaTypeError` for one that is not served."""
    offered = [PatchType.JSON, PatchType.MERGE]
    if definition.built_in:
        offered.append(PatchType.STRATEGIC)
    if content_type == PatchType.APPLY:
        raise UnsupportedMediaTypeError(
            "server-side apply is not supported by this server: use client-side apply"
        )
    if content_type not in offered:
        raise UnsupportedMediaTypeError(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join(offered)
        )
    return PatchType(content_type)


def apply_patch(kind: PatchType, raw: bytes, current: JsonObject) -> JsonObject:
    """The patched copy of `current`.

    Raises `BadRequestError` for bytes that are no patch, `InvalidError` for a JSON Patch that does
    not apply, `UnsupportedMediaTypeError` for a strategic merge that a merge patch cannot do.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the patch is not valid JSON: {error}") from error
    patched = (
        _apply_operations(document, current)
        if kind is PatchType.JSON
        else _apply_merge(kind, document, current)
    )
    if not isinstance(patched, dict):
        raise BadRequestError("the patch does not leave an object")
    return patched


def _apply_operations(document: object, current: JsonObject) -> object:
    document = [] if document is None else document
    if not isinstance(document, list) or len(document) > _OPERATIONS_LIMIT:
        raise BadRequestError(f"a JSON patch is a list of at most {_OPERATIONS_LIMIT} operations")
    if not all(isinstance(operation, dict) for operation in document):
        raise BadRequestError("an operation of a JSON patch is an object")
    patched: object = clone(current)
    try:
        for operation in document:
            patched = jsonpatch.JsonPatch([operation]).apply(patched, in_place=True)
            _bound(operation, patched)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise InvalidError(f"the JSON patch cannot be applied: {error}") from error
    except TypeError as error:
        raise BadRequestError(f"malformed JSON patch: {error}") from error
    return patched


def _bound(operation: JsonObject, patched: object) -> None:
    """A chain of copies doubles the object with each: stop it before memory does."""
    if operation["op"] == "copy" and len(orjson.dumps(patched)) > OBJECT_LIMIT:
        raise too_large()


def _apply_merge(kind: PatchType, document: object, current: JsonObject) -> JsonObject:
    if not isinstance(document, dict):
        raise BadRequestError("a merge patch is an object")
    if kind is PatchType.STRATEGIC and not _means_the_same_as_merge(document):
        raise UnsupportedMediaTypeError(
            "strategic merge directives and merged lists are not supported by this server: "
            f"use {PatchType.MERGE}"
        )
    merged: JsonObject = json_merge_patch.merge(clone(current), document)
    return merged


def _means_the_same_as_merge(document: JsonObject) -> bool:
    metadata = document.get("metadata")
    merges = isinstance(metadata, dict) and any(metadata.get(name) for name in _MERGED_LISTS)
    return not merges and not _has_directive(document)


def _has_directive(value: Any) -> bool:
    if isinstance(value, dict):
        return any(key.startswith("$") or _has_directive(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_directive(item) for item in value)
