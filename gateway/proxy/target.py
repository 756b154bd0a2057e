"""Which sandbox and port a request names, and what of that naming is taken out of it.

Four schemes: E2B's headers, agent-sandbox's headers, the host, the path. Two that name different
sandboxes in one request make it invalid: a client must not be able to pass one check as one
sandbox and be forwarded as another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.sandbox.errors import InvalidTarget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.proxy.message import RequestHead
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry

POD_IP: Final = b"x-sandbox-pod-ip"

_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_PORT_AND_ID = re.compile(r"([0-9]{1,5})-(.+)", re.ASCII)


class Scheme(Enum):
    """The ways to name a sandbox, in the order in which they are looked at."""

    E2B = "e2b"
    AGENT_SANDBOX = "agent-sandbox"
    HOST = "host"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Which schemes are on and what they are called. Header names are lower case."""

    schemes: frozenset[Scheme] = frozenset(Scheme)
    e2b_id: bytes = b"e2b-sandbox-id"
    e2b_port: bytes = b"e2b-sandbox-port"
    e2b_default_port: int = 49983
    agent_id: bytes = b"x-sandbox-id"
    agent_namespace: bytes = b"x-sandbox-namespace"
    agent_port: bytes = b"x-sandbox-port"
    agent_uid: bytes = b"x-sandbox-uid"
    agent_timeout: bytes = b"x-sandbox-timeout"
    agent_default_namespace: str = "default"
    agent_default_port: int = 8888
    host_suffixes: tuple[str, ...] = ()
    host_map: Mapping[str, tuple[str, int | None]] = field(default_factory=dict)
    path_prefix: bytes = b"/kruise"

    def header_names(self) -> frozenset[bytes]:
        """Return the fields that name targets: they never reach a sandbox."""
        return frozenset(
            {
                self.e2b_id,
                self.e2b_port,
                self.agent_id,
                self.agent_namespace,
                self.agent_port,
                self.agent_uid,
                self.agent_timeout,
                POD_IP,
            }
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What a request names: by id, or by namespace and name.

    `port` None: the request left it open, `default_port` is the scheme's. `path` is what to ask
    the sandbox for. `timeout` (s) is the client's wish for the response's head.
    """

    port: int | None
    default_port: int
    path: bytes
    id: str | None = None
    namespace: str = ""
    name: str = ""
    uid: str | None = None
    timeout: float | None = None

    def find(self, registry: Registry) -> Route:
        """Return the route; raise SandboxNotFound or AmbiguousTarget."""
        if self.id is not None:
            return registry.by_id(self.id)
        return registry.by_name(self.namespace, self.name)

    def port_for(self, route: Route) -> int:
        """Return the port: the one named, the scheme's, or the only one the sandbox has."""
        if self.port is not None:
            return self.port
        if route.ports is not None and len(route.ports) == 1:
            return next(iter(route.ports))
        return self.default_port


class TargetReader:
    """Reads targets out of requests by one configuration."""

    def __init__(self, config: TargetConfig) -> None:
        self._config = config
        self._e2b = Scheme.E2B in config.schemes
        self._agent = Scheme.AGENT_SANDBOX in config.schemes
        self._host = Scheme.HOST in config.schemes and bool(config.host_suffixes or config.host_map)
        self._path = Scheme.PATH in config.schemes
        self._suffixes = tuple("." + suffix.strip(".").lower() for suffix in config.host_suffixes)
        self._prefix = config.path_prefix.rstrip(b"/") + b"/"

    def read(self, head: RequestHead) -> list[Target]:
        """Return the targets that a request names, at most one a scheme; often just one.

        Raise InvalidTarget where one is malformed.
        """
        config, special = self._config, head.special
        found = []
        if self._e2b and config.e2b_id in special:
            found.append(self._by_e2b(head))
        if self._agent and config.agent_id in special:
            found.append(self._by_agent_sandbox(head))
        if self._host:
            found += self._by_host(head)
        if self._path and head.target.startswith(self._prefix):
            found.append(self._by_path(head))
        return found

    def _by_e2b(self, head: RequestHead) -> Target:
        config = self._config
        return Target(
            id=_matching(_ID, _only(head, config.e2b_id)),
            port=_port(_optional(head, config.e2b_port)),
            default_port=config.e2b_default_port,
            path=head.target,
        )

    def _by_agent_sandbox(self, head: RequestHead) -> Target:
        config = self._config
        namespace = _optional(head, config.agent_namespace) or config.agent_default_namespace
        return Target(
            namespace=_matching(_DNS_LABEL, namespace),
            name=_matching(_DNS_LABEL, _only(head, config.agent_id)),
            port=_port(_optional(head, config.agent_port)),
            default_port=config.agent_default_port,
            path=head.target,
            uid=_optional(head, config.agent_uid),
            timeout=_seconds(_optional(head, config.agent_timeout)),
        )

    def _by_host(self, head: RequestHead) -> list[Target]:
        host = _text(head.first(b"host") or b"").lower()
        name = host.rpartition(":")[0] if _has_port(host) else host
        mapped = self._config.host_map.get(name)
        if mapped is not None:
            return [self._of_host(head, *mapped)]
        for suffix in self._suffixes:
            if name.endswith(suffix):
                match = _PORT_AND_ID.fullmatch(name.removesuffix(suffix))
                if match is None:
                    raise InvalidTarget
                return [self._of_host(head, match[2], _port(match[1]))]
        return []

    def _of_host(self, head: RequestHead, sandbox_id: str, port: int | None) -> Target:
        return Target(
            id=_matching(_ID, sandbox_id),
            port=port,
            default_port=self._config.e2b_default_port,
            path=head.target,
        )

    def _by_path(self, head: RequestHead) -> Target:
        path, question, query = head.target[len(self._prefix) :].partition(b"?")
        sandbox_id, _, rest = path.partition(b"/")
        port, _, rest = rest.partition(b"/")
        return Target(
            id=_matching(_ID, _text(sandbox_id)),
            port=_port(_text(port)),
            default_port=self._config.e2b_default_port,
            path=b"/" + rest + question + query,
        )


def _only(head: RequestHead, name: bytes) -> str:
    values = head.special[name]
    if len(values) != 1:
        raise InvalidTarget("A header that names the target is repeated.")
    return _text(values[0])


def _optional(head: RequestHead, name: bytes) -> str | None:
    return _only(head, name) if name in head.special else None


def _text(value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidTarget from error


def _matching(pattern: re.Pattern[str], value: str) -> str:
    if pattern.fullmatch(value) is None:
        raise InvalidTarget
    return value


def _port(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 5 and 1 <= int(value) <= 65535):
        raise InvalidTarget("The port is not a number from 1 to 65535.")
    return int(value)


def _seconds(value: str | None) -> float | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 6 and int(value) > 0):
        raise InvalidTarget("The timeout is not a number of seconds.")
    return float(value)


def _has_port(host: str) -> bool:
    return ":" in host and not host.endswith("]")
