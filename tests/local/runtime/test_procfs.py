"""Reading /proc, and signals that reach the process they are meant for."""

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.local.runtime.claims import PortClaims
from gateway.local.runtime.procfs import (
    ProcessId,
    ProcessInfo,
    ProcessTable,
    is_frozen,
    is_stopped,
    read_process,
    read_process_table,
    send_signal,
)
from gateway.local.runtime.shared_reading import SharedReading

from .doubles import eventually, python, state_of


@contextmanager
def process(code: str = "import time; time.sleep(600)") -> Iterator[ProcessId]:
    """A process that said that it is up, in a session of its own."""
    popen = subprocess.Popen(
        python("print('up', flush=True)\n" + code), start_new_session=True, stdout=subprocess.PIPE
    )
    try:
        assert popen.stdout is not None
        assert popen.stdout.readline() == b"up\n"
        info = read_process(popen.pid)
        assert info is not None
        yield info.identity
    finally:
        os.killpg(popen.pid, signal.SIGCONT)
        os.killpg(popen.pid, signal.SIGKILL)
        popen.communicate()


def info(
    pid: int, ppid: int = 1, sid: int = 1, state: str = "S", marker: str | None = None
) -> ProcessInfo:
    return ProcessInfo(
        ProcessId(pid, 0), ppid, pgid=sid, sid=sid, state=state, threads=1, marker=marker
    )


def pids(found: frozenset[ProcessId]) -> set[int]:
    return {process.pid for process in found}


def test_members_are_the_session_the_marked_and_all_descendants_but_no_zombies() -> None:
    table = ProcessTable(
        [
            info(10, sid=10),
            info(11, ppid=10, sid=10),
            info(12, ppid=11, sid=12),
            info(13, ppid=12, sid=13),
            info(14, sid=14, marker="id/uid"),
            info(15, ppid=10, sid=10, state="Z"),
            info(16, ppid=15, sid=10),
            info(20, sid=20),
            info(21, ppid=20, sid=20, marker="id/uid-2"),
        ]
    )
    assert pids(table.members(10, "id/uid")) == {10, 11, 12, 13, 14, 16}
    outside = table.outside_group(table.members(10, "id/uid"), 10)
    assert {process.pid for process in outside} == {12, 13, 14}
    assert pids(table.marked("id/")) == {14, 21}
    assert table.ancestry(13) == {13, 12, 11, 10}


def test_a_process_with_an_awkward_name_is_read() -> None:
    code = "open('/proc/self/comm', 'w').write(') R 1 2 ((')\nimport time; time.sleep(600)"
    with process(code) as one:
        found = read_process(one.pid)
        assert found is not None
        assert found.identity == one
        assert (found.ppid, found.sid) == (os.getpid(), one.pid)
        assert read_process_table().has(one)


async def test_a_signal_does_not_reach_a_process_with_another_start_time() -> None:
    with process() as one:
        send_signal(ProcessId(one.pid, one.start_time + 1), signal.SIGKILL)
        # Had it been killed, it could not be stopped any more.
        send_signal(one, signal.SIGSTOP)
        await eventually(lambda: is_frozen(one))


async def test_a_stop_reaches_the_process_that_is_meant() -> None:
    with process() as one:
        assert not is_stopped(one)
        send_signal(one, signal.SIGSTOP)
        await eventually(lambda: is_frozen(one))
        assert is_stopped(one)


async def test_a_process_that_is_gone_is_stopped_but_not_frozen() -> None:
    with process() as one:
        send_signal(one, signal.SIGKILL)
        await eventually(lambda: state_of(one.pid) == "Z")
    assert is_stopped(one)
    assert not is_frozen(one)
    send_signal(one, signal.SIGKILL)


async def test_a_parent_that_waits_for_a_stopped_vfork_child_counts_as_stopped(
    tmp_path: Path,
) -> None:
    # posix_spawn uses vfork; the child blocks on opening a FIFO before its exec.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"""
import os
act = [(os.POSIX_SPAWN_OPEN, 0, {str(fifo)!r}, os.O_RDONLY, 0)]
os.posix_spawn("/bin/true", ["true"], {{}}, file_actions=act)
"""
    with process(code) as parent:
        await eventually(lambda: state_of(parent.pid) == "D")
        assert not is_stopped(parent)
        os.killpg(parent.pid, signal.SIGSTOP)
        await eventually(lambda: is_stopped(parent))
        assert state_of(parent.pid) == "D"


async def test_a_thousand_questions_cost_two_readings_and_none_gets_an_old_answer() -> None:
    gate = threading.Event()
    begun: list[int] = []

    def read() -> int:
        begun.append(len(begun) + 1)
        gate.wait(10)
        return begun[-1]

    shared = SharedReading(read)
    early = asyncio.create_task(shared.fresh())
    await eventually(lambda: bool(begun))
    late = [asyncio.create_task(shared.fresh()) for _ in range(1000)]
    await asyncio.sleep(0)
    gate.set()
    assert await early == 1
    assert set(await asyncio.gather(*late)) == {2}


async def test_a_question_that_is_given_up_does_not_take_the_answer_from_others() -> None:
    gate = threading.Event()
    shared = SharedReading(lambda: gate.wait(10))
    first, second = (asyncio.create_task(shared.fresh()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert await second


def test_a_port_passes_on_in_the_order_of_the_claims() -> None:
    granted: list[str] = []
    claims = PortClaims(granted.append)
    for uid in ("a", "b", "c", "b"):
        claims.claim(uid, 9000)
    claims.claim("a", 9001)
    claims.release("b")
    assert granted == []
    claims.release("a", keep=9001)
    assert granted == ["c"]
    assert (claims.holder(9000), claims.holder(9001)) == ("c", "a")
    claims.release("c")
    claims.release("unknown")
    assert claims.holder(9000) is None
