"""A token in the address of a page, exchanged for a cookie: browsers can set no other field.

The token is judged as in any request; a good one is answered by a redirect to the same address
without it, and by a cookie that holds it. A cookie comes with every request that a browser sends
there, whoever made it do so, and sandboxes under one suffix are one site to it; so a request that
a cookie alone lets in must come from the sandbox's own pages, or be somebody going there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from gateway.proxy import answers, cookies
from gateway.proxy.message import Findings
from gateway.sandbox.errors import BadRequest, Forbidden

if TYPE_CHECKING:
    from gateway.auth.authenticator import Fields, TokenAuthenticator
    from gateway.proxy.headers import Peer
    from gateway.proxy.message import RequestHead
    from gateway.sandbox.model import Route

#: Browsers keep cookies up to 4096 bytes, name and attributes included (RFC 6265 §6.1).
MAX_COOKIE: Final = 3800

#: The address that brought the token must not be told to anybody.
NO_REFERRER: Final = b"Referrer-Policy: no-referrer\r\n"

#: What a browser reads as the beginning of another host (WHATWG URL, "relative slash state").
_OTHER_HOST: Final = (b"//", b"/\\")

_SAFE: Final = frozenset({b"GET", b"HEAD"})


@dataclass(frozen=True, slots=True)
class _Presented:
    """What a request shows: credential fields, and the Cookie lines that are the sandbox's.

    `secure` tells which cookie the token came by; None: by none.
    """

    fields: Fields
    others: list[bytes]
    secure: bool | None = None


class Login:
    """Lets browsers in by cookie, to sandboxes that their host names."""

    def __init__(self, authenticator: TokenAuthenticator, parameter: bytes) -> None:
        """`parameter`: what the token is called in a query."""
        self._authenticator = authenticator
        self._parameter = parameter

    # ---- a token in the query

    def asked(self, head: RequestHead) -> bool:
        """Return whether a request brings a token in its query."""
        return b"?" in head.target and bool(self._split(head.target)[1])

    def presented(self, head: RequestHead, *, by_host: bool) -> RequestHead:
        """Return the request as if its token came in a field; raise BadRequest.

        `by_host`: the Host names the sandbox. All others share one host, and so would a cookie.
        """
        tokens = self._split(head.target)[1]
        if head.method not in _SAFE or head.upgrade is not None:
            raise BadRequest("A token in the query is for opening a page: GET or HEAD.")
        if not by_host:
            raise BadRequest("A token in the query is taken only where the host names the sandbox.")
        if len(tokens) > 1 or len(quote_from_bytes(tokens[0], safe="")) > MAX_COOKIE:
            raise BadRequest("The query has more than one token, or one too long for a cookie.")
        special = {**head.special, self._authenticator.carrier: tokens}
        return replace(head, special=special, findings=Findings())

    def redirect(self, head: RequestHead, peer: Peer, now: float, *, keep_alive: bool) -> bytes:
        """Return the answer to a request whose token was judged good at `now`."""
        where, tokens = self._split(head.target)
        if where.startswith(_OTHER_HOST):
            where = b"/." + where
        ends_at = self._authenticator.ends_at(tokens[0])
        cookie = cookies.login(
            quote_from_bytes(tokens[0], safe="").encode(),
            None if ends_at is None else max(0, int(ends_at - now)),
            secure=peer.scheme_of(head.special).lower() == b"https",
        )
        lines = [
            b"Location: %b\r\nContent-Length: 0\r\nCache-Control: no-store\r\n" % where,
            cookie,
            NO_REFERRER,
        ]
        return answers.response(303, lines, b"", keep_alive=keep_alive)

    def _split(self, target: bytes) -> tuple[bytes, list[bytes]]:
        """Return a target without the tokens in its query, and these."""
        path, _, query = target.partition(b"?")
        others, tokens = [], []
        for pair in query.split(b"&"):
            name, _, value = pair.partition(b"=")
            if unquote_to_bytes(name) == self._parameter:
                tokens.append(unquote_to_bytes(value))
            else:
                others.append(pair)
        return (path + b"?" + b"&".join(others) if others else path), tokens

    # ---- a cookie

    def check(
        self, head: RequestHead, route: Route | None, now: float, *, by_host: bool
    ) -> list[bytes]:
        """Judge a request as the authenticator does, by its cookie if it shows nothing else.

        `by_host`: the Host names the sandbox; else pages of other sandboxes share its origin, and a
        cookie proves nothing. Return the lines of credential fields and of cookies that go on to
        the sandbox.
        """
        if b"cookie" not in head.special:
            return self._authenticator.check(head.special, route, now)
        shown = self._read(head, by_host=by_host)
        passed_on = self._authenticator.check(shown.fields, route, now)
        if shown.secure is not None:
            check_origin(head, secure=shown.secure)
            own = self._authenticator.carrier
            passed_on = [line for line in passed_on if line.partition(b":")[0].lower() != own]
        return [*passed_on, *shown.others]

    async def prepare(self, head: RequestHead, now: float, *, by_host: bool) -> None:
        """Fetch what `check` will need."""
        await self._authenticator.prepare(self._read(head, by_host=by_host).fields, now)

    def _read(self, head: RequestHead, *, by_host: bool) -> _Presented:
        found = cookies.read(head.special.get(b"cookie", ()))
        if not by_host or not found.tokens or self._authenticator.tokens(head.special):
            return _Presented(head.special, found.others)
        tokens = [unquote_to_bytes(token) for token in found.tokens]
        fields = {**head.special, self._authenticator.carrier: tokens}
        return _Presented(fields, found.others, found.secure)


def check_origin(head: RequestHead, *, secure: bool) -> None:
    """Refuse what a page of another origin made the browser send; raise Forbidden.

    `secure`: the cookie was one that is sent by TLS only, so its pages are too. A browser names the
    Origin of every request but plain GETs and HEADs, and of all WebSockets (Fetch, "append a
    request Origin header"); what a GET is for it says to hosts that it trusts (Fetch Metadata).
    """
    origin, site = head.value(b"origin"), head.value(b"sec-fetch-site")
    if head.upgrade is None and _is_visit(head):
        return
    if origin is None and (head.upgrade is not None or head.method not in _SAFE):
        raise Forbidden("A request by cookie that changes something must name its own origin.")
    if origin is not None and not _is_own(origin, head, secure=secure):
        raise Forbidden("A page of another origin may not use this sandbox's cookie.")
    if site is not None and site not in (b"same-origin", b"none"):
        raise Forbidden("A page of another origin may not use this sandbox's cookie.")


def _is_visit(head: RequestHead) -> bool:
    """Return whether somebody goes there: a whole page is opened, by GET."""
    return (
        head.method == b"GET"
        and head.value(b"sec-fetch-mode") == b"navigate"
        and head.value(b"sec-fetch-dest") == b"document"
    )


def _is_own(origin: bytes, head: RequestHead, *, secure: bool) -> bool:
    host = (head.first(b"host") or b"").lower()
    own = {b"https://" + host} if secure else {b"https://" + host, b"http://" + host}
    return origin.lower() in own
