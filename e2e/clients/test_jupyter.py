"""A Jupyter server in a sandbox, named by its host: kernels, their WebSockets, and pauses."""

from __future__ import annotations

import json
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from e2e.waiting import DEADLINE, until

from .servers import JUPYTER, JUPYTER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .sleepers import Sleeper, Sleepers

KNOWN: Final = {"Authorization": f"token {JUPYTER_TOKEN}"}


@pytest.fixture
def jupyter(sleepers: Sleepers, tmp_path: Path) -> Sleeper:
    home = tmp_path / "jupyter"
    home.mkdir()
    return sleepers.make("jupyter", *JUPYTER, env={"HOME": str(home)}, cwd=str(home))


@pytest.fixture
def client(jupyter: Sleeper) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=jupyter.url,
        headers=KNOWN | {"Host": jupyter.host},
        timeout=DEADLINE,
        trust_env=False,
    ) as made:
        yield made


def channels(jupyter: Sleeper, kernel: str) -> ClientConnection:
    """Connect to a kernel."""
    there = socket.create_connection(("127.0.0.1", jupyter.gateway.data_port))
    address = f"ws://{jupyter.host}/api/kernels/{kernel}/channels"
    return connect(address, sock=there, additional_headers=KNOWN, open_timeout=DEADLINE)


def execute(connection: ClientConnection, code: str) -> str:
    """Return what code prints; a kernel is done with it when it says that it is idle."""
    asked = uuid.uuid4().hex
    header = {"msg_id": asked, "msg_type": "execute_request", "version": "5.4"}
    header |= {"username": "", "session": uuid.uuid4().hex, "date": ""}
    content = {"code": code, "silent": False, "stop_on_error": True, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    connection.send(json.dumps(message | {"channel": "shell"}))
    printed = ""
    while True:
        told: dict[str, Any] = json.loads(connection.recv(DEADLINE))
        if told["parent_header"].get("msg_id") != asked:
            continue
        if told["msg_type"] == "error":
            raise AssertionError(told["content"])
        if told["msg_type"] == "stream":
            printed += told["content"]["text"]
        if told["msg_type"] == "status" and told["content"]["execution_state"] == "idle":
            return printed


def state(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_kernel_remembers_over_a_pause(jupyter: Sleeper, client: httpx.Client) -> None:
    made = client.post("/api/kernels", json={"name": "python3"})
    assert made.status_code == 201
    assert made.headers["X-Sandbox-Cold-Start"] == "true"
    kernel = made.json()["id"]

    with channels(jupyter, kernel) as before:
        pid = execute(before, "import os; answer = 41; print(os.getpid())").strip()
        jupyter.pause()
        assert state(pid) == "T"  # stopped by a signal, as the server is (proc(5))
        with channels(jupyter, kernel) as after:
            assert after.response is not None
            assert after.response.headers["X-Sandbox-Cold-Start"] == "true"
            assert execute(after, "print(answer + 1)") == "42\n"
        assert execute(before, "print(answer + 2)") == "43\n"
    # The server hears that it is idle by a connection of its own.
    until(
        lambda: client.get(f"/api/kernels/{kernel}").json()["execution_state"] == "idle", "it rests"
    )
    assert jupyter.writes == 5


def test_a_notebook_is_saved_by_the_request_that_wakes(
    jupyter: Sleeper, client: httpx.Client
) -> None:
    cells: list[Any] = []
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    saved = client.put("/api/contents/new.ipynb", json={"type": "notebook", "content": notebook})
    assert saved.status_code == 201
    found = client.get("/api/contents/new.ipynb").json()
    assert (found["type"], found["content"]["cells"]) == ("notebook", [])
