"""What the client commands share: which cluster, which Sandbox APIs, which sandbox."""

from __future__ import annotations

import functools
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from gateway.cli.advice import told
from gateway.cli.failures import Failed
from gateway.cli.program import PROGRAM
from gateway.cluster.direct import DirectClient, connect, find_kubeconfig, read_kubeconfig
from gateway.cluster.direct.kubeconfig import DEFAULT
from gateway.cluster.places import SERVICE_LABEL, SERVICES, SLICES, Places, join
from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.base import has_labels, section
from gateway.dialects.deployment import DEPLOYMENT, STATEFUL_SET
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.local.options import KUBECONFIG, default_data_dir
from gateway.sandbox.errors import ClusterError, ObjectGone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.dialects.base import Dialect, RawObject
    from gateway.sandbox.model import Backing, Route

LOCAL_NATIVE: Final = Native(local=True)
DIALECTS: Final[tuple[Dialect, ...]] = (
    Native(),
    Kruise(),
    AgentSandbox(),
    DEPLOYMENT,
    STATEFUL_SET,
)

# Kubernetes names: RFC 1123 labels and subdomains.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)


class SandboxName(NamedTuple):
    """Names a sandbox on the command line."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class SandboxNameType(click.ParamType[SandboxName]):
    """NAMESPACE/NAME."""

    name = "NAMESPACE/NAME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> SandboxName:
        """Read the argument."""
        if isinstance(value, SandboxName):
            return value
        namespace, slash, name = str(value).partition("/")
        if not slash:
            self.fail(f"write NAMESPACE/NAME, such as default/{value}", param, ctx)
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            self.fail("a Kubernetes name has lower-case letters, digits, - and .", param, ctx)
        return SandboxName(namespace, name)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The options that every client command takes."""

    kubeconfig: Path | None
    context: str | None
    dialect: str | None


def client_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets them as its first argument."""

    @click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or that of local mode.",
    )
    @click.option("--context", help="Context of the kubeconfig. Default: its current one.")
    @click.option(
        "--dialect",
        type=click.Choice([one.name for one in DIALECTS]),
        help="Ask this Sandbox API only. Default: every one that is served.",
    )
    @functools.wraps(command)
    def with_options(
        kubeconfig: Path | None, context: str | None, dialect: str | None, **others: Any
    ) -> None:
        command(ClientOptions(kubeconfig, context, dialect), **others)

    return with_options


@dataclass(frozen=True, slots=True)
class Found:
    """A sandbox as the API has it, and what it was judged to be."""

    dialect: Dialect
    raw: RawObject
    route: Route


@dataclass(frozen=True, slots=True)
class OpenCluster:
    """A cluster that commands talk to."""

    client: DirectClient
    dialects: tuple[Dialect, ...]

    def find(self, name: SandboxName) -> Found:
        """Return the one sandbox of this name; raise Failed or a ClusterError."""
        found: list[Found] = []
        errors: list[ClusterError] = []
        for dialect in self.dialects:
            try:
                found.append(self.get(dialect, name))
            except ObjectGone:
                continue
            except ClusterError as error:
                errors.append(error)
        return _only(name, found, errors)

    def get(self, dialect: Dialect, name: SandboxName) -> Found:
        """Read and judge a sandbox, and find out where it is."""
        raw = self.client.get(dialect.resource, name.namespace, name.name)
        if not has_labels(raw, dialect.required_labels):
            raise ObjectGone(f"the {dialect.resource.kind} {name} is no sandbox")
        found = judged(dialect, raw)
        backing = found.route.backing
        if backing is None:
            return found
        places = self._places_of(name.namespace, backing)
        return replace(found, route=join(found.route, places.of(name.namespace, backing)))

    def _places_of(self, namespace: str, backing: Backing) -> Places:
        places = Places()
        if backing.named:
            with suppress(ObjectGone):
                places.services.put(self.client.get(SERVICES, namespace, backing.service))
        selector = f"{SERVICE_LABEL}={backing.service}"
        for raw in self.client.list(SLICES, namespace, selector):
            places.slices.put(raw)
        return places

    def all_places(self, namespace: str | None) -> Places:
        """Return where all workloads of a namespace (None: of all) are."""
        places = Places()
        for resource, table in ((SLICES, places.slices), (SERVICES, places.services)):
            for raw in self.client.list(resource, namespace):
                table.put(raw)
        return places


def judged(dialect: Dialect, raw: RawObject) -> Found:
    """Judge an object as its gateway does; raise MalformedObject.

    spec.process is for local mode alone, whose gateway lets only the process's own port be reached.
    """
    if isinstance(dialect, Native) and section(raw, "spec").get("process") is not None:
        dialect = LOCAL_NATIVE
    return Found(dialect, raw, dialect.route(raw))


def _only(name: SandboxName, found: list[Found], errors: list[ClusterError]) -> Found:
    if len(found) > 1:
        choices = " or ".join(f"--dialect {one.dialect.name}" for one in found)
        raise Failed(
            f"two sandboxes are named {name}, so no request that names it reaches either\n"
            f"Choose one: {choices}"
        )
    if found:
        return found[0]
    if errors:
        raise errors[0]
    raise Failed(f"there is no sandbox {name}\nSee which there are: {PROGRAM} list")


@contextmanager
def open_cluster(options: ClientOptions) -> Iterator[OpenCluster]:
    """Give the cluster that the options mean; what goes wrong with it becomes a message."""
    with told("no kubeconfig was read"):
        path = find_kubeconfig(options.kubeconfig, os.environ, _fallbacks())
        access = read_kubeconfig(path, options.context)
    with (
        told(f"context {access.context} of {path}"),
        DirectClient(connect(access)) as client,
    ):
        yield OpenCluster(client, _dialects(options.dialect))


def _fallbacks() -> list[Path]:
    return [Path.home() / DEFAULT, default_data_dir(os.environ) / KUBECONFIG]


def _dialects(chosen: str | None) -> tuple[Dialect, ...]:
    return tuple(one for one in DIALECTS if chosen in (None, one.name))
