"""HTTP answers of the Kubernetes API as values and errors. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from gateway.cluster.decoding import decode_item, decode_list, decode_object
from gateway.cluster.errors import Expired, Garbled, NodeTooSmall, PathUnknown
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    InvalidWrite,
    ObjectGone,
)
from gateway.sandbox.texts import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.dialects.base import RawObject

#: An object is at most 1.5 MiB in etcd; escaping can make its line several times as long.
LINE_LIMIT: Final = 32 * 1024 * 1024
#: No API server means a longer Retry-After: seconds.
RETRY_AFTER_LIMIT: Final = 300.0
#: metav1.CauseTypeResourceVersionTooLarge: the version asked for lies in the server's future.
VERSION_TOO_LARGE: Final = "ResourceVersionTooLarge"
#: Of the admission plug-in PodResizeValidator.
NODE_CAPACITY: Final = "NodeCapacity"
#: A patch that names another uid than the object's is taken for one that would change it.
_UID_FIELD: Final = "metadata.uid"

_TRY_AGAIN_STATUSES: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `next_token` asks for the next one, None after the last."""

    items: Iterable[RawObject]
    version: int
    next_token: str | None


class EventType(Enum):
    """The frames of a watch that carry an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


class LineSplitter:
    """Cuts a byte stream into lines, wherever its chunks happen to end."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._pending: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes, without empty ones; raise Garbled."""
        *lines, tail = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._pending, lines[0]))
            self._pending, self._size = [], 0
        self._pending.append(tail)
        self._size += len(tail)
        if self._size > self._limit:
            raise Garbled("a watch line is over the limit")
        return [line for line in lines if line]


def read_page(data: bytes) -> Page:
    """Read a list answer. Its items are decoded as they are taken; that and this raise Garbled."""
    items, version, token = _parts_of(decode_list(data))
    return Page(map(decode_item, items), version, token)


def page_of(answer: RawObject) -> Page:
    """Read a list answer that was decoded with all its items; raise Garbled."""
    return Page(*_parts_of(answer))


def read_names(data: bytes) -> frozenset[str]:
    """Return the names in an APIResourceList, the answer of discovery; raise Garbled."""
    found = decode_object(data).get("resources")
    if not isinstance(found, list):
        raise Garbled("the answer is not a list of resources")
    names = (one.get("name") for one in found if isinstance(one, dict))
    return frozenset(name for name in names if isinstance(name, str))


def _parts_of(answer: RawObject) -> tuple[list[Any], int, str | None]:
    # API conventions, "Retrieving large results sets in chunks".
    metadata = answer.get("metadata")
    items = answer.get("items")
    if not isinstance(metadata, dict) or not isinstance(items, list | None):
        raise Garbled("the answer is not a list")
    version, token = metadata.get("resourceVersion"), metadata.get("continue")
    if not isinstance(version, str) or not isinstance(token, str | None):
        raise Garbled("the list has no resourceVersion")
    return items or [], _version(version), token or None


def _version(text: str) -> int:
    # KEP-5504: a resourceVersion is a decimal integer, and uint64 bounds it.
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise Garbled("the list's resourceVersion is not an integer")
    return int(text)


def event_of(frame: RawObject) -> tuple[EventType, RawObject]:
    """Read a watch frame; raise what an ERROR frame stands for, or Garbled."""
    kind, raw = frame.get("type"), frame.get("object")
    if not isinstance(raw, dict):
        raise Garbled("a watch frame has no object")
    if kind == "ERROR":
        code = raw.get("code")
        raise _error(code if isinstance(code, int) else 500, raw, None, "watch")
    try:
        return EventType(kind), raw
    except ValueError as error:
        raise Garbled("a watch frame is of no known type") from error


def error_of(status: int, body: bytes, retry_after: str | None, what: str) -> ClusterError:
    """Return the error that an unsuccessful answer stands for; `what` names the request."""
    try:
        details = decode_object(body)
    except Garbled:
        details = {}
    return _error(status, details, _seconds(retry_after), what)


def _error(status: int, details: RawObject, retry_after: float | None, what: str) -> ClusterError:
    message = f"{what}: {status} {_explanation(details)}".rstrip()
    if status == 410 or _has_cause(details, VERSION_TOO_LARGE):
        return Expired(message)
    if _has_cause(details, NODE_CAPACITY):
        return NodeTooSmall(message)
    if _has_cause(details, _UID_FIELD, of="field"):
        return ObjectGone(message)
    if status in (401, 403):
        return AccessDenied(message)
    if status == 404:
        return ObjectGone(message) if details.get("kind") == "Status" else PathUnknown(message)
    if status == 409:
        return Conflict(message)
    if 400 <= status < 500 and status not in _TRY_AGAIN_STATUSES:
        return InvalidWrite(message)
    return ApiUnavailable(message, retry_after)


def _explanation(details: RawObject) -> str:
    message = details.get("message")
    if not isinstance(message, str):
        return ""
    return plain(message)


def _has_cause(details: RawObject, value: str, of: str = "reason") -> bool:
    inner = details.get("details")
    causes = inner.get("causes") if isinstance(inner, dict) else None
    return isinstance(causes, list) and any(
        isinstance(cause, dict) and cause.get(of) == value for cause in causes
    )


def _seconds(value: str | None) -> float | None:
    """Read Retry-After; the API sends seconds (RFC 9110 §10.2.3 also allows a date)."""
    if value is None or not (value.isascii() and value.isdecimal()):
        return None
    return min(float(value), RETRY_AFTER_LIMIT)
