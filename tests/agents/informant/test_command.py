"""`informant` from the command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from tests.agents.informant.fake_agent import serving
from tests.agents.informant.informing import Asker
from tests.conformance.harness import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: The libraries that it may load, and what those need themselves.
LIBRARIES = {
    "aiohttp", "click", "prometheus_client", "pydantic",
    "aiohappyeyeballs", "aiosignal", "annotated_types", "attr", "frozenlist", "idna", "multidict",
    "propcache", "pydantic_core", "typing_extensions", "typing_inspection", "yarl",
}  # fmt: skip

#: Runs the command, and tells of all modules that are not the standard library's at the end.
PROBE = """
import atexit, json, sys
from gateway.cli.main import cli
@atexit.register
def tell():
    places = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    print(json.dumps([name for name, file in places.items() if file and "site-packages" in file]))
cli(["informant", *sys.argv[1:]])
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["informant", *arguments])


class Program:
    """The command as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, asker: Asker) -> None:
        self.process = process
        self.asker = asker

    async def end(self) -> tuple[int, str]:
        """Tell it to end; return its exit status and what it wrote to standard output."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10.0):
            output, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, output.decode()


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Program]:
    """Run it on a free port; give it once it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROBE, "--listen", "127.0.0.1:0", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(30.0), aiohttp.ClientSession() as session:
            listening = json.loads(await process.stderr.readline())
            assert listening["message"] == "listening"
            yield Program(process, Asker(listening["port"], session))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def test_the_help_says_what_it_does_and_what_to_beware_of() -> None:
    said = run("--help").output
    for word in ("/proc", "container", "/metrics", "0.0.0.0:10301", "let only the gateway"):
        assert word in said


@pytest.mark.parametrize("address", ["10301", ":10301", "a:b", "a:65536", "a:-1", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    result = run("--listen", address)
    assert result.exit_code == 2
    assert "wanted host:port" in result.output


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "gateway.cli", "informant", "--load", "machine"]
        done = subprocess.run(
            [*command, "--listen", f"127.0.0.1:{port}"],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert "sandbox-gateway: --listen: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.path.exists("/sys/fs/cgroup/memory.max"), reason="this is a container")
def test_what_cannot_be_measured_is_told() -> None:
    result = run("--load", "cgroup", "--listen", "127.0.0.1:0")
    assert result.exit_code == 1
    assert "/sys/fs/cgroup/cpu.stat cannot be read" in result.output
    assert "--load" in result.output


async def test_it_serves_and_ends_when_it_is_told_to() -> None:
    async with program("--load", "machine") as informant, serving() as agent:
        reply = await informant.asker.register(agent)
        assert reply.json["metricsMethod"] == {"prometheus": {"port": informant.asker.port}}
        await eventually(lambda: agent.paths == ["/resume"])
        assert (await informant.asker.metrics())["host_memory_total_bytes"] > 0
        status, _ = await informant.end()
        assert status == 0


async def test_it_ends_while_an_agent_keeps_it_waiting() -> None:
    async def hanging(_: object) -> aiohttp.web.Response:
        await asyncio.Event().wait()
        return aiohttp.web.Response()

    async with program("--load", "machine") as informant, serving() as agent:
        agent.answers["/resume"] = hanging
        await informant.asker.register(agent)
        await eventually(lambda: agent.paths == ["/resume"])
        status, _ = await informant.end()
        assert status == 0


async def test_it_loads_few_libraries() -> None:
    async with program("--load", "machine") as informant:
        status, output = await informant.end()
    assert status == 0
    loaded = {name.partition(".")[0] for name in json.loads(output)}
    assert "aiohttp" in loaded
    assert {one for one in loaded if not one.startswith("_")} - LIBRARIES == set()
