"""One sandbox: decides, reports, acts, and rests until something changes."""

import asyncio
import errno
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from gateway.local.runtime import transitions
from gateway.local.runtime.claims import PortClaims
from gateway.local.runtime.decision import Action, next_step
from gateway.local.runtime.model import (
    Command,
    Departure,
    Desired,
    Instant,
    Life,
    Observed,
    Problem,
    Reason,
    Rival,
    expired,
)
from gateway.local.runtime.objects import ObjectGoneError, Objects, SandboxObject
from gateway.local.runtime.processes import Machine, SandboxProcesses
from gateway.local.runtime.spec import Identity
from gateway.local.runtime.status import Report, render, report

# The command itself is at fault: it fails the same way until somebody changes it.
_LASTING_ERRORS = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOEXEC,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.E2BIG,
    }
)


class Worker:
    """Brings the processes of one sandbox to what its object asks for, until it leaves."""

    def __init__(
        self,
        *,
        machine: Machine,
        objects: Objects,
        claims: PortClaims,
        describe: Callable[[str], Rival],
        identity: Identity,
        obj: SandboxObject,
        desired: Desired,
    ) -> None:
        self.identity = identity
        self._config = machine.config
        self._objects = objects
        self._claims = claims
        self._describe = describe
        self._object = obj
        self._desired = desired
        self._observed = Observed()
        self._processes = SandboxProcesses(machine, identity)
        self._changed = asyncio.Event()
        self._said: Report | None = None
        status = obj.get("status")
        self._status: Mapping[str, Any] = status if isinstance(status, Mapping) else {}
        self._claim()

    @property
    def leaving(self) -> bool:
        """Whether this sandbox is on its way out."""
        return self._desired.departure is not Departure.NONE

    def want(self, obj: SandboxObject, desired: Desired) -> None:
        """The object changed."""
        self._object = obj
        if desired == self._desired:
            return
        self._desired = desired
        self._claim()
        self.poke()

    def leave(self, departure: Departure) -> None:
        """End the processes and stop; a deletion is not taken back by an end of the runtime."""
        if self._desired.departure is not Departure.DELETED:
            self._desired = replace(self._desired, departure=departure)
            self.poke()

    def poke(self) -> None:
        """Something changed: decide anew."""
        self._changed.set()

    async def run(self) -> None:
        """Look after the sandbox until it leaves. Cancelled, it kills and does not wait."""
        try:
            while await self._turn():
                pass
            if self._desired.departure is Departure.DELETED:
                await self._processes.discard_files()
        finally:
            self._processes.abandon()

    async def _turn(self) -> bool:
        self._changed.clear()
        self._observed = transitions.asked(self._observed, self._desired, self._rival())
        now = self._now()
        step = next_step(self._observed, self._desired, now, self._config)
        # Said before it is done: nobody may be routed to what is about to be frozen or ended.
        self._publish(now)
        if step.action is Action.LEAVE:
            return False
        if step.action is Action.REST:
            await self._rest(step.until)
        else:
            await self._handler(step.action)(now)
        return True

    def _handler(self, action: Action) -> Callable[[Instant], Awaitable[None]]:
        return {
            Action.START: self._start,
            Action.PROBE: self._probe,
            Action.FREEZE: self._freeze,
            Action.CHECK_FROZEN: self._check_frozen,
            Action.THAW: self._thaw,
            Action.TERMINATE: self._terminate,
            Action.CHECK_GONE: self._check_gone,
            Action.KILL: self._kill,
        }[action]

    async def _rest(self, until: float | None) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _start(self, now: Instant) -> None:
        command = self._desired.workload
        assert isinstance(command, Command), "only a command is started"
        taken = await self._processes.port_is_taken(command.port)
        if self._changed.is_set():
            return  # Perhaps it is not wanted any more: decide again.
        if taken:
            self._fail(Reason.PORT_IN_USE, f"a foreign process listens on port {command.port}")
            return
        if self._spawn(command, now):
            await self._processes.remember()

    def _spawn(self, command: Command, now: Instant) -> bool:
        incarnation = str(uuid.uuid4())
        try:
            self._processes.start(command, self._object, incarnation, self._on_exit)
        except OSError as error:
            message = f"{command.argv[0]} can not be started: {error.strerror}: {error.filename}"
            if error.errno in _LASTING_ERRORS:
                self._observed = transitions.refused(self._observed, message, self._desired)
            else:
                self._fail(Reason.START_FAILED, message)
            return False
        except ValueError:
            message = "the command can not be written in the encoding of the system"
            self._observed = transitions.refused(self._observed, message, self._desired)
            return False
        self._observed = transitions.started(self._observed, command, incarnation, now.monotonic)
        return True

    def _fail(self, reason: Reason, message: str) -> None:
        self._observed = transitions.failed(
            self._observed,
            Problem(reason, message),
            self._desired,
            self._now().monotonic,
            self._config,
        )

    def _on_exit(self) -> None:
        self._observed = transitions.exited(self._observed, self._now().monotonic)
        self.poke()

    async def _probe(self, _now: Instant) -> None:
        command = self._observed.command
        assert command is not None, "only a process is probed"
        listener, accepts = await self._processes.probe(command.port, self._observed.listener)
        self._observed = transitions.probed(
            self._observed,
            listener,
            accepts=accepts,
            now=self._now().monotonic,
            config=self._config,
        )

    async def _freeze(self, now: Instant) -> None:
        self._observed = transitions.freezing(self._observed, now.monotonic)
        self._processes.freeze()

    async def _check_frozen(self, _now: Instant) -> None:
        done = await self._processes.all_frozen()
        outcome = transitions.frozen if done else transitions.checked_in_vain
        self._observed = outcome(self._observed, self._now().monotonic)

    async def _thaw(self, now: Instant) -> None:
        self._observed = transitions.thawed(self._observed, now.monotonic)
        self._processes.thaw()

    async def _terminate(self, now: Instant) -> None:
        exit_text = self._processes.exit_text()
        self._observed = transitions.terminating(
            self._observed, self._desired, exit_text, now, self._config
        )
        self._publish(now)
        await self._processes.terminate()

    async def _check_gone(self, _now: Instant) -> None:
        self._after_ending(gone=await self._processes.gone())

    async def _kill(self, now: Instant) -> None:
        self._observed = transitions.killing(self._observed, now.monotonic)
        self._after_ending(gone=await self._processes.kill())

    def _after_ending(self, *, gone: bool) -> None:
        outcome = transitions.gone if gone else transitions.checked_in_vain
        self._observed = outcome(self._observed, self._now().monotonic)

    def _publish(self, now: Instant) -> None:
        said = report(self._observed, self._desired, now)
        if said == self._said or self._desired.departure is Departure.DELETED:
            return
        who, status = self.identity, render(said, self._status, now)
        try:
            self._objects.update_status(who.namespace, who.name, who.uid, status)
        except ObjectGoneError:
            return  # The subscription will say so, and then the processes are ended.
        news = self._said is None or (said.phase, said.reason) != (
            self._said.phase,
            self._said.reason,
        )
        self._said, self._status = said, status
        if news and said.event_type is not None:
            self._objects.record_event(self._object, said.event_type, said.reason, said.message)

    def _claim(self) -> None:
        port = self._wanted_port()
        if port is not None:
            self._claims.claim(self.identity.uid, port)

    def _rival(self) -> Rival | None:
        """Settle which ports are claimed, and say who else has the one that is wanted."""
        self._claim()
        port = self._wanted_port()
        if self._observed.life is Life.ABSENT:
            self._claims.release(self.identity.uid, keep=port)
        holder = None if port is None else self._claims.holder(port)
        return None if holder in {None, self.identity.uid} else self._describe(str(holder))

    def _wanted_port(self) -> int | None:
        workload = self._desired.workload
        if not isinstance(workload, Command) or self.leaving or expired(self._desired, self._now()):
            return None
        return workload.port

    def _now(self) -> Instant:
        return Instant(asyncio.get_running_loop().time(), time.time())
