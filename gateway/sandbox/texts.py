"""Times and durations as Kubernetes and Go write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNIT: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


def parse_time(value: str) -> float:
    """Return an RFC 3339 time as epoch seconds; raise ValueError."""
    if _RFC3339.fullmatch(value) is None:
        raise ValueError(value)
    return datetime.fromisoformat(value.upper()).timestamp()


def format_time(epoch: float) -> str:
    """Return epoch seconds as Kubernetes writes times: RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_duration(value: str) -> float:
    """Return a Go duration such as `90s` or `1h30m` in seconds; raise ValueError."""
    if _DURATION.fullmatch(value) is None:
        raise ValueError(value)
    return sum(float(amount) * _UNIT[unit] for amount, unit in _DURATION_PART.findall(value))
