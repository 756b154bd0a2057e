"""Kubernetes objects as plain JSON: encoding, and the few places everybody looks at."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import orjson

JsonObject: TypeAlias = dict[str, Any]
"""An object of the API. Its shape is the schema's business, hence the open value type."""

OBJECT_LIMIT = 1536 * 1024
"""Bytes of JSON that one object may have: what etcd takes in the real server."""


def encode(value: JsonObject) -> bytes:
    """Compact JSON. Raises `orjson.JSONEncodeError` past orjson's nesting bound (254)."""
    return orjson.dumps(value)


def decode(raw: bytes) -> JsonObject:
    """The object behind bytes that this server wrote itself."""
    return cast("JsonObject", orjson.loads(raw))


def clone(value: JsonObject) -> JsonObject:
    """A deep copy (a JSON round trip is faster than `copy.deepcopy`)."""
    return decode(encode(value))


def meta(obj: JsonObject) -> JsonObject:
    """The object's metadata; of an object that has none, an empty one put in place."""
    return cast("JsonObject", obj.setdefault("metadata", {}))


def value_at(obj: object, path: tuple[str, ...]) -> object:
    """What lies under a path of keys, or None where it breaks off."""
    for key in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(key)
    return obj
