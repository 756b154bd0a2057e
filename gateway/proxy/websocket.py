"""As much of WebSocket (RFC 6455) as it takes to end one politely: where frames begin and end."""

from __future__ import annotations

from typing import Final

#: A close frame from the server (§5.5.1) with status 1012, service restart.
SERVICE_RESTART: Final = bytes([0x88, 0x02]) + (1012).to_bytes(2, "big")


class FrameBoundary:
    """Follows the frames of a server's stream: a close frame may only go between two of them."""

    __slots__ = ("_header", "_payload")

    def __init__(self) -> None:
        self._header = b""
        self._payload = 0

    @property
    def reached(self) -> bool:
        """Whether the last byte fed ended a frame."""
        return self._payload == 0 and not self._header

    def feed(self, data: bytes) -> None:
        """Follow the next bytes of the stream."""
        position = 0
        while position < len(data):
            if self._payload:
                step = min(self._payload, len(data) - position)
                self._payload -= step
                position += step
                continue
            self._header += data[position : position + 1]
            position += 1
            length = _payload_length(self._header)
            if length is not None:
                self._header, self._payload = b"", length


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
