"""Measure a gateway with very many Sandboxes on a real API server; write down what it showed."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from e2e import real_api
from e2e.bench import machine
from e2e.scale import phases, relist, results
from e2e.scale.figures import Results
from e2e.scale.objects import FIRST_OTHER, SLEEPERS
from e2e.scale.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.gateways import Gateway

#: What can be chosen, in the order in which it runs, and what each shows.
PHASES: Final = {
    "steady": "traffic with nothing else going on: latency at a fixed rate, most requests a second",
    "churn": "the same while statuses are written; from a write to the requests that follow it",
    "wake": "wakes of paused sandboxes, one at a time, by a controller that reacts at once",
    "fan-out": "what the writes cost the API with one gateway and with three",
    "relist": "the API is away and comes back without history: the gateway lists anew",
}
#: Fewer would leave nothing to write statuses of.
_FEWEST: Final = FIRST_OTHER + 500
#: What of each program's log is shown with a failure, in characters.
_SHOWN: Final = 2_000

_EPILOG: Final = f"""\
phases:
  An API server is filled and a gateway started over it in any case, and measured. Then:
{chr(10).join(f"  {name:9} {shows}" for name, shows in PHASES.items())}

what it needs:
  Linux, two cores or more with nothing else on them, wrk, nginx, taskset; Go 1.26 builds the API
  server, once and in minutes. The first core is the gateway's, all else shares the others. All
  listeners are on loopback. etcd takes 2 GiB, which some hundred thousand sandboxes fill.

what it writes to the directory of --out:
  scale.json  every figure, with the date and the machine
  SCALE.md    the same as tables
  A phase that was not chosen has no figures there.

exit status:
  0  every phase ran
  1  a phase failed; it is named there, and the others' figures are kept
  2  the arguments are wrong, or a program is missing

examples:
  python -m e2e.scale                                          a hundred thousand, everything
  python -m e2e.scale --sandboxes 2000 --seconds 3 --out /tmp/quick
  python -m e2e.scale --phases steady,churn --churn 1000
  python -m e2e.scale.arithmetic --sandboxes 1000000           what the figures say of a million
"""


def main() -> int:
    """Do what the arguments say; return the exit status."""
    parser = _parser()
    asked = parser.parse_args()
    missing = [one for one in ("wrk", "nginx", "taskset") if shutil.which(one) is None]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}")
    if (os.cpu_count() or 1) < 2:
        parser.error("two cores are needed: one is the gateway's")
    real_api.build()
    # Ended like this too, it ends what it started.
    signal.signal(signal.SIGTERM, _ended)
    options = {name: getattr(asked, name) for name in ("sandboxes", "churn", "rate", "seconds")}
    found = Results(machine.described(), options | {"wakes": asked.wakes})
    with tempfile.TemporaryDirectory(prefix="scale-") as home:
        rig = Rig(Path(home), asked.sandboxes, asked.rate)
        try:
            _run(rig, asked, found)
        finally:
            rig.programs.end()
    asked.out.mkdir(parents=True, exist_ok=True)
    results.save(asked.out, found)
    _say(f"written to {asked.out / results.PAGE}")
    for name, why in found.failed.items():
        _say(f"{name} failed: {why}")
    return 1 if found.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.scale",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--sandboxes", type=_count(_FEWEST), default=100_000, help="how many (%(default)s)")
    add("--churn", type=_count(1), default=500, help="status writes a second (%(default)s)")
    add("--rate", type=_count(1), default=1_000, help="requests a second (%(default)s)")
    add("--seconds", type=_count(1), default=30, help="of each measurement (%(default)s)")
    add("--wakes", type=_count(1, len(SLEEPERS)), default=200, help="how many (%(default)s)")
    add("--phases", type=_phases, default=list(PHASES), help="some of them, by commas (all)")
    add("--out", type=Path, default=results.DIRECTORY, help="directory (e2e/scale/results)")
    return parser


def _count(least: int, most: int = 10_000_000) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a number from {least:,} to {most:,}")
        return int(text)

    return count


def _phases(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [one for one in chosen if one not in PHASES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(PHASES)}")
    return [one for one in PHASES if one in chosen]


def _ended(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def _run(rig: Rig, asked: argparse.Namespace, found: Results) -> None:
    """Fill the results; a phase that fails ends the run, since it may leave anything behind."""
    name = "store"
    try:
        gateway = _begin(rig, found)
        for name in asked.phases:
            _say(name)
            _PHASES[name](rig, gateway, asked, found)
    except Exception as error:  # noqa: BLE001 - told, and the other phases' figures are owed
        traceback.print_exc()
        for program in rig.programs:
            print(f"---- {program.name}\n{program.errors[-_SHOWN:]}", file=sys.stderr)
        found.failed[name] = str(error) or type(error).__name__


def _begin(rig: Rig, found: Results) -> Gateway:
    _say("starting the API")
    rig.start_api()
    rig.start_servers()
    empty = phases.start_empty(rig)
    _say(f"writing {rig.count:,} sandboxes")
    found.stored = phases.store(rig)
    rig.share_cores()
    rig.renew_account()
    _say("list")
    gateway, found.listed = phases.start_full(rig, empty)
    return gateway


def _steady(rig: Rig, gateway: Gateway, asked: argparse.Namespace, found: Results) -> None:
    found.steady = phases.steady(rig, gateway, asked.seconds)


def _churn(rig: Rig, gateway: Gateway, asked: argparse.Namespace, found: Results) -> None:
    found.churn = phases.churn(rig, gateway, asked.seconds, asked.churn)


def _wake(rig: Rig, gateway: Gateway, asked: argparse.Namespace, found: Results) -> None:
    found.wakes = phases.wake(rig, gateway, asked.wakes)


def _fan_out(rig: Rig, gateway: Gateway, asked: argparse.Namespace, found: Results) -> None:
    found.fan_out = phases.fan_out(rig, gateway, asked.seconds, asked.churn)


def _relist(rig: Rig, gateway: Gateway, _: argparse.Namespace, found: Results) -> None:
    found.relist = relist.measure(rig, gateway)


_PHASES: Final = {
    "steady": _steady,
    "churn": _churn,
    "wake": _wake,
    "fan-out": _fan_out,
    "relist": _relist,
}


def _say(text: str) -> None:
    print(f"scale: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
