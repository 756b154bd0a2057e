"""Nothing is left running: after an orderly end, after two signals, after kill -9."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.local.runtime import DataDirInUseError, ProcessRuntime, RuntimeConfig
from gateway.local.runtime.procfs import ProcessId, boot_id, read_process

from .doubles import (
    DEAF_SERVER,
    FAMILY,
    FAST,
    PATIENCE,
    InMemoryObjects,
    eventually,
    free_port,
    is_served,
    pids_of,
    python,
    running,
    sandbox,
    state_of,
)

ROOT = Path(__file__).parents[3]

GATEWAY = """
import asyncio, pathlib, sys
from tests.local.runtime.doubles import InMemoryObjects, running, sandbox, python
async def main():
    objects = InMemoryObjects()
    for number, port in enumerate(sys.argv[3:]):
        objects.add(sandbox(f"box-{number}", int(port), python(sys.argv[2])))
    async with running(objects, pathlib.Path(sys.argv[1])):
        for name in objects.objects:
            await objects.reaches(name, "Running")
        objects.pause("box-0")
        await objects.reaches("box-0", "Paused")
        print("up", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


def killed_gateway(data_dir: Path, ports: list[int], code: str) -> None:
    """A gateway with sandboxes, the first of them frozen, that was ended by kill -9."""
    words = [sys.executable, "-c", GATEWAY, str(data_dir), code, *map(str, ports)]
    gateway = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert gateway.stdout is not None
        assert gateway.stdout.readline() == b"up\n"
    finally:
        gateway.kill()
        gateway.communicate()


def record_of(data_dir: Path, leader: ProcessId, boot: str) -> None:
    folder = data_dir / "runtime" / "records"
    folder.mkdir(parents=True)
    content = {
        "uid": "some-uid",
        "leader": {"pid": leader.pid, "start_time": leader.start_time},
        "boot_id": boot,
    }
    (folder / "some-uid.json").write_text(json.dumps(content))


@pytest.fixture
def stranger() -> "subprocess.Popen[bytes]":  # type: ignore[misc]
    process = subprocess.Popen(python("import time; time.sleep(600)"), start_new_session=True)
    yield process
    process.kill()
    process.wait()


def identity_of(process: "subprocess.Popen[bytes]") -> ProcessId:
    info = read_process(process.pid)
    assert info is not None
    return info.identity


async def test_an_orderly_end_leaves_no_process_and_says_so(
    objects: InMemoryObjects, data_dir: Path
) -> None:
    objects.add(sandbox("serving", free_port(), python(FAMILY)))
    objects.add(sandbox("frozen", free_port(), python(FAMILY)))
    async with running(objects, data_dir):
        await objects.reaches("serving", "Running")
        await objects.reaches("frozen", "Running")
        objects.pause("frozen")
        await objects.reaches("frozen", "Paused")
    assert pids_of(data_dir) == set()
    assert objects.status("serving")["phase"] == "Pending"
    assert objects.status("frozen")["phase"] == "Paused"
    for name in ("serving", "frozen"):
        assert objects.ready(name)["reason"] == "RuntimeStopped"
        assert "podIP" not in objects.status(name)
    assert not list((data_dir / "runtime" / "records").iterdir())


async def test_processes_that_ignore_sigterm_are_ended_together_in_one_grace(
    objects: InMemoryObjects, data_dir: Path
) -> None:
    names = [f"deaf-{number}" for number in range(5)]
    for name in names:
        objects.add(sandbox(name, free_port(), python(DEAF_SERVER)))
    grace = 1.0
    async with running(objects, data_dir, RuntimeConfig(grace=grace)) as task:
        for name in names:
            await objects.reaches(name, "Running")
        task.cancel()
        async with asyncio.timeout(grace * len(names)):
            with suppress(asyncio.CancelledError):
                await task
    assert pids_of(data_dir) == set()


async def test_a_second_cancellation_kills_at_once(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    code = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # What is ignored stays so over exec.
idle = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
subprocess.Popen(idle, start_new_session=True)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
"""
    objects.add(sandbox("deaf", port, python(code + DEAF_SERVER)))
    async with running(objects, data_dir, RuntimeConfig(grace=600.0)) as task:
        await objects.reaches("deaf", "Running")
        await eventually(lambda: len(pids_of(data_dir)) == 2)
        task.cancel()
        await objects.reaches("deaf", "Pending", "RuntimeStopped")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await eventually(lambda: not pids_of(data_dir))


async def test_a_cancellation_at_any_moment_of_a_start_leaves_no_process(
    objects: InMemoryObjects, data_dir: Path
) -> None:
    for turns in range(0, 60, 3):
        objects.objects.clear()
        objects.add(sandbox("one", free_port()))
        async with running(objects, data_dir):
            for _ in range(turns):
                await asyncio.sleep(0.0005)
        assert pids_of(data_dir) == set(), turns


async def test_a_daemon_that_left_its_session_is_ended_with_the_runtime(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port, python(FAMILY)))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
        family = pids_of(data_dir)
        assert len({os.getsid(pid) for pid in family}) == 2
    assert {state_of(pid) for pid in family} <= {"gone", "Z"}


async def test_what_a_killed_gateway_left_is_ended_and_started_anew(
    objects: InMemoryObjects, data_dir: Path
) -> None:
    ports = [free_port(), free_port()]
    killed_gateway(data_dir, ports, FAMILY)
    before = pids_of(data_dir)
    assert is_served(ports[1])
    assert len(before) == 10
    objects.add(sandbox("box-1", ports[1]))
    async with running(objects, data_dir):
        await objects.reaches("box-1", "Running")
        assert not before & pids_of(data_dir)
        assert len(pids_of(data_dir)) == 1


async def test_without_records_the_marker_finds_what_a_killed_gateway_left(
    objects: InMemoryObjects, data_dir: Path
) -> None:
    killed_gateway(data_dir, [free_port()], FAMILY)
    assert pids_of(data_dir)
    for record in (data_dir / "runtime" / "records").iterdir():
        record.unlink()
    async with running(objects, data_dir):
        await eventually(lambda: not pids_of(data_dir))


async def test_leftovers_that_ignore_sigterm_are_killed(
    objects: InMemoryObjects, data_dir: Path
) -> None:
    killed_gateway(data_dir, [free_port()], DEAF_SERVER)
    assert pids_of(data_dir)
    async with running(objects, data_dir, RuntimeConfig(grace=0.1)):
        await eventually(lambda: not pids_of(data_dir))


async def test_a_record_alone_is_enough_to_end_a_process_that_hid_its_marker(
    objects: InMemoryObjects, data_dir: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    record_of(data_dir, identity_of(stranger), boot_id())
    async with running(objects, data_dir):
        await eventually(lambda: stranger.poll() is not None)
    assert stranger.returncode == -signal.SIGTERM


async def test_a_stranger_that_has_the_pid_of_a_record_is_left_alone(
    objects: InMemoryObjects,
    data_dir: Path,
    port: int,
    stranger: "subprocess.Popen[bytes]",
) -> None:
    own = identity_of(stranger)
    record_of(data_dir, ProcessId(own.pid, own.start_time - 1), boot_id())
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
    assert stranger.poll() is None


async def test_a_record_of_another_boot_ends_nobody(
    objects: InMemoryObjects,
    data_dir: Path,
    port: int,
    stranger: "subprocess.Popen[bytes]",
) -> None:
    record_of(data_dir, identity_of(stranger), "another boot")
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
    assert stranger.poll() is None


async def test_records_that_can_not_be_read_do_not_stop_the_start(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    folder = data_dir / "runtime" / "records"
    folder.mkdir(parents=True)
    for name, content in {"a": "", "b": "[]", "c": '{"uid": 1}', "d": "\xff"}.items():
        (folder / f"{name}.json").write_text(content, encoding="latin-1")
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")


async def test_two_runtimes_never_share_a_data_directory(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
        with pytest.raises(DataDirInUseError):
            async with asyncio.timeout(PATIENCE):
                await ProcessRuntime(InMemoryObjects(), data_dir, (), FAST).run()
        assert is_served(port)


async def test_a_store_that_breaks_ends_the_runtime_without_leaving_processes(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    class BrokenError(Exception):
        pass

    def broken(*_: object) -> None:
        raise BrokenError

    objects.add(sandbox("one", port))
    runtime = asyncio.create_task(ProcessRuntime(objects, data_dir, (), FAST).run())
    await objects.reaches("one", "Running")
    objects.update_status = broken  # type: ignore[method-assign, assignment]
    objects.pause("one")
    with pytest.raises(ExceptionGroup) as caught:
        await runtime
    assert caught.value.subgroup(BrokenError) is not None
    assert pids_of(data_dir) == set()
