"""The bar charts as pictures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from e2e.bench.model import Bars

#: Okabe and Ito's colours, which people who see few colours can tell apart.
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_BAR: Final = 0.24  # inches
_GAP: Final = 0.26  # inches between groups
_ABSENT: Final = "not measured"


def file_name(suite: str, bars: Bars) -> str:
    """Return the name of the chart's picture."""
    words = re.sub(r"[^a-z0-9]+", "-", bars.title.lower()).strip("-")
    return f"{suite}-{words}.png"


def draw(bars: Bars, file: Path) -> None:
    """Draw the chart; bars lie, so that long names of groups can be read."""
    # Heavy, and only for this.
    from matplotlib.figure import Figure  # noqa: PLC0415

    height = len(bars.groups) * (len(bars.series) * _BAR + _GAP)
    figure = Figure(figsize=(9, height + 1.3), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(bars.series.items()):
        places = [_place(bars, group, number) for group in range(len(bars.groups))]
        drawn = axes.barh(
            places,
            [value or 0 for value in values],
            _BAR,
            label=name,
            color=_COLOURS[number % len(_COLOURS)],
            edgecolor="white",
        )
        texts = [_ABSENT if value is None else shown(value) for value in values]
        axes.bar_label(drawn, texts, padding=3, fontsize=8, color="#333333")
    _dress(axes, bars)
    if len(bars.series) > 1:
        figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    # Without the library's version, so that the same figures are the same file.
    figure.savefig(file, metadata={"Software": None})


def shown(value: float) -> str:
    """Return a figure in three digits, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:#.3g}"


def _place(bars: Bars, group: int, number: int) -> float:
    return group * (len(bars.series) * _BAR + _GAP) + number * _BAR


def _dress(axes: Axes, bars: Bars) -> None:
    middle = (len(bars.series) - 1) * _BAR / 2
    axes.set_yticks([_place(bars, group, 0) + middle for group in range(len(bars.groups))])
    axes.set_yticklabels(bars.groups, fontsize=9)
    axes.set_ylim(_place(bars, len(bars.groups), 0) - _BAR / 2, -_BAR / 2 - _GAP)
    axes.set_title(bars.title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(bars.unit, fontsize=9)
    axes.margins(x=0.14)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
