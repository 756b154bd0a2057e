"""JSON of the Kubernetes API as raw objects. Pure.

Of the news that lists and watches bring, only what is read is made into objects. The rest, such as
managedFields, is often half of it: to make and drop it would cost more than all that is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

import msgspec
import orjson

from gateway.cluster.errors import Garbled

if TYPE_CHECKING:
    from gateway.dialects.base import RawObject

#: What msgspec raises for what is of another shape, or no JSON at all.
_OTHERWISE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Metadata(TypedDict, total=False):
    """What any dialect reads of metadata. A name that is missing here is never seen."""

    namespace: Any
    name: Any
    uid: Any
    generation: Any
    resourceVersion: Any
    deletionTimestamp: Any
    labels: Any
    annotations: Any
    ownerReferences: Any


class _News(TypedDict, total=False):
    """What is read of an object, an EndpointSlice, or the Status in the ERROR frame of a watch.

    A name that an object does not have costs its decoding next to nothing.
    """

    apiVersion: Any
    metadata: _Metadata
    spec: Any
    status: Any
    addressType: Any
    endpoints: Any
    code: Any
    details: Any
    message: Any


class _Frame(TypedDict, total=False):
    type: Any
    object: _News


class _List(TypedDict, total=False):
    metadata: Any
    items: list[msgspec.Raw] | None


_NEWS: Final = cast("msgspec.json.Decoder[RawObject]", msgspec.json.Decoder(_News))
_FRAME: Final = cast("msgspec.json.Decoder[RawObject]", msgspec.json.Decoder(_Frame))
_LIST: Final = cast("msgspec.json.Decoder[RawObject]", msgspec.json.Decoder(_List))


def decode_object(data: bytes) -> RawObject:
    """Return a JSON object with all that is in it; raise Garbled."""
    value = _decode(data)
    if not isinstance(value, dict):
        raise Garbled("the answer is not a JSON object")
    return value


def decode_list(data: bytes) -> RawObject:
    """Return a list whose items are left to `decode_item`; raise Garbled."""
    try:
        return _LIST.decode(data)
    except _OTHERWISE as error:
        raise Garbled("the answer is not a list") from error


def decode_item(item: msgspec.Raw) -> RawObject:
    """Return what is read of an item, which may be no object at all; raise Garbled."""
    try:
        return _NEWS.decode(item)
    except _OTHERWISE:
        found: RawObject = _decode(item)
        return found


def decode_frame(line: bytes) -> RawObject:
    """Return what is read of the frame of a watch; raise Garbled."""
    try:
        return _FRAME.decode(line)
    except _OTHERWISE:
        return decode_object(line)


def _decode(data: bytes | msgspec.Raw) -> Any:
    try:
        return orjson.loads(memoryview(data))
    except orjson.JSONDecodeError as error:
        raise Garbled("the answer is not JSON") from error
