"""How the program's own log is written: one line a record, JSON or text, to standard error.

Our loggers speak at the chosen level. Libraries are held at WARNING whatever is chosen: at DEBUG
they log whole API responses, and those hold the sandboxes' access tokens.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The root of our own loggers: the import package's name.
OURS: Final = "gateway"

#: Fields whose names hold one of these never show their values.
SECRET_WORDS: Final = ("token", "secret", "password", "authorization", "cookie")
HIDDEN: Final = "(hidden)"

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The least level of our loggers (a `logging` level), and whether lines are JSON."""

    level: int = logging.INFO
    json: bool = True


def configure(config: LogConfig, stream: TextIO | None = None) -> None:
    """Set up logging for the process; a second call replaces the first."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if config.json else TextFormatter())
    logging.basicConfig(handlers=[handler], level=max(config.level, logging.WARNING), force=True)
    logging.getLogger(OURS).setLevel(config.level)
    logging.captureWarnings(capture=True)


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, message, then the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_fields(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One line a record for people; control characters in it are escaped, tracebacks follow."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record))
        message = _printable(f"{record.getMessage()}{fields}")
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """Give what the caller added with `extra`."""
    for name, value in vars(record).items():
        if name not in _STANDARD:
            hidden = any(word in name.lower() for word in SECRET_WORDS)
            yield name, HIDDEN if hidden else value


def _printable(text: str) -> str:
    """Escape what could forge a line or drive a terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
