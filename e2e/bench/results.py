"""The results as they are kept: one directory, each suite's last run with its date and machine."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from e2e.bench.model import Bars, Goal, Suite, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where results go unless told otherwise; these are part of the project.
DIRECTORY: Final = Path(__file__).with_name("results")
FIGURES: Final = "results.json"
PAGE: Final = "RESULTS.md"

#: A suite leaves what is worth keeping, such as a picture, in a folder of this name in its place.
KEPT: Final = "kept"


class ResultsUnreadable(Exception):
    """The file of results is not one that this version wrote."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The last run of one suite. `suite` is None if none ever succeeded.

    `failed` says when and why a later run failed; the figures are still those of the last good one.
    `files` names what the suite left to be kept.
    """

    machine: dict[str, str]
    rounds: int
    seconds: int
    suite: Suite | None
    failed: str = ""
    files: list[str] = field(default_factory=list)


def load(directory: Path) -> dict[str, Entry]:
    """Return what the directory holds, by suite; raise ResultsUnreadable."""
    file = directory / FIGURES
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {name: _entry(kept) for name, kept in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ResultsUnreadable(f"{file} is not readable: {error}") from error


def save(directory: Path, entries: Mapping[str, Entry]) -> None:
    """Write the figures: a line for each suite, so that a new run of one changes one line."""
    lines = [f"{json.dumps(name)}: {encoded(entries[name])}" for name in sorted(entries)]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (directory / FIGURES).write_text(text, encoding="utf-8")


def encoded(entry: Entry) -> str:
    """Return the entry as JSON; raise ValueError or TypeError if a suite's raw figures are not."""
    return json.dumps(asdict(entry), allow_nan=False)


def keep_files(directory: Path, name: str, place: Path) -> list[str]:
    """Copy what the suite left to be kept; return the names that it has in the directory."""
    kept = []
    for file in sorted((place / KEPT).glob("*")):
        kept.append(f"{name}-{file.name}")
        shutil.copyfile(file, directory / kept[-1])
    return kept


def _entry(kept: dict[str, Any]) -> Entry:
    suite = kept.pop("suite")
    return Entry(**kept, suite=None if suite is None else _suite(suite))


def _suite(kept: dict[str, Any]) -> Suite:
    tables = [
        Table(one["title"], tuple(one["columns"]), [tuple(row) for row in one["rows"]])
        for one in kept.pop("tables")
    ]
    bars = [
        Bars(one["title"], one["unit"], tuple(one["groups"]), one["series"])
        for one in kept.pop("bars")
    ]
    goals = [Goal(**one) for one in kept.pop("goals")]
    return Suite(**kept, tables=tables, bars=bars, goals=goals)
