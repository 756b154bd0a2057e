"""What it takes to decide who may reach which sandbox, and the mode that asks for nothing.

An unknown sandbox is answered exactly as a known one with a bad credential: the gateway must not
tell what exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gateway.sandbox.errors import SandboxNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.sandbox.model import Route

    #: Request fields by lower-case name, values in order.
    Fields = Mapping[bytes, list[bytes]]

TRAFFIC_TOKEN: Final = b"e2b-traffic-access-token"
AUTHORIZATION: Final = b"authorization"

_BEARER: Final = b"bearer "


class Authenticator(Protocol):
    """Decides whether a request may reach a sandbox."""

    @property
    def names(self) -> frozenset[bytes]:
        """Return the fields that carry credentials: they reach a sandbox only if passed on."""

    @property
    def timeless(self) -> bool:
        """Return whether the same fields and the same route are judged the same at any time."""

    @property
    def judges_jwt(self) -> bool:
        """Return whether whoever passes has shown a JWT: some sandboxes want nothing less."""

    def check(self, fields: Fields, route: Route | None, now: float) -> list[bytes]:
        """Return the lines of credential fields that go on to the sandbox.

        `route` None: there is no such sandbox. `now` is in epoch seconds. Raise Unauthenticated,
        Forbidden, AuthUnavailable or, only where nothing is asked for, SandboxNotFound.
        """

    async def prepare(self, fields: Fields, now: float) -> None:
        """Fetch what `check` will need to judge these fields, as far as it can be had."""

    async def run(self) -> None:
        """Keep what `check` judges by up to date, until cancelled or if nothing ever changes."""


class TokenAuthenticator(Authenticator, Protocol):
    """Judges by one token, so that it can be brought by other ways than the fields in `names`."""

    @property
    def carrier(self) -> bytes:
        """Return the field that brings a token and nothing besides."""

    def tokens(self, fields: Fields) -> list[bytes]:
        """Return the tokens that are there for the gateway; more than one is one too many."""

    def ends_at(self, token: bytes) -> float | None:
        """Return when the right of a token that was just judged good ends (epoch seconds).

        None: that is not known.
        """


class Immediate:
    """A mode that has what it needs: nothing is fetched and nothing grows old."""

    judges_jwt = False

    async def prepare(self, fields: Fields, now: float) -> None:
        """Do nothing."""

    async def run(self) -> None:
        """Do nothing."""


class NoAuth(Immediate):
    """Everybody may reach everything; another layer guards the way here."""

    names: frozenset[bytes] = frozenset()
    timeless = True

    def check(self, fields: Fields, route: Route | None, now: float) -> list[bytes]:  # noqa: ARG002
        """Let everything pass; all fields are ordinary and go on by themselves."""
        if route is None:
            raise SandboxNotFound
        return []


def find_tokens(
    fields: Fields, is_ours: Callable[[bytes], bool]
) -> tuple[list[bytes], list[bytes]]:
    """Return the tokens for the gateway, and the Authorization lines that are the sandbox's own.

    The traffic token's field is the gateway's whatever is in it; of the bearers are those that
    `is_ours` takes for such.
    """
    tokens = list(fields.get(TRAFFIC_TOKEN, ()))
    passed_on = []
    for value in fields.get(AUTHORIZATION, ()):
        bearer = value[len(_BEARER) :].strip() if value.lower().startswith(_BEARER) else b""
        if bearer and is_ours(bearer):
            tokens.append(bearer)
        else:
            passed_on.append(b"Authorization: %b\r\n" % value)
    return tokens, passed_on
