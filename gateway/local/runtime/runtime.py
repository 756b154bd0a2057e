"""The process runtime: one worker a Sandbox, and nothing left running when it goes."""

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path

from gateway.local.runtime import procfs
from gateway.local.runtime.claims import PortClaims
from gateway.local.runtime.config import RuntimeConfig
from gateway.local.runtime.layout import DataDirInUseError, Layout, opened_layout
from gateway.local.runtime.leftovers import (
    Suspects,
    end_leftovers,
    kill_leftovers,
    suspects_of_this_boot,
)
from gateway.local.runtime.listeners import read_listeners
from gateway.local.runtime.model import Departure, Rival
from gateway.local.runtime.objects import Objects, SandboxObject
from gateway.local.runtime.processes import Machine
from gateway.local.runtime.records import RecordStore
from gateway.local.runtime.rooms import NoRooms, Rooms
from gateway.local.runtime.shared_reading import SharedReading
from gateway.local.runtime.spec import Identity, identity_of, read_desired
from gateway.local.runtime.worker import Worker

__all__ = ["DataDirInUseError", "ProcessRuntime", "UnsupportedPlatformError"]

_log = logging.getLogger(__name__)

_DELETED = "DELETED"


class UnsupportedPlatformError(Exception):
    """The runtime needs Linux: /proc and pidfds."""


class ProcessRuntime:
    """Runs the native Sandboxes of `objects` as local processes.

    All its files are in `data_dir`, which it has for itself as long as it runs. No sandbox gets
    one of `reserved_ports`: those are the listeners of the gateway. `rooms` limit what a sandbox
    has of the machine.
    """

    def __init__(
        self,
        objects: Objects,
        data_dir: Path,
        reserved_ports: Collection[int],
        config: RuntimeConfig | None = None,
        rooms: Rooms | None = None,
    ) -> None:
        self._objects = objects
        self._data_dir = data_dir
        self._reserved_ports = frozenset(reserved_ports)
        self._config = config or RuntimeConfig()
        self._rooms = rooms or NoRooms()
        self._claims = PortClaims(self._on_grant)
        self._workers: dict[str, Worker] = {}
        self._uids: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Look after all sandboxes until cancelled (or until the subscription ends).

        What a runtime before this one left running is ended first. Cancelled, it ends all
        processes in order, within `grace` + `kill_deadline`, and returns when none is left;
        cancelled once more, it kills them. Raises DataDirInUseError and
        UnsupportedPlatformError before anything is touched.
        """
        if not procfs.is_supported():
            raise UnsupportedPlatformError("local processes need Linux with /proc and pidfds")
        with opened_layout(self._data_dir) as layout:
            records = RecordStore(layout.records)
            prefix = layout.marker("")
            await end_leftovers(suspects_of_this_boot(records.load(), prefix), self._config)
            records.clear()
            self._rooms.sweep()
            try:
                await self._run_workers(self._machine(layout, records))
            finally:
                # What has left its session and outlived the rest still carries the marker.
                kill_leftovers(Suspects(records=(), marker_prefix=prefix))

    def _machine(self, layout: Layout, records: RecordStore) -> Machine:
        return Machine(
            layout=layout,
            records=records,
            boot_id=procfs.boot_id(),
            processes=SharedReading(procfs.read_process_table),
            listeners=SharedReading(read_listeners),
            config=self._config,
            rooms=self._rooms,
        )

    async def _run_workers(self, machine: Machine) -> None:
        async with asyncio.TaskGroup() as group:
            try:
                async for kind, obj in self._objects.subscribe():
                    self._apply(group, machine, kind, obj)
            finally:
                await self._drain()

    def _apply(
        self, group: asyncio.TaskGroup, machine: Machine, kind: str, obj: SandboxObject
    ) -> None:
        identity = identity_of(obj)
        if identity is None:
            _log.warning("a Sandbox without namespace, name and uid is ignored")
            return
        worker = self._workers.get(identity.uid)
        if kind == _DELETED:
            if worker is not None:
                worker.leave(Departure.DELETED)
            return
        desired = read_desired(obj, self._reserved_ports)
        if worker is not None:
            worker.want(obj, desired)
            return
        self._dismiss_namesake(identity)
        worker = Worker(
            machine=machine,
            objects=self._objects,
            claims=self._claims,
            describe=self._describe,
            identity=identity,
            obj=obj,
            desired=desired,
        )
        self._workers[identity.uid] = worker
        self._tasks[identity.uid] = group.create_task(self._own(worker))

    def _dismiss_namesake(self, newcomer: Identity) -> None:
        """A name that comes with a new uid means that its sandbox was deleted unseen."""
        before = self._workers.get(self._uids.get(newcomer.label, ""))
        if before is not None:
            before.leave(Departure.DELETED)
        self._uids[newcomer.label] = newcomer.uid

    async def _own(self, worker: Worker) -> None:
        uid, label = worker.identity.uid, worker.identity.label
        try:
            await worker.run()
        finally:
            del self._workers[uid], self._tasks[uid]
            if self._uids.get(label) == uid:
                del self._uids[label]
            self._claims.release(uid)

    async def _drain(self) -> None:
        for worker in self._workers.values():
            worker.leave(Departure.RUNTIME_STOPS)
        if not self._tasks:
            return
        patience = self._config.grace + self._config.kill_deadline
        _, late = await asyncio.wait(self._tasks.values(), timeout=patience)
        for task in late:
            task.cancel()

    def _describe(self, uid: str) -> Rival:
        worker = self._workers[uid]
        return Rival(worker.identity.label, worker.leaving)

    def _on_grant(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.poke()
