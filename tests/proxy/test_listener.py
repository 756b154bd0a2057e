"""Accepting connections: many in one turn, none lost, none after the end."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

import pytest

from gateway.proxy.listener import BATCH, PAUSE, Listener

if TYPE_CHECKING:
    from collections.abc import Callable


class Greeter(asyncio.Protocol):
    """Says one byte and keeps count."""

    def __init__(self, made: list[Greeter]) -> None:
        self.made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.made.append(self)
        transport.write(b"!")


def greeting(made: list[Greeter]) -> Callable[[], Greeter]:
    return lambda: Greeter(made)


async def end(listener: Listener, made: list[Greeter]) -> None:
    listener.close()
    await listener.opened()
    for one in made:
        one.transport.abort()
    await asyncio.sleep(0)


async def test_a_crowd_is_taken_in_a_few_turns_of_the_loop() -> None:
    made: list[Greeter] = []
    listener = Listener(greeting(made))
    address = await listener.start("127.0.0.1", 0)
    clients = [socket.create_connection(address) for _ in range(3 * BATCH)]
    turns = 0
    while len(made) < len(clients):
        await asyncio.sleep(0)
        turns += 1
    assert turns < BATCH
    assert {client.recv(1) for client in clients} == {b"!"}
    for client in clients:
        client.close()
    await end(listener, made)


async def test_nobody_is_accepted_after_the_end_and_who_was_stays() -> None:
    made: list[Greeter] = []
    listener = Listener(greeting(made))
    address = await listener.start("127.0.0.1", 0)
    with socket.create_connection(address) as client:
        while not made:
            await asyncio.sleep(0)
        listener.close()
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        assert client.recv(1) == b"!"
        assert not made[0].transport.is_closing()
    await end(listener, made)


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing() -> None:
    made: list[Greeter] = []
    first, second = Listener(greeting(made)), Listener(greeting(made))
    host, port = await first.start("127.0.0.1", 0)
    with pytest.raises(OSError, match=r"[Aa]ddress already in use") as told:
        await second.start(host, port)
    assert told.value.errno == errno.EADDRINUSE
    second.close()
    await end(first, made)


async def test_a_client_that_left_before_it_was_accepted_costs_nothing() -> None:
    made: list[Greeter] = []
    listener = Listener(greeting(made))
    address = await listener.start("127.0.0.1", 0)
    for _ in range(5):
        client = socket.create_connection(address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    with socket.create_connection(address) as client:
        client.setblocking(False)
        greeted = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), 5)
        assert greeted == b"!"
    await end(listener, made)


async def test_without_descriptors_it_waits_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    class Exhausted(socket.socket):
        """A listening socket that finds no descriptor the first time."""

        failures = 1

        def accept(self) -> tuple[socket.socket, object]:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    made: list[Greeter] = []
    listener = Listener(greeting(made))
    address = await listener.start("127.0.0.1", 0)
    asyncio.get_running_loop().remove_reader(listener._socket)  # type: ignore[arg-type]
    assert listener._socket is not None
    listener._socket = Exhausted(fileno=listener._socket.detach())
    listener._socket.setblocking(False)
    listener._resume()
    with socket.create_connection(address):
        async with asyncio.timeout(PAUSE + 5):
            while not made:
                await asyncio.sleep(0.01)
    assert "Too many open files" in caplog.text
    await end(listener, made)
