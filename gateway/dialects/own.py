"""Our own annotations, which are valid on the objects of every dialect.

One that does not parse is reported as a `Problem` and takes the safe reading: a typo never wakes
a sandbox, never opens a port, never lets a credential in, never sends plain text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.dialects.base import whole_number
from gateway.sandbox.model import Credential, Problem, UpstreamTls, WakePolicy
from gateway.sandbox.texts import parse_duration, remembered

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "sandbox-gateway.dev/"
WAKE_ON_TRAFFIC: Final = PREFIX + "wake-on-traffic"
WAKE_TIMEOUT: Final = PREFIX + "wake-timeout"
PORTS: Final = PREFIX + "ports"
TOKEN_SHA256: Final = PREFIX + "access-token-sha256"
UPSTREAM_TLS: Final = PREFIX + "upstream-tls"
SERVER_NAME: Final = PREFIX + "upstream-tls-server-name"

_SHA256_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
#: RFC 1123 §2.1, 253 characters at most.
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?",
    re.ASCII | re.IGNORECASE,
)


class Annotations(msgspec.Struct, frozen=True, gc=False):
    """What our annotations say; None where one is absent."""

    wake: bool | None = None
    wake_timeout: float | None = None
    ports: frozenset[int] | None = None
    credential: Credential | None = None
    problems: tuple[Problem, ...] = ()
    tls: UpstreamTls | None = None

    def wake_policy(self, opted_in: bool | None, timeout: float | None = None) -> WakePolicy:
        """Join the API's own rule (None: it has none) with ours.

        The API's rule is first. But "false" in our annotation, or a typo in it, always forbids.
        """
        api_or_ours = self.wake is True if opted_in is None else opted_in
        enabled = api_or_ours and self.wake is not False
        return WakePolicy.of(enabled, self.wake_timeout if timeout is None else timeout)


def read(found: Mapping[str, str]) -> Annotations:
    """Read our annotations among those of an object."""
    problems: list[Problem] = []
    return Annotations(
        wake=_wake(found, problems),
        wake_timeout=_timeout(found, problems),
        ports=_ports(found, problems),
        credential=_credential(found, problems),
        tls=_tls(found, problems),
        problems=tuple(problems),
    )


def _wake(found: Mapping[str, str], problems: list[Problem]) -> bool | None:
    value = found.get(WAKE_ON_TRAFFIC)
    if value is None:
        return None
    if value not in ("true", "false"):
        problems.append(Problem(WAKE_ON_TRAFFIC, 'must be "true" or "false"; read as "false"'))
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
