"""Whose port it is: other sandboxes, strangers, the gateway itself."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.local.runtime import RuntimeConfig
from gateway.local.runtime.listeners import judge_listener, port_accepts, read_listeners
from gateway.local.runtime.model import Listener
from gateway.local.runtime.procfs import ProcessId, read_process

from .doubles import (
    SERVER,
    InMemoryObjects,
    eventually,
    free_port,
    is_served,
    pids_of,
    python,
    running,
    sandbox,
)


@contextmanager
def stranger_on(port: int, code: str = SERVER) -> Iterator[ProcessId]:
    """A process outside the runtime that listens on a port."""
    process = subprocess.Popen(python(code), env={"PORT": str(port)})
    try:
        info = read_process(process.pid)
        assert info is not None
        yield info.identity
    finally:
        process.kill()
        process.wait()


async def test_the_later_of_two_sandboxes_on_one_port_fails_until_the_first_is_gone(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("first", port))
    objects.add(sandbox("second", port))
    async with running(objects, data_dir):
        await objects.reaches("first", "Running")
        await objects.reaches("second", "Failed", "PortConflict")
        assert "default/first" in objects.ready("second")["message"]
        objects.pause("first")
        await objects.reaches("first", "Paused")
        await objects.reaches("second", "Failed", "PortConflict")
        objects.delete("first")
        await objects.reaches("second", "Running")
        assert len(pids_of(data_dir)) == 1


async def test_a_running_sandbox_that_moves_to_a_taken_port_ends_and_its_old_port_is_free(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    taken = free_port()
    objects.add(sandbox("first", taken))
    objects.add(sandbox("second", port))
    async with running(objects, data_dir):
        await objects.reaches("first", "Running")
        await objects.reaches("second", "Running")
        process = objects.objects["second"]["spec"]["process"]
        objects.change("second", process=process | {"port": taken})
        await objects.reaches("second", "Failed", "PortConflict")
        objects.add(sandbox("third", port))
        await objects.reaches("third", "Running")
        await objects.reaches("first", "Running")


async def test_a_port_of_the_gateway_is_refused(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    async with running(objects, data_dir, reserved_ports=frozenset({port})):
        await objects.reaches("one", "Failed", "PortReserved")
        assert pids_of(data_dir) == set()
        process = objects.objects["one"]["spec"]["process"]
        objects.change("one", process=process | {"port": free_port()})
        await objects.reaches("one", "Running")


async def test_a_stranger_on_the_port_fails_the_sandbox_until_it_leaves(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("one", port))
    with stranger_on(port):
        await eventually(lambda: is_served(port))
        async with running(objects, data_dir):
            await objects.reaches("one", "Failed", "PortInUse")
            assert pids_of(data_dir) == set()
            assert "Running" not in objects.phases("one")
    async with running(objects, data_dir):
        await objects.reaches("one", "Running")


async def test_a_sandbox_recovers_by_itself_when_the_stranger_leaves(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    async with running(objects, data_dir):
        with stranger_on(port):
            await eventually(lambda: is_served(port))
            objects.add(sandbox("one", port))
            await objects.reaches("one", "Failed", "PortInUse")
        await objects.reaches("one", "Running")


async def test_a_stranger_that_takes_the_port_after_the_start_is_not_taken_for_the_sandbox(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    objects.add(sandbox("slow", port, python("import time; time.sleep(600)")))
    async with running(objects, data_dir, RuntimeConfig(start_deadline=60.0, grace=3.0)):
        await objects.reaches("slow", "Pending", "Starting")
        await eventually(lambda: bool(pids_of(data_dir)))
        with stranger_on(port):
            await objects.reaches("slow", "Pending", "PortInUse")
            assert objects.ready("slow")["status"] == "False"
        await objects.reaches("slow", "Pending", "Starting")


async def test_a_listener_of_a_grandchild_is_the_sandbox_own(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    code = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-I", "-S", "-c", {SERVER!r}], start_new_session=True)
time.sleep(600)
"""
    objects.add(sandbox("one", port, python(code)))
    async with running(objects, data_dir):
        await objects.reaches("one", "Running", "PortAccepts")


async def test_a_port_without_an_answer_does_not_accept(port: int) -> None:
    assert not await port_accepts(port, 0.5)


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")],
)
async def test_every_listener_that_loopback_reaches_is_seen(
    family: socket.AddressFamily, address: str
) -> None:
    with socket.create_server(
        (address, 0), family=family, dualstack_ipv6=family is socket.AF_INET6
    ) as server:
        port = server.getsockname()[1]
        own = read_process(os.getpid())
        assert own is not None
        assert await port_accepts(port, 1.0)
        assert judge_listener(port, read_listeners(), [own.identity]) is Listener.OWN
        assert judge_listener(port, read_listeners(), []) is Listener.FOREIGN
    assert judge_listener(port, read_listeners(), [own.identity]) is Listener.NOBODY


def test_a_port_that_is_shared_with_a_stranger_is_not_the_sandbox_own(port: int) -> None:
    share = """
import os, socket, time
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), reuse_port=True)
print("listening", flush=True)
time.sleep(600)
"""
    first, second = (
        subprocess.Popen(python(share), env={"PORT": str(port)}, stdout=subprocess.PIPE)
        for _ in range(2)
    )
    try:
        identities = []
        for process in (first, second):
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            info = read_process(process.pid)
            assert info is not None
            identities.append(info.identity)
        table = read_listeners()
        assert judge_listener(port, table, identities) is Listener.OWN
        assert judge_listener(port, table, identities[:1]) is Listener.FOREIGN
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


def test_without_a_list_of_listeners_nobody_is_accused(port: int) -> None:
    assert judge_listener(port, None, []) is Listener.UNVERIFIED
