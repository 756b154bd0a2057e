"""Lists: a page of a resource as it was at one version, and the token that continues it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import orjson

from gateway.local.api.errors import BadRequestError, ExpiredError, FutureVersionError
from gateway.local.api.objects import JsonObject, decode
from gateway.local.api.selectors import EVERYTHING, Selector

if TYPE_CHECKING:
    from gateway.local.api.database import Database, Row
    from gateway.local.api.definitions import GroupResource

_START = ("", "")
# In a token: the rest is shown in whatever version there is.
_AS_IT_IS = -1


class VersionMatch(StrEnum):
    """How `resourceVersion` of a list is meant (`resourceVersionMatch`)."""

    ANY = ""
    NOT_OLDER_THAN = "NotOlderThan"
    EXACT = "Exact"


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Which objects of a resource to list; an empty namespace means all, limit 0 no limit."""

    namespace: str = ""
    selector: Selector = EVERYTHING
    limit: int = 0
    continue_from: str = ""
    resource_version: str = ""
    match: VersionMatch = VersionMatch.ANY


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A page of objects as they were at `resource_version`."""

    items: list[JsonObject]
    resource_version: str
    continue_from: str = ""
    remaining: int | None = None


def list_objects(database: Database, resource: GroupResource, options: ListOptions) -> ObjectList:
    """One page. Raises `ExpiredError` if its version was compacted away, `BadRequestError` for a
    version or token that is none, `FutureVersionError` for a version not reached yet.
    """
    version, after = _position(database, options)
    rows = database.rows(resource, options.namespace, after, version)
    items: list[JsonObject] = []
    last: Row | None = None
    for row in rows:
        if options.limit and len(items) == options.limit:
            assert last is not None
            remaining = 1 + sum(1 for _ in rows) if options.selector.selects_all else None
            return ObjectList(
                items, str(version), _encode_token(version, (last.namespace, last.name)), remaining
            )
        obj = decode(row.body)
        if options.selector.matches(obj):
            items.append(obj)
            last = row
    return ObjectList(items, str(version))


def _position(database: Database, options: ListOptions) -> tuple[int, tuple[str, str]]:
    if options.continue_from:
        if options.resource_version not in ("", "0"):
            raise BadRequestError("specifying resource version is not allowed when using continue")
        version, after = _decode_token(options.continue_from)
        if version == _AS_IT_IS:
            return database.current, after
        now = _encode_token(_AS_IT_IS, after)
        return _available(database, version, now), after
    asked = parse_version(options.resource_version)
    if options.match is VersionMatch.EXACT:
        return _available(database, asked), _START
    check_reached(database, asked)
    return database.current, _START


def check_reached(database: Database, version: int) -> None:
    """Raises `FutureVersionError` for a version that the store has not reached."""
    if version > database.current:
        raise FutureVersionError(version, database.current)


def _available(database: Database, version: int, continue_from: str = "") -> int:
    check_reached(database, version)
    if version < database.compacted:
        raise expired(version, database, continue_from)
    return version


def expired(version: int, database: Database, continue_from: str = "") -> ExpiredError:
    """The 410 that makes a client list again, or continue with what follows as it is now."""
    return ExpiredError(
        f"too old resource version: {version} ({database.compacted})", continue_from
    )


def parse_version(text: str) -> int:
    """A resourceVersion as a number, 0 where it is left out. Raises `BadRequestError`."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise BadRequestError(f'Invalid value: "{text[:64]}": not a resourceVersion')
    return int(text)


def _encode_token(version: int, after: tuple[str, str]) -> str:
    document = orjson.dumps([version, *after])
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


def _decode_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        padded = token + "=" * (-len(token) % 4)
        document = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadRequestError("continue key is not valid") from error
    match document:
        case [int(version), str(namespace), str(name)] if version >= _AS_IT_IS:
            return version, (namespace, name)
        case _:
            raise BadRequestError("continue key is not valid")
