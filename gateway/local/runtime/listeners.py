"""Who listens on a port of the loopback address: /proc/net/tcp (proc(5)) and a trial connection."""

import asyncio
import os
import socket
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.local.runtime.model import Listener
from gateway.local.runtime.procfs import ProcessId
from gateway.local.runtime.status import LOOPBACK

ListenerTable = Mapping[int, frozenset[int]] | None
"""Port → inodes of the sockets that take connections to 127.0.0.1; None: can not be read."""

_LISTEN = b"0A"
_LOCAL_ADDRESS, _STATE, _INODE = 1, 3, 9


def _as_printed(address: bytes) -> bytes:
    """An address as the kernel prints it: words in the byte order of the machine."""
    words = struct.unpack(f"={len(address) // 4}I", address)
    return "".join(f"{word:08X}" for word in words).encode()


_V4 = frozenset({_as_printed(socket.inet_aton(LOOPBACK)), b"0" * 8})
_V6 = frozenset(
    _as_printed(socket.inet_pton(socket.AF_INET6, text)) for text in ("::", f"::ffff:{LOOPBACK}")
)


def read_listeners() -> ListenerTable:
    """Read all listening sockets that an attempt to reach 127.0.0.1 may end at."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    try:
        _collect(Path("/proc/net/tcp"), _V4, found)
    except OSError:
        return None
    try:
        _collect(Path("/proc/net/tcp6"), _V6, found)
    except FileNotFoundError:
        pass  # A kernel without IPv6.
    except OSError:
        return None
    return {port: frozenset(inodes) for port, inodes in found.items()}


def _collect(path: Path, addresses: frozenset[bytes], found: defaultdict[int, set[int]]) -> None:
    for line in path.read_bytes().splitlines()[1:]:
        fields = line.split()
        if fields[_STATE] != _LISTEN:
            continue
        address, _, port = fields[_LOCAL_ADDRESS].partition(b":")
        if address in addresses:
            found[int(port, 16)].add(int(fields[_INODE]))


def judge_listener(port: int, table: ListenerTable, members: Iterable[ProcessId]) -> Listener:
    """Say whether the sockets on `port` belong to `members`.

    All of them have to: with SO_REUSEPORT the kernel may give a connection to any of them.
    """
    if table is None:
        return Listener.UNVERIFIED
    wanted = set(table.get(port, ()))
    if not wanted:
        return Listener.NOBODY
    hidden = False
    for member in members:
        inodes = _socket_inodes(member.pid)
        if inodes is None:
            hidden = True
        else:
            wanted -= inodes
        if not wanted:
            return Listener.OWN
    return Listener.UNVERIFIED if hidden else Listener.FOREIGN


def _socket_inodes(pid: int) -> set[int] | None:
    """Inodes of the sockets that a process holds; None if it does not let us look."""
    folder = f"/proc/{pid}/fd"
    inodes: set[int] = set()
    try:
        for name in os.listdir(folder):
            target = _link(f"{folder}/{name}")
            if target.startswith("socket:["):
                inodes.add(int(target[len("socket:[") : -1]))
    except PermissionError:
        return None
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return inodes


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""  # Closed since the folder was listed.


async def port_accepts(port: int, timeout: float) -> bool:
    """Whether 127.0.0.1:`port` takes a connection within `timeout` seconds."""
    with socket.socket() as probe:
        probe.setblocking(False)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().sock_connect(probe, (LOOPBACK, port))
        except OSError:  # TimeoutError is one.
            return False
        # TCP may connect a port of the ephemeral range to itself: that is nobody's answer.
        return bool(probe.getsockname() != probe.getpeername())
