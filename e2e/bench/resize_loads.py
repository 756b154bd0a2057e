"""What sandboxes of several kinds need through a day. The same seed is the same day.

Needs are what a sandbox would use if it had as much as its bounds allow: none exceeds its maximum.
All times are whole seconds of the day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from gateway.sandbox.quantities import MILLI
from gateway.sandbox.scaling import DEFAULT_SLOT, Scaling, Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HOUR: Final = 3600
DAY: Final = 24 * HOUR
MIB: Final = 1024**2
GIB: Final = 1024**3

#: Bytes that a process comes to need more within one second.
GROWTH: Final = 64 * MIB
#: The share of guests that for a while agree to nothing, and how long that is.
STUBBORN: Final = 0.04
STUBBORN_FOR: Final = 2 * HOUR


@dataclass(frozen=True, slots=True)
class Need:
    """From `at` on: so many busy CPUs, and so many bytes."""

    at: int
    cpu: float
    memory: int


@dataclass(frozen=True, slots=True)
class Life:
    """One sandbox: what its author allows, and what it needs, from second 0 on for so many.

    `stubborn`: from when until when it does not agree to have less.
    """

    name: str
    kind: str
    scaling: Scaling
    seconds: int
    needs: Sequence[Need]
    stubborn: tuple[int, int] = (0, 0)

    def spans(self) -> Iterator[tuple[Need, int]]:
        """Yield each need with the second at which it ends."""
        for number, need in enumerate(self.needs, 1):
            yield need, self.needs[number].at if number < len(self.needs) else self.seconds


@dataclass(frozen=True, slots=True)
class Kind:
    """What many sandboxes are. `share`: of all; the least size is a unit of CPU and a slot."""

    share: float
    high: Size
    about: str
    write: Callable[[_Script, Random, Size], None]


class _Script:
    """What one sandbox needs, written from the day's first second to its last."""

    def __init__(self, seconds: int) -> None:
        self.at = 0
        self.needs: list[Need] = []
        self._seconds = seconds
        self._memory = 0

    @property
    def is_over(self) -> bool:
        return self.at >= self._seconds

    @property
    def activity(self) -> float:
        """How much goes on at this hour: 1 at one o'clock, hardly anything at night."""
        hours = self.at / HOUR % 24 - 13
        return 0.05 + 0.95 * math.exp(-((hours / 4.5) ** 2))

    def wait(self, random: Random, mean: float, cpu: float, memory: float) -> None:
        """Need so much until something happens: on average so many seconds at the busiest hour."""
        left = random.expovariate(1 / mean)
        while left > 0 and not self.is_over:
            seconds = min(left / self.activity, HOUR)
            left -= seconds * self.activity
            self.spend(seconds, cpu, memory)

    def spend(self, seconds: float, cpu: float, memory: float) -> None:
        """Need so much for so long; memory grows by what a second allows, and is freed at once."""
        until = min(self.at + max(1, round(seconds)), self._seconds)
        wanted = int(memory)
        if not self.needs:
            self._memory = wanted
        while self.at < until:
            self._memory = min(wanted, self._memory + GROWTH)
            self.needs.append(Need(self.at, cpu, self._memory))
            self.at = until if self._memory == wanted else self.at + 1


def life(seed: int, number: int, seconds: int = DAY) -> Life:
    """Return one sandbox."""
    random = Random(f"{seed}-{number}")
    name = random.choices(list(KINDS), [kind.share for kind in KINDS.values()])[0]
    kind = KINDS[name]
    begins = random.randrange(DAY - STUBBORN_FOR)
    is_stubborn = random.random() < STUBBORN
    script = _Script(seconds)
    kind.write(script, random, kind.high)
    return Life(
        f"{name}-{number}",
        name,
        Scaling(low=Size(250, DEFAULT_SLOT), high=kind.high),
        seconds,
        script.needs,
        (begins, begins + STUBBORN_FOR) if is_stubborn else (0, 0),
    )


def _work_as_agent(script: _Script, random: Random, high: Size) -> None:
    cpus, base = high.cpu / MILLI, random.uniform(150, 400) * MIB
    while not script.is_over:
        script.wait(random, HOUR, 0.01, base)
        held = base
        for _ in range(random.randint(4, 24)):
            script.spend(10 + random.expovariate(1 / 80), random.uniform(0.02, 0.15), held)
            # Most tool calls are small; some use all that there is.
            height = cpus * min(1.0, random.lognormvariate(-1.0, 0.8))
            held = min(held + random.expovariate(1 / (80 * MIB)), high.memory * 0.6)
            for _ in range(random.randint(1, 4)):
                extra = random.uniform(0, 0.3) * high.memory * height / cpus
                cpu = min(height * random.uniform(0.6, 1.1), cpus)
                script.spend(random.uniform(15, 60), cpu, held + extra)


def _develop(script: _Script, random: Random, high: Size) -> None:
    cpus, base = high.cpu / MILLI, random.uniform(400, 800) * MIB
    comes = random.gauss(9, 0.8) * HOUR
    goes = comes + random.gauss(8.5, 0.8) * HOUR
    opened = base + random.uniform(0.5, 2) * GIB
    while not script.is_over:
        if not comes <= script.at < goes:
            # The night goes by in an hour's steps, but for the one in which somebody comes.
            left = comes - script.at if script.at < comes else HOUR
            script.spend(min(HOUR, left), random.uniform(0.005, 0.03), base)
        elif random.random() < 0.02:
            built = opened + random.uniform(0.5, 4) * GIB
            for _ in range(random.randint(3, 15)):
                cpu = cpus if random.random() < 0.7 else cpus * random.uniform(0.3, 0.9)
                script.spend(random.uniform(10, 30), cpu, built)
        else:
            script.spend(random.uniform(20, 90), random.uniform(0.05, 0.5), opened)


def _preview(script: _Script, random: Random, high: Size) -> None:
    base = random.uniform(120, 300) * MIB
    while not script.is_over:
        script.wait(random, 2400, 0.005, base)
        for _ in range(random.randint(2, 10)):
            cpu = high.cpu / MILLI * random.uniform(0.05, 0.7)
            script.spend(random.uniform(10, 40), cpu, base + 150 * MIB)


def _work_on(script: _Script, random: Random, high: Size) -> None:
    held = high.memory * random.uniform(0.4, 0.65)
    while not script.is_over:
        cpu = high.cpu / MILLI * random.uniform(0.6, 0.95)
        script.spend(random.uniform(60, 600), cpu, held * random.uniform(0.95, 1.05))


def _hoard(script: _Script, random: Random, high: Size) -> None:
    base = random.uniform(300, 600) * MIB
    held = base
    while not script.is_over:
        script.spend(random.uniform(120, 900), random.uniform(0.05, 0.5), held)
        held += random.uniform(64, 768) * MIB
        if held > high.memory * 0.85:
            script.spend(random.uniform(1, 4) * HOUR, random.uniform(0.02, 0.1), held)
            held = base


KINDS: Final = {
    "agent": Kind(
        0.45,
        Size(2000, 4 * GIB),
        "AI agents: bursts of a minute or two with time to think between, for an hour or so",
        _work_as_agent,
    ),
    "dev": Kind(
        0.25,
        Size(4000, 8 * GIB),
        "development environments: office hours, with builds that use all CPUs that there are",
        _develop,
    ),
    "preview": Kind(0.20, Size(1000, 2 * GIB), "previews that are visited now and then", _preview),
    "busy": Kind(0.05, Size(4000, 8 * GIB), "jobs that are busy all day", _work_on),
    "hoarder": Kind(
        0.05,
        Size(2000, 8 * GIB),
        "sandboxes whose memory grows by steps, and is freed hours later",
        _hoard,
    ),
}
