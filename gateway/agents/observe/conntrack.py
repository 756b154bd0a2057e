"""The kernel's connection tracking of this network namespace, over netlink sockets.

The sockets are the standard library's, and the few attributes that are needed are decoded in
netlink.py: a general netlink library takes more than ten times as long for each message, and
queues without a bound what it has not decoded, so that it cannot tell how far behind it is. Here
the only queue is the kernel's; when that has run over it says so, once, and then all is `Lost`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.agents.observe.errors import Lost, Unable
from gateway.agents.observe.netlink import (
    CONNTRACK_GROUPS,
    NETLINK_NETFILTER,
    Flow,
    Malformed,
    decode,
    dump_request,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

#: Bytes that the kernel may keep for us: about half a second of the busiest node.
RECEIVE_BUFFER: Final = 16 * 1024 * 1024
#: Bytes read at one time; the kernel makes no larger datagrams.
_READ: Final = 64 * 1024
#: Datagrams that are decoded before other work gets its turn.
_BURST: Final = 64
#: From linux/socket.h; sets a buffer beyond the limit for ordinary processes.
_SO_RCVBUFFORCE: Final = 33

_EVENTS_SWITCH: Final = Path("/proc/sys/net/netfilter/nf_conntrack_events")


class Conntrack:
    """News of TCP connections from the moment it was opened."""

    def __init__(self, receive_buffer: int = RECEIVE_BUFFER) -> None:
        """Raise Unable where the kernel refuses for good, Lost where it does for now."""
        _check_switch()
        with _losses():
            self._socket = _netlink(receive_buffer)

    def close(self) -> None:
        """Take no more news."""
        self._socket.close()

    async def arrived(self) -> None:
        """Return once there is news to `take`; raise Lost."""
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        loop.add_reader(self._socket, arrived.set)
        try:
            await arrived.wait()
        finally:
            loop.remove_reader(self._socket)

    def take(self, most: int = _BURST) -> Iterator[Flow]:
        """Give the news that has come, of at most so many datagrams; raise Lost."""
        for _ in range(most):
            with _losses():
                try:
                    data = self._socket.recv(_READ)
                except BlockingIOError:
                    return
                yield from (one for one in decode(data) if isinstance(one, Flow))

    def take_all(self) -> Iterator[Flow]:
        """Give all news that has come by now; raise Lost.

        More may come as fast as it is read, so it ends where it has read what the kernel could
        have kept when it began.
        """
        return self.take(most=RECEIVE_BUFFER // _HEADROOM)


async def all_flows() -> AsyncGenerator[Flow, None]:
    """Give every TCP connection that the kernel tracks now; raise Lost."""
    loop = asyncio.get_running_loop()
    with _losses():
        asked = _netlink(groups=0)
    with asked:
        with _losses():
            asked.send(dump_request())
        while True:
            with _losses():
                data = await loop.sock_recv(asked, _READ)
                answers = tuple(decode(data))
            for one in answers:
                if isinstance(one, Flow):
                    yield one
                elif one.error:
                    raise Lost(f"the kernel does not list connections: {os.strerror(one.error)}")
                else:
                    return


#: The least that the kernel charges a socket's buffer for one datagram, in bytes.
_HEADROOM: Final = 512


def _netlink(receive_buffer: int = RECEIVE_BUFFER, groups: int = CONNTRACK_GROUPS) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
        made.bind((0, groups))
    except BaseException:
        made.close()
        raise
    return made


def _check_switch() -> None:
    try:
        switch = _EVENTS_SWITCH.read_text().strip()
    except OSError:
        raise Unable(
            "this kernel does not track connections, or tells nobody of them: "
            f"{_EVENTS_SWITCH} cannot be read"
        ) from None
    if switch == "0":
        raise Unable(
            "this kernel is told to keep news of connections to itself: "
            "set the sysctl net.netfilter.nf_conntrack_events to 1"
        )


@contextmanager
def _losses() -> Iterator[None]:
    """Put what sockets and messages raise in terms of what was lost."""
    try:
        yield
    except PermissionError as error:
        raise Unable(
            "the kernel tells of connections only who has the capability NET_ADMIN: "
            "run as root with it, in the node's network namespace"
        ) from error
    except Malformed as error:
        raise Lost(f"the kernel's message cannot be understood: {error}") from error
    except OSError as error:
        if error.errno == errno.ENOBUFS:
            raise Lost("more came at once than could be taken: news was lost") from error
        raise Lost(f"netlink: {error.strerror}") from error
