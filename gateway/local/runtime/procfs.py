"""Processes as Linux shows them in /proc (proc(5)), and signals that hit none but the one meant.

A pid alone names nobody for long: it is used again. Here a process is its pid and the time at
which it started.
"""

import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARKER = "SANDBOX_GATEWAY_LOCAL"
"""Environment variable that says whose process it is: `<id of the data directory>/<uid>`."""

_PROC = Path("/proc")
_ZOMBIE = frozenset("ZXx")
_STOPPED = frozenset("Tt") | _ZOMBIE
_SIGSTOP_BIT = 1 << (signal.SIGSTOP - 1)
# Fields of /proc/<pid>/stat, counted from the one after the name (the name may hold anything).
_STATE, _PPID, _PGID, _SID, _THREADS, _START_TIME = 0, 1, 2, 3, 17, 19


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process, for good: `start_time` is in clock ticks since boot."""

    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What was read about one process; `sid` is its POSIX session."""

    identity: ProcessId
    ppid: int
    pgid: int
    sid: int
    state: str
    threads: int
    marker: str | None = None

    @property
    def alive(self) -> bool:
        """Whether it can still run: a zombie can not, unless threads outlived the first one."""
        return self.state not in _ZOMBIE or self.threads > 1


class ProcessTable:
    """The processes of the machine at about one time."""

    def __init__(self, processes: Iterable[ProcessInfo]) -> None:
        self._by_pid = {process.identity.pid: process for process in processes}
        self._by_parent: dict[int, list[ProcessInfo]] = defaultdict(list)
        self._by_sid: dict[int, list[ProcessInfo]] = defaultdict(list)
        self._by_marker: dict[str, list[ProcessInfo]] = defaultdict(list)
        for process in self._by_pid.values():
            self._by_parent[process.ppid].append(process)
            self._by_sid[process.sid].append(process)
            if process.marker is not None:
                self._by_marker[process.marker].append(process)

    def has(self, identity: ProcessId) -> bool:
        """Whether this very process is there, be it as a zombie."""
        process = self._by_pid.get(identity.pid)
        return process is not None and process.identity == identity

    def members(self, sid: int, marker: str) -> frozenset[ProcessId]:
        """Live processes of a sandbox: its session, what carries its marker, all descendants.

        Only to be asked while the leader of the session is there (be it as a zombie): without
        it the number may belong to a stranger.
        """
        return self._live([*self._by_sid.get(sid, ()), *self._by_marker.get(marker, ())])

    def outside_group(self, processes: Iterable[ProcessId], pgid: int) -> list[ProcessId]:
        """Those of `processes` that a signal to the process group `pgid` does not reach."""
        return [process for process in processes if self._by_pid[process.pid].pgid != pgid]

    def marked(self, prefix: str) -> frozenset[ProcessId]:
        """Live processes whose marker begins with `prefix`, and their descendants."""
        found = [
            process
            for marker, processes in self._by_marker.items()
            if marker.startswith(prefix)
            for process in processes
        ]
        return self._live(found)

    def ancestry(self, pid: int) -> frozenset[int]:
        """The pid itself, its parent, and so on."""
        seen: set[int] = set()
        while pid in self._by_pid and pid not in seen:
            seen.add(pid)
            pid = self._by_pid[pid].ppid
        return frozenset(seen)

    def _live(self, roots: list[ProcessInfo]) -> frozenset[ProcessId]:
        found: dict[int, ProcessInfo] = {}
        while roots:
            process = roots.pop()
            if process.identity.pid not in found:
                found[process.identity.pid] = process
                roots.extend(self._by_parent.get(process.identity.pid, ()))
        return frozenset(process.identity for process in found.values() if process.alive)


def read_process_table() -> ProcessTable:
    """Read all of /proc once: some 50 µs a process, so not on the event loop."""
    pids = [int(name) for name in os.listdir(_PROC) if name.isdigit()]
    found = (read_process(pid, with_marker=True) for pid in pids)
    return ProcessTable(process for process in found if process is not None)


def read_process(pid: int, *, with_marker: bool = False) -> ProcessInfo | None:
    """Read one process; None if there is none."""
    fields = _stat_fields(_PROC / str(pid) / "stat")
    if fields is None:
        return None
    return ProcessInfo(
        identity=ProcessId(pid, int(fields[_START_TIME])),
        ppid=int(fields[_PPID]),
        pgid=int(fields[_PGID]),
        sid=int(fields[_SID]),
        state=fields[_STATE].decode(),
        threads=int(fields[_THREADS]),
        marker=_marker(pid) if with_marker else None,
    )


def _stat_fields(path: Path) -> list[bytes] | None:
    content = _read(path)
    return content.rpartition(b")")[2].split() if content else None


def _read(path: Path) -> bytes | None:
    # A process may end, or be somebody else's, at any moment: both mean "nothing to see".
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _marker(pid: int) -> str | None:
    key = MARKER.encode() + b"="
    environment = _read(_PROC / str(pid) / "environ") or b""
    if key not in environment:
        return None
    for variable in environment.split(b"\0"):
        if variable.startswith(key):
            return variable[len(key) :].decode(errors="replace")
    return None


def is_stopped(identity: ProcessId) -> bool:
    """Whether no thread of this process can run before it gets SIGCONT (or it is gone).

    A thread in an uninterruptible wait counts when its stop is already under way: a parent in
    vfork waits so for its child, and would do so for ever if that child was stopped first.
    """
    process = read_process(identity.pid)
    if process is None or process.identity != identity:
        return True
    states = _thread_states(identity.pid)
    running = {tid: state for tid, state in states.items() if state not in _STOPPED}
    if any(state != "D" for state in running.values()):
        return False
    stop_began = any(state in "Tt" for state in states.values())
    return stop_began or all(_stop_is_pending(identity.pid, tid) for tid in running)


def is_frozen(identity: ProcessId) -> bool:
    """Whether this process is there and stopped."""
    process = read_process(identity.pid)
    return process is not None and process.identity == identity and process.state in "Tt"


def _thread_states(pid: int) -> dict[str, str]:
    tasks = _PROC / str(pid) / "task"
    states: dict[str, str] = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        for tid in os.listdir(tasks):
            fields = _stat_fields(tasks / tid / "stat")
            if fields is not None:
                states[tid] = fields[_STATE].decode()
    return states


def _stop_is_pending(pid: int, tid: str) -> bool:
    content = _read(_PROC / str(pid) / "task" / tid / "status")
    if content is None:
        return True
    masks = [
        int(value, 16)
        for line in content.decode(errors="replace").splitlines()
        for name, _, value in [line.partition(":")]
        if name in {"SigPnd", "ShdPnd"}
    ]
    return any(mask & _SIGSTOP_BIT for mask in masks)


def send_signal(identity: ProcessId, number: signal.Signals) -> None:
    """Send a signal to this very process; nothing happens if it is gone or not ours.

    The pidfd is taken first and the start time compared then, so that the pid can not have
    passed to a stranger in between.
    """
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return
    try:
        process = read_process(identity.pid)
        if process is not None and process.identity == identity:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def boot_id() -> str:
    """Name the current boot of the kernel: start times of two boots can not be compared."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def is_supported() -> bool:
    """Whether this platform shows processes as this module expects."""
    return hasattr(os, "pidfd_open") and read_process(os.getpid()) is not None
