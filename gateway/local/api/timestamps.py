"""Times as the Kubernetes API writes them (RFC 3339, UTC), and ages as kubectl prints them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 365 * _DAY


def parse_timestamp(text: str) -> datetime:
    """The moment that an RFC 3339 timestamp names. Raises `ValueError` for anything else."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("not an RFC 3339 timestamp")
    # fromisoformat of 3.11 knows lower case and nine digits of fraction, but no leap second.
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


def format_timestamp(moment: datetime) -> str:
    """`metav1.Time`: whole seconds, UTC."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def human_age(seconds: float) -> str:
    """How kubectl abbreviates an age: two units where one would be too coarse."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 2 * _MINUTE:
        return f"{max(whole, 0)}s"
    if whole < 10 * _MINUTE:
        return _two_units(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _two_units(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _two_units(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * _YEAR:
        return f"{whole // _DAY}d"
    if whole < 8 * _YEAR:
        return _two_units(whole, _YEAR, "y", _DAY, "d")
    return f"{whole // _YEAR}y"


def _two_units(whole: int, unit: int, letter: str, smaller: int, smaller_letter: str) -> str:
    rest = whole % unit // smaller
    return f"{whole // unit}{letter}" + (f"{rest}{smaller_letter}" if rest else "")
