"""Suite `idle`: what it costs to watch over 100,000 sandboxes until nobody uses them.

Each figure is the processor time of a process with the idle controller, less that of the same
process without it, in which the same sandboxes are used, or slept and woken, at the same pace.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from e2e.bench.model import Goal, Suite, Table
from e2e.bench.stage import PROXY_CORE, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.bench.model import Options

SANDBOXES: Final = 100_000
#: Seconds of one measurement for each second of the options: there are 333 standbys in a second.
STRETCH: Final = 5
MOST_ROUNDS: Final = 3
#: What may be used of one core, and how many tasks there may be.
MOST_SHARE: Final = 0.05
MOST_TASKS: Final = 20

_LIVES: Final = {
    "used": "each is used again before its five minutes are over, on any of three replicas",
    "cycled": "each sleeps after its five minutes, and is woken at once",
}


@dataclass(frozen=True, slots=True)
class Round:
    """What one life cost: with the controller and without, in parts of one core."""

    life: str
    loaded: dict[str, Any]
    bare: dict[str, Any]

    @property
    def share(self) -> float:
        """What of one core the controller takes."""
        return _share(self.loaded) - _share(self.bare)


def run(options: Options) -> Suite:
    """Measure both lives, in turns."""
    suite = Suite(
        "idle",
        f"One replica that leads watches {SANDBOXES:,} sandboxes with an idle time of five "
        "minutes; three replicas use them. Replicas are asked and standbys written by calls within "
        "the process: what the network and the Kubernetes API take comes on top, for each question "
        "(five a second at most) and each standby.",
    )
    rounds = [
        Round(life, _taken(place, options, life, "on"), _taken(place, options, life, "off"))
        for turn in range(min(options.rounds, MOST_ROUNDS))
        for life in _LIVES
        for place in (options.place / f"{life}-{turn}",)
    ]
    suite.raw["rounds"] = [
        {"life": one.life, "on": one.loaded, "off": one.bare, "share": one.share} for one in rounds
    ]
    _show(suite, rounds)
    return suite


def _taken(place: Path, options: Options, life: str, loop: str) -> dict[str, Any]:
    seconds = str(STRETCH * options.seconds)
    argv = [sys.executable, "-m", "e2e.bench.idle_loop", str(SANDBOXES), seconds, life, loop]
    with Stage(place / loop) as stage:
        program = stage.start("idle", argv, PROXY_CORE)
        stage.until(lambda: program.exit_status == 0, program)
        found: dict[str, Any] = json.loads(program.output)
    return found


def _share(taken: dict[str, Any]) -> float:
    return float(taken["processor"]) / float(taken["seconds"])


def _show(suite: Suite, rounds: list[Round]) -> None:
    table = Table(
        "What the idle controller takes",
        ("every sandbox", "of one core", "asked a second", "standbys a second", "longest turn"),
        [],
    )
    suite.tables.append(table)
    for life, meaning in _LIVES.items():
        these = [one for one in rounds if one.life == life]
        share = statistics.median(one.share for one in these)
        lag = max(max(one.loaded["lag_winning"], one.loaded["lag_losing"]) for one in these)
        table.rows.append(
            (
                meaning,
                f"{share:.2%}",
                f"{_rate(these, 'asked'):.0f}",
                f"{_rate(these, 'slept'):.0f}",
                f"{lag * 1000:.0f} ms",
            )
        )
        suite.goals.append(
            Goal(
                f"{SANDBOXES:,} sandboxes: the idle loop takes under {MOST_SHARE:.0%} of one core "
                f"where {meaning}",
                f"{share:.2%}",
                share < MOST_SHARE,
            )
        )
    tasks = max(one.loaded["tasks"] for one in rounds)
    suite.goals.append(Goal("no task for each sandbox", f"{tasks} tasks", tasks <= MOST_TASKS))


def _rate(rounds: list[Round], what: str) -> float:
    rates = [float(one.loaded[what]) / float(one.loaded["seconds"]) for one in rounds]
    return statistics.median(rates)
