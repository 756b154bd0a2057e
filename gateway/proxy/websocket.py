"""As much of WebSocket (RFC 6455) as it takes to end one politely, and to tell data from pings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.proxy.exchange import Exchange

#: A close frame from the server (§5.5.1) with status 1012, service restart.
SERVICE_RESTART: Final = bytes([0x88, 0x02]) + (1012).to_bytes(2, "big")

#: The bit of a frame's first byte by which it is no data (§5.5).
_CONTROL: Final = 0x08


class FrameBoundary:
    """Follows the frames of one side's stream: a close frame may only go between two of them."""

    __slots__ = ("_data", "_header", "_payload")

    def __init__(self) -> None:
        self._header = b""
        self._payload = 0
        self._data = False

    @property
    def reached(self) -> bool:
        """Whether the last byte fed ended a frame."""
        return self._payload == 0 and not self._header

    def feed(self, data: bytes) -> bool:
        """Follow the next bytes of the stream; return whether data was among them.

        A ping, a pong or a close is none (§5.5).
        """
        position, found = 0, False
        while position < len(data):
            if self._payload:
                step = min(self._payload, len(data) - position)
                self._payload -= step
                position += step
                found = found or self._data
                continue
            self._header += data[position : position + 1]
            position += 1
            length = _payload_length(self._header)
            if length is not None:
                self._data = not self._header[0] & _CONTROL
                found = found or self._data
                self._header, self._payload = b"", length
        return found


class Frames:
    """The frames of one WebSocket as they pass, from its 101 on."""

    __slots__ = ("_down",)

    def __init__(self) -> None:
        self._down = FrameBoundary()

    @property
    def may_close(self) -> bool:
        """Whether a close frame may go to the client now."""
        return self._down.reached

    def opened(self, exchange: Exchange) -> None:
        """Take note that this exchange is a WebSocket from now on."""

    def down(self, data: bytes) -> None:
        """Take note of what the sandbox sends."""
        self._down.feed(data)

    def up(self, data: bytes) -> None:
        """Take note of what the client sends."""


def _payload_length(header: bytes) -> int | None:
    """Return what follows a complete frame header (§5.2), None for one that is incomplete."""
    if len(header) < 2:
        return None
    code = header[1] & 0x7F
    extended = {126: 2, 127: 8}.get(code, 0)
    mask = 4 if header[1] & 0x80 else 0
    if len(header) < 2 + extended + mask:
        return None
    return int.from_bytes(header[2 : 2 + extended], "big") if extended else code
