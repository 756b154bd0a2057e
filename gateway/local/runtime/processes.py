"""What is done to the processes of one sandbox: start, probe, freeze, thaw, end."""

import asyncio
import logging
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.local.runtime.child import Child, Launch, NotJoinedError, inherited_environment
from gateway.local.runtime.config import RuntimeConfig
from gateway.local.runtime.layout import Layout
from gateway.local.runtime.listeners import ListenerTable, judge_listener, port_accepts
from gateway.local.runtime.model import Command, Listener
from gateway.local.runtime.objects import SandboxObject
from gateway.local.runtime.procfs import (
    MARKER,
    ProcessId,
    ProcessTable,
    is_frozen,
    is_stopped,
    send_signal,
)
from gateway.local.runtime.records import Record, RecordStore
from gateway.local.runtime.rooms import Room, Rooms
from gateway.local.runtime.shared_reading import SharedReading
from gateway.local.runtime.spec import Identity

_log = logging.getLogger(__name__)

_ABANDON_PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Machine:
    """What all sandboxes of one runtime share."""

    layout: Layout
    records: RecordStore
    boot_id: str
    processes: SharedReading[ProcessTable]
    listeners: SharedReading[ListenerTable]
    config: RuntimeConfig
    rooms: Rooms


class SandboxProcesses:
    """The processes of one sandbox: a first one, and whatever came of it."""

    def __init__(self, machine: Machine, identity: Identity) -> None:
        self._machine = machine
        self._identity = identity
        self._marker = machine.layout.marker(identity.uid)
        self._child: Child | None = None
        self._room: Room | None = None
        self._ended = False
        self._stopped: set[ProcessId] = set()

    @property
    def _leader(self) -> Child:
        assert self._child is not None, "only asked for where there is a process"
        return self._child

    async def port_is_taken(self, port: int) -> bool:
        """Whether somebody listens on `port` already."""
        table = await self._machine.listeners.fresh()
        if table is None:
            return await port_accepts(port, self._machine.config.probe_timeout)
        return port in table

    def start(
        self, command: Command, obj: SandboxObject, incarnation: str, on_exit: Callable[[], None]
    ) -> None:
        """Start the first process, in a room if it is to have one.

        OSError or ValueError if the system refuses it.
        """
        layout, config = self._machine.layout, self._machine.config
        own = {"PORT": str(command.port), MARKER: self._marker}
        work = layout.work(self._identity)
        if command.cwd is None:
            work.mkdir(mode=0o700, exist_ok=True)
        launch = Launch(
            argv=command.argv,
            env=inherited_environment() | dict(command.env) | own,
            cwd=work if command.cwd is None else Path(command.cwd),
            log=layout.log(self._identity),
            log_limit=config.log_limit,
        )
        room = self._machine.rooms.room(self._identity, obj, incarnation)
        self._child, self._ended = self._launched(launch, room), False

        def ended() -> None:
            self._ended = True
            on_exit()

        self._child.watch(ended)

    def _launched(self, launch: Launch, room: Room | None) -> Child:
        """Start it, without a room if it does not get in."""
        if room is None:
            return Child(launch)
        with ExitStack() as undo:
            undo.callback(room.end)
            try:
                child = Child(replace(launch, door=room.door))
            except NotJoinedError as error:
                _log.warning("the size of %s is not limited: %s", self._identity.label, error)
                return Child(launch)
            undo.pop_all()
        room.begin()
        self._room = room
        return child

    async def remember(self) -> None:
        """Write the first process down, for a start after a crash.

        It runs already, so that there is no record of a process that never was; until the
        record is there, the marker in its environment tells whose it is.
        """
        record = Record(self._identity.uid, self._leader.identity, self._machine.boot_id)
        try:
            await asyncio.to_thread(self._machine.records.save, record)
        except OSError as error:
            _log.warning("no record of %s could be written: %s", self._identity.label, error)

    async def probe(self, port: int, known: Listener) -> tuple[Listener, bool]:
        """Try the port: who listens, and whether the sandbox can be used.

        Who listens is found out once an incarnation: after that the socket is held.
        """
        if self._still_frozen():
            self.thaw()
            return known, False
        if not await port_accepts(port, self._machine.config.probe_timeout):
            return (known if known.trusted else Listener.NOBODY), False
        if not known.trusted:
            known = await self._find_listener(port)
        return known, known.trusted

    def _still_frozen(self) -> bool:
        self._stopped = {process for process in self._stopped if is_frozen(process)}
        return bool(self._stopped)

    async def _find_listener(self, port: int) -> Listener:
        table = await self._machine.listeners.fresh()
        listener = judge_listener(port, table, [self._leader.identity])
        if listener is not Listener.FOREIGN:
            return listener
        _, members = await self._members()
        return await asyncio.to_thread(judge_listener, port, table, members)

    def freeze(self) -> None:
        """Tell the process group to stop in its tracks; `all_frozen` sees to the rest."""
        self._stopped.add(self._leader.identity)
        self._leader.signal_group(signal.SIGSTOP)

    async def all_frozen(self) -> bool:
        """Whether nothing of the sandbox can run; what still can is told to stop.

        A look at /proc is no snapshot: a child may be born behind the reader's back. Two looks
        with the same result can not both have missed it, since its parent was stopped at the
        end of the first one.
        """
        before: frozenset[ProcessId] | None = None
        while True:
            _, members = await self._members()
            self._stopped |= members
            running = [process for process in members if not is_stopped(process)]
            for process in running:
                send_signal(process, signal.SIGSTOP)
            if running:
                return False
            if members == before:
                return True
            before = members

    def thaw(self) -> None:
        """Let everything go on that was told to stop."""
        self._leader.signal_group(signal.SIGCONT)
        for process in self._stopped:
            send_signal(process, signal.SIGCONT)

    async def terminate(self) -> None:
        """Ask all processes to end, each of them once; frozen ones are continued for it."""
        table, members = await self._members()
        apart = table.outside_group(members, self._leader.identity.pid)
        for number in (signal.SIGTERM, signal.SIGCONT):
            self._leader.signal_group(number)
            for process in apart:
                send_signal(process, number)
        self._stopped.clear()

    def exit_text(self) -> str:
        """Say how the first process ended."""
        return self._leader.exit_text()

    async def gone(self) -> bool:
        """Whether no process is left; then the first one is reaped and forgotten."""
        _, members = await self._members()
        return self._forget_if_gone(members)

    async def kill(self) -> bool:
        """Kill what is left; whether nothing was."""
        _, members = await self._members()
        if self._forget_if_gone(members):
            return True
        self._leader.signal_group(signal.SIGKILL)
        for process in members:
            send_signal(process, signal.SIGKILL)
        return False

    def _forget_if_gone(self, members: frozenset[ProcessId]) -> bool:
        if members or not self._ended:
            return False
        self._leader.reap()
        self._child = None
        self._leave_room()
        self._stopped.clear()
        self._machine.records.remove(self._identity.uid)
        return True

    def abandon(self) -> None:
        """Kill without waiting, where an orderly end was not to be had."""
        if self._child is not None:
            self._child.abandon(_ABANDON_PATIENCE)
            self._child = None
            self._leave_room()

    def _leave_room(self) -> None:
        if self._room is not None:
            self._room.end()
            self._room = None

    async def discard_files(self) -> None:
        """Remove the working directory of a sandbox that was deleted."""
        work = self._machine.layout.work(self._identity)
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    async def _members(self) -> tuple[ProcessTable, frozenset[ProcessId]]:
        table = await self._machine.processes.fresh()
        return table, table.members(self._leader.identity.pid, self._marker)
