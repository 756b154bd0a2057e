"""Settings handed down: each package gets its own part, in its own words."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.admin.server import AdminConfig
from gateway.auth.access import AccessTokens
from gateway.auth.authenticator import NoAuth
from gateway.auth.key_files import read_secret, read_token_keys
from gateway.auth.scoped import ScopedTokens
from gateway.cluster.config import ClusterConfig
from gateway.proxy import pages
from gateway.proxy.exchange import Timeouts
from gateway.proxy.front import FrontConfig
from gateway.proxy.handler import ProxyConfig
from gateway.proxy.limits import SPECIAL, RequestLimits
from gateway.proxy.login import Login
from gateway.proxy.plane import PlaneConfig
from gateway.proxy.reach import ReachConfig
from gateway.proxy.target import Scheme, TargetConfig
from gateway.proxy.uses import CountConfig
from gateway.replicas.calls import CallConfig
from gateway.replicas.sleep import FENCE
from gateway.sandbox.policy import NeverCount, NeverWake
from gateway.settings import AuthMode, LogFormat, read_page_template
from gateway.settings.kinds import is_url
from gateway.standby.config import IdleConfig
from gateway.standby.postponer import PostponerConfig
from gateway.telemetry.logs import LogConfig
from gateway.tls.contexts import ClientFiles, KeyPair, ServerFiles
from gateway.tls.deployment import TlsConfig
from gateway.upstream.addresses import AddressGuard, own_addresses
from gateway.upstream.pool import Pool
from gateway.wake.config import WakeConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.authenticator import Authenticator, TokenAuthenticator
    from gateway.reloading import Reloader
    from gateway.settings import Settings
    from gateway.telemetry.instruments import Instruments
    from gateway.telemetry.opentelemetry import OpenTelemetryTracer
    from gateway.tls.client import TlsClient
    from gateway.upstream.addresses import Network


@dataclass(frozen=True, slots=True)
class Credentials:
    """The way in which requests prove who they are, and by which browsers do (None: the same)."""

    authenticator: Authenticator
    login: Login | None = None


def credentials(settings: Settings, instruments: Instruments, reloader: Reloader) -> Credentials:
    """Return who judges credentials; files of keys are read again when they change."""
    judge = _token_authenticator(settings, instruments, reloader)
    if judge is None:
        return Credentials(NoAuth())
    if not settings.browser_login:
        return Credentials(judge)
    return Credentials(judge, Login(judge, settings.browser_login_parameter.encode()))


def _token_authenticator(
    settings: Settings, instruments: Instruments, reloader: Reloader
) -> TokenAuthenticator | None:
    if settings.auth_mode is AuthMode.ACCESS_TOKEN:
        return AccessTokens(allow_tokenless=settings.allow_tokenless)
    if settings.auth_mode is AuthMode.SCOPED_TOKEN:
        return _scoped_tokens(settings.scoped_token_keys_file, reloader)
    if settings.auth_mode is AuthMode.JWT:
        return _jwt_tokens(settings, instruments)
    return None


def _scoped_tokens(file: Path | None, reloader: Reloader) -> ScopedTokens:
    assert file is not None, "checked when settings are loaded"
    tokens = ScopedTokens({})

    def reload() -> None:
        tokens.replace_keys(read_token_keys(file))

    reloader.watch("scoped_token_keys_file", [file], reload)
    reload()
    return tokens


def _jwt_tokens(settings: Settings, instruments: Instruments) -> TokenAuthenticator:
    # Its libraries take a tenth of a second to load, which no other mode has to wait for.
    from gateway.auth.jwks import KeyFile, KeyUrl  # noqa: PLC0415
    from gateway.auth.jwt import JwtRules, JwtTokens  # noqa: PLC0415
    from gateway.auth.key_store import Freshness, KeyStore  # noqa: PLC0415

    place, issuer = settings.jwt_jwks, settings.jwt_issuer
    assert place is not None, "checked when settings are loaded"
    assert issuer is not None, "checked when settings are loaded"
    fetch_timeout = settings.jwt_fetch_timeout
    source = KeyUrl(place, fetch_timeout) if is_url(place) else KeyFile(Path(place))
    freshness = Freshness(settings.jwt_refresh_interval, settings.jwt_max_age)
    rules = JwtRules(issuer, settings.jwt_audience, settings.jwt_leeway)
    return JwtTokens(rules, KeyStore(source, freshness, instruments))


def targets(settings: Settings) -> TargetConfig:
    """Return how requests name sandboxes."""
    return TargetConfig(
        schemes=frozenset(Scheme(scheme.value) for scheme in settings.target_schemes),
        e2b_id=_header(settings.e2b_id_header),
        e2b_port=_header(settings.e2b_port_header),
        e2b_default_port=settings.e2b_default_port,
        agent_id=_header(settings.agent_id_header),
        agent_namespace=_header(settings.agent_namespace_header),
        agent_port=_header(settings.agent_port_header),
        agent_uid=_header(settings.agent_uid_header),
        agent_timeout=_header(settings.agent_timeout_header),
        agent_default_namespace=settings.agent_default_namespace,
        agent_default_port=settings.agent_default_port,
        host_suffixes=settings.host_suffixes,
        host_map=settings.host_map,
        path_prefix=settings.path_prefix.encode(),
    )


def _header(name: str) -> bytes:
    return name.lower().encode()


def front(settings: Settings, names: frozenset[bytes]) -> FrontConfig:
    """Return the limits of client connections; `names` are the fields that others read."""
    return FrontConfig(
        limits=RequestLimits(
            max_uri=settings.max_uri_bytes,
            max_head=settings.max_header_bytes,
            max_headers=settings.max_headers,
            max_body=settings.max_body_bytes,
        ),
        special_names=SPECIAL | names,
        trusted=_judge_of(settings.trusted_proxies),
        head_timeout=settings.request_head_timeout,
        keep_alive_timeout=settings.keep_alive_timeout,
        linger_timeout=settings.linger_timeout,
        max_connections=settings.max_connections,
        max_buffered=settings.max_buffered_bytes,
        keeps_cookie=settings.browser_login,
    )


def _judge_of(networks: tuple[Network, ...]) -> Callable[[str], bool]:
    def trusted(address: str) -> bool:
        if not networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in networks)

    return trusted


def reach(settings: Settings) -> ReachConfig:
    """Return how long requests wait and dial, and which of them never wake."""
    return ReachConfig(
        never_wake=NeverWake(
            methods=frozenset(method.encode() for method in settings.never_wake_methods),
            path_prefixes=tuple(path.encode() for path in settings.never_wake_paths),
            user_agents=tuple(agent.encode() for agent in settings.never_wake_user_agents),
            prefetch=settings.never_wake_prefetch,
            upgrades=settings.never_wake_upgrades,
        ),
        wait_timeout=settings.wait_timeout,
        dial_timeout=settings.upstream_dial_timeout,
        port_retry_timeout=settings.port_retry_timeout,
        page_after=settings.waiting_page_after,
        address_doubt=settings.address_doubt,
    )


def proxy(settings: Settings) -> ProxyConfig:
    """Return the times of an exchange, and what browsers are shown."""
    file = settings.page_template_file
    page = pages.DEFAULT if file is None else read_page_template(file)
    return ProxyConfig(
        timeouts=Timeouts(
            progress=settings.body_progress_timeout,
            response_head=settings.upstream_head_timeout,
            tunnel_idle=settings.tunnel_idle_timeout,
        ),
        preserve_host=settings.preserve_host,
        page=page,
    )


def wake(settings: Settings) -> WakeConfig:
    """Return how sandboxes are woken."""
    return WakeConfig(
        timeout=settings.wake_timeout,
        waiters_per_sandbox=settings.wake_waiters_per_sandbox,
        waiters_total=settings.wake_waiters_total,
        waiting_bytes_total=settings.wake_waiting_bytes,
        patches_per_second=settings.wake_patches_per_second,
        patches_burst=settings.wake_patches_burst,
        namespace_patches_per_second=settings.wake_namespace_patches_per_second,
        namespace_patches_burst=settings.wake_namespace_patches_burst,
        breaker_failures=settings.wake_breaker_failures,
        breaker_min=settings.wake_breaker_min,
        breaker_max=settings.wake_breaker_max,
    )


def plane(settings: Settings, credential_names: frozenset[bytes]) -> PlaneConfig:
    """Return the data plane's parts; `credential_names` are the fields that prove who asks."""
    named = targets(settings)
    names = named.header_names() | credential_names
    return PlaneConfig(
        front=front(settings, names | {b"cookie"} if settings.browser_login else names),
        targets=named,
        reach=reach(settings),
        proxy=proxy(settings),
        count=count(settings),
        closed_ports=frozenset({settings.resize_informant_port} if settings.resize else ()),
    )


def guard(settings: Settings) -> AddressGuard:
    """Return who judges where sandboxes may be."""
    return AddressGuard(
        settings.upstream_allow_cidrs, (*settings.upstream_deny_cidrs, *own_addresses())
    )


def pool(settings: Settings, instruments: Instruments, tls: TlsClient) -> Pool:
    """Return what connects to sandboxes."""
    return Pool(
        guard(settings),
        instruments,
        tls=tls,
        connect_timeout=settings.upstream_connect_timeout,
        dead_after=settings.upstream_dead_after,
        idle_timeout=settings.pool_idle_timeout,
        max_idle_per_sandbox=settings.pool_max_idle_per_sandbox,
        max_idle=settings.pool_max_idle,
    )


def count(settings: Settings) -> CountConfig:
    """Return which requests are a use of their sandbox."""
    return CountConfig(
        never_count=NeverCount(
            methods=frozenset(method.encode() for method in settings.uncounted_methods),
            path_prefixes=tuple(path.encode() for path in settings.uncounted_paths),
            user_agents=tuple(agent.encode() for agent in settings.uncounted_user_agents),
        ),
        pings=not settings.uncounted_pings,
    )


def idle(settings: Settings) -> IdleConfig:
    """Return when idle sandboxes are put to sleep."""
    return IdleConfig(
        concurrency=settings.standby_concurrency,
        min_uptime=settings.standby_min_uptime,
        deployments_after=settings.idle_deployments_after if settings.idle_deployments else None,
        notes_per_second=settings.activity_writes_per_second,
        cooldown=settings.hold_cooldown,
    )


def postponing(settings: Settings) -> PostponerConfig:
    """Return how is put off what platforms would end."""
    return PostponerConfig(settings.hold_cooldown, settings.standby_concurrency)


def admin(settings: Settings) -> AdminConfig:
    """Return where the admin listener is and who may ask it."""
    token_file = settings.admin_token_file
    return AdminConfig(
        host=settings.admin_listen.host,
        port=settings.admin_listen.port,
        token=read_secret(token_file) if token_file is not None else None,
    )


def watch_admin_token(
    settings: Settings, reloader: Reloader, replace: Callable[[str], None]
) -> None:
    """Have the admin token replaced when its file changes."""
    file = settings.admin_token_file
    if file is not None:
        reloader.watch("admin_token_file", [file], lambda: replace(read_secret(file)))


def calls(settings: Settings) -> CallConfig:
    """Return how other replicas are called: as this one is."""
    token_file = settings.admin_token_file
    return CallConfig(
        port=settings.admin_listen.port,
        token=read_secret(token_file) if token_file is not None else None,
    )


def observer_token(settings: Settings) -> str | None:
    """Return the token of observers, which was checked when settings were loaded."""
    file = settings.observer_token_file
    return None if file is None else read_secret(file)


def watch_observer_token(
    settings: Settings, reloader: Reloader, replace: Callable[[str], None]
) -> None:
    """Have the token of observers replaced when its file changes."""
    file = settings.observer_token_file
    if file is not None:
        reloader.watch("observer_token_file", [file], lambda: replace(read_secret(file)))


def tls(settings: Settings) -> TlsConfig:
    """Return the files of TLS, which were checked when settings were loaded."""
    return TlsConfig(
        data=_server_files(
            settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file
        ),
        admin=_server_files(
            settings.admin_tls_certificate_file,
            settings.admin_tls_key_file,
            settings.admin_tls_client_ca_file,
        ),
        upstream=ClientFiles(
            ca=settings.upstream_tls_ca_file,
            pair=_pair(settings.upstream_tls_certificate_file, settings.upstream_tls_key_file),
            verify=settings.upstream_tls_verify,
        ),
        handshake_timeout=settings.request_head_timeout,
    )


def _server_files(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> ServerFiles | None:
    pair = _pair(certificate, key)
    return None if pair is None else ServerFiles(pair, client_ca)


def _pair(certificate: Path | None, key: Path | None) -> KeyPair | None:
    if certificate is None or key is None:
        return None
    return KeyPair(certificate, key)


def tracer(settings: Settings, instruments: Instruments) -> OpenTelemetryTracer | None:
    """Return who records spans, if somebody is to; raise ModuleNotFoundError without the extra."""
    if settings.trace_endpoint is None:
        return None
    # Its libraries are an extra, and take a tenth of a second to load.
    from gateway.telemetry.opentelemetry import exporting  # noqa: PLC0415

    return exporting(settings.trace_endpoint, settings.trace_sample_ratio, instruments)


def log(settings: Settings) -> LogConfig:
    """Return how the program's own log is written."""
    return LogConfig(
        level=logging.getLevelNamesMapping()[settings.log_level.value.upper()],
        json=settings.log_format is LogFormat.JSON,
    )


def cluster(settings: Settings) -> ClusterConfig:
    """Return which Kubernetes API, and what of it."""
    return ClusterConfig(
        kubeconfig=str(settings.kubeconfig) if settings.kubeconfig is not None else None,
        context=settings.kube_context,
        namespaces=settings.namespaces,
        label_selector=settings.label_selector,
        list_page_size=settings.list_page_size,
        watch_timeout=settings.watch_timeout,
        watch_idle_timeout=settings.watch_idle_timeout,
        request_timeout=settings.kube_request_timeout,
        stale_after=settings.stale_after,
        begin_after=FENCE if settings.lease_name is not None else 0.0,
    )
