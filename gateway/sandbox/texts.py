"""Times and durations as Kubernetes and Go write them, and what others say as people may see it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_PART: Final = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_DURATION = re.compile(rf"\+?(?:{_PART})+", re.ASCII)
_DURATION_PART = re.compile(_PART, re.ASCII)
_UNIT: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,  # micro sign
    "\u03bcs": 1e-6,  # Greek letter mu
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
#: Go counts a duration in nanoseconds in 63 bits: 292 years. Beyond that its parser fails too.
_LONGEST: Final = (2**63 - 1) * 1e-9


#: Texts that are remembered, and how long they may be: what objects say must not fill the memory.
_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 64
#: Characters of what others say that are shown.
_SHOWN: Final = 300


def remembered(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Remember what texts parse to: many sandboxes say the same, and then share the result."""
    cached = lru_cache(_REMEMBERED)(parse)

    @wraps(parse)
    def read(value: str) -> T:
        return cached(value) if len(value) <= _LONGEST_REMEMBERED else parse(value)

    return read


def plain(text: str) -> str:
    """Make what others say fit for logs and terminals: no control characters, not endless."""
    return "".join(one if one.isprintable() else " " for one in text[:_SHOWN])


#: The first and the last second that RFC 3339 can write in UTC.
_FIRST: Final = int(datetime.min.replace(tzinfo=UTC).timestamp())
_LAST: Final = int(datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp())


def parse_time(value: str) -> float:
    """Return an RFC 3339 time as epoch seconds; raise ValueError."""
    if _RFC3339.fullmatch(value) is None:
        raise ValueError(value)
    return datetime.fromisoformat(value.upper()).timestamp()


def format_time(epoch: float) -> str:
    """Return epoch seconds as Kubernetes writes times: RFC 3339, UTC, whole seconds.

    By another offset a time may be one of year 0 or 10000 in UTC: the nearest that can be written.
    """
    moment = datetime.fromtimestamp(min(max(int(epoch), _FIRST), _LAST), UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def format_moment(epoch: float) -> str:
    """Return epoch seconds as RFC 3339 to the microsecond, as Kubernetes writes a MicroTime."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@remembered
def parse_duration(value: str) -> float:
    """Return a Go duration such as `90s` or `1h30m` in seconds; raise ValueError.

    The grammar is that of Go's `time.ParseDuration`, but for the sign: none here is negative.
    """
    if value in ("0", "+0"):
        return 0.0
    if _DURATION.fullmatch(value) is None:
        raise ValueError(value)
    seconds = sum(float(amount) * _UNIT[unit] for amount, unit in _DURATION_PART.findall(value))
    if seconds > _LONGEST:
        raise ValueError(value)
    return seconds


def format_duration(seconds: float) -> str:
    """Return seconds as Go prints a duration: `5m0s`, `1h0m0s`, `1.5s`, `300ms`."""
    nanoseconds = round(seconds * 1e9)
    if nanoseconds < 1_000_000_000:
        for size, unit in ((1_000_000, "ms"), (1_000, "µs"), (1, "ns")):
            if nanoseconds >= size:
                return f"{_decimal(nanoseconds, size)}{unit}"
        return "0s"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    written = f"{_decimal(rest, 1_000_000_000)}s"
    if minutes == 0:
        return written
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{written}" if hours else f"{minutes}m{written}"


def _decimal(amount: int, size: int) -> str:
    """Return amount / size without the zeros at its end, exactly."""
    whole, part = divmod(amount, size)
    digits = f"{part:0{len(str(size)) - 1}d}".rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)
