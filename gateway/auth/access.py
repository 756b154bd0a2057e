"""The mode access-token: each sandbox has a token of its own, which never ends by itself."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from gateway.auth.authenticator import Immediate
from gateway.sandbox.errors import Unauthenticated

if TYPE_CHECKING:
    from gateway.auth.authenticator import Fields
    from gateway.sandbox.model import Credential, Route

ACCESS_TOKEN: Final = b"x-access-token"

_NOBODYS: Final = "0" * 64


class AccessTokens(Immediate):
    """`X-Access-Token` must be the sandbox's own token."""

    names = frozenset({ACCESS_TOKEN})
    timeless = True
    carrier = ACCESS_TOKEN

    def __init__(self, *, allow_tokenless: bool = False) -> None:
        """With `allow_tokenless`, a sandbox that has no token is open to all."""
        self._allow_tokenless = allow_tokenless

    def check(self, fields: Fields, route: Route | None, now: float) -> list[bytes]:  # noqa: ARG002
        """Compare in constant time, for an unknown sandbox too."""
        values = self.tokens(fields)
        credential = None if route is None else route.credential
        open_to_all = route is not None and credential is None and self._allow_tokenless
        if not open_to_all and not (len(values) == 1 and _matches(values[0], credential)):
            raise Unauthenticated
        passes = route is not None and route.passes_access_token
        return [b"X-Access-Token: %b\r\n" % value for value in values] if passes else []

    def tokens(self, fields: Fields) -> list[bytes]:
        """Return what claims to be the sandbox's token."""
        return fields.get(ACCESS_TOKEN, [])

    def ends_at(self, token: bytes) -> None:
        """Return None: the token is good for as long as the sandbox has it."""


def _matches(token: bytes, credential: Credential | None) -> bool:
    """Compare digests. As much is done for a sandbox without a token, or without existence."""
    own = credential.token if credential is not None else None
    wanted = hashlib.sha256((own or "").encode()).hexdigest()
    if not own:
        wanted = (credential.sha256 if credential is not None else None) or ""
    digest = hashlib.sha256(token).hexdigest()
    return hmac.compare_digest(digest, wanted or _NOBODYS) and bool(wanted)
