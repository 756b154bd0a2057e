"""Our own annotations and labels, which are valid on the objects of every dialect.

One that does not parse is reported as a `Problem` and takes the safe reading: a typo never wakes
a sandbox nor puts one to sleep, never opens a port, never lets a credential in, never sends plain
text, never has a sandbox resized.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.dialects.base import NO_LABELS, whole_number
from gateway.sandbox.model import Credential, Problem, UpstreamTls, WakePolicy
from gateway.sandbox.scaling import Scaling, ScalingError, parse_scaling
from gateway.sandbox.standby import (
    DISABLED,
    NO_RULES,
    IdleRules,
    PolicyError,
    StandbyCheck,
    StandbyPolicy,
    parse_policy,
)
from gateway.sandbox.texts import parse_duration, parse_time, remembered

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "sandbox-gateway.dev/"
WAKE_ON_TRAFFIC: Final = PREFIX + "wake-on-traffic"
WAKE_TIMEOUT: Final = PREFIX + "wake-timeout"
PORTS: Final = PREFIX + "ports"
TOKEN_SHA256: Final = PREFIX + "access-token-sha256"
UPSTREAM_TLS: Final = PREFIX + "upstream-tls"
SERVER_NAME: Final = PREFIX + "upstream-tls-server-name"
AUTO_STANDBY: Final = PREFIX + "auto-standby"
ALWAYS_ON: Final = PREFIX + "always-on"
#: The pin, which the gateway writes for who asks it to.
PINNED: Final = PREFIX + "pinned"
HOLD_UNTIL: Final = PREFIX + "hold-until"
#: What the gateway notes of its use, for one that begins anew.
LAST_ACTIVITY_AT: Final = PREFIX + "last-activity-at"
IDLE_SINCE: Final = PREFIX + "idle-since"
#: Where the guest is asked by HTTP before a standby: `PORT` or `PORT/path`.
STANDBY_CHECK: Final = PREFIX + "standby-check"
#: The label by which a sandbox is right-sized; the bounds, and all else, are annotations.
SCALING_ENABLED: Final = PREFIX + "scaling-enabled"
SCALING_BOUNDS: Final = PREFIX + "scaling-bounds"
SCALING_CONFIG: Final = PREFIX + "scaling-config"

_OF_SLEEP: Final = frozenset(
    {AUTO_STANDBY, ALWAYS_ON, PINNED, HOLD_UNTIL, LAST_ACTIVITY_AT, IDLE_SINCE, STANDBY_CHECK}
)

#: Texts about sizes that are remembered, and characters of both: what objects say must not fill the
#: memory.
_REMEMBERED: Final = 256
_LONGEST_REMEMBERED: Final = 1024

_SHA256_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
#: RFC 1123 §2.1, 253 characters at most.
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?",
    re.ASCII | re.IGNORECASE,
)
#: A port, then a path and a query of RFC 3986 §3.3 and §3.4, of a length that goes into a request.
_CHECK = re.compile(r"(\d{1,5})(/(?:[\w\-.~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2}){0,1023})?", re.ASCII)


class Annotations(msgspec.Struct, frozen=True, gc=False):
    """What our annotations and labels say; None where one is absent."""

    wake: bool | None = None
    wake_timeout: float | None = None
    ports: frozenset[int] | None = None
    credential: Credential | None = None
    problems: tuple[Problem, ...] = ()
    tls: UpstreamTls | None = None
    idle: IdleRules = NO_RULES
    scaling: Scaling | None = None

    def wake_policy(self, opted_in: bool | None, timeout: float | None = None) -> WakePolicy:
        """Join the API's own rule (None: it has none) with ours.

        The API's rule is first. But "false" in our annotation, or a typo in it, always forbids.
        """
        api_or_ours = self.wake is True if opted_in is None else opted_in
        enabled = api_or_ours and self.wake is not False
        return WakePolicy.of(enabled, self.wake_timeout if timeout is None else timeout)

    def idle_rules(
        self, policy: StandbyPolicy | None = None, *, pause_at: float | None = None
    ) -> IdleRules:
        """Join the API's own standby policy and time of pause (None: it has none) with our rules.

        The API's policy is first. But one of ours that is off, or a typo in it, always forbids.
        """
        if policy is None and pause_at is None:
            return self.idle
        ours = self.idle.policy
        api_first = policy is not None and (ours is None or ours.enabled)
        return msgspec.structs.replace(
            self.idle, policy=policy if api_first else ours, pause_at=pause_at
        )


def read(found: Mapping[str, str], labels: Mapping[str, str] = NO_LABELS) -> Annotations:
    """Read our annotations and labels among those of an object."""
    problems: list[Problem] = []
    return Annotations(
        wake=_wake(found, problems),
        wake_timeout=_timeout(found, problems),
        ports=_ports(found, problems),
        credential=_credential(found, problems),
        tls=_tls(found, problems),
        idle=_idle(found, problems),
        scaling=_scaling(found, labels, problems) if SCALING_ENABLED in labels else None,
        problems=tuple(problems),
    )


def _wake(found: Mapping[str, str], problems: list[Problem]) -> bool | None:
    return _switch(found, WAKE_ON_TRAFFIC, "false", problems)


def _switch(found: Mapping[str, str], name: str, safe: str, problems: list[Problem]) -> bool | None:
    value = found.get(name)
    if value is None:
        return None
    if value not in ("true", "false"):
        problems.append(Problem(name, f'must be "true" or "false"; read as "{safe}"'))
        value = safe
    return value == "true"


def _timeout(found: Mapping[str, str], problems: list[Problem]) -> float | None:
    value = found.get(WAKE_TIMEOUT)
    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = 0.0
    if seconds > 0:
        return seconds
    problems.append(
        Problem(WAKE_TIMEOUT, "must be a duration over 0, such as 90s; the default is used")
    )
    return None


def _ports(found: Mapping[str, str], problems: list[Problem]) -> frozenset[int] | None:
    value = found.get(PORTS)
    if value is None:
        return None
    ports = _port_set(value)
    if not ports:
        problems.append(Problem(PORTS, "must list ports, such as 8080,9000; no port is allowed"))
    return ports


@remembered
def _port_set(value: str) -> frozenset[int]:
    """Return the ports of a list; none if it does not parse."""
    ports = [whole_number(part.strip()) or 0 for part in value.split(",")]
    return frozenset(ports if all(1 <= port <= 65535 for port in ports) else ())


def _credential(found: Mapping[str, str], problems: list[Problem]) -> Credential | None:
    value = found.get(TOKEN_SHA256)
    if value is None:
        return None
    if _SHA256_HEX.fullmatch(value):
        return Credential(sha256=value.lower())
    problems.append(Problem(TOKEN_SHA256, "must be a SHA-256 in hex; no token is accepted"))
    return Credential()


def _tls(found: Mapping[str, str], problems: list[Problem]) -> UpstreamTls | None:
    value, name = found.get(UPSTREAM_TLS), found.get(SERVER_NAME)
    if value == "false" or (value is None and name is None):
        return None
    return UpstreamTls.of(_tls_ports(value, problems), _server_name(name, problems))


def _tls_ports(value: str | None, problems: list[Problem]) -> frozenset[int] | None:
    if value == "true":
        return None
    ports = _port_set(value) if value is not None else None
    if not ports:
        message = 'must be "true", "false" or ports, such as 8443,9443; every port is asked by TLS'
        problems.append(Problem(UPSTREAM_TLS, message))
    return ports or None


def _server_name(name: str | None, problems: list[Problem]) -> str | None:
    if name is None or _HOST_NAME.fullmatch(name):
        return name
    problems.append(Problem(SERVER_NAME, "is not a host name; the address must be proved instead"))
    return None


# ---- when it sleeps ---------------------------------------------------------------------------


def _idle(found: Mapping[str, str], problems: list[Problem]) -> IdleRules:
    if _OF_SLEEP.isdisjoint(found):
        return NO_RULES
    policy = _policy(found.get(AUTO_STANDBY), problems)
    always_on = _switch(found, ALWAYS_ON, "true", problems) is True
    pinned = _switch(found, PINNED, "true", problems) is True
    hold_until = _time(found, HOLD_UNTIL, "it is held as by a pin", problems)
    check = _check(found.get(STANDBY_CHECK), problems)
    return IdleRules(
        policy=policy,
        pinned=pinned or (hold_until is None and HOLD_UNTIL in found),
        hold_until=hold_until,
        always_on=always_on or (check is None and STANDBY_CHECK in found),
        last_activity_at=_time(found, LAST_ACTIVITY_AT, "it is not known", problems),
        idle_since=_time(found, IDLE_SINCE, "it counts as used now", problems),
        check=check,
    )


def _policy(value: str | None, problems: list[Problem]) -> StandbyPolicy | None:
    if value is None:
        return None
    try:
        return _parse_policy(value)
    except PolicyError as error:
        # Not None: to a sandbox without a policy another one may apply.
        problems.append(Problem(AUTO_STANDBY, f"{error}; it is not put to sleep"))
        return DISABLED


_parse_policy = remembered(parse_policy)


def _time(
    found: Mapping[str, str], name: str, instead: str, problems: list[Problem]
) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    try:
        return parse_time(value)
    except ValueError:
        problems.append(Problem(name, f"is not an RFC 3339 time; {instead}"))
        return None


def _check(value: str | None, problems: list[Problem]) -> StandbyCheck | None:
    check = None if value is None else _parse_check(value)
    if check is None and value is not None:
        message = "must be a port and a path, such as 8080/may-sleep; it never sleeps"
        problems.append(Problem(STANDBY_CHECK, message))
    return check


@remembered
def _parse_check(value: str) -> StandbyCheck | None:
    matched = _CHECK.fullmatch(value)
    if matched is None or not 1 <= int(matched[1]) <= 65535:
        return None
    return StandbyCheck(int(matched[1]), matched[2] or "/")


# ---- how large it is --------------------------------------------------------------------------


def _scaling(
    found: Mapping[str, str], labels: Mapping[str, str], problems: list[Problem]
) -> Scaling | None:
    if not _switch(labels, SCALING_ENABLED, "false", problems):
        return None
    bounds, config = found.get(SCALING_BOUNDS), found.get(SCALING_CONFIG)
    if bounds is None:
        problems.append(Problem(SCALING_BOUNDS, "is missing; it is not resized"))
        return None
    is_short = len(bounds) + len(config or "") <= _LONGEST_REMEMBERED
    parse = _parse_scaling if is_short else parse_scaling
    try:
        return parse(bounds, config)
    except ScalingError as error:
        wrong = ((SCALING_BOUNDS, error.bounds), (SCALING_CONFIG, error.config))
        problems.extend(Problem(name, f"{why}; it is not resized") for name, why in wrong if why)
        return None


#: Many sandboxes say the same, and then share the result.
_parse_scaling = lru_cache(_REMEMBERED)(parse_scaling)
