"""Processes that a runtime before this one, or a runtime in a hurry, left behind."""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.local.runtime.config import RuntimeConfig
from gateway.local.runtime.procfs import (
    ProcessId,
    ProcessTable,
    boot_id,
    read_process_table,
    send_signal,
)
from gateway.local.runtime.records import Record

_log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1


@dataclass(frozen=True, slots=True)
class Suspects:
    """How leftovers are told from strangers: by records of this boot and by the marker."""

    records: Sequence[Record]
    marker_prefix: str

    def leftovers(self, table: ProcessTable) -> frozenset[ProcessId]:
        """Leftovers in `table`. A pid whose start time differs belongs to a stranger."""
        found = set(table.marked(self.marker_prefix))
        for record in self.records:
            if table.has(record.leader):
                found |= table.members(record.leader.pid, self.marker_prefix + record.uid)
        # A gateway that was started inside a sandbox of its own directory must not end itself.
        own = table.ancestry(os.getpid())
        return frozenset(process for process in found if process.pid not in own)


def suspects_of_this_boot(records: Sequence[Record], marker_prefix: str) -> Suspects:
    """Leave out records of another boot: start times count from the boot."""
    current = boot_id()
    comparable = [record for record in records if record.boot_id == current]
    return Suspects(comparable, marker_prefix)


async def end_leftovers(who: Suspects, config: RuntimeConfig) -> None:
    """End all leftovers: SIGTERM, after the grace SIGKILL; those that resist are reported."""
    clock = asyncio.get_running_loop().time
    begin, pause = clock(), _FIRST_PAUSE
    asked: set[ProcessId] = set()
    while left := who.leftovers(await asyncio.to_thread(read_process_table)):
        waited = clock() - begin
        if waited > config.grace + config.kill_deadline:
            pids = sorted(process.pid for process in left)
            _log.error("local processes %s could not be ended", pids)
            return
        if waited >= config.grace:
            _kill(left)
        else:
            _ask_to_end(left - asked)
            asked |= left
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def kill_leftovers(who: Suspects) -> None:
    """Kill what is left, at once and without waiting: the last word on the way out."""
    _kill(who.leftovers(read_process_table()))


def _ask_to_end(processes: frozenset[ProcessId]) -> None:
    # A frozen process takes SIGTERM only once it is continued.
    for number in (signal.SIGTERM, signal.SIGCONT):
        for process in processes:
            send_signal(process, number)


def _kill(processes: frozenset[ProcessId]) -> None:
    for process in processes:
        send_signal(process, signal.SIGKILL)
