"""`settings` and `version`: what this program is and how it is set up."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import click

from gateway import __version__
from gateway.cli.program import PROGRAM
from gateway.cli.serving import config_option, load_settings
from gateway.settings.model import effective
from gateway.settings_doc import as_text

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option("--check", is_flag=True, help="Check the settings in force here and print them.")
@config_option
def settings(check: bool, config: Path | None) -> None:
    """Print every setting: its meaning, its default, its environment variable.

    \b
    Examples:
      sandbox-gateway settings
      sandbox-gateway settings --check --config gateway.yaml
    """
    if check or config is not None:
        in_force = effective(load_settings(os.environ, config))
        click.echo("\n".join(f"{name} = {value}".rstrip() for name, value in in_force.items()))
    else:
        click.echo(as_text())


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"{PROGRAM} {__version__} (Python {platform.python_version()})")
