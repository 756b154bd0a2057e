"""Fuzz for as long as is wished: `make fuzz ARGS="--seconds 600"`; `--help` says more."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import asdict
from random import SystemRandom

import uvloop

from .answering import Answers, conversations
from .differential import check_legal, check_odd, check_refused, odd_bytes, refusals, streams
from .exploring import explore
from .rig import rig
from .traffic import Schedule, run

#: Of each kind and round.
_EXAMPLES = 100


async def _differ(seed: int, done: Counter[str]) -> None:
    """Try streams of requests, then responses."""
    async with rig() as made:
        try:
            await explore(made, check_legal, streams, _EXAMPLES, seed)
            await explore(made, check_refused, refusals, _EXAMPLES, seed)
            await explore(made, check_odd, odd_bytes, _EXAMPLES, seed)
        finally:
            done.update(asdict(made.totals))
    answers = Answers()
    async with rig(answers.script) as made:
        try:
            await explore(made, answers.check, conversations, _EXAMPLES, seed)
        finally:
            done.update(asdict(made.totals))


async def _disturb(seed: int, done: Counter[str]) -> None:
    """Let clients and sandboxes meet through faults, then through garbage too."""
    for garbage in (False, True):
        world = await run(Schedule(seed, garbage=garbage))
        done["connections"] += world.connections
        done["exchanges"] += sum(world.ended.values())
        done.update({f"ended {how}": count for how, count in world.ended.items()})
        done.update({f"fault {fault.value}": count for fault, count in world.faults.items()})
        done.update({f"sandbox {move}": count for move, count in world.fleet.moves.items()})


def main() -> int:
    """Run rounds until the time is over or one fails; return the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long to begin new rounds")
    parser.add_argument("--seed", type=int, help="of the first round; each next has one more")
    options = parser.parse_args()
    first = SystemRandom().randrange(10**6) if options.seed is None else options.seed
    done: Counter[str] = Counter()
    seed, end = first, time.monotonic() + options.seconds
    try:
        while time.monotonic() < end:
            with asyncio.Runner(loop_factory=(None, uvloop.new_event_loop)[seed % 2]) as runner:
                runner.run(_differ(seed, done))
                runner.run(_disturb(seed, done))
            seed += 1
            print(f"seed {seed - 1}: " + ", ".join(f"{name} {done[name]}" for name in sorted(done)))
            sys.stdout.flush()
    except BaseException:
        print(f"seed {seed} failed: make fuzz ARGS='--seed {seed} --seconds 1'", file=sys.stderr)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
