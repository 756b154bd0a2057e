"""Pictures of a day: what all sandboxes needed and had, and what single ones did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from e2e.bench.resize_loads import GIB, HOUR, KINDS
from e2e.bench.resize_tally import POINT
from gateway.sandbox.quantities import MILLI

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from e2e.bench.resize_loads import Life
    from e2e.bench.resize_sandbox import Moment
    from e2e.bench.resize_tally import Curve, Spent
    from gateway.sandbox.scaling import Size

_NEED, _SIZE, _MOST, _ROOM = "#E69F00", "#0072B2", "#999999", "#009E73"
_INCHES: Final = 2.1  # of one row of single sandboxes


def draw_sum(curve: Curve, most: Size, room: Size, file: Path) -> None:
    """Draw what all needed and had. `most`: their maxima's sum, `room`: what all nodes have."""
    figure = _figure((9, 6.5))
    axes = figure.subplots(2, 1, sharex=True)
    _draw_sum(axes[0], curve.cpu, (most.cpu / MILLI, room.cpu / MILLI), 1)
    _draw_sum(axes[1], curve.memory, (most.memory / GIB, room.memory / GIB), GIB)
    _name(axes[0], axes[1])
    _keep(figure, axes, file)


def draw_singles(lives: Sequence[Life], seen: Mapping[str, Sequence[Moment]], file: Path) -> None:
    """Draw single sandboxes."""
    figure = _figure((12, _INCHES * len(lives) + 0.8))
    axes = figure.subplots(len(lives), 2, sharex=True, squeeze=False)
    for (cpu, memory), life in zip(axes, lives, strict=True):
        high, moments = life.scaling.high, seen[life.name]
        needs = [one.need for one in moments]
        hours = [one.at / HOUR for one in moments]
        sizes = [one.size.cpu / MILLI for one in moments]
        _draw_single(cpu, hours, [one.cpu for one in needs], sizes, high.cpu / MILLI)
        sizes = [one.size.memory / GIB for one in moments]
        _draw_single(memory, hours, [one.memory / GIB for one in needs], sizes, high.memory / GIB)
        _name(cpu, memory)
        cpu.set_title(KINDS[life.kind].about, loc="left", fontsize=9)
    _keep(figure, list(axes.flat), file)


def _figure(inches: tuple[float, float]) -> Figure:
    # Heavy, and only for this.
    from matplotlib.figure import Figure  # noqa: PLC0415

    return Figure(figsize=inches, dpi=110, layout="constrained")


def _draw_sum(axes: Axes, points: Sequence[Spent], levels: tuple[float, float], unit: int) -> None:
    hours = [(number + 0.5) * POINT / HOUR for number in range(len(points))]
    most, room = levels
    axes.axhline(most, color=_MOST, linestyle="--", label="all at their maximum")
    axes.axhline(room, color=_ROOM, linestyle=":", label="what nodes have")
    axes.plot(hours, [one.sized / POINT / unit for one in points], color=_SIZE, label="had")
    axes.plot(hours, [one.needed / POINT / unit for one in points], color=_NEED, label="needed")


def _draw_single(
    axes: Axes, hours: Sequence[float], needs: Sequence[float], sizes: Sequence[float], most: float
) -> None:
    axes.axhline(most, color=_MOST, linestyle="--", linewidth=0.8, label="maximum")
    axes.step(hours, sizes, where="post", color=_SIZE, linewidth=0.9, label="had")
    axes.step(hours, needs, where="post", color=_NEED, linewidth=0.6, label="needed")


def _name(cpu: Axes, memory: Axes) -> None:
    cpu.set_ylabel("CPUs")
    memory.set_ylabel("GiB")


def _keep(figure: Figure, axes: Sequence[Axes], file: Path) -> None:
    for one in axes:
        one.set_ylim(bottom=0)
        one.set_xticks(range(0, 25, 3))
        one.grid(color="#dddddd", linewidth=0.5)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("hour of the day")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    # Without the library's version, so that the same figures are the same file.
    figure.savefig(file, metadata={"Software": None})
