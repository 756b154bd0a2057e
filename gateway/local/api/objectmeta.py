"""ObjectMeta: decoding, validation, and who may change which field.

Rules: Kubernetes API conventions ("Metadata") and "Object Names and IDs", "Labels and
Selectors", "Annotations", "Finalizers" of the Kubernetes documentation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.local.api.errors import BadRequestError, Cause

if TYPE_CHECKING:
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
_INTEGERS = ("generation", "deletionGracePeriodSeconds")
_STRING_MAPS = ("labels", "annotations")
_LISTS = {"finalizers": str, "ownerReferences": dict, "managedFields": dict}
_KNOWN = {*_STRINGS, *_INTEGERS, *_STRING_MAPS, *_LISTS}

# Set by the server alone; what a client sends for them is overwritten with what is stored.
SERVER_OWNED = (
    *("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
    *("generation", "name", "namespace", "generateName", "resourceVersion"),
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
    """Check the types of all fields and drop, in place, what is unknown, null or not kept.

    Returns the paths of unknown fields. Raises `BadRequestError` for a value of a wrong type, as
    the real server does when it decodes.
    """
    if not isinstance(metadata, dict):
        raise _wrong_type(kind, "metadata", metadata)
    for name in [name for name, value in metadata.items() if value is None]:
        del metadata[name]
    unknown = sorted(metadata.keys() - _KNOWN)
    for name in unknown:
        del metadata[name]
    for name, value in metadata.items():
        _check_type(kind, name, value)
    for name in ("managedFields", "selfLink"):
        metadata.pop(name, None)
    return [f"metadata.{name}" for name in unknown]


def _check_type(kind: str, name: str, value: object) -> None:
    path = f"metadata.{name}"
    if name in _STRINGS:
        _expect(kind, path, value, str)
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
    for index, name in enumerate(metadata.get("finalizers", ())):
        if not is_qualified_name(name):
            causes.append(_invalid(f"metadata.finalizers[{index}]", name, "a qualified name"))
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
    causes = []
    for index, owner in enumerate(owners):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not isinstance(owner.get(field), str) or not owner[field]:
                path = f"metadata.ownerReferences[{index}].{field}"
                causes.append(Cause("FieldValueRequired", path, "Required value"))
    if sum(owner.get("controller") is True for owner in owners) > 1:
        message = "Invalid value: only one reference can have controller set to true"
        causes.append(Cause("FieldValueInvalid", "metadata.ownerReferences", message))
    return causes


def _invalid(field: str, value: str, wanted: str) -> Cause:
    return Cause("FieldValueInvalid", field, f'Invalid value: "{value}": must be {wanted}')
