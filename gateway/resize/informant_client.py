"""Calls to an informant. It runs in a guest, which is not to be trusted with anything.

An answer is read up to a limit, and each call has an end, however slowly its answer drips. Nothing
is followed, kept or unpacked that a guest sends. Who goes past a limit is not called for long.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.resize.bounded_http import BrokenOff, Excessive, exchange
from gateway.resize.messages import MAX_MESSAGE, Unreadable, decode
from gateway.resize.scrape import MAX_METRICS
from gateway.sandbox.texts import plain

if TYPE_CHECKING:
    from gateway.resize.messages import Message, MessageT

#: Seconds for a guest's metrics.
_SCRAPE: Final = 2.0


class LinkFailed(Exception):
    """A call brought nothing. `status`: of the answer, which may be 200 and still make no sense.

    None: there was no answer.
    """

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class Improper(LinkFailed):
    """What was answered is no answer by any measure, and was not read to its end."""

    def __init__(self, why: str) -> None:
        super().__init__(why, 200)


class Ask(Enum):
    """What an informant can be asked: method, path, and seconds for the whole of it."""

    REGISTER = ("POST", "/register", 5.0)
    HEALTH_CHECK = ("PUT", "/health-check", 2.0)
    DOWNSCALE = ("PUT", "/downscale", 5.0)
    UPSCALE = ("PUT", "/upscale", 5.0)
    UNREGISTER = ("DELETE", "/unregister", 2.0)


class InformantClient:
    """Speaks to one informant."""

    def __init__(self, host: str, port: int) -> None:
        """`host`: an address; names are not looked up for this."""
        self._host = host
        self._port = port

    async def ask(self, what: Ask, message: Message, kind: type[MessageT]) -> MessageT:
        """Return the informant's answer; raise LinkFailed."""
        method, path, within = what.value
        body = await self._exchange(
            self._port, (method, path), message.encode(), MAX_MESSAGE, within
        )
        try:
            return decode(body, kind)
        except Unreadable as error:
            raise LinkFailed(str(error), 200) from error

    async def metrics(self, port: int) -> bytes:
        """Return the text of its metrics; raise LinkFailed."""
        return await self._exchange(port, ("GET", "/metrics"), b"", MAX_METRICS, _SCRAPE)

    async def _exchange(
        self, port: int, call: tuple[str, str], body: bytes, most: int, within: float
    ) -> bytes:
        try:
            async with asyncio.timeout(within):
                answer = await exchange(self._host, port, call, body, most)
        except Excessive as error:
            raise Improper(str(error)) from error
        except TimeoutError as error:
            raise LinkFailed(f"no answer within {within:g} s") from error
        except BrokenOff as error:
            raise LinkFailed(f"no answer: {error}") from error
        except OSError as error:
            why = f"no connection: {error.strerror or type(error).__name__}"
            raise LinkFailed(why) from error
        if answer.status != 200:
            raise LinkFailed(f"status {answer.status}{_quoted(answer.body)}", answer.status)
        return answer.body


def _quoted(body: bytes) -> str:
    """Return what a guest says, so that it can do no harm where it is shown."""
    told = " ".join(plain(body.decode("ascii", "ignore")).split())
    return f": it says {told!r}" if told else ""
