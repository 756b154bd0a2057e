"""Pausing by freezing and by stopping, and what follows."""

import asyncio
from pathlib import Path
from typing import Any

from gateway.local.runtime import RuntimeConfig

from .doubles import (
    DEAF_SERVER,
    FAMILY,
    FAMILY_SIZE,
    FAST,
    SERVER,
    InMemoryObjects,
    eventually,
    free_port,
    is_served,
    only_pid,
    pids_of,
    python,
    running,
    sandbox,
    state_of,
)


async def test_freezing_stops_every_process_and_thawing_continues_the_same_ones(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port, python(FAMILY)))
    async with running(objects, data_dir):
        before = await objects.reaches("one", "Running")
        family = pids_of(data_dir)
        assert len(family) == FAMILY_SIZE
        objects.pause("one")
        frozen = await objects.reaches("one", "Paused")
        assert {state_of(pid) for pid in family} == {"T"}
        assert frozen["podUID"] == before["podUID"]
        objects.resume("one")
        after = await objects.reaches("one", "Running")
        assert after["podUID"] == before["podUID"]
        assert pids_of(data_dir) == family
        assert "T" not in {state_of(pid) for pid in family}
        assert objects.phases("one") == [
            "Pending", "Running", "Pausing", "Paused", "Resuming", "Running",
        ]  # fmt: skip


async def test_a_paused_sandbox_is_reported_as_pausing_before_it_is_touched(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    states: list[str] = []
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
        pid, write = only_pid(data_dir), objects.update_status

        def spy(namespace: str, name: str, uid: str, status: Any) -> None:
            if status["phase"] == "Pausing":
                states.append(state_of(pid))
            write(namespace, name, uid, status)

        objects.update_status = spy  # type: ignore[method-assign]
        objects.pause("one")
        await objects.reaches("one", "Paused")
    assert states
    assert states[0] != "T"


async def test_stopping_ends_all_processes_and_resuming_starts_a_new_incarnation(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port, python(FAMILY), pause="stop"))
    async with running(objects, data_dir):
        before = await objects.reaches("one", "Running")
        objects.pause("one")
        stopped = await objects.reaches("one", "Paused")
        assert pids_of(data_dir) == set()
        assert "podIP" not in stopped
        assert "podUID" not in stopped
        objects.resume("one")
        after = await objects.reaches("one", "Running")
        assert after["podUID"] != before["podUID"]


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("deaf", port, python(DEAF_SERVER), pause="stop"))
    async with running(objects, data_dir, RuntimeConfig(grace=0.1)):
        await objects.reaches("deaf", "Running")
        objects.pause("deaf")
        await objects.reaches("deaf", "Paused")
        assert pids_of(data_dir) == set()


async def test_a_stopped_sandbox_is_paused_only_when_its_last_process_has_ended(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    code = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # What is ignored stays so over exec.
idle = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
subprocess.Popen(idle, process_group=0)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
"""
    objects.add(sandbox("one", port, python(code + SERVER), pause="stop"))
    async with running(objects, data_dir, RuntimeConfig(grace=0.3)):
        await objects.reaches("one", "Running")
        await eventually(lambda: len(pids_of(data_dir)) == 2)
        objects.pause("one")
        await objects.reaches("one", "Paused")
        assert pids_of(data_dir) == set()


async def test_a_frozen_sandbox_is_given_the_time_to_end_in_order(
    objects: InMemoryObjects, data_dir: Path, port: int, tmp_path: Path
) -> None:
    farewell = tmp_path / "farewell"
    code = f"""
import signal
def leave(*_):
    open({str(farewell)!r}, "w").close(); raise SystemExit
signal.signal(signal.SIGTERM, leave)
"""
    objects.add(sandbox("one", port, python(code + SERVER)))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
        objects.pause("one")
        await objects.reaches("one", "Paused")
        objects.delete("one")
        await eventually(lambda: not pids_of(data_dir))
    assert farewell.exists()


async def test_a_sandbox_that_is_created_paused_has_no_process(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    obj = sandbox("one", port)
    obj["spec"]["desiredState"] = "Paused"
    objects.add(obj)
    async with running(objects, data_dir):
        await objects.reaches("one", "Paused")
        assert pids_of(data_dir) == set()
        objects.resume("one")
        await objects.reaches("one", "Running")
        assert objects.phases("one") == ["Paused", "Resuming", "Running"]


async def test_the_latest_wish_wins_over_a_transition(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        await objects.reaches("one", "Pending")
        objects.pause("one")
        await objects.reaches("one", "Paused")
        for _ in range(20):
            objects.resume("one")
            await asyncio.sleep(0)
            objects.pause("one")
            await asyncio.sleep(0)
        await objects.reaches("one", "Paused")
        assert {state_of(pid) for pid in pids_of(data_dir)} <= {"T"}
        objects.resume("one")
        await objects.reaches("one", "Running")
        assert len(pids_of(data_dir)) == 1
        assert is_served(port)


async def test_a_resume_during_a_stop_starts_anew_after_the_end(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("deaf", port, python(DEAF_SERVER), pause="stop"))
    async with running(objects, data_dir, RuntimeConfig(grace=0.2)):
        before = await objects.reaches("deaf", "Running")
        objects.pause("deaf")
        await objects.reaches("deaf", "Pausing")
        objects.resume("deaf")
        after = await objects.reaches("deaf", "Running")
        assert after["podUID"] != before["podUID"]
        assert "Paused" not in objects.phases("deaf")
        assert len(pids_of(data_dir)) == 1


async def test_many_frozen_sandboxes_wake_at_once(objects: InMemoryObjects, data_dir: Path) -> None:
    names = [f"box-{number}" for number in range(30)]
    for name in names:
        objects.add(sandbox(name, free_port()))
    async with running(objects, data_dir, FAST):
        await asyncio.gather(*(objects.reaches(name, "Running") for name in names))
        for name in names:
            objects.pause(name)
        await asyncio.gather(*(objects.reaches(name, "Paused") for name in names))
        assert {state_of(pid) for pid in pids_of(data_dir)} == {"T"}
        for name in names:
            objects.resume(name)
        await asyncio.gather(*(objects.reaches(name, "Running") for name in names))
        assert "T" not in {state_of(pid) for pid in pids_of(data_dir)}
