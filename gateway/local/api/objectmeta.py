"""ObjectMeta: decoding, validation, and who may change which field.

Rules: Kubernetes API conventions ("Metadata") and "Object Names and IDs", "Labels and
Selectors", "Annotations", "Finalizers" of the Kubernetes documentation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.local.api.errors import BadRequestError, Cause
from gateway.local.api.timestamps import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.local.api.objects import JsonObject

_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_QUALIFIED_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(rf"{_DNS_LABEL.pattern}(?:\.{_DNS_LABEL.pattern})*")
_ANNOTATIONS_LIMIT = 256 * 1024

_STRINGS = (
    *("name", "generateName", "namespace", "uid", "resourceVersion"),
    *("creationTimestamp", "deletionTimestamp", "selfLink"),
)
_TIMES = ("creationTimestamp", "deletionTimestamp")
_INTEGERS = ("generation", "deletionGracePeriodSeconds")
_STRING_MAPS = ("labels", "annotations")
_LISTS = {"finalizers": str, "ownerReferences": dict, "managedFields": dict}
_KNOWN = {*_STRINGS, *_INTEGERS, *_STRING_MAPS, *_LISTS}
_OWNER_REQUIRED = ("apiVersion", "kind", "name", "uid")
_OWNER_KNOWN = {*_OWNER_REQUIRED, "controller", "blockOwnerDeletion"}
# Nothing can be owned by what is only told.
_NO_OWNERS = (("v1", "Event"), ("events.k8s.io/v1", "Event"))

# Set by the server alone; what a client sends for them is overwritten with what is stored.
SERVER_OWNED = (
    *("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
    *("generation", "name", "namespace", "resourceVersion"),
)


def is_dns_label(text: str) -> bool:
    return len(text) <= 63 and _DNS_LABEL.fullmatch(text) is not None


def is_dns_subdomain(text: str) -> bool:
    return len(text) <= 253 and _DNS_SUBDOMAIN.fullmatch(text) is not None


def is_qualified_name(text: str) -> bool:
    """`name` or `dns.subdomain/name`, as label and annotation keys and finalizers are spelled."""
    prefix, slash, name = text.rpartition("/")
    if slash and not is_dns_subdomain(prefix):
        return False
    return len(name) <= 63 and _QUALIFIED_NAME.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    return len(text) <= 63 and _LABEL_VALUE.fullmatch(text) is not None


def decode_metadata(kind: str, metadata: object) -> list[str]:
    """Check the types of all fields and drop, in place, what is unknown, null, empty or not kept.

    Returns the paths of unknown fields. Raises `BadRequestError` for a value of a wrong type, as
    the real server does when it decodes.
    """
    if not isinstance(metadata, dict):
        raise _wrong_type(kind, "metadata", metadata)
    for name in _STRING_MAPS:
        _fill_nulls(metadata.get(name))
    for name in [name for name, value in metadata.items() if _is_nothing(name, value)]:
        del metadata[name]
    unknown = _drop_unknown(metadata, _KNOWN, "metadata")
    for name, value in metadata.items():
        _check_type(kind, name, value)
    for name in ("managedFields", "selfLink"):
        metadata.pop(name, None)
    for index, owner in enumerate(metadata.get("ownerReferences", ())):
        unknown += _drop_unknown(owner, _OWNER_KNOWN, f"metadata.ownerReferences[{index}]")
    return unknown


def _is_nothing(name: str, value: object) -> bool:
    is_empty = (name in _STRING_MAPS and value == {}) or (name in _LISTS and value == [])
    return value is None or is_empty


def _fill_nulls(values: object) -> None:
    """A null among strings is decoded as the empty one."""
    if isinstance(values, dict):
        values.update({key: "" for key, value in values.items() if value is None})


def _drop_unknown(fields: JsonObject, known: Collection[str], path: str) -> list[str]:
    unknown = sorted(fields.keys() - known)
    for name in unknown:
        del fields[name]
    return [f"{path}.{name}" for name in unknown]


def _check_type(kind: str, name: str, value: object) -> None:
    path = f"metadata.{name}"
    if name in _STRINGS:
        _expect(kind, path, value, str)
        if name in _TIMES:
            _expect_time(kind, path, value)
    elif name in _INTEGERS:
        _expect(kind, path, value, int)
    elif name in _STRING_MAPS:
        _expect(kind, path, value, dict)
        for key, item in _items(value):
            _expect(kind, f"{path}.{key}", item, str)
    else:
        _expect(kind, path, value, list)
        for index, item in _items(value):
            _expect(kind, f"{path}[{index}]", item, _LISTS[name])


def _items(value: Any) -> Any:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _expect(kind: str, path: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise _wrong_type(kind, path, value)


def _expect_time(kind: str, path: str, value: Any) -> None:
    try:
        parse_timestamp(value)
    except ValueError as error:
        raise BadRequestError(f"{kind} cannot be handled: {path} is {error}") from error


def _wrong_type(kind: str, path: str, value: object) -> BadRequestError:
    return BadRequestError(
        f"{kind} cannot be handled: {path} must not be a {type(value).__name__} in JSON"
    )


def validate_metadata(metadata: JsonObject) -> list[Cause]:
    """All violations of the rules for names, labels, annotations, finalizers and owners."""
    causes: list[Cause] = []
    if not is_dns_subdomain(metadata["name"]):
        causes.append(_invalid("metadata.name", metadata["name"], "a lowercase RFC 1123 subdomain"))
    for key, value in metadata.get("labels", {}).items():
        causes += _label(key, value)
    causes += _annotations(metadata.get("annotations", {}))
    causes += [
        _invalid("metadata.finalizers", name, "a qualified name")
        for name in metadata.get("finalizers", ())
        if not is_qualified_name(name)
    ]
    causes += _owners(metadata.get("ownerReferences", ()))
    return causes


def _label(key: str, value: str) -> list[Cause]:
    if not is_qualified_name(key):
        return [_invalid("metadata.labels", key, "a qualified name")]
    if not is_label_value(value):
        return [_invalid("metadata.labels", value, "a label value of at most 63 characters")]
    return []


def _annotations(annotations: dict[str, str]) -> list[Cause]:
    causes = [
        _invalid("metadata.annotations", key, "a qualified name")
        for key in annotations
        # Kubernetes lowers the key before it judges it.
        if not is_qualified_name(key.lower())
    ]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > _ANNOTATIONS_LIMIT:
        message = f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"
        causes.append(Cause("FieldValueTooLong", "metadata.annotations", message))
    return causes


def _owners(owners: list[JsonObject] | tuple[()]) -> list[Cause]:
    field = "metadata.ownerReferences"
    causes = [
        _invalid(f"{field}.{name}", "", "set")
        for owner in owners
        for name in _OWNER_REQUIRED
        if not isinstance(owner.get(name), str) or not owner[name]
    ]
    for owner in owners:
        version = owner.get("apiVersion")
        if isinstance(version, str) and version.count("/") > 1:
            causes.append(_invalid(f"{field}.apiVersion", version, "a group and a version"))
        if (version, owner.get("kind")) in _NO_OWNERS:
            causes.append(_invalid(field, str(owner["kind"]), "a kind that may own objects"))
    if len({owner.get("uid") for owner in owners if owner.get("controller") is True}) > 1:
        message = "Invalid value: only one reference can have controller set to true"
        causes.append(Cause("FieldValueInvalid", field, message))
    return causes


def _invalid(field: str, value: str, wanted: str) -> Cause:
    return Cause("FieldValueInvalid", field, f'Invalid value: "{value}": must be {wanted}')
