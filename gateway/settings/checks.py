"""What settings must fulfil together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

from gateway.settings.choices import AuthMode, DialectName, TargetScheme
from gateway.settings.model import Settings, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Conflict:
    """Settings that contradict each other, or the world; the first name is the likelier error."""

    names: tuple[str, ...]
    message: str


#: The first must not exceed the second.
ORDERED: Final = (
    ("wake_breaker_min", "wake_breaker_max"),
    ("wake_waiters_per_sandbox", "wake_waiters_total"),
    ("wake_namespace_patches_per_second", "wake_patches_per_second"),
    ("wake_namespace_patches_burst", "wake_patches_burst"),
    ("upstream_connect_timeout", "upstream_dial_timeout"),
    ("watch_idle_timeout", "stale_after"),
    ("jwt_refresh_interval", "jwt_max_age"),
    ("max_header_bytes", "max_buffered_bytes"),
)

#: Clocks further apart than this (s) are to be mended; a token must not live much longer than said.
MAX_LEEWAY: Final = 300.0

#: An idle Deployment is left alone for this long (s): pods take long to start.
IDLE_DEPLOYMENTS_FLOOR: Final = 300.0
WORKLOADS: Final = frozenset({DialectName.DEPLOYMENT, DialectName.STATEFUL_SET})
#: What replicas that elect a leader need to find each other, and to be believed by each other.
NEEDED_BY_REPLICAS: Final = ("pod_name", "pod_namespace", "peer_selector", "admin_token_file")

TARGET_HEADERS: Final = (
    "e2b_id_header", "e2b_port_header", "agent_id_header", "agent_namespace_header",
    "agent_port_header", "agent_uid_header", "agent_timeout_header",
)  # fmt: skip

#: They steer HTTP itself or carry credentials: none can name a target.
RESERVED_HEADERS: Final = frozenset({
    "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
    "keep-alive", "proxy-connection", "expect", "via", "authorization", "cookie",
    "x-access-token", "e2b-traffic-access-token", "origin", "forwarded", "x-forwarded-for",
    "x-forwarded-proto", "x-forwarded-host",
})  # fmt: skip


def conflicts(settings: Settings) -> Iterator[Conflict]:
    """Find what no single setting shows."""
    yield from _order(settings)
    yield from _listeners(settings)
    yield from _headers(settings)
    yield from _schemes(settings)
    yield from _credentials(settings)
    yield from _standby(settings)
    yield from _replicas(settings)


def _order(settings: Settings) -> Iterator[Conflict]:
    for low, high in ORDERED:
        if getattr(settings, low) > getattr(settings, high):
            shown = [
                f"{name} ({kind_of(name).show(getattr(settings, name))})" for name in (low, high)
            ]
            yield Conflict((low, high), " must not exceed ".join(shown))


def _listeners(settings: Settings) -> Iterator[Conflict]:
    names = ["data_listen", "admin_listen", *(["resize_listen"] if settings.resize else [])]
    for one, other in combinations(names, 2):
        address = getattr(settings, one)
        if address == getattr(settings, other) and address.port:
            yield Conflict((one, other), f"{one} and {other} must differ")


def _headers(settings: Settings) -> Iterator[Conflict]:
    by_name = {name: getattr(settings, name).lower() for name in TARGET_HEADERS}
    uses = Counter(by_name.values())
    shared = tuple(name for name, header in by_name.items() if uses[header] > 1)
    if shared:
        yield Conflict(shared, f"{' and '.join(shared)} must name different headers")
    for name, header in by_name.items():
        if header in RESERVED_HEADERS:
            yield Conflict((name,), f"{name} must not be a header with another meaning")


def _schemes(settings: Settings) -> Iterator[Conflict]:
    if TargetScheme.HOST in settings.target_schemes:
        return
    for name in ("host_suffixes", "host_map"):
        if getattr(settings, name):
            message = f"{name} has no effect: target_schemes lacks host"
            yield Conflict((name, "target_schemes"), message)


def _credentials(settings: Settings) -> Iterator[Conflict]:
    """A credential setting without effect is refused: its writer believes that it protects."""
    yield from _jwt(settings)
    yield from _browser_login(settings)
    scoped = settings.auth_mode is AuthMode.SCOPED_TOKEN
    if scoped and settings.scoped_token_keys_file is None:
        message = "auth_mode scoped-token needs scoped_token_keys_file"
        yield Conflict(("auth_mode", "scoped_token_keys_file"), message)
    if not scoped and settings.scoped_token_keys_file is not None:
        message = "scoped_token_keys_file has no effect: auth_mode is not scoped-token"
        yield Conflict(("scoped_token_keys_file", "auth_mode"), message)
    if settings.allow_tokenless and settings.auth_mode is not AuthMode.ACCESS_TOKEN:
        message = "allow_tokenless has no effect: auth_mode is not access-token"
        yield Conflict(("allow_tokenless", "auth_mode"), message)


def _jwt(settings: Settings) -> Iterator[Conflict]:
    jwt = settings.auth_mode is AuthMode.JWT
    for name in ("jwt_jwks", "jwt_issuer"):
        if jwt and getattr(settings, name) is None:
            yield Conflict(("auth_mode", name), f"auth_mode jwt needs {name}")
    for name in ("jwt_jwks", "jwt_issuer", "jwt_audience"):
        if not jwt and getattr(settings, name) is not None:
            message = f"{name} has no effect: auth_mode is not jwt"
            yield Conflict((name, "auth_mode"), message)
    if settings.jwt_leeway > MAX_LEEWAY:
        message = f"jwt_leeway must not exceed {kind_of('jwt_leeway').show(MAX_LEEWAY)}"
        yield Conflict(("jwt_leeway",), message)


def _browser_login(settings: Settings) -> Iterator[Conflict]:
    if not settings.browser_login:
        return
    if settings.auth_mode is AuthMode.NONE:
        message = "browser_login has no effect: auth_mode is none"
        yield Conflict(("browser_login", "auth_mode"), message)
    if not (settings.host_suffixes or settings.host_map):
        message = "browser_login needs host_suffixes or host_map: each sandbox a host of its own"
        yield Conflict(("browser_login", "host_suffixes"), message)


def _standby(settings: Settings) -> Iterator[Conflict]:
    if settings.idle_deployments_after < IDLE_DEPLOYMENTS_FLOOR:
        floor = kind_of("idle_deployments_after").show(IDLE_DEPLOYMENTS_FLOOR)
        message = f"idle_deployments_after must be at least {floor}"
        yield Conflict(("idle_deployments_after",), message)
    if settings.idle_deployments and not WORKLOADS.intersection(settings.dialects):
        message = "idle_deployments has no effect: dialects has neither deployment nor statefulset"
        yield Conflict(("idle_deployments", "dialects"), message)
    for name in ("idle_deployments", "observe_connections"):
        if getattr(settings, name) and not settings.standby:
            yield Conflict((name, "standby"), f"{name} has no effect: standby is false")
    if settings.observe_connections and settings.observer_token_file is None:
        message = "observe_connections needs observer_token_file"
        yield Conflict(("observe_connections", "observer_token_file"), message)


def _replicas(settings: Settings) -> Iterator[Conflict]:
    if settings.lease_name is None:
        if settings.peer_selector is not None:
            message = "peer_selector has no effect: there is no lease_name"
            yield Conflict(("peer_selector", "lease_name"), message)
        return
    for name in NEEDED_BY_REPLICAS:
        if getattr(settings, name) is None:
            yield Conflict(("lease_name", name), f"lease_name needs {name}")
