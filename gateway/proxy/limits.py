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


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Sizes in bytes. `max_body` 0 is unlimited."""

    max_uri: int = 16 * 1024
    max_head: int = 64 * 1024
    max_headers: int = 128
    max_body: int = 0
