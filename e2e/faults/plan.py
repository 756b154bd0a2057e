"""Which faults a soak injects, and when: drawn from a seed, so that each run can be repeated.

Faults come in lanes: one after the other within a lane, at the same time as those of the others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Lane(Enum):
    API = "api"
    SANDBOX = "sandbox"
    GATEWAY = "gateway"
    SLEEP = "sleep"
    INFORMANT = "informant"
    """Of right-sized sandboxes."""


class Fault(Enum):
    """What is injected; the text is what reports call it."""

    API_DOWN = "API down"
    API_SLOW = "API slow (2 s)"
    API_REFUSES = "API answers 429, 500 and 503"
    API_UNAUTHORIZED = "API answers 401"
    API_FORBIDDEN = "API answers 403"
    CONFLICTS = "half of the patches conflict"
    LOST_ANSWERS = "half of the patches' answers lost"
    WATCHES_STALLED = "watches stalled"
    WATCHES_CUT = "watches cut"
    WATCHES_EXPIRED = "watches expired (410)"
    POD_KILLED = "pod killed"
    ADDRESS_GIVEN_AWAY = "pod's address given to another sandbox"
    NODE_LOST = "node lost, connections half open"
    PORT_CLOSED = "port closed"
    ACCEPTS_NOTHING = "backlog full"
    GATEWAY_RESTARTED = "gateway replaced (SIGTERM)"
    GATEWAY_KILLED = "gateway killed (SIGKILL)"
    PAUSED = "paused by somebody else"
    INFORMANT_KILLED = "informant killed"
    INFORMANT_HALTED = "informant hangs"
    INFORMANT_GARBLES = "informant answers garbage"
    POD_REPLACED = "right-sized pod replaced"


_LANES: Final[Mapping[Lane, tuple[Fault, ...]]] = {
    Lane.API: (
        Fault.API_DOWN,
        Fault.API_SLOW,
        Fault.API_REFUSES,
        Fault.API_UNAUTHORIZED,
        Fault.API_FORBIDDEN,
        Fault.CONFLICTS,
        Fault.LOST_ANSWERS,
        Fault.WATCHES_STALLED,
        Fault.WATCHES_CUT,
        Fault.WATCHES_EXPIRED,
    ),
    Lane.SANDBOX: (
        Fault.POD_KILLED,
        Fault.ADDRESS_GIVEN_AWAY,
        Fault.NODE_LOST,
        Fault.PORT_CLOSED,
        Fault.ACCEPTS_NOTHING,
    ),
    Lane.GATEWAY: (Fault.GATEWAY_RESTARTED, Fault.GATEWAY_KILLED),
    Lane.SLEEP: (Fault.PAUSED,),
    Lane.INFORMANT: (
        Fault.INFORMANT_KILLED,
        Fault.INFORMANT_HALTED,
        Fault.INFORMANT_GARBLES,
        Fault.POD_REPLACED,
    ),
}
#: Quiet time before a fault, shortest and longest, in seconds.
_QUIET: Final[Mapping[Lane, tuple[float, float]]] = {
    Lane.API: (5.0, 15.0),
    Lane.SANDBOX: (1.0, 5.0),
    Lane.GATEWAY: (20.0, 40.0),
    Lane.SLEEP: (0.5, 1.5),
    Lane.INFORMANT: (2.0, 8.0),
}
#: How long those last that do not end by themselves, in seconds.
_LASTS: Final[Mapping[Lane, tuple[float, float]]] = {
    Lane.API: (4.0, 12.0),
    Lane.SANDBOX: (0.5, 8.0),
    Lane.GATEWAY: (0.0, 0.0),
    Lane.SLEEP: (0.0, 0.0),
    # An informant counts as gone after twenty seconds of silence.
    Lane.INFORMANT: (0.5, 25.0),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One fault. `quiet`: seconds from the end of the one before it; `lasts`: seconds.

    `whom`: numbers of sandboxes, or gateways; where one cannot be had, the next one is.
    """

    lane: Lane
    quiet: float
    fault: Fault
    lasts: float
    whom: tuple[int, int]


def steps(seed: int, lane: Lane) -> Iterator[Step]:
    """Give the steps of a lane without end; all kinds come equally often, in no order."""
    # By a text: what Python makes of it is the same in each process.
    chance = random.Random(f"{seed} {lane.value}")
    while True:
        for fault in chance.sample(_LANES[lane], len(_LANES[lane])):
            quiet, lasts = (round(chance.uniform(*one[lane]), 1) for one in (_QUIET, _LASTS))
            yield Step(
                lane, quiet, fault, lasts, (chance.randrange(2**16), chance.randrange(2**16))
            )


def shown(seed: int, seconds: float) -> Iterator[str]:
    """Give a plan's lines. How long faults that end by themselves take is not known before."""
    for lane in Lane:
        yield f"{lane.value}:"
        spent = 0.0
        for step in steps(seed, lane):
            spent += step.quiet + step.lasts
            if spent > seconds:
                break
            lasts = f" for {step.lasts:.1f} s" if step.lasts else ""
            yield f"  after {step.quiet:.1f} s: {step.fault.value}{lasts}, {step.whom}"
