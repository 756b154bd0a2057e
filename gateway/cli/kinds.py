"""Kinds of values that options of several commands take."""

from __future__ import annotations

import click

from gateway.sandbox.texts import parse_duration


class Duration(click.ParamType[float]):
    """90s, 5m."""

    name = "DURATION"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the option."""
        try:
            return parse_duration(str(value))
        except ValueError:
            self.fail("write a duration such as 90s or 5m", param, ctx)
