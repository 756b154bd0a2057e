"""Hands shaken with those who connect: within a time, and each failure counted by its cause."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

from gateway.tls.stream import TlsStream

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.telemetry.instruments import Counter, Instruments
    from gateway.tls.contexts import Context

#: What OpenSSL calls a client that shows no certificate, by version of TLS.
_NO_CERTIFICATE: Final = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
#: And one that speaks plain HTTP.
_PLAIN_HTTP: Final = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})

OUTCOMES: Final = (
    "established",
    "timeout",
    "closed",
    "given_up",
    "plain_http",
    "certificate",
    "refused_by_client",
    "protocol",
)


def handshake_counter(instruments: Instruments) -> Counter:
    """Make the counter that all listeners share."""
    return instruments.counter(
        "tls_handshakes", "Handshakes with clients that have ended.", "listener", "outcome"
    )


class TlsServer:
    """Takes connections by TLS, in the newest context."""

    def __init__(self, context: Context, ended: Counter, listener: str, timeout: float) -> None:
        """`ended` counts handshakes, `listener` is our name there; `timeout` (s) is for one."""
        self._context = context
        self._timeout = timeout
        self._ended = {outcome: ended.cell(listener, outcome) for outcome in OUTCOMES}

    async def take(self, sock: socket.socket, above: Callable[[], asyncio.BaseProtocol]) -> None:
        """Shake hands with a client that was accepted; then it is a protocol's of `above`.

        A failure is counted, not raised. Cancel this to give up.
        """
        stream = TlsStream(self._context.newest, above)
        outcome = "given_up"
        try:
            async with asyncio.timeout(self._timeout):
                await _join(stream, sock)
                await stream.established
            outcome = "established"
        except OSError as error:
            outcome = _cause(error)
        finally:
            self._ended[outcome].count += 1
            if outcome != "established":
                stream.give_up()


async def _join(stream: TlsStream, sock: socket.socket) -> None:
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: stream, sock)
    except OSError:
        sock.close()  # it has left already
        raise


def _cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, ssl.SSLError):
        return _protocol_cause(error.reason or "")
    return "timeout" if isinstance(error, TimeoutError) else "closed"


def _protocol_cause(reason: str) -> str:
    if reason in _PLAIN_HTTP:
        return "plain_http"
    if reason == _NO_CERTIFICATE:
        return "certificate"
    return "refused_by_client" if "ALERT" in reason else "protocol"
