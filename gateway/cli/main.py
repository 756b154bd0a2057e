"""The command line: which commands there are. Each one's module is imported when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Final

import click

from gateway import __version__
from gateway.cli.program import PROGRAM


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is defined, and what it does in a few words."""

    module: str
    name: str
    meaning: str


COMMANDS: Final = {
    "serve": Place("serving", "serve", "Run the gateway in front of a cluster's sandboxes."),
    "local": Place("serving", "local", "Run everything on this machine, without a cluster."),
    "list": Place("show", "list_command", "List the sandboxes and their states."),
    "explain": Place("show", "explain", "Explain a sandbox: its state, why, and what to do."),
    "wake": Place("change", "wake", "Wake a sandbox by hand."),
    "pause": Place("change", "pause", "Put a sandbox to sleep by hand."),
    "pin": Place("hold", "pin", "Keep a sandbox awake until it is unpinned."),
    "unpin": Place("hold", "unpin", "Take the pin off: it may sleep again once it is idle."),
    "hold": Place("hold", "hold", "Keep a sandbox awake for a while."),
    "mint": Place("mint", "mint", "Mint a token for one sandbox, or a key to mint with."),
    "observe": Place("observe", "observe", "Tell the gateway of connections that do not pass it."),
    "informant": Place("informant", "informant", "Tell, in a sandbox, how much it needs."),
    "settings": Place("reference", "settings", "Print every setting, or check those in force."),
    "version": Place("reference", "version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is used, so that no other one pays for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands' names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        try:
            found = getattr(import_module(f"gateway.cli.{place.module}"), place.name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "gateway":
                raise
            raise click.ClickException(
                f"{cmd_name} needs {error.name}, which is not installed: "
                "pip install 'sandbox-gateway[gateway]'"
            ) from error
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.meaning) for name, place in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """Wake-on-traffic reverse proxy for sandboxes on Kubernetes.

    A request to a sleeping sandbox wakes it, waits, and is answered by it.

    \b
    Try it here, without a cluster:
      sandbox-gateway local --demo
    Run it in front of a cluster:
      sandbox-gateway serve --config gateway.yaml
    Look at sandboxes, wherever they are:
      sandbox-gateway list
      sandbox-gateway explain default/demo-freezes

    Exit status: 0 done, 1 failed, 2 wrong usage or settings.
    """


def main() -> None:
    """Run the program."""
    cli(prog_name=PROGRAM)
