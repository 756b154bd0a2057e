"""Kubeconfig files: which one is meant, and how it says to reach a cluster.

What this client does not do (proxies, impersonation, plug-ins long removed from Kubernetes) is
refused by name: leaving it out in silence would act on another cluster or as another user.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class KubeconfigError(Exception):
    """There is no usable kubeconfig; the text says what to mend and holds no credential."""


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints a credential (client.authentication.k8s.io)."""

    api_version: str
    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    install_hint: str = ""
    wants_cluster: bool = False
    interactive: str = "IfAvailable"


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one cluster as one user.

    `server` holds no credential, so it may be shown. `basic` is user:password. Certificates and
    keys are PEM.
    """

    server: str
    context: str = ""
    namespace: str = "default"
    ca: str | None = None
    insecure: bool = False
    tls_server_name: str | None = None
    token: str | None = field(default=None, repr=False)
    basic: str | None = field(default=None, repr=False)
    client_certificate: str | None = field(default=None, repr=False)
    client_key: str | None = field(default=None, repr=False)
    plugin: ExecPlugin | None = None


#: Where a user's kubeconfig lies below the home directory.
DEFAULT: Final = Path(".kube", "config")

_UNSUPPORTED_CLUSTER: Final = {"proxy-url": "a proxy in front of the cluster"}
_UNSUPPORTED_USER: Final = {
    "auth-provider": "auth-provider (use an exec plugin)",
    "as": "impersonation",
    "as-uid": "impersonation",
    "as-groups": "impersonation",
}
_PLUGIN_VERSIONS: Final = tuple(
    f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1")
)


def find_kubeconfig(
    explicit: Path | None, environ: Mapping[str, str], fallbacks: Iterable[Path]
) -> Path:
    """Return the kubeconfig that is meant; raise KubeconfigError if none exists.

    An explicit one, else the first that exists of $KUBECONFIG, else the first of the fallbacks.
    """
    if explicit is not None:
        if explicit.is_file():
            return explicit
        raise KubeconfigError(f"{explicit}: there is no such file")
    named = [Path(one) for one in environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    candidates = named or list(fallbacks)
    for path in candidates:
        if path.is_file():
            return path
    looked = ", ".join(map(str, candidates))
    raise KubeconfigError(f"no kubeconfig found (looked for {looked})")


def read_kubeconfig(path: Path, context: str | None = None) -> Access:
    """Return how to reach the cluster of a context (None: the current one)."""
    config = _load(path)
    name = context or _text(config, "current-context")
    if not name:
        raise KubeconfigError(f"{path}: has no current-context; choose one with --context")
    chosen = _named(config, "contexts", "context", name, path)
    cluster = _named(config, "clusters", "cluster", _text(chosen, "cluster") or "", path)
    user_name = _text(chosen, "user")
    user = _named(config, "users", "user", user_name, path) if user_name else {}
    _refuse(cluster, _UNSUPPORTED_CLUSTER, path)
    _refuse(user, _UNSUPPORTED_USER, path)
    return _access(path, name, chosen, cluster, user)


def _access(
    path: Path,
    name: str,
    context: dict[str, Any],
    cluster: dict[str, Any],
    user: dict[str, Any],
) -> Access:
    insecure = cluster.get("insecure-skip-tls-verify") is True
    ca = _pem(cluster, "certificate-authority", path)
    if insecure and ca is not None:
        raise KubeconfigError(f"{path}: insecure-skip-tls-verify contradicts its CA certificate")
    certificate, key = _pem(user, "client-certificate", path), _pem(user, "client-key", path)
    if (certificate is None) != (key is None):
        raise KubeconfigError(f"{path}: a client certificate and its key belong together")
    server, userinfo = _server(cluster, path)
    return Access(
        server=server,
        context=name,
        namespace=_text(context, "namespace") or "default",
        ca=ca,
        insecure=insecure,
        tls_server_name=_text(cluster, "tls-server-name"),
        token=_token(user, path),
        basic=_basic(user) or userinfo,
        client_certificate=certificate,
        client_key=key,
        plugin=_plugin(user, path),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KubeconfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{path}: is not YAML") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"{path}: is not a kubeconfig")
    return config


def _named(config: dict[str, Any], plural: str, kind: str, name: str, path: Path) -> dict[str, Any]:
    entries = config.get(plural)
    named = {
        str(one.get("name")): one.get(kind)
        for one in (entries if isinstance(entries, list) else [])
        if isinstance(one, dict)
    }
    found = named.get(name)
    if isinstance(found, dict):
        return found
    known = ", ".join(sorted(named)) or "none"
    raise KubeconfigError(f"{path}: has no {kind} {name!r} (it has: {known})")


def _refuse(section: dict[str, Any], unsupported: Mapping[str, str], path: Path) -> None:
    for field_name, meaning in unsupported.items():
        if section.get(field_name):
            raise KubeconfigError(f"{path}: {field_name} is not supported here: {meaning}")


def _server(cluster: dict[str, Any], path: Path) -> tuple[str, str | None]:
    """Return the URL without its userinfo, and the userinfo: as basic credentials, it is secret."""
    wrong = f"{path}: the cluster's server is not an http or https URL"
    try:
        parts = urlsplit((_text(cluster, "server") or "").rstrip("/"))
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise KubeconfigError(wrong) from error
    if not usable:
        raise KubeconfigError(wrong)
    userinfo, at, authority = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=authority)), unquote(userinfo) if at else None


def _basic(user: dict[str, Any]) -> str | None:
    name = _text(user, "username")
    return None if name is None else f"{name}:{_text(user, 'password') or ''}"


def _text(section: dict[str, Any], name: str) -> str | None:
    value = section.get(name)
    return value if isinstance(value, str) and value else None


def _pem(section: dict[str, Any], name: str, path: Path) -> str | None:
    """Return a certificate or key given inline in base64, or by a file beside the kubeconfig."""
    inline = _text(section, f"{name}-data")
    if inline is not None:
        try:
            return base64.b64decode(inline, validate=True).decode("ascii")
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"{path}: {name}-data is not PEM in base64") from error
    named = _text(section, name)
    return None if named is None else _read(path.parent / named, name)


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise KubeconfigError(f"{name}: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KubeconfigError(f"{name}: {path}: is not ASCII text") from error


def _token(user: dict[str, Any], path: Path) -> str | None:
    """Return the token; where both are given, the file comes before the inline one."""
    token_file = _text(user, "tokenFile")
    if token_file is None:
        return _text(user, "token")
    return _read(path.parent / token_file, "tokenFile").strip()


def _plugin(user: dict[str, Any], path: Path) -> ExecPlugin | None:
    spec = user.get("exec")
    if not isinstance(spec, dict):
        return None
    command, version = _text(spec, "command"), _text(spec, "apiVersion")
    if command is None or version not in _PLUGIN_VERSIONS:
        wanted = " or ".join(_PLUGIN_VERSIONS)
        raise KubeconfigError(f"{path}: exec needs a command and apiVersion {wanted}")
    if os.sep in command:
        command = str(path.parent / command)
    env = [one for one in spec.get("env") or [] if isinstance(one, dict)]
    return ExecPlugin(
        api_version=version,
        command=command,
        args=tuple(str(one) for one in spec.get("args") or []),
        env=tuple((str(one.get("name")), str(one.get("value", ""))) for one in env),
        install_hint=_text(spec, "installHint") or "",
        wants_cluster=spec.get("provideClusterInfo") is True,
        interactive=_text(spec, "interactiveMode") or "IfAvailable",
    )
