"""What every dialect provides, and the reading of raw API objects that they share.

Raw objects come from a watch: any field may be missing or of another type. Reading one either
gives a value of the right type, a `Problem` with the safe value, or raises `MalformedObject`.

A hundred thousand objects come at once: what is as it should be is read in as few steps as can be,
and only what is not is looked at again, for what is wrong with it.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.model import Key, State
from gateway.sandbox.texts import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sandbox.model import Route

ID_LABEL: Final = "sandbox-gateway.dev/id"

#: More than any 64- or 128-bit number has. (CPython raises ValueError for 4,301.)
_MOST_DIGITS: Final = 40

_BYTE: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
#: An IPv4 address in its only form: the text is canonical already.
_IPV4 = re.compile(rf"{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}", re.ASCII)

RawObject = dict[str, Any]
Patch = dict[str, Any]
#: For an API whose every object is a sandbox.
NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
#: The metadata, spec and status of an object.
Sections = tuple[RawObject, RawObject, RawObject]


@dataclass(frozen=True, slots=True)
class Resource:
    """Where an API serves its objects.

    `older`: other versions that serve the same objects, to be asked for in this order where
    `version` is not served.
    """

    group: str
    version: str
    plural: str
    kind: str
    older: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where the API server has this version of the group: the core group is apart."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def candidates(self) -> tuple[Resource, ...]:
        """This resource in each of its versions, the one to be preferred first."""
        return (self, *(replace(self, version=one, older=()) for one in self.older))


class Dialect(Protocol):
    """The adapter for one Sandbox API. Every method is a pure function of its arguments."""

    @property
    def name(self) -> str:
        """The dialect's name, as in settings, keys and metrics."""

    @property
    def resource(self) -> Resource:
        """Where its objects are served; each says by its apiVersion in which version."""

    @property
    def required_labels(self) -> Mapping[str, str]:
        """The labels that make an object of this resource a sandbox: others are none."""

    @property
    def by_service(self) -> bool:
        """Whether its objects do not tell where they are, so that a route has a `Backing`."""

    def route(self, raw: RawObject) -> Route:
        """Judge an object; raise MalformedObject where it cannot be judged.

        A route with a `Backing` has no address yet, and so does not run.
        """

    def check_resumable(self, raw: RawObject, now: float) -> None:
        """Return if the object may be woken at `now`; raise the NotResumable that says why not."""

    def wake_patch(self, raw: RawObject, now: float) -> Patch | None:
        """Return the merge patch that asks for Running, or None if that is asked for already."""

    def standby_patch(self, raw: RawObject, now: float) -> Patch | None:
        """Return the merge patch that asks for Paused, or None if that is asked for already."""

    def postpone_patch(self, raw: RawObject, now: float) -> Patch | None:
        """Return the merge patch that puts off what its own controller would end while it is used.

        None where no clock of its controller runs, or it has long enough to go.
        """


# ---- reading raw objects ----------------------------------------------------------------------


def sections(raw: RawObject) -> Sections:
    """Return metadata, spec and status; one that is missing or null is empty."""
    found = mapping(raw, "object")
    return (
        mapping(found.get("metadata"), "metadata"),
        mapping(found.get("spec"), "spec"),
        mapping(found.get("status"), "status"),
    )


def mapping(raw: object, path: str) -> RawObject:
    """Return the value as an object; missing or null is empty; raise if it is something else."""
    if isinstance(raw, dict):
        return raw
    if raw is None:
        return {}
    raise MalformedObject(path, "is not an object")


def section(raw: RawObject, *names: str) -> RawObject:
    """Return the nested object at these names; missing or null is empty."""
    found = mapping(raw, "object")
    path = ""
    for name in names:
        path = f"{path}.{name}" if path else name
        found = mapping(found.get(name), path)
    return found


def text(raw: RawObject, name: str, path: str) -> str | None:
    """Return a string field; missing, null or empty is None."""
    value = raw.get(name)
    if isinstance(value, str):
        return value or None
    if value is None:
        return None
    raise MalformedObject(f"{path}.{name}", "is not a string")


def required_text(raw: RawObject, name: str, path: str) -> str:
    """Return a string field that must be there."""
    value = raw.get(name)
    if value and isinstance(value, str):
        return value
    text(raw, name, path)  # which raises if there is something else
    raise MalformedObject(f"{path}.{name}", "is missing")


def flag(raw: RawObject, name: str, path: str) -> bool:
    """Return a boolean field; missing or null is False."""
    value = raw.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise MalformedObject(f"{path}.{name}", "is not a boolean")
    return value


def timestamp(raw: RawObject, name: str, path: str) -> float | None:
    """Return an RFC 3339 field as epoch seconds; missing or null is None."""
    value = text(raw, name, path)
    if value is None:
        return None
    try:
        return parse_time(value)
    except ValueError as error:
        raise MalformedObject(f"{path}.{name}", "is not an RFC 3339 time") from error


def version_of(raw: RawObject) -> int:
    """Return metadata.resourceVersion, which Kubernetes defines as a comparable integer."""
    return version_in(section(raw, "metadata"))


def version_in(metadata: RawObject) -> int:
    """Return the resourceVersion; see `version_of`."""
    value = required_text(metadata, "resourceVersion", "metadata")
    number = whole_number(value)
    if number is None:
        raise MalformedObject("metadata.resourceVersion", "is not an integer")
    return number


def whole_number(value: str) -> int | None:
    """Return decimal digits as an integer; None for anything else, and for absurdly many digits."""
    if value.isdecimal() and value.isascii() and len(value) <= _MOST_DIGITS:
        return int(value)
    return None


def condition(status: RawObject, kind: str) -> RawObject | None:
    """Return the status condition of this type, if there is one."""
    conditions = status.get("conditions")
    if conditions is None:
        return None
    if not isinstance(conditions, list):
        raise MalformedObject("status.conditions", "is not a list")
    for one in conditions:
        if isinstance(one, dict) and one.get("type") == kind:
            return one
    return None


def condition_is_true(status: RawObject, kind: str) -> bool:
    """Return whether the condition of this type is there with status True."""
    found = condition(status, kind)
    return found is not None and found.get("status") == "True"


# ---- what every dialect reads alike -----------------------------------------------------------


def identity(raw: RawObject, dialect: str) -> tuple[Key, str]:
    """Return the key and the uid; raise MalformedObject if the object has none."""
    return identity_in(section(raw, "metadata"), dialect)


def identity_in(metadata: RawObject, dialect: str) -> tuple[Key, str]:
    """Return the key and the uid that metadata gives; see `identity`."""
    namespace = required_text(metadata, "namespace", "metadata")
    name = required_text(metadata, "name", "metadata")
    # Many sandboxes share a namespace: one copy of its name does for all.
    return Key(dialect, sys.intern(namespace), name), required_text(metadata, "uid", "metadata")


def is_deleting(metadata: RawObject) -> bool:
    """Return whether deletion has begun."""
    return metadata.get("deletionTimestamp") is not None


def string_map(raw: RawObject, name: str) -> dict[str, str]:
    """Return metadata.labels or metadata.annotations; raise if an entry is not text.

    Kubernetes admits none. To leave it out would be to ignore what may forbid: a list of ports, a
    credential, "may not be woken".
    """
    return text_map(section(raw, "metadata"), name)


def text_map(metadata: RawObject, name: str) -> dict[str, str]:
    """Return labels or annotations of metadata; see `string_map`."""
    entries = mapping(metadata.get(name), f"metadata.{name}")
    for key, value in entries.items():
        if not isinstance(value, str):
            raise MalformedObject(f"metadata.{name}.{key}", "is not a string")
    return entries


def has_labels(raw: RawObject, required: Mapping[str, str]) -> bool:
    """Return whether an object has these labels; raise MalformedObject if that cannot be told."""
    return not required or required.items() <= string_map(raw, "labels").items()


def selector_of(required: Mapping[str, str]) -> str:
    """Return the label selector that finds the objects with these labels; "" for none."""
    return ",".join(f"{name}={value}" for name, value in required.items())


def sandbox_id(labels: Mapping[str, str], key: Key, label: str) -> str:
    """Return the id that requests use: the label's value, or `namespace--name`."""
    return labels.get(label) or f"{key.namespace}--{key.name}"


def ip_address(value: str | None, path: str) -> str | None:
    """Return an address in canonical form; raise if it is no literal address."""
    if value is None or _IPV4.fullmatch(value):
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise MalformedObject(path, "is not an IP address") from error


def incarnation(status: RawObject, uid: str, pod_uid: str | None, address: str | None) -> str:
    """Name this life of the workload: by its pod, else by its address and its last transition."""
    if pod_uid is not None:
        return f"{uid}/{pod_uid}"
    ready = condition(status, "Ready") or {}
    return f"{uid}/{address}@{ready.get('lastTransitionTime')}"


def address_when_running(state: State, address: str | None) -> str | None:
    """Return the address only while the workload answers there: a paused one's is stale."""
    return address if state is State.RUNNING else None


def node_when_running(state: State, status: RawObject, path: str) -> str | None:
    """Return the `nodeName` of a status only while the workload is there."""
    node = text(status, "nodeName", path)
    # Many sandboxes share a node: one copy of its name does for all.
    return sys.intern(node) if node is not None and state is State.RUNNING else None


def port_set(raw: object, path: str) -> frozenset[int] | None:
    """Return a list of ports as a set; missing, null or empty is None (any)."""
    if raw is None or raw == []:
        return None
    if not isinstance(raw, list) or not all(map(_is_port, raw)):
        raise MalformedObject(path, "is not a list of ports from 1 to 65535")
    return frozenset(raw)


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def narrowest(one: frozenset[int] | None, other: frozenset[int] | None) -> frozenset[int] | None:
    """Return the ports that both allow; None allows any."""
    if one is None or other is None:
        return other if one is None else one
    return one & other
