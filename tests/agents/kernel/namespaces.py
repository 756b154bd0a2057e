"""A node of three network namespaces: this process's is the node's, behind it lie three others.

    client 10.1.0.2 fd00:1::2 ─┐
    pod    10.2.0.2 fd00:2::2 ─┼─ the node (10.N.0.1, fd00:N::1), which routes and tracks
    replica 10.3.0.2 fd00:3::2 ┘

The node rewrites 10.9.0.1:80 and [fd00:9::1]:80, the addresses of a service, to the pod's port
8080. The pod drops what comes to its port 81.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

NAMES: Final = ("client", "pod", "replica")
_CLONE_NEWNET: Final = 0x40000000

NODE_RULES: Final = """
table inet node {
  chain input {
    type filter hook input priority 0
    ct state new accept
  }
  chain output {
    type filter hook output priority -300
  }
  chain forward {
    type filter hook forward priority 0
    ct state new accept
  }
  chain prerouting {
    type nat hook prerouting priority -100
    ip daddr 10.9.0.1 tcp dport 80 dnat to 10.2.0.2:8080
    ip6 daddr fd00:9::1 tcp dport 80 dnat to [fd00:2::2]:8080
  }
}
"""
POD_RULES: Final = """
table inet pod {
  chain input {
    type filter hook input priority 0
    tcp dport 81 drop
  }
}
"""


@dataclass(frozen=True)
class Network:
    """The namespaces by their names."""

    prefix: str

    def within(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` gives in a namespace: a socket stays where it was made."""
        made: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                _enter(f"{self.prefix}-{name}")
                made.append(make())
            except BaseException as error:  # noqa: BLE001 - handed to who waits
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return made[0]

    def listen(self, name: str, port: int, family: int = socket.AF_INET) -> socket.socket:
        """Listen in a namespace, on all its addresses of one family."""
        host = "0.0.0.0" if family == socket.AF_INET else "::"
        return self.within(
            name, lambda: socket.create_server((host, port), family=family, backlog=1024)
        )

    def connect(self, name: str, address: str, port: int) -> socket.socket:
        """Connect out of a namespace."""
        return self.within(name, lambda: socket.create_connection((address, port), timeout=10))

    def begin(self, name: str, address: str, port: int) -> socket.socket:
        """Begin to connect out of a namespace, and wait for nothing."""

        def make() -> socket.socket:
            made = socket.socket()
            made.setblocking(False)
            made.connect_ex((address, port))
            return made

        return self.within(name, make)


def build() -> Network:
    """Make the namespaces; this process must be in one of its own."""
    network = Network(f"observe-{os.getpid()}")
    _ip("link", "set", "lo", "up")
    for number, name in enumerate(NAMES, 1):
        there = f"{network.prefix}-{name}"
        _ip("netns", "add", there)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", there)
        _ip("addr", "add", f"10.{number}.0.1/24", "dev", name)
        _ip("addr", "add", f"fd00:{number}::1/64", "dev", name, "nodad")
        _ip("link", "set", name, "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"10.{number}.0.2/24", "dev", "eth0"),
            ("addr", "add", f"fd00:{number}::2/64", "dev", "eth0", "nodad"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", f"10.{number}.0.1"),
            ("-6", "route", "add", "default", "via", f"fd00:{number}::1"),
        ):
            _ip("-n", there, *command)
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path(f"/proc/sys/net/{switch}").write_text("1")
    rule(NODE_RULES)
    network.within("pod", lambda: rule(POD_RULES))
    return network


def remove(network: Network) -> None:
    """Take the namespaces away again."""
    for name in NAMES:
        _ip("netns", "delete", f"{network.prefix}-{name}")


def rule(text: str) -> None:
    """Give nftables rules to the namespace that this thread is in."""
    subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _enter(namespace: str) -> None:
    """Put this thread into a namespace. (Python's own os.setns came with 3.12.)"""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns", namespace).open() as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
