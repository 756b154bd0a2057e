"""The little of RFC 6455 that the WebSocket load needs: handshakes and small frames. Pure.

Frames have at most 125 bytes of payload, so that their heads are two bytes (and four of mask).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

MAX_PAYLOAD: Final = 125

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_BINARY: Final = 0x82  # a whole message in one frame
_CLOSE: Final = 0x88
_MASKED: Final = 0x80


class BadFrame(ValueError):
    """A frame that this load does not have: fragmented, unmasked, long, or of another kind."""


def accept_of(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that answers this Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + _GUID).digest())


def from_client(payload: bytes, mask: bytes) -> bytes:
    """Return a masked binary message."""
    return bytes((_BINARY, _MASKED | len(payload))) + mask + _xor(payload, mask)


def from_server(payload: bytes) -> bytes:
    """Return a binary message without mask, as servers send it."""
    return bytes((_BINARY, len(payload))) + payload


def echoes(data: bytes) -> tuple[bytes, int, bool]:
    """Return what echoes the whole client frames in `data`, their size, and if one was a close.

    A close is echoed too, as section 5.5.1 has it. Raises BadFrame.
    """
    out, at, size, closed = b"", 0, len(data), False
    while size - at >= 6 and not closed:
        kind, length = data[at], data[at + 1] - _MASKED
        closed = kind == _CLOSE
        if not (closed or kind == _BINARY) or not 0 <= length <= MAX_PAYLOAD:
            raise BadFrame(f"a frame begins with {data[at : at + 2].hex()}")
        end = at + 6 + length
        if end > size:
            return out, at, False
        out += bytes((kind, length)) + _xor(data[at + 6 : end], data[at + 2 : at + 6])
        at = end
    return out, at, closed


def _xor(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask (section 5.3); as whole numbers, which C does at once."""
    length = len(payload)
    stream = (mask * 32)[:length]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(stream, "little")
    return mixed.to_bytes(length, "little")
