"""A TCP proxy that does harm by a schedule: what it does to a connection is drawn from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_RESET: Final = struct.pack("ii", 1, 0)
_READ: Final = 16 * 1024
#: No garbage makes one marker or name of another.
_GARBAGE: Final = b"\0\r\n\t :;,\x80\xff"
#: What a connection carries before harm is done: bytes, at most.
_LATEST: Final = 3000


class Fault(Enum):
    """What is done to one direction of a connection."""

    DELAY = "delay"
    DRIBBLE = "dribble"
    PAUSE = "pause"
    #: Both directions are reset.
    CUT = "cut"
    #: Both directions end, as if all had been said.
    TRUNCATE = "truncate"
    #: This direction ends, the other goes on.
    HALF_CLOSE = "half-close"
    #: Bytes are put in that nobody sent.
    GARBAGE = "garbage"
    #: The connection is reset as soon as it stands.
    REFUSE = "refuse"


#: Faults that change no byte, only when, and whether, the rest comes.
HONEST: Final = tuple(fault for fault in Fault if fault is not Fault.GARBAGE)


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: after so many bytes from the client (`upwards`) or from the server."""

    fault: Fault
    upwards: bool
    after: int


def plan(seed: str, faults: Sequence[Fault], harmless: float) -> Step | None:
    """Return what is done to the connection that this seed names, None for nothing."""
    random = Random(seed)
    if random.random() < harmless:
        return None
    fault, upwards = random.choice(faults), random.random() < 0.5
    return Step(fault, upwards, random.choice((0, 1, random.randrange(_LATEST))))


class FaultProxy:
    """Stands in front of `target`, None for nobody; `counts` says what it did."""

    def __init__(self, seed: str, faults: Sequence[Fault], harmless: float) -> None:
        """`harmless`: the part of the connections to which nothing is done."""
        self.target: tuple[str, int] | None = None
        self._seed = seed
        self._faults = faults
        self._harmless = harmless
        self._listener = socket.socket()
        self._running: set[asyncio.Task[bool]] = set()
        self.connections = 0
        self.counts: Counter[Fault] = Counter()
        self.address = ("", 0)

    async def start(self, host: str, port: int = 0) -> None:
        """Listen; raise OSError where that is not possible."""
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen(1024)
        self._listener.setblocking(False)
        self.address = self._listener.getsockname()
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    async def stop(self) -> None:
        """Refuse further connections, and reset those that stand."""
        self.cut_all()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await asyncio.gather(*self._running, return_exceptions=True)

    def cut_all(self) -> None:
        """Reset all connections, also those that the kernel has accepted in our place.

        Not one byte more of them gets through.
        """
        with contextlib.suppress(BlockingIOError):
            while True:
                _reset(self._listener.accept()[0])
        for task in self._running:
            task.cancel()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return
        step = plan(f"{self._seed}/{self.connections}", self._faults, self._harmless)
        self.connections += 1
        if step is not None and step.fault is Fault.REFUSE:
            self.counts[Fault.REFUSE] += 1
            _reset(client)
        elif self.target is None:
            _reset(client)
        else:
            both = client, socket.socket()
            task = asyncio.create_task(self._serve(*both, self.target, step))
            self._running.add(task)
            task.add_done_callback(lambda task: self._ended(task, both))

    def _ended(self, task: asyncio.Task[bool], both: tuple[socket.socket, ...]) -> None:
        self._running.discard(task)
        in_peace = not task.cancelled() and task.result()
        for one in both:
            if in_peace:
                one.close()
            else:
                _reset(one)

    async def _serve(
        self,
        client: socket.socket,
        server: socket.socket,
        target: tuple[str, int],
        step: Step | None,
    ) -> bool:
        """Carry both directions to their ends; return whether both ended in peace."""
        try:
            for one in (client, server):
                one.setblocking(False)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(server, target)
            upwards = step if step is not None and step.upwards else None
            downwards = step if upwards is None else None
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(client, server, upwards))
                pumps.create_task(self._pump(server, client, downwards))
        except ExceptionGroup as ends:
            broken, unknown = ends.split(OSError)
            if unknown is not None and unknown.split(_End)[1] is not None:
                raise
            return broken is None
        except OSError:
            return False
        return True

    async def _pump(self, source: socket.socket, sink: socket.socket, step: Step | None) -> None:
        """Carry one direction; raise _End or OSError to end both."""
        loop = asyncio.get_running_loop()
        carried = 0
        while data := await loop.sock_recv(source, _READ):
            if step is not None and carried + len(data) > step.after:
                before = step.after - carried
                await loop.sock_sendall(sink, data[:before])
                data = data[before:]
                self.counts[step.fault] += 1
                if not await self._harm(step, sink, data):
                    return
                step = None
            else:
                await loop.sock_sendall(sink, data)
                carried += len(data)
        sink.shutdown(socket.SHUT_WR)

    async def _harm(self, step: Step, sink: socket.socket, data: bytes) -> bool:
        """Do it, and send the data if it is still to be sent; return whether to go on."""
        loop = asyncio.get_running_loop()
        random = Random(f"{self._seed}/{step}")
        match step.fault:
            case Fault.CUT:
                raise ConnectionResetError
            case Fault.TRUNCATE:
                raise _End
            case Fault.HALF_CLOSE:
                sink.shutdown(socket.SHUT_WR)
                return False
            case Fault.DELAY:
                await asyncio.sleep(random.uniform(0, 0.02))
            case Fault.PAUSE:
                await asyncio.sleep(random.uniform(0.02, 0.1))
            case Fault.GARBAGE:
                data = bytes(random.choices(_GARBAGE, k=random.randint(1, 20))) + data
            case Fault.DRIBBLE:
                for at in range(min(len(data), 200)):
                    await loop.sock_sendall(sink, data[at : at + 1])
                    await asyncio.sleep(0)
                data = data[200:]
        await loop.sock_sendall(sink, data)
        return True


class _End(Exception):
    """Both directions end."""


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
