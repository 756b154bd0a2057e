"""The gateway's own cookie among those of a sandbox (RFC 6265). All others pass byte for byte."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.upstream.response import ResponseHead

#: The cookie where a request came in the clear. Its name is a part of that below.
PLAIN: Final = b"sandbox-gateway-token"
#: The cookie where it came by TLS: no other host, and no page in the clear, can set one of such a
#: name (RFC 6265bis §4.1.3.2).
SECURE: Final = b"__Host-" + PLAIN


@dataclass(frozen=True, slots=True)
class Cookies:
    """The values of our cookie, `secure` or not, and the Cookie lines that go on to the sandbox."""

    tokens: list[bytes]
    secure: bool
    others: list[bytes]


def read(values: Iterable[bytes]) -> Cookies:
    """Tell our cookies from the others in the values of Cookie fields.

    Where there is one that only the gateway can have set, none of the weaker name counts.
    """
    found: dict[bytes, list[bytes]] = {PLAIN: [], SECURE: []}
    others = []
    for value in values:
        kept = value
        if PLAIN in value:
            pairs = value.split(b";")
            for pair in pairs:
                name, _, token = pair.partition(b"=")
                found.get(name.strip(), []).append(token.strip())
            kept = b";".join(pair for pair in pairs if not _is_ours(pair)).strip()
        if kept:
            others.append(b"Cookie: %b\r\n" % kept)
    secure = bool(found[SECURE])
    return Cookies(found[SECURE] or found[PLAIN], secure, others)


def _is_ours(pair: bytes) -> bool:
    return pair.partition(b"=")[0].strip() in (PLAIN, SECURE)


def login(value: bytes, max_age: int | None, *, secure: bool) -> bytes:
    """Return the Set-Cookie line that logs a browser in, for `max_age` seconds or its session."""
    age = b"" if max_age is None else b"; Max-Age=%d" % max_age
    return b"Set-Cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax%b%b\r\n" % (
        SECURE if secure else PLAIN,
        value,
        b"; Secure" if secure else b"",
        age,
    )


def without_ours(response: ResponseHead) -> ResponseHead:
    """Return a sandbox's response less what would set our cookie: it must not log anybody in.

    Our name anywhere in the pair is enough, for a cookie without a name is sent as its value alone.
    """
    if PLAIN not in response.raw:
        return response
    first, *fields = response.raw.splitlines(keepends=True)
    raw = b"".join((first, *(line for line in fields if not _sets_ours(line))))
    return replace(response, raw=raw)


def _sets_ours(line: bytes) -> bool:
    name, _, value = line.partition(b":")
    return name.lower() == b"set-cookie" and PLAIN in value.partition(b";")[0]
