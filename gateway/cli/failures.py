"""How a command fails: one message that says what to do next, and an exit status."""

from __future__ import annotations

from typing import IO, Any

import click

from gateway.cli.program import PROGRAM


class Failed(click.ClickException):
    """What was asked for did not happen."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message."""
        click.echo(f"{PROGRAM}: {self.message}", file=file, err=file is None)


class Misconfigured(Failed):
    """The command cannot begin as it was set up."""

    exit_code = 2
