"""What is read of requests: which fields are kept apart, and how much of anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Fields that the gateway reads, rewrites or removes, besides those that the settings name.
SPECIAL: Final = frozenset(
    {
        b"host",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"upgrade",
        b"te",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"http2-settings",
        b"via",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
    }
)


#: Requests that are read ahead, about; the rest stays bytes, which take a twentieth of the memory.
#: It is the number at which aiohttp's server pauses, as it asks for more when it goes on.
READ_AHEAD: Final = 32
#: How many bytes are parsed before it is asked whether that is enough, and within a chunked body.
SLICE: Final = 2 * 1024
_CHUNKED_SLICE: Final = 16 * 1024


def slice_size(*, in_body: bool, left: int | None) -> int:
    """Return how many bytes may be parsed at once: where no request can begin, many.

    `left` is what is missing of a body, None if it is chunked.
    """
    if not in_body:
        return SLICE
    return _CHUNKED_SLICE if left is None else left + SLICE


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Sizes in bytes. `max_body` 0 is unlimited."""

    max_uri: int = 16 * 1024
    max_head: int = 64 * 1024
    max_headers: int = 128
    max_body: int = 0
