"""A plugin of pytest: now and then processes of the run stand still, as on a busy machine.

`make faults ARGS="-p tests.stutter"`. What fails only then takes for granted that a process may run
whenever it could. Whatever the run has started may be stopped for a moment, tests' workers too, but
not what stands still already since a test has stopped it. (What a test stops while it stands still
for this goes on too early: rare, and to be known where such a test fails.) $STUTTER, if set, is the
seed of when and for how long.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Seconds between two stops on average, and the longest one: so much is every test to bear.
BETWEEN: Final = 0.6
LONGEST: Final = 1.2
#: How often it is one process that stands still; else it is half of them.
ONE: Final = 0.7
#: What ends it; an interrupt is for the run, which then does so.
_END: Final = frozenset({signal.SIGTERM})
_BLOCKED: Final = _END | {signal.SIGINT}
_STUTTER: Final = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin, once for all workers."""
    if not hasattr(config, "workerinput"):
        command = [sys.executable, "-m", "tests.stutter", str(os.getpid())]
        config.stash[_STUTTER] = subprocess.Popen(command)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End: nothing stands still any more."""
    if (process := config.stash.get(_STUTTER, None)) is not None:
        process.terminate()
        process.wait()


def chosen(going: Sequence[psutil.Process], chance: random.Random) -> list[psutil.Process]:
    """Return who is to stand still next."""
    count = 1 if chance.random() < ONE else len(going) // 2
    return chance.sample(going, min(count, len(going)))


@contextmanager
def stopped(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Have processes stand still for the body's time; some may end before."""
    try:
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.suspend()
        yield
    finally:
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.resume()


def _going(root: psutil.Process) -> list[psutil.Process]:
    """Return what a process has started, but for this one and those that stand still already."""
    found = []
    for one in root.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if one.pid != os.getpid() and one.status() != psutil.STATUS_STOPPED:
                found.append(one)
    return found


def _ends_within(seconds: float) -> bool:
    """Return whether it is told to end by then. No signal comes at any other moment."""
    return signal.sigtimedwait(_END, seconds) is not None


def main() -> None:
    """Go on until told to end, or until the run is no more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    root = psutil.Process(int(sys.argv[1]))
    seed = os.environ.get("STUTTER") or str(random.SystemRandom().randrange(10**6))
    print(f"STUTTER={seed}", flush=True)
    chance = random.Random(seed)
    with suppress(psutil.NoSuchProcess):
        while not _ends_within(chance.expovariate(1 / BETWEEN)):
            with stopped(chosen(_going(root), chance)):
                if _ends_within(chance.uniform(0.0, LONGEST)):
                    return


if __name__ == "__main__":
    main()
