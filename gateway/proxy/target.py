"""Which sandbox and port a request names, and what of that naming is taken out of it.

Four schemes: E2B's headers, agent-sandbox's headers, the host, the path. Two that name different
sandboxes in one request make it invalid: a client must not be able to pass one check as one
sandbox and be forwarded as another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.sandbox.errors import InvalidTarget, SandboxNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.proxy.message import RequestHead, Special
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry

#: Names that are remembered, of each scheme.
REMEMBERED: Final = 8192
#: The longest value that names something; what is remembered must not fill memory.
MAX_NAME: Final = 260

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
    the sandbox for, None: what the gateway was asked for. `timeout` (s) is the client's wish for
    the response's head.
    """

    port: int | None
    default_port: int
    path: bytes | None = None
    id: str | None = None
    namespace: str = ""
    name: str = ""
    uid: str | None = None
    timeout: float | None = None

    def find(self, registry: Registry) -> Route:
        """Return the route; raise SandboxNotFound or AmbiguousTarget."""
        if self.id is not None:
            route = registry.by_id(self.id)
        else:
            route = registry.by_name(self.namespace, self.name)
        if self.uid is not None and self.uid != route.uid:
            raise SandboxNotFound
        return route

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
        # The same few names come again and again: each is judged once.
        remember = lru_cache(maxsize=REMEMBERED)
        self._by_e2b = remember(self._read_e2b)
        self._by_agent_sandbox = remember(self._read_agent_sandbox)
        self._by_host = remember(self._read_host)

    def read(self, head: RequestHead) -> list[Target]:
        """Return the targets that a request names, at most one a scheme; often just one.

        Raise InvalidTarget where one is malformed.
        """
        found = head.findings.targets
        if found is None:
            found = head.findings.targets = self._by_fields(head.special)
        if self._path and head.target.startswith(self._prefix):
            return [*found, self._read_path(head.target)]
        return found

    def names_by_host(self, head: RequestHead) -> bool:
        """Return whether the Host names a sandbox: no other one has pages of that origin."""
        return self._host and self._by_host(_one(head.special, b"host")) is not None

    def _by_fields(self, special: Special) -> list[Target]:
        config = self._config
        found = []
        if config.e2b_id in special and self._e2b:
            found.append(self._by_e2b(_one(special, config.e2b_id), _one(special, config.e2b_port)))
        if config.agent_id in special and self._agent:
            found.append(
                self._by_agent_sandbox(
                    _one(special, config.agent_id),
                    _one(special, config.agent_namespace),
                    _one(special, config.agent_port),
                    _one(special, config.agent_uid),
                    _one(special, config.agent_timeout),
                )
            )
        if self._host:
            by_host = self._by_host(_one(special, b"host"))
            if by_host is not None:
                found.append(by_host)
        return found

    def _read_e2b(self, sandbox_id: bytes | None, port: bytes | None) -> Target:
        return self._of_id(_text(sandbox_id), _port(port))

    def _of_id(self, sandbox_id: str, port: int | None, path: bytes | None = None) -> Target:
        return Target(port, self._config.e2b_default_port, path, id=_matching(_ID, sandbox_id))

    def _read_agent_sandbox(
        self,
        name: bytes | None,
        namespace: bytes | None,
        port: bytes | None,
        uid: bytes | None,
        timeout: bytes | None,
    ) -> Target:
        config = self._config
        return Target(
            port=_port(port),
            default_port=config.agent_default_port,
            namespace=_matching(_DNS_LABEL, _text(namespace) or config.agent_default_namespace),
            name=_matching(_DNS_LABEL, _text(name)),
            uid=None if uid is None else _text(uid),  # an empty one is nobody's
            timeout=_seconds(timeout),
        )

    def _read_host(self, value: bytes | None) -> Target | None:
        host = _text(value).lower()
        name = host.rpartition(":")[0] if _has_port(host) else host
        mapped = self._config.host_map.get(name)
        if mapped is not None:
            return self._of_id(*mapped)
        for suffix in self._suffixes:
            if name.endswith(suffix):
                match = _PORT_AND_ID.fullmatch(name.removesuffix(suffix))
                if match is None:
                    raise InvalidTarget
                return self._of_id(match[2], _port(match[1].encode()))
        return None

    def _read_path(self, target: bytes) -> Target:
        path, question, query = target[len(self._prefix) :].partition(b"?")
        sandbox_id, _, rest = path.partition(b"/")
        port, _, rest = rest.partition(b"/")
        return self._of_id(_text(sandbox_id), _port(port), b"/" + rest + question + query)


def _one(special: Special, name: bytes) -> bytes | None:
    """Return the value of a field that names the target; None if it is not there."""
    values = special.get(name)
    if values is None:
        return None
    if len(values) != 1 or len(values[0]) > MAX_NAME:
        raise InvalidTarget("A header that names the target is repeated or too long.")
    return values[0]


def _text(value: bytes | None) -> str:
    try:
        return "" if value is None else value.decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidTarget from error


def _matching(pattern: re.Pattern[str], value: str) -> str:
    if pattern.fullmatch(value) is None:
        raise InvalidTarget
    return value


def _port(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not (value.isdigit() and len(value) <= 5 and 1 <= int(value) <= 65535):
        raise InvalidTarget("The port is not a number from 1 to 65535.")
    return int(value)


def _seconds(value: bytes | None) -> float | None:
    if value is None:
        return None
    if not (value.isdigit() and len(value) <= 6 and int(value) > 0):
        raise InvalidTarget("The timeout is not a number of seconds.")
    return float(value)


def _has_port(host: str) -> bool:
    return ":" in host and not host.endswith("]")
