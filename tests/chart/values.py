"""Values to render the chart with: the fewest, all at once, and what lies between."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from gateway.settings import AuthMode, DialectName

if TYPE_CHECKING:
    from tests.chart.helm import Values


def minimal(**settings: object) -> Values:
    """Return values with the two choices that have no default, and these settings."""
    chosen = {"auth_mode": "access-token"} | settings
    return {"image": {"repository": "registry.example.com/gateway"}, "settings": chosen}


def merged(values: Values, more: Values) -> Values:
    """Return values with more of them, as helm takes several files."""
    result = copy.deepcopy(values)
    for name, value in more.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if both else value
    return result


TLS: Final[dict[str, Any]] = {
    "tls": {"secret": "edge-tls", "clientCa": True},
    "adminTls": {"secret": "admin-tls"},
    "upstreamTls": {"secret": "upstream-tls"},
    "upstreamCa": {"configMap": "sandbox-ca"},
}

STANDBY: Final = merged(minimal(standby=True), {"files": {"adminToken": {"secret": "admin"}}})
RESIZE: Final = merged(minimal(resize=True), {"files": {"adminToken": {"secret": "admin"}}})
OBSERVED: Final = merged(
    STANDBY,
    {"files": {"observerToken": {"secret": "observers"}}, "observer": {"enabled": True}},
)

EVERYTHING: Final = merged(
    minimal(
        auth_mode="jwt",
        jwt_issuer="https://issuer.example.com",
        dialects=[one.value for one in DialectName],
        namespaces=["team-a", "team-b"],
        host_suffixes=["sandboxes.example.com"],
        host_map={"a.example.com": "team-a--a:8080"},
        browser_login=True,
        trusted_proxies=["10.0.0.0/8"],
        max_connections=10_000_000,
        wake_namespace_patches_per_second=2.5,
        max_body_bytes=0,
        drain_delay="1500ms",
        drain_timeout="1h0m2s",
        standby=True,
        idle_deployments=True,
        resize=True,
        resize_cpu_unit=0.5,
    ),
    {
        "image": {"digest": "sha256:" + "0a" * 32},
        "imagePullSecrets": [{"name": "registry"}],
        "files": TLS
        | {
            "adminToken": {"secret": "admin"},
            "observerToken": {"secret": "observers"},
            "traceHeaders": {"secret": "collector"},
            "jwks": {"configMap": "keys"},
            "ca": {"configMap": "authorities", "key": "all.crt"},
            "pageTemplate": {"configMap": "page"},
        },
        "autoscaling": {"enabled": True},
        "observer": {"enabled": True, "ca": {"configMap": "admin-ca"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "edge",
        "podLabels": {"team": "edge"},
        "podAnnotations": {"example.com/a": "b"},
        "serviceAccount": {"annotations": {"example.com/a": "b"}},
        "service": {"type": "LoadBalancer", "port": 443, "annotations": {"example.com/a": "b"}},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "3600"},
            "hosts": ["*.sandboxes.example.com"],
            "tls": [{"hosts": ["*.sandboxes.example.com"], "secretName": "wildcard"}],
        },
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public"}],
            "hostnames": ["*.sandboxes.example.com"],
        },
        "networkPolicy": {
            "enabled": True,
            "dataFrom": [{"podSelector": {"matchLabels": {"app": "ingress"}}}],
            "adminFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "apiTo": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
            "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]}],
        },
        "sandboxNetworkPolicy": {"enabled": True},
        "serviceMonitor": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "tlsConfig": {"serverName": "gateway"},
        },
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    },
)

SCOPED: Final = {"files": {"scopedTokenKeys": {"secret": "keys"}}}

MATRIX: Final[dict[str, Values]] = {
    "minimal": minimal(),
    "everything": EVERYTHING,
    "scoped-token": merged(minimal(auth_mode=AuthMode.SCOPED_TOKEN.value), SCOPED),
    "jwt by URL": minimal(
        auth_mode="jwt", jwt_issuer="https://a.example.com", jwt_jwks="https://a.example.com/keys"
    ),
    "nobody is asked who they are": minimal(auth_mode="none"),
    "idle sandboxes sleep": STANDBY,
    "connections are observed": OBSERVED,
    "running sandboxes are right-sized": RESIZE,
    "IPv6": merged(
        RESIZE,
        {
            "settings": {
                "data_listen": "[::]:9000",
                "admin_listen": "[::]:9001",
                "resize_listen": "[::]:9002",
            }
        },
    ),
    **{
        f"{one.value} in {len(namespaces) or 'all'} namespaces": minimal(
            dialects=[one.value], namespaces=namespaces
        )
        for one in DialectName
        for namespaces in ([], ["team-a"])
    },
    "all policies, cluster-wide": merged(
        minimal(),
        {
            "networkPolicy": {"enabled": True},
            "sandboxNetworkPolicy": {"enabled": True, "namespaces": ["sandboxes"]},
        },
    ),
    "nothing that can be left out": merged(
        minimal(),
        {
            "serviceAccount": {"create": False, "name": "own"},
            "rbac": {"create": False},
            "admissionPolicy": {"enabled": False},
            "podDisruptionBudget": {"enabled": False},
            "topologySpread": {"topologyKeys": []},
        },
    ),
}
