"""Sandboxes as real processes: run, crash, restart, expire, vanish."""

import itertools
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.local.runtime import RuntimeConfig

from .doubles import (
    FAMILY,
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
)


async def test_a_sandbox_runs_once_its_port_accepts(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        status = await objects.reaches("one", "Running")
        assert is_served(port)
        assert status["podIP"] == "127.0.0.1"
        assert objects.phases("one") == ["Pending", "Running"]
        assert objects.ready("one")["status"] == "True"
        assert objects.ready("one")["observedGeneration"] == 1
        assert objects.events[-1][:3] == ("one", "Normal", "PortAccepts")


async def test_a_sandbox_whose_port_stays_closed_is_not_running(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("mute", port, python("import time; time.sleep(600)")))
    config = RuntimeConfig(start_deadline=0.2, backoff_first=0.02, grace=3.0)
    async with running(objects, data_dir, config):
        await objects.reaches("mute", "Pending", "StartDeadlineExceeded")
        assert "Running" not in objects.phases("mute")
        assert objects.ready("mute")["status"] == "False"


async def test_the_process_gets_port_env_and_directory_and_no_secrets(
    objects: InMemoryObjects, data_dir: Path, port: int, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("SBXGW_SECRET", "hidden")
    report = tmp_path / "report"
    code = f"""
import json, os, sys
about = dict(env=dict(os.environ), cwd=os.getcwd(), stdin=sys.stdin.read(), sid=os.getsid(0))
open({str(report)!r}, "w").write(json.dumps(about)); print("hello log", flush=True)
"""
    objects.add(sandbox("one", port, python("import os\n" + code + SERVER), env={"A": "b"}))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
        about = json.loads(report.read_text())
        assert about["env"]["PORT"] == str(port)
        assert about["env"]["A"] == "b"
        assert "SBXGW_SECRET" not in about["env"]
        assert about["stdin"] == ""
        assert about["sid"] == only_pid(data_dir) != os.getsid(0)
        assert Path(about["cwd"]).is_relative_to(data_dir.resolve())
        assert "hello log" in (data_dir / "logs" / "default_one.log").read_text()


async def test_a_log_over_the_limit_is_put_aside_at_the_next_start(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    logs = data_dir / "logs"
    logs.mkdir(parents=True)
    (logs / "default_one.log").write_bytes(b"x" * 11)
    objects.add(sandbox("one", port))
    async with running(objects, data_dir, RuntimeConfig(log_limit=10, grace=3.0)):
        await objects.reaches("one", "Running")
        assert (logs / "default_one.log.1").stat().st_size == 11
        assert (logs / "default_one.log").stat().st_size == 0


async def test_a_crash_is_reported_with_its_exit_code_and_restarted(
    objects: InMemoryObjects, data_dir: Path, port: int, tmp_path: Path
) -> None:
    fuse = tmp_path / "fuse"
    fuse.touch()
    code = f"""
import os
if os.path.exists({str(fuse)!r}):
    os.unlink({str(fuse)!r}); os._exit(7)
"""
    objects.add(sandbox("one", port, python(code + SERVER)))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
    texts = [status["conditions"][0]["message"] for status in objects.history["one"]]
    assert any("exited with code 7" in text for text in texts)
    reasons = [status["conditions"][0]["reason"] for status in objects.history["one"]]
    reasons = [reason for reason, _ in itertools.groupby(reasons)]
    assert reasons[:4] == ["Starting", "ProcessExited", "Starting", "PortAccepts"]
    assert any(event[1:3] == ("Warning", "ProcessExited") for event in objects.events)


async def test_a_crash_while_running_takes_what_it_left_with_it(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port, python(FAMILY)))
    async with running(objects, data_dir):
        before = await objects.reaches("one", "Running")
        family = pids_of(data_dir)
        leader = next(pid for pid in family if os.getsid(pid) == pid and is_leader(data_dir, pid))
        os.kill(leader, 9)
        await objects.until(lambda: objects.status("one").get("podUID") != before["podUID"])
        await objects.reaches("one", "Running")
        assert not family & pids_of(data_dir)
        messages = [status["conditions"][0]["message"] for status in objects.history["one"]]
        assert any("ended by SIGKILL" in message for message in messages)


def is_leader(data_dir: Path, pid: int) -> bool:
    (record,) = (data_dir / "runtime" / "records").glob("*.json")
    return bool(json.loads(record.read_text())["leader"]["pid"] == pid)


async def test_a_frozen_process_that_is_killed_stays_paused_and_wakes_as_a_new_one(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
        objects.pause("one")
        await objects.reaches("one", "Paused")
        os.kill(only_pid(data_dir), 9)
        await objects.until(lambda: "podIP" not in objects.status("one"))
        await objects.reaches("one", "Paused")
        objects.resume("one")
        await objects.reaches("one", "Running")


async def test_a_changed_process_is_a_new_incarnation_but_a_changed_pause_is_not(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        first = await objects.reaches("one", "Running")
        process = objects.objects["one"]["spec"]["process"]
        objects.change("one", process=process | {"pause": "stop"})
        second = await objects.reaches("one", "Running")
        assert second["podUID"] == first["podUID"]
        other = free_port()
        objects.change("one", process=process | {"port": other})
        third = await objects.reaches("one", "Running")
        assert third["podUID"] != first["podUID"]
        assert is_served(other)
        assert not is_served(port)
        assert len(pids_of(data_dir)) == 1


async def test_the_shutdown_time_ends_a_frozen_sandbox_too(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
        objects.pause("one")
        await objects.reaches("one", "Paused")
        soon = datetime.now(UTC) + timedelta(seconds=0.2)
        objects.change("one", shutdownTime=soon.isoformat())
        status = await objects.reaches("one", "Succeeded")
        assert "podIP" not in status
        assert pids_of(data_dir) == set()


async def test_a_deleted_sandbox_leaves_neither_processes_nor_record_nor_files(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port, python(FAMILY)))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
        objects.pause("one")
        await objects.reaches("one", "Paused")
        objects.delete("one")
        await eventually(lambda: not pids_of(data_dir))
        await eventually(lambda: not list((data_dir / "work").iterdir()))
        assert not list((data_dir / "runtime" / "records").iterdir())


async def test_a_sandbox_that_is_being_deleted_is_terminating_without_a_process(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")
        objects.objects["one"]["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
        objects.change("one")
        await objects.reaches("one", "Terminating")
        await eventually(lambda: not pids_of(data_dir))


async def test_a_recreated_sandbox_of_the_same_name_and_port_comes_up(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    async with running(objects, data_dir):
        first = await objects.reaches("one", "Running")
        objects.delete("one")
        objects.add(sandbox("one", port))
        second = await objects.reaches("one", "Running")
        assert first["podUID"] != second["podUID"]
        assert "Failed" not in objects.phases("one")
        assert len(pids_of(data_dir)) == 1
