"""The commands. A command's module is imported when it is used: `--help` starts at once."""

from gateway.cli.main import cli, main

__all__ = ["cli", "main"]
