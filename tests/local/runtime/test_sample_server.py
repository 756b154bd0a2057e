"""The sample server, run as a sandbox and spoken to over its socket."""

import asyncio
import http.client
import json
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.local.sample_server import Options, read_options

from .doubles import InMemoryObjects, running, sandbox

ROOT = Path(__file__).parents[3]


def talk(port: int) -> list[tuple[int, bytes]]:
    """Three requests on one connection: a greeting, an echo by length, an echo in chunks."""
    answers = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        for method, path, body in (
            ("GET", "/", None),
            ("POST", "/echo", b"by length"),
            ("POST", "/echo", iter([b"in ", b"chunks"])),
            ("GET", "/events", None),
            ("GET", "/nowhere", None),
            ("HEAD", "/", None),
        ):
            client.request(method, path, body)
            response = client.getresponse()
            answers.append((response.status, response.read()))
    return answers


async def test_the_sample_server_answers_as_a_sandbox(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    words = [sys.executable, "-m", "gateway.local.sample_server", "--port", str(port)]
    objects.add(sandbox("demo", port, [*words, "--name", 'de"mo'], cwd=str(ROOT)))
    async with running(objects, data_dir):
        await objects.reaches("demo", "Running")
        hello, by_length, in_chunks, events, nowhere, head = await asyncio.to_thread(talk, port)
    about = json.loads(hello[1])
    assert about["sandbox"] == 'de"mo'
    assert about["requests"] == 1
    assert by_length == (200, b"by length")
    assert in_chunks == (200, b"in chunks")
    assert events[1].count(b"data: event") == 3
    assert nowhere[0] == 404
    assert head == (200, b"")


def test_the_command_line_is_read() -> None:
    assert read_options(["--port", "1", "--name", "a"]) == Options(1, "a", 0.0)
    words = ["--name", "a", "--startup-delay", "1.5", "--port", "1"]
    assert read_options(words) == Options(1, "a", 1.5)


@pytest.mark.parametrize(
    "words", [[], ["--port", "x", "--name", "a"], ["--port", "1"], ["--bad"], ["--a", "1"]]
)
def test_a_wrong_command_line_shows_the_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="usage"):
        read_options(words)
