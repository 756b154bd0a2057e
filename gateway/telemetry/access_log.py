"""The access log: one JSON line a request, written in batches.

It names sandbox, path and result. Query strings, header values and credentials are never in it.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import orjson

if TYPE_CHECKING:
    from gateway.telemetry.instruments import Instruments

#: Lines are written after this many seconds, or when they fill this many bytes.
FLUSH_AFTER: Final = 0.1
FLUSH_BYTES: Final = 64 * 1024
#: A path in the log is at most this long.
MAX_PATH: Final = 512


class AccessLog:
    """Writes records to a stream, usually standard output."""

    def __init__(self, stream: BinaryIO, instruments: Instruments) -> None:
        """`stream` is written from the event loop; a full pipe would stall it, as with any log."""
        self._stream = stream
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._millisecond = -1
        self._stamp = ""
        self._failures = instruments.counter(
            "access_log_lost_lines", "Access log lines that could not be written."
        )
        self._failures.prime()

    def write(self, record: dict[str, Any], epoch: float) -> None:
        """Take one record; `epoch` is when the request came, in seconds."""
        milliseconds = int(epoch * 1000)
        if milliseconds != self._millisecond:
            self._millisecond = milliseconds
            self._stamp = _stamp(milliseconds)
        record["time"] = self._stamp
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        self._lines.append(line)
        self._size += len(line)
        if self._size >= FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)

    def flush(self) -> None:
        """Write what has been taken."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines, self._size = self._lines, [], 0
        if not lines:
            return
        try:
            self._stream.write(b"".join(lines))
            self._stream.flush()
        except OSError:
            self._failures.inc(by=len(lines))


def _stamp(milliseconds: int) -> str:
    """Return RFC 3339 with milliseconds, of a time since the epoch."""
    second, rest = divmod(milliseconds, 1000)
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:03d}Z"
