"""The plugin that has a run stutter: what it stops goes on again, what others stopped does not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest

from e2e.waiting import until

from . import stutter

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREVER = [sys.executable, "-c", "import time; time.sleep(3600)"]


@pytest.fixture
def started() -> Iterator[list[psutil.Process]]:
    """Processes that do nothing."""
    with ExitStack() as ends:
        made = [ends.enter_context(subprocess.Popen(FOREVER)) for _ in range(3)]
        for one in made:
            ends.callback(one.kill)
        yield [psutil.Process(one.pid) for one in made]


def stands_still(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def becomes(process: psutil.Process, *, still: bool) -> None:
    until(lambda: stands_still(process) is still, f"it stands still: {still}")


def test_what_is_stopped_goes_on_afterwards_though_one_has_ended(
    started: list[psutil.Process],
) -> None:
    with stutter.stopped(started):
        for one in started:
            becomes(one, still=True)
        started[0].kill()
        started[0].wait()
    for one in started[1:]:
        becomes(one, still=False)


def test_some_or_one_are_chosen_of_those_there_are() -> None:
    going = [psutil.Process()] * 10
    sizes = {len(stutter.chosen(going, random.Random(seed))) for seed in range(100)}
    assert sizes == {1, 5}
    assert stutter.chosen([], random.Random(1)) == []


def test_descendants_stand_still_now_and_then_and_all_go_on_in_the_end(
    started: list[psutil.Process],
) -> None:
    held, *others = started
    held.suspend()
    becomes(held, still=True)
    command = [sys.executable, "-m", "tests.stutter", str(os.getpid())]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "STUTTER": "1"}
    ) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == b"STUTTER=1\n"
        for one in others:
            becomes(one, still=True)
            becomes(one, still=False)
        it.send_signal(signal.SIGTERM)
        assert it.wait() == 0
    for one in others:
        becomes(one, still=False)
    assert stands_still(held), "it was stopped by somebody else"
