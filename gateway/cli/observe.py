"""`observe`: what runs on each node, so that connections past the gateway keep sandboxes awake."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import click
from yarl import URL

from gateway.auth.key_files import SecretError, read_secret
from gateway.cli.failures import Failed, Misconfigured
from gateway.cli.running import configure_log, log_options, until_told


@click.command()
@click.option(
    "--gateway",
    required=True,
    metavar="URL",
    help="The admin listener of all replicas: http or https, a name, a port. The name is looked "
    "up again and again, and every address that it has is told: name a headless Service.",
)
@click.option(
    "--token-file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the bearer token that the gateway has as observer_token_file.",
)
@click.option(
    "--node",
    required=True,
    envvar="NODE_NAME",
    show_envvar=True,
    help="The name of this node, as Kubernetes has it (spec.nodeName).",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Certificates that an https gateway's must come from. Default: the system's.",
)
@log_options
def observe(
    gateway: str,
    token_file: Path,
    node: str,
    ca_file: Path | None,
    log_level: str,
    log_format: str,
) -> None:
    """Tell the gateway of connections to sandboxes that do not pass it.

    It runs on every node, in the node's network namespace, as root with the capability NET_ADMIN
    and no other. It follows what the kernel tracks of TCP connections (IPv4 and IPv6), and tells
    every replica how many lead to each sandbox, so that one in use is not put to sleep. It sends
    addresses, ports and numbers; it never sees what a connection carries, and listens nowhere.

    \b
    Example:
      sandbox-gateway observe --node "$NODE_NAME" \\
          --gateway https://gateway-observers.sandboxes.svc:8081 --token-file /etc/observer/token

    The gateway wants observe_connections: true and observer_token_file. Where it runs but no
    observer is connected, nothing sleeps: that is the safe side.

    \b
    It sees what the node's kernel tracks, and no more:
      - TCP only: no UDP, and so no HTTP/3;
      - nothing of a network that goes around the kernel's tracking, as Cilium does where it
        takes the place of kube-proxy; do not rely on it there.
    Try it on a node: `conntrack -L -p tcp` must list the connections to a pod.

    Exit status: 1 it can never observe as it was started, 2 wrong usage. All else is tried again.
    """
    configure_log(log_level, log_format)
    _check_token(token_file)
    from gateway.agents.observe.errors import Unable  # noqa: PLC0415 - heavy, and only to run
    from gateway.agents.observe.observer import ObserveConfig, Observer  # noqa: PLC0415

    config = ObserveConfig(node, _url(gateway), token_file, _tls(ca_file))
    try:
        asyncio.run(until_told(Observer(config).run()))
    except Unable as error:
        raise Failed(str(error)) from error


def _url(text: str) -> URL:
    try:
        url = URL(text)
        wrong = url.scheme not in {"http", "https"} or not url.host or url.path not in {"", "/"}
    except ValueError:
        wrong = True
    if wrong:
        raise Misconfigured(
            "--gateway: wanted http or https, a name and a port, such as "
            "https://gateway-observers.sandboxes.svc:8081"
        )
    return url


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise Misconfigured("--ca-file: it holds no certificates") from error


def _check_token(file: Path) -> None:
    try:
        read_secret(file)
    except SecretError as error:
        raise Misconfigured(f"--token-file: {error}") from error
