"""What programs that run until they are told to end have in common: their log, and their end."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.telemetry.logs import LogConfig, configure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CommandT = TypeVar("CommandT", bound="Callable[..., Any]")

_LEVELS = ("debug", "info", "warning", "error")


def log_options(command: CommandT) -> CommandT:
    """Add the options that `configure_log` takes: `log_level` and `log_format`."""
    level = click.option(
        "--log-level", type=click.Choice(_LEVELS), default="info", show_default=True
    )
    form = click.option(
        "--log-format", type=click.Choice(("json", "text")), default="json", show_default=True
    )
    return level(form(command))


def configure_log(log_level: str, log_format: str) -> None:
    """Set up the log of this process."""
    level = getattr(logging, log_level.upper())
    configure(LogConfig(level=level, json=log_format == "json"))


async def until_told(work: Coroutine[Any, Any, None]) -> None:
    """Work until this process is told to end, by SIGTERM or SIGINT."""
    working = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    with suppress(asyncio.CancelledError):
        await working
