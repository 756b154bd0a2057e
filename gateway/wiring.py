"""Settings handed down: each package gets its own part, in its own words."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

from gateway.admin.server import AdminConfig
from gateway.auth.authenticator import AccessTokens, NoAuth, ScopedTokens
from gateway.cluster.config import ClusterConfig
from gateway.proxy import pages
from gateway.proxy.exchange import Timeouts
from gateway.proxy.front import FrontConfig
from gateway.proxy.handler import ProxyConfig
from gateway.proxy.parser import SPECIAL, RequestLimits
from gateway.proxy.plane import PlaneConfig
from gateway.proxy.reach import ReachConfig
from gateway.proxy.target import Scheme, TargetConfig
from gateway.sandbox.policy import NeverWake
from gateway.settings import AuthMode, LogFormat, read_page_template, read_secret, read_token_keys
from gateway.telemetry.logs import LogConfig
from gateway.wake.config import WakeConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.authenticator import Authenticator
    from gateway.settings import Settings
    from gateway.upstream.addresses import Network


def authenticator(settings: Settings) -> Authenticator:
    """Return the way in which requests prove who they are."""
    if settings.auth_mode is AuthMode.ACCESS_TOKEN:
        return AccessTokens(allow_tokenless=settings.allow_tokenless)
    if settings.auth_mode is AuthMode.SCOPED_TOKEN:
        assert settings.scoped_token_keys_file is not None, "checked when settings are loaded"
        return ScopedTokens(read_token_keys(settings.scoped_token_keys_file))
    return NoAuth()


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
    return PlaneConfig(
        front=front(settings, named.header_names() | credential_names),
        targets=named,
        reach=reach(settings),
        proxy=proxy(settings),
    )


def admin(settings: Settings) -> AdminConfig:
    """Return where the admin listener is and who may ask it."""
    token_file = settings.admin_token_file
    return AdminConfig(
        host=settings.admin_listen.host,
        port=settings.admin_listen.port,
        token=read_secret(token_file) if token_file is not None else None,
    )


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
    )
