"""`informant`: what runs in a sandbox, so that the sandbox gets what it needs and no more."""

from __future__ import annotations

import asyncio

import click

from gateway.cli.failures import Failed
from gateway.cli.running import configure_log, log_options, until_told


class Address(click.ParamType[tuple[str, int]]):
    """`host:port`; a host in brackets is an IPv6 address."""

    name = "address"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return host and port, or fail as click has it."""
        host, colon, port = value.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            self.fail("wanted host:port, such as 0.0.0.0:10301 or [::]:10301", param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


@click.command()
@click.option(
    "--listen",
    type=Address(),
    metavar="HOST:PORT",
    default="0.0.0.0:10301",
    show_default=True,
    help="Where agents find it. The gateway expects port 10301.",
)
@click.option(
    "--load",
    type=click.Choice(("auto", "machine", "cgroup")),
    default="auto",
    show_default=True,
    help="What is measured: a machine of its own (/proc), or a container (control groups v2). "
    "auto: what this is; a container that cannot be measured is not taken for a machine.",
)
@log_options
def informant(listen: tuple[str, int], load: str, log_level: str, log_format: str) -> None:
    """Say how much this sandbox needs, to the gateway that sees to its size.

    It runs inside the sandbox, in the container that is to grow and to shrink, beside the workload.
    It needs no privilege and no configuration, and it changes nothing: it reads, and it answers.

    \b
    What it does:
      - tells the load and the memory in use (Prometheus text at /metrics);
      - asks for more at once when memory runs short, before the kernel kills for it,
        or when the CPU limit holds the sandbox up;
      - agrees to having less, but not to less memory than is in use.

    \b
    Example, in the image's start script:
      sandbox-gateway informant &
      exec my-workload

    A machine's load average is that of all that runs on it; a container's is the node's, and says
    nothing of the container. So there the load is what the container uses of CPUs, and the time
    that it waits for one.

    Whoever reaches the port can speak for the gateway: let only the gateway reach it.

    Exit status: 1 it cannot measure or cannot listen here, 2 wrong usage.
    """
    configure_log(log_level, log_format)
    from gateway.agents.informant.informant import Informant, InformantConfig  # noqa: PLC0415
    from gateway.resize.guest.sources import Place, Unmeasurable  # noqa: PLC0415

    host, port = listen
    try:
        asyncio.run(until_told(Informant(InformantConfig(host, port, Place(load))).run()))
    except Unmeasurable as error:
        raise Failed(f"{error}\nWhat can be measured, --load says.") from error
    except OSError as error:
        raise Failed(f"--listen: {error.strerror or error}") from error
