"""How sockets are closed that come by the thousand."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

_AT_ONCE: Final = struct.pack("ii", 1, 0)


def reset_on_close(sock: socket.socket | TransportSocket) -> None:
    """Let closing reset: else each connection would keep its port for a minute (TIME_WAIT)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
