"""`list` and `explain`: looking, changing nothing."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

import click

from gateway.admin.summary import summary
from gateway.cli.cluster import (
    ClientOptions,
    OpenCluster,
    SandboxName,
    SandboxNameType,
    client_options,
    judged,
    open_cluster,
)
from gateway.cli.failures import Failed
from gateway.cli.program import PROGRAM
from gateway.cluster.errors import ApiNotInstalled
from gateway.cluster.places import Places, join
from gateway.dialects.base import selector_of
from gateway.explain import explain as explained
from gateway.sandbox.errors import ClusterError, MalformedObject
from gateway.sandbox.texts import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.dialects.base import Dialect, RawObject
    from gateway.sandbox.model import Route

COLUMNS: Final = ("NAMESPACE", "NAME", "DIALECT", "STATE", "WAKE", "ADDRESS", "ID")

#: This command reads the object; what a gateway does with it just now only the gateway knows.
GATEWAYS_VIEW: Final = """
What a gateway is at with it just now (requests that wait, wakes that failed and are put off):
  curl http://ADMIN-ADDRESS/api/v1/sandboxes/{name}/explain"""

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="How to print.",
)


@click.command("list")
@client_options
@click.option("-n", "--namespace", help="Only this namespace. Default: all.")
@click.option("-l", "--selector", default="", help="Only those with these labels: app=web,tier=a.")
@output_option
def list_command(options: ClientOptions, namespace: str | None, selector: str, output: str) -> None:
    """List the sandboxes and what the gateway makes of them.

    \b
    STATE    creating running pausing paused resuming blocked dead
    WAKE     on: a request to it wakes it; off: a request to it is refused while it sleeps
    ADDRESS  where it answers, while it runs
    ID       what requests name it by (header e2b-sandbox-id)

    \b
    Next:  sandbox-gateway explain NAMESPACE/NAME
    """
    with open_cluster(options) as cluster:
        routes = sorted(_routes(cluster, namespace, selector), key=lambda one: one.key)
    if output == "json":
        _print_json(routes)
    elif routes:
        _print_table(routes)
    else:
        click.echo("there are no sandboxes", err=True)


def _routes(cluster: OpenCluster, namespace: str | None, selector: str) -> Iterator[Route]:
    """Judge everything. One API that cannot be had is told of; if that goes for all, it fails."""
    missing: list[str] = []
    refused: list[ClusterError] = []
    for dialect in cluster.dialects:
        try:
            selectors = ",".join(filter(None, (selector, selector_of(dialect.required_labels))))
            objects = cluster.client.list(dialect.resource, namespace, selectors)
            places = cluster.all_places(namespace) if dialect.by_service and objects else Places()
        except ApiNotInstalled:
            missing.append(dialect.name)
            continue
        except ClusterError as error:
            click.echo(f"{PROGRAM}: {dialect.name}: {error}", err=True)
            refused.append(error)
            continue
        yield from _judged(dialect, objects, places)
    if len(missing) + len(refused) == len(cluster.dialects):
        raise _nothing_asked(missing, refused)


def _nothing_asked(missing: list[str], refused: list[ClusterError]) -> Exception:
    if refused:
        return refused[0]
    return Failed(
        f"this cluster serves no Sandbox API of: {', '.join(missing)}\n"
        "Install its CustomResourceDefinition (the Helm chart brings the native one)."
    )


def _judged(dialect: Dialect, objects: list[RawObject], places: Places) -> Iterator[Route]:
    for raw in objects:
        try:
            route = judged(dialect, raw).route
            backing = route.backing
            yield join(route, places.of(route.key.namespace, backing)) if backing else route
        except MalformedObject as error:
            name = _named(raw)
            click.echo(f"{PROGRAM}: {name} cannot be judged and is not routed: {error}", err=True)


def _named(raw: RawObject) -> str:
    metadata = raw.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return plain(f"{known.get('namespace')}/{known.get('name')}")


def _print_json(routes: Sequence[Route]) -> None:
    now = time.time()
    click.echo(json.dumps([summary(route, now) for route in routes], indent=2))


def _print_table(routes: Sequence[Route]) -> None:
    now = time.time()
    rows = [COLUMNS]
    for route in routes:
        key = route.key
        rows.append(
            (
                key.namespace,
                key.name,
                key.dialect,
                route.state_at(now).value,
                "on" if route.wake.enabled else "off",
                route.address or "-",
                plain(route.id),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@click.command()
@client_options
@click.argument("name", type=SandboxNameType(), metavar="NAMESPACE/NAME")
@output_option
def explain(options: ClientOptions, name: SandboxName, output: str) -> None:
    """Explain a sandbox: its state and why, and what a request to it would meet.

    \b
    Example:  sandbox-gateway explain default/demo
    """
    with open_cluster(options) as cluster:
        found = cluster.find(name)
        told = explained(found.route, found.raw, found.dialect, time.time())
    if output == "json":
        click.echo(json.dumps(told.as_json(), indent=2))
        return
    click.echo(told.as_text())
    click.echo(GATEWAYS_VIEW.format(name=name))
