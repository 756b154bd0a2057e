"""A store of Sandboxes in memory, and the programs that the tests run as sandboxes."""

import asyncio
import copy
import itertools
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.local.runtime import ObjectGoneError, ProcessRuntime, Rooms, RuntimeConfig
from gateway.local.runtime.procfs import read_process, read_process_table

PATIENCE = 15.0
FAST = RuntimeConfig(grace=3.0, backoff_first=0.02, backoff_max=0.1, start_deadline=10.0)
NAMESPACE = "default"

SERVER = """
import os, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    connection, _ = listener.accept()
    connection.close()
"""
DEAF_SERVER = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER

FAMILY = (
    """
import os, subprocess, sys
sleep = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleep)
subprocess.Popen(sleep, process_group=0)
subprocess.Popen(sleep, start_new_session=True)
intermediate = "import subprocess, sys; subprocess.Popen(%r, process_group=0)" % (sleep,)
subprocess.run([sys.executable, "-I", "-S", "-c", intermediate])
"""
    + SERVER
)
"""A server with a child, one in a group of its own, one in a session of its own, one orphan."""

FAMILY_SIZE = 5


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


_CLAIMS: list[socket.socket] = []


def free_port() -> int:
    # Below the ephemeral range, so that no outgoing connection takes it meanwhile.
    for _ in range(1000):
        port = 20000 + int.from_bytes(os.urandom(2)) % 12000
        claim = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            # Nobody uses UDP here: who has that port is the one that is given its number, for as
            # long as it lives. Tests run in several processes.
            claim.bind(("127.0.0.1", port))
            _CLAIMS.append(claim)
            return port
        claim.close()
    raise AssertionError("no free port")


def sandbox(
    name: str, port: int, command: list[str] | None = None, **process: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": str(uuid.uuid4()),
            "generation": 1,
        },
        "spec": {
            "desiredState": "Running",
            "process": {"command": command or python(SERVER), "port": port, **process},
        },
    }


@dataclass
class InMemoryObjects:
    """The Objects protocol over a dict."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    events: list[tuple[str, str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._queues: list[asyncio.Queue[tuple[str, Mapping[str, Any]]]] = []
        self._news = asyncio.Condition()
        self._changed = asyncio.Event()

    async def subscribe(self) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        queue: asyncio.Queue[tuple[str, Mapping[str, Any]]] = asyncio.Queue()
        for obj in self.objects.values():
            queue.put_nowait(("ADDED", copy.deepcopy(obj)))
        self._queues.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.remove(queue)

    def update_status(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        obj = self.objects.get(name)
        if obj is None or obj["metadata"]["uid"] != uid or namespace != NAMESPACE:
            raise ObjectGoneError
        obj["status"] = dict(status)
        self.history.setdefault(name, []).append(status)
        self._changed.set()
        self._tell("MODIFIED", obj)

    def record_event(
        self, obj: Mapping[str, Any], event_type: str, reason: str, message: str
    ) -> None:
        self.events.append((obj["metadata"]["name"], event_type, reason, message))

    def add(self, obj: dict[str, Any]) -> None:
        self.objects[obj["metadata"]["name"]] = obj
        self._tell("ADDED", obj)

    def change(self, name: str, **spec: Any) -> None:
        obj = self.objects[name]
        obj["spec"] |= spec
        obj["metadata"]["generation"] += 1
        self._tell("MODIFIED", obj)

    def pause(self, name: str) -> None:
        self.change(name, desiredState="Paused")

    def resume(self, name: str) -> None:
        self.change(name, desiredState="Running")

    def delete(self, name: str) -> None:
        self._tell("DELETED", self.objects.pop(name))

    def _tell(self, kind: str, obj: dict[str, Any]) -> None:
        for queue in self._queues:
            queue.put_nowait((kind, copy.deepcopy(obj)))

    def status(self, name: str) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.objects[name].get("status", {})
        return status

    def ready(self, name: str) -> Mapping[str, Any]:
        condition: Mapping[str, Any] = self.status(name)["conditions"][0]
        return condition

    def phases(self, name: str) -> list[str]:
        """The phases that were reported, repetitions left out."""
        return [phase for phase, _ in itertools.groupby(s["phase"] for s in self.history[name])]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def reaches(self, name: str, phase: str, reason: str | None = None) -> Mapping[str, Any]:
        """Wait until the latest spec of a sandbox is reported as being in `phase`."""

        def there() -> bool:
            status = self.status(name)
            current = self.objects[name]["metadata"]["generation"]
            return (
                status.get("phase") == phase
                and status["observedGeneration"] == current
                and reason in {None, self.ready(name)["reason"]}
            )

        try:
            await self.until(there)
        except TimeoutError as error:
            raise AssertionError(f"{name} is {self.status(name)}") from error
        return self.status(name)


@asynccontextmanager
async def running(
    objects: InMemoryObjects,
    data_dir: Path,
    config: RuntimeConfig = FAST,
    reserved_ports: frozenset[int] = frozenset(),
    rooms: Rooms | None = None,
) -> AsyncIterator[asyncio.Task[None]]:
    runtime = ProcessRuntime(objects, data_dir, reserved_ports, config, rooms)
    task = asyncio.create_task(runtime.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def pids_of(data_dir: Path) -> set[int]:
    """Live processes that carry the marker of this data directory."""
    identifier = data_dir / "runtime" / "id"
    if not identifier.exists():
        return set()
    prefix = f"{identifier.read_text()}/"
    return {process.pid for process in read_process_table().marked(prefix)}


def only_pid(data_dir: Path) -> int:
    (pid,) = pids_of(data_dir)
    return pid


def state_of(pid: int) -> str:
    process = read_process(pid)
    return "gone" if process is None else process.state


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


def is_served(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1.0)
        return client.connect_ex(("127.0.0.1", port)) == 0


def kill_all(pids: set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
