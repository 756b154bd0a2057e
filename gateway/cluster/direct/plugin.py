"""Running an exec plugin: a program that prints a credential for the cluster.

The protocol is client.authentication.k8s.io `v1` and `v1beta1`, which differ in their names only.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.cluster.direct.kubeconfig import KubeconfigError

if TYPE_CHECKING:
    from gateway.cluster.direct.kubeconfig import Access, ExecPlugin

#: Seconds that a plugin may take: people may log in meanwhile.
TIMEOUT: Final = 180.0


@dataclass(frozen=True, slots=True)
class Issued:
    """What a plugin gave."""

    token: str | None = field(default=None, repr=False)
    client_certificate: str | None = field(default=None, repr=False)
    client_key: str | None = field(default=None, repr=False)


def issue(plugin: ExecPlugin, access: Access) -> Issued:
    """Run the plugin; raise KubeconfigError, which never repeats what the plugin printed."""
    interactive = plugin.interactive != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if plugin.interactive == "Always" and not interactive:
        raise KubeconfigError(f"{plugin.command} wants a terminal to ask questions in")
    environ = os.environ | dict(plugin.env)
    environ["KUBERNETES_EXEC_INFO"] = json.dumps(_exec_info(plugin, access, interactive))
    try:
        done = subprocess.run(  # noqa: S603 - the kubeconfig's owner chose this program
            [plugin.command, *plugin.args],
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environ,
            timeout=TIMEOUT,
            check=False,
        )
    except OSError as error:
        hint = f"\n{plugin.install_hint}" if plugin.install_hint else ""
        raise KubeconfigError(f"{plugin.command}: {error.strerror}{hint}") from error
    except subprocess.TimeoutExpired as error:
        raise KubeconfigError(f"{plugin.command}: not done after {TIMEOUT:g} s") from error
    if done.returncode != 0:
        raise KubeconfigError(f"{plugin.command}: failed with status {done.returncode}")
    return _issued(done.stdout, plugin)


def _exec_info(plugin: ExecPlugin, access: Access, interactive: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.wants_cluster:
        cluster: dict[str, Any] = {"server": access.server}
        if access.tls_server_name:
            cluster["tls-server-name"] = access.tls_server_name
        if access.insecure:
            cluster["insecure-skip-tls-verify"] = True
        if access.ca:
            cluster["certificate-authority-data"] = base64.b64encode(access.ca.encode()).decode()
        spec["cluster"] = cluster
    return {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}


def _issued(printed: bytes, plugin: ExecPlugin) -> Issued:
    try:
        credential = json.loads(printed)
        status = credential["status"]
        same_version = credential["apiVersion"] == plugin.api_version
        given = Issued(
            token=status.get("token"),
            client_certificate=status.get("clientCertificateData"),
            client_key=status.get("clientKeyData"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KubeconfigError(f"{plugin.command}: printed no ExecCredential") from error
    if not same_version:
        raise KubeconfigError(f"{plugin.command}: answers in another version than asked for")
    if given.token is None and given.client_certificate is None:
        raise KubeconfigError(f"{plugin.command}: printed an ExecCredential without a credential")
    return given
