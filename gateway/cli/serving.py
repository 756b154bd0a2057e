"""`serve` and `local`: the commands that run the gateway."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gateway.cli.failures import Misconfigured
from gateway.local.options import LocalOptions, default_data_dir
from gateway.settings import Entry, ListenAddress, Settings, SettingsError, load
from gateway.settings.kinds import Refused, listen_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

API_LISTEN: Final = "127.0.0.1:8082"
#: What local mode takes where nobody says otherwise; `serve` differs.
LOCAL_DEFAULTS: Final = {
    "auth_mode": "none",
    "data_listen": "127.0.0.1:8080",
    "admin_listen": "127.0.0.1:8081",
    "log_format": "text",
    "drain_delay": "0s",
    "access_log": "false",
    "log_level": "warning",
    "standby": "true",
}

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file of settings. Default: $SBXGW_CONFIG.",
)


def load_settings(
    environ: Mapping[str, str],
    config: Path | None,
    options: Iterable[Entry] = (),
    defaults: Iterable[Entry] = (),
) -> Settings:
    """Return the settings, or stop with a message that names everything that is wrong."""
    try:
        return load(environ, file=config, options=options, defaults=defaults)
    except SettingsError as error:
        raise Misconfigured(_all_culprits(error.culprits)) from error


def _all_culprits(culprits: Iterable[object]) -> str:
    lines = [f"  {one}" for one in culprits]
    count = "one setting is" if len(lines) == 1 else f"{len(lines)} settings are"
    last = "Every setting, its meaning and its default: sandbox-gateway settings"
    return "\n".join((f"{count} wrong:", *lines, last))


def _entries(written: Mapping[str, tuple[str, str | None]]) -> list[Entry]:
    """Turn options (setting → option, value) into entries; those not given are left out."""
    return [
        Entry(name, value, option) for name, (option, value) in written.items() if value is not None
    ]


@click.command()
@config_option
@click.option(
    "--kubeconfig", help="Kubeconfig file. Default: the pod's account, else ~/.kube/config."
)
@click.option("--context", help="Context of the kubeconfig. Default: its current one.")
def serve(config: Path | None, kubeconfig: str | None, context: str | None) -> None:
    """Run the gateway in front of a cluster's sandboxes.

    It wants one decision of you: auth_mode, who may reach a sandbox.

    \b
    Examples:
      SBXGW_AUTH_MODE=access-token sandbox-gateway serve
      sandbox-gateway serve --config gateway.yaml --kubeconfig ~/.kube/config

    \b
    Next:
      curl http://127.0.0.1:8081/readyz       is it ready?
      sandbox-gateway list                    what does it see?
    """
    options = _entries(
        {"kubeconfig": ("--kubeconfig", kubeconfig), "kube_context": ("--context", context)}
    )
    settings = load_settings(os.environ, config, options)
    from gateway.app import serve as run  # noqa: PLC0415 - heavy, and only to run

    sys.exit(run(settings))


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where objects, logs and the kubeconfig are kept. "
    "Default: $XDG_STATE_HOME/sandbox-gateway or ~/.local/state/sandbox-gateway.",
)
@click.option("--listen", help="Address for requests to sandboxes.  [default: 127.0.0.1:8080]")
@click.option("--admin-listen", help="Address for health, metrics.  [default: 127.0.0.1:8081]")
@click.option(
    "--api-listen", default=API_LISTEN, show_default=True, help="Address of the embedded API."
)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file of objects to apply at the start. May be repeated.",
)
@click.option(
    "--crd",
    "crds",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file of a further CustomResourceDefinition to serve. May be repeated.",
)
@click.option("--demo", is_flag=True, help="Bring three sample sandboxes and tour the main job.")
@click.option(
    "--once",
    is_flag=True,
    help="End after the tour; the exit status tells whether every step held.",
)
@config_option
def local(
    data_dir: Path | None,
    listen: str | None,
    admin_listen: str | None,
    api_listen: str,
    files: tuple[Path, ...],
    crds: tuple[Path, ...],
    demo: bool,
    once: bool,
    config: Path | None,
) -> None:
    """Run everything on this machine, without a cluster.

    An embedded Kubernetes API, sandboxes that are local processes, and the gateway before them.
    Processes are no isolation: run what you would run anyway.

    \b
    Examples:
      sandbox-gateway local --demo            three samples and a tour
      sandbox-gateway local -f sandbox.yaml   your own

    \b
    Next, in another terminal:
      sandbox-gateway list
      sandbox-gateway explain default/demo-freezes
    """
    options = _entries(
        {
            "data_listen": ("--listen", listen),
            "admin_listen": ("--admin-listen", admin_listen),
        }
    )
    defaults = _entries({name: ("local mode", one) for name, one in LOCAL_DEFAULTS.items()})
    settings = load_settings(os.environ, config, options, defaults)
    chosen = LocalOptions(
        data_dir=(data_dir or default_data_dir(os.environ)).absolute(),
        listen=settings.data_listen,
        admin=settings.admin_listen,
        api=_api_address(api_listen),
        files=files,
        crds=crds,
        demo=demo,
        once=once,
    )
    _check_loopback(chosen)
    _check_plain(settings)
    from gateway.standalone import run  # noqa: PLC0415 - heavy, and only to run

    sys.exit(run(chosen, settings))


def _api_address(text: str) -> ListenAddress:
    kind = listen_address()
    try:
        return kind.parse(text)
    except Refused as error:
        raise Misconfigured(f"--api-listen: wanted {kind.accepts}") from error


def _check_loopback(options: LocalOptions) -> None:
    """Local mode starts processes for whoever reaches it: nobody else's machine may."""
    places = {
        "--listen": options.listen,
        "--admin-listen": options.admin,
        "--api-listen": options.api,
    }
    outside = [name for name, (host, _) in places.items() if not _is_loopback(host)]
    if outside:
        raise Misconfigured(
            f"{', '.join(outside)}: local mode listens on loopback only, such as 127.0.0.1:8080"
        )


def _check_plain(settings: Settings) -> None:
    """Its own tour and the addresses that it prints are plain HTTP, which stays on this machine."""
    given = (settings.tls_certificate_file, settings.admin_tls_certificate_file)
    if any(given):
        raise Misconfigured(
            "tls_certificate_file, admin_tls_certificate_file: local mode speaks plain HTTP; "
            "`serve --kubeconfig` can stand before the same sandboxes by TLS"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
