"""Who may talk to the embedded API.

It starts processes, so neither a web page in the user's browser nor another user of the machine
may reach it. Three independent rules, all on every request, documents and probes included:

- a Host that is not loopback is refused (403): a name that an attacker rebinds to 127.0.0.1;
- an Origin is refused (403): only browsers send one;
- the token is demanded (401), as `Bearer`, or as the password of `Basic`, because client-go
  (kubectl) sends no bearer token over plain http but honours credentials in the server's URL.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
from typing import TYPE_CHECKING

from gateway.local.api.errors import BadRequestError, ForbiddenError, UnauthorizedError

if TYPE_CHECKING:
    from collections.abc import Sequence

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/\s]+)(?::(\d{1,5}))?", re.ASCII)


def is_loopback_host(host: str) -> bool:
    """Whether a name or address literal, without brackets, is this machine's loopback."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_authority(authority: str) -> bool:
    """Whether a Host header names loopback: localhost, 127.0.0.0/8 or [::1], with any port."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return False
    host = match.group(1)
    if host.startswith("["):
        return host[1:-1] == "::1"
    return is_loopback_host(host)


def check_request(
    *,
    target: str,
    hosts: Sequence[str],
    origins: Sequence[str],
    authorizations: Sequence[str],
    token: str,
) -> None:
    """Raises `ForbiddenError`, `UnauthorizedError`, or `BadRequestError` for a target that is
    not in origin form (it would bring an authority of its own, beside Host).
    """
    if len(hosts) != 1 or not is_loopback_authority(hosts[0]):
        raise ForbiddenError("this server answers to loopback names only")
    if origins:
        raise ForbiddenError("this server is not for web pages")
    if len(authorizations) != 1 or not _holds_token(authorizations[0], token):
        raise UnauthorizedError("Unauthorized")
    if not target.startswith("/"):
        raise BadRequestError("the request target must be a path")


def _holds_token(authorization: str, token: str) -> bool:
    scheme, _, credentials = authorization.strip().partition(" ")
    credentials = credentials.strip()
    match scheme.lower():
        case "bearer":
            offered = credentials.encode()
        case "basic":
            offered = _password(credentials)
        case _:
            return False
    return hmac.compare_digest(offered, token.encode())


def _password(credentials: str) -> bytes:
    """The password of Basic credentials (RFC 7617), which may itself contain colons."""
    try:
        decoded = base64.b64decode(credentials, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return decoded.partition(b":")[2]
