"""What a suite of the benchmark returns, whatever it measured: `report` renders it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """How long to measure. `place` is a directory for the suite's files, new and its own."""

    place: Path
    rounds: int = 5
    seconds: int = 4


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure has to be, in words, and what it was.

    `holds` None: the figure was taken, but does not show whether it does.
    """

    text: str
    seen: str
    holds: bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts under columns. The first column names what a row is about."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart: for each group one bar of each series, None where there is no figure."""

    title: str
    unit: str
    groups: tuple[str, ...]
    series: dict[str, list[float | None]]


@dataclass(slots=True)
class Suite:
    """What one suite showed.

    `about` says in a few sentences what was measured and how. `missing` names what could not be
    measured and why. `raw` are all the figures that were taken, for the JSON.
    """

    name: str
    about: str
    tables: list[Table] = field(default_factory=list)
    bars: list[Bars] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)


def rank(ordered: Sequence[float], share: float) -> float:
    """Return the least of ordered values that this share of them does not exceed (nearest rank)."""
    return ordered[math.ceil(share * len(ordered)) - 1]
