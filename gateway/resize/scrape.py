"""What an informant reports of its guest, as Prometheus text. The guest is not to be trusted.

Only the few lines that count are looked at: to parse 64 KiB of such text as a whole takes a parser
many milliseconds, in which nothing else would be served.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

#: Bytes of text that are read.
MAX_METRICS: Final = 64 * 1024

#: More than any machine has: busy CPUs, and bytes.
_MOST_LOAD: Final = 100_000.0
_MOST_BYTES: Final = 2.0**60

_LOAD1: Final = ("host_load1", "node_load1")
_LOAD5: Final = ("host_load5", "node_load5")
_TOTAL: Final = ("host_memory_total_bytes", "node_memory_MemTotal_bytes")
_AVAILABLE: Final = ("host_memory_available_bytes", "node_memory_MemAvailable_bytes")

#: A sample without labels, perhaps with a time: name, value (text format 0.0.4).
_SAMPLE: Final = re.compile(
    rf"^({'|'.join((*_LOAD1, *_LOAD5, *_TOTAL, *_AVAILABLE))})"
    r"[ \t]+([-+.0-9A-Za-z]{1,64})(?:[ \t]+-?[0-9]{1,20})?[ \t]*$",
    re.MULTILINE | re.ASCII,
)


class BadMetrics(ValueError):
    """What came are no metrics by which a size could be chosen. The text quotes nothing."""


@dataclass(frozen=True, slots=True)
class Scraped:
    """A guest's load in busy CPUs over one and five minutes, and its memory in bytes."""

    load1: float
    load5: float
    memory_total: int
    memory_available: int


def parse_metrics(text: bytes) -> Scraped:
    """Read an informant's metrics; raise BadMetrics."""
    found: dict[str, str] = {}
    for sample in _SAMPLE.finditer(text.decode("utf-8", "replace")):
        name, value = sample.groups()
        if name in found:
            raise BadMetrics(f"{name} is given twice")
        found[name] = value
    total = int(_sample(found, _TOTAL, _MOST_BYTES))
    available = int(_sample(found, _AVAILABLE, _MOST_BYTES))
    if available > total:
        raise BadMetrics("more memory is available than there is")
    return Scraped(
        _sample(found, _LOAD1, _MOST_LOAD), _sample(found, _LOAD5, _MOST_LOAD), total, available
    )


def _sample(found: dict[str, str], names: tuple[str, ...], most: float) -> float:
    """Return the value that goes by one of these names."""
    name = next((name for name in names if name in found), None)
    if name is None:
        raise BadMetrics(f"{names[0]} is missing")
    try:
        value = float(found[name])
    except ValueError as error:
        raise BadMetrics(f"{name} is no number") from error
    if not 0 <= value <= most:  # nor is NaN within any bounds
        raise BadMetrics(f"{name} is out of bounds")
    return value
