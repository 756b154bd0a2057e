"""When an idle sandbox is put to sleep: the policy that its author writes, and what may forbid it.

A policy is JSON: `{"enabled": true, "idle_timeout": "5m", "ignore_source_cidrs": ["10.0.0.0/8"],
"ignore_destination_ports": [9100]}`. It has one canonical form, in which it is shown.
"""

from __future__ import annotations

import ipaddress
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from gateway.sandbox.texts import format_duration, parse_duration, remembered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_FIELDS: Final = ("enabled", "idle_timeout", "ignore_source_cidrs", "ignore_destination_ports")
#: Entries of a list. The CRD has the same bound.
_MOST_LISTED: Final = 64
#: What an author wrote goes into what is said of it: characters of one part, and of the whole.
_LONGEST_QUOTED: Final = 64
_LONGEST_COMPLAINT: Final = 1024


class PolicyError(ValueError):
    """A policy that cannot be taken; the text names the fields that are wrong, and how."""


class StandbyPolicy(msgspec.Struct, frozen=True, gc=False):
    """Whether, and after how many idle seconds, a sandbox sleeps; which connections are no use.

    One that is not enabled says nothing else.
    """

    enabled: bool
    idle_timeout: float = 0.0
    ignored_sources: tuple[Network, ...] = ()
    ignored_ports: tuple[int, ...] = ()

    @staticmethod
    @lru_cache(maxsize=256)
    def of(
        idle_timeout: float, ignored_sources: tuple[Network, ...], ignored_ports: tuple[int, ...]
    ) -> StandbyPolicy:
        """Return an enabled one that equal ones share: few differ, and many sandboxes have one."""
        return StandbyPolicy(True, idle_timeout, ignored_sources, ignored_ports)

    def as_json(self) -> dict[str, Any]:
        """Return the canonical form."""
        if not self.enabled:
            return {"enabled": False}
        written: dict[str, Any] = {
            "enabled": True,
            "idle_timeout": format_duration(self.idle_timeout),
        }
        if self.ignored_sources:
            written["ignore_source_cidrs"] = [str(one) for one in self.ignored_sources]
        if self.ignored_ports:
            written["ignore_destination_ports"] = list(self.ignored_ports)
        return written


DISABLED: Final = StandbyPolicy(enabled=False)


class StandbyCheck(msgspec.Struct, frozen=True, gc=False):
    """Where the guest is asked by HTTP, just before a standby, whether it may sleep."""

    port: int
    path: str


class IdleRules(msgspec.Struct, frozen=True, gc=False):
    """What an object says of its sandbox's sleep. Times are seconds since the epoch.

    `policy` None: it has none. `pinned`: it never sleeps until somebody takes the pin off.
    `hold_until`: nor before then. `always_on`: its author rules all sleep out. `last_activity_at`
    and `idle_since` are what the gateway noted last, for a gateway that begins anew: it is idle
    since then; None: it was in use, or is not known. `pause_at`: its own controller pauses it
    then, used or not. `check`: the guest may say no.
    """

    policy: StandbyPolicy | None = None
    pinned: bool = False
    hold_until: float | None = None
    always_on: bool = False
    last_activity_at: float | None = None
    idle_since: float | None = None
    pause_at: float | None = None
    check: StandbyCheck | None = None


#: Most sandboxes say nothing.
NO_RULES: Final = IdleRules()


def parse_policy(text: str) -> StandbyPolicy:
    """Return the policy that an annotation holds; raise PolicyError."""
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise PolicyError("is not JSON that names each field once") from error
    if not isinstance(found, dict):
        raise PolicyError("is not a JSON object")
    return read_policy(found)


def _distinct(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        raise ValueError("a field is named twice")
    return found


def read_policy(found: Mapping[str, Any]) -> StandbyPolicy:
    """Return the policy in canonical form; raise PolicyError with all that is wrong."""
    unknown = (name for name in found if name not in _FIELDS)
    wrong = [f"{name[:_LONGEST_QUOTED]!r} is not known" for name in unknown]
    enabled = found.get("enabled")
    if not isinstance(enabled, bool):
        wrong.append("enabled must be true or false")
    timeout = _timeout(found.get("idle_timeout"), wrong, needed=enabled is True)
    sources = _networks(found.get("ignore_source_cidrs"), wrong)
    ports = _ports(found.get("ignore_destination_ports"), wrong)
    if wrong:
        raise PolicyError("; ".join(wrong)[:_LONGEST_COMPLAINT])
    return StandbyPolicy.of(timeout, sources, ports) if enabled else DISABLED


def _timeout(value: object, wrong: list[str], *, needed: bool) -> float:
    if value is None and not needed:
        return 0.0
    try:
        seconds = parse_duration(value) if isinstance(value, str) else 0.0
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        wrong.append("idle_timeout must be a duration over 0, such as 5m")
    return seconds


def _networks(value: object, wrong: list[str]) -> tuple[Network, ...]:
    texts = [text.strip() for text in _list_of(value, str, "ignore_source_cidrs", wrong)]
    networks = set()
    for text in filter(None, texts):
        try:
            networks.add(_network(text))
        except ValueError:
            wrong.append(f"ignore_source_cidrs has {text[:_LONGEST_QUOTED]!r}, which is no network")
    return tuple(sorted(networks, key=lambda one: (one.version, one)))


@remembered
def _network(text: str) -> Network:
    """Return a network, masked; raise ValueError. A zone means something on one machine alone."""
    if "%" in text:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def _ports(value: object, wrong: list[str]) -> tuple[int, ...]:
    ports = set(_list_of(value, int, "ignore_destination_ports", wrong))
    if not all(1 <= port <= 65535 for port in ports):
        wrong.append("ignore_destination_ports must be ports from 1 to 65535")
    return tuple(sorted(ports))


def _list_of(value: object, kind: type, name: str, wrong: list[str]) -> Iterable[Any]:
    if value is None:
        return ()
    # A boolean is an int to Python alone.
    if not isinstance(value, list) or not all(type(one) is kind for one in value):
        wrong.append(f"{name} must be a list of {'numbers' if kind is int else 'texts'}")
    elif len(value) > _MOST_LISTED:
        wrong.append(f"{name} must have {_MOST_LISTED} entries at most")
    else:
        return value
    return ()
