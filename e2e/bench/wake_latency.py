"""How long after Running a request is at the sandbox: the gateway beside bare loops."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.bench.model import rank
from e2e.bench.wake_stage import WakeStage

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.bench.wake_stage import Subject

#: Wakes of each subject before anything counts.
WARM_UP: Final = 50

GATEWAY: Final = "gateway"
UVLOOP: Final = "bare loop, uvloop"
ASYNCIO: Final = "bare loop, asyncio"


@dataclass(frozen=True, slots=True)
class Latencies:
    """What one subject showed: for each round the seconds of each wake."""

    rounds: list[list[float]]

    @property
    def all(self) -> list[float]:
        """Every wake's seconds, the shortest first."""
        return sorted(one for seconds in self.rounds for one in seconds)

    def percentile(self, percent: float) -> float:
        """Return the seconds that so many per cent of the wakes did not exceed."""
        return rank(self.all, percent / 100)


def median_ratios(subject: Latencies, other: Latencies) -> list[float]:
    """Return for each round the ratio of the medians."""
    return [
        rank(sorted(one), 0.5) / rank(sorted(two), 0.5)
        for one, two in zip(subject.rounds, other.rounds, strict=True)
    ]


def measure(place: Path, rounds: int, samples: int) -> dict[str, Latencies]:
    """Wake each subject so many times in each of the alternating rounds. Raise RigError."""
    with WakeStage(place) as stage:
        subjects = {
            GATEWAY: stage.gateway_subject("gateway"),
            UVLOOP: stage.bare_subject("bare-uvloop", "uvloop"),
            ASYNCIO: stage.bare_subject("bare-asyncio", "asyncio"),
        }
        for subject in subjects.values():
            _wake(subject, WARM_UP)
        taken: dict[str, list[list[float]]] = {name: [] for name in subjects}
        for number in range(rounds):
            print(f"wake: {number * samples} of {rounds * samples}", file=sys.stderr)
            for name, subject in subjects.items():
                taken[name].append(_wake(subject, samples))
    return {name: Latencies(each) for name, each in taken.items()}


def _wake(subject: Subject, samples: int) -> list[float]:
    through = None if subject.gateway is None else subject.gateway.data_port
    seconds: list[float] = subject.rig.tell("wakes", samples=samples, through=through)["seconds"]
    return seconds
