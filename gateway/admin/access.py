"""Who may use the admin API: the holder of its token, or, without one configured, this machine."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.admin.problems import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from aiohttp import web

_SCHEME: Final = "bearer "


class AdminAccess:
    """Judges requests; `token` None lets loopback clients in, and only them."""

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()

    def replace_token(self, token: str) -> None:
        """Take no other token from now on."""
        self._token = token.encode()

    def check(self, request: web.Request) -> None:
        """Return if the request may go on; raise Unauthenticated or Forbidden."""
        if self._token is None:
            _check_local(request)
        elif not hmac.compare_digest(_bearer(request), self._token):
            raise Unauthenticated("The admin token is needed as a bearer token.")


def _bearer(request: web.Request) -> bytes:
    # RFC 9110 §11.1: the scheme is case-insensitive. Two credentials are no credential.
    values = request.headers.getall("Authorization", [])
    if len(values) != 1 or not values[0].lower().startswith(_SCHEME):
        return b""
    return values[0][len(_SCHEME) :].strip().encode("utf-8", "surrogateescape")


def _check_local(request: web.Request) -> None:
    """Let this machine's programs in, but no web page that its browser shows.

    A page may come from any site and name its own host by a loopback address (DNS rebinding), so
    the host asked for must be loopback too; and no page of another origin has business here.
    """
    transport = request.transport
    peer = None if transport is None else transport.get_extra_info("peername")
    if not peer or not _is_loopback(str(peer[0])):
        raise Forbidden("Without an admin token configured, only loopback clients may ask this.")
    if not _is_loopback_host(request.host):
        raise Forbidden("Without an admin token configured, the host must be a loopback one.")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Forbidden("Requests from pages of another origin are refused.")


def _is_loopback_host(authority: str) -> bool:
    try:
        host = urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return False
    return host == "localhost" or _is_loopback(host)


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
