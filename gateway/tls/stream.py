"""One connection's TLS: a protocol towards the wire, a transport towards the protocol above it.

The event loops have their own, and neither fits a proxy. Both make no difference for the protocol
above between an end that the peer announced and one that an attacker or a crash made. Both keep a
connection that was closed until the peer answers the farewell, which many clients never do. uvloop
throws away what arrived while reading was paused if the connection ends meanwhile: the rest of a
response, where the client is slow. And each keeps 64 KiB or more for each connection.

Here the wire's own flow control is all there is: what is written goes through to it at once, and
what it delivers is handed on at once, so that nothing is kept but the beginning of a record.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: More than a record holds (RFC 8446 §5.1): one is read at a time.
_RECORD: Final = 32 * 1024


class TruncatedError(ConnectionResetError):
    """The connection ended without a farewell: there may have been more (RFC 8446 §6.1)."""


class TlsStream(asyncio.Transport, asyncio.Protocol):
    """TLS over one wire. `above` makes the protocol that it serves, once hands are shaken.

    That protocol sees an ordinary transport, except that an end without a farewell is an error to
    its `connection_lost`. `established` is done when hands are shaken, or failed; `wire_bytes` is
    how many bytes the wire was given so far. To be made in a running event loop.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        above: Callable[[], asyncio.BaseProtocol],
        *,
        server_name: str | None = None,
    ) -> None:
        """`server_name` is the name or address that the peer must prove; None: we are the server.

        Whether it must is the context's. Raise ValueError for a name that is none.
        """
        super().__init__({"sslcontext": context})
        self._above = above
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_name is None,
            server_hostname=server_name,
        )
        self._wire: asyncio.Transport | None = None
        self._protocol: asyncio.Protocol | None = None
        self._closing = False
        self._loss: Exception | None = None
        self.established: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wire_bytes = 0

    # ---- the transport, for the protocol above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._tls
        found = super().get_extra_info(name)
        if found is None and self._wire is not None:
            found = self._wire.get_extra_info(name, default)
        return default if found is None else found

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self._encrypt(data)
            self._flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def pause_reading(self) -> None:
        if self._wire is not None:
            self._wire.pause_reading()

    def resume_reading(self) -> None:
        if self._wire is not None:
            self._wire.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._wire.get_write_buffer_size() if self._wire is not None else 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._wire is not None:
            self._wire.set_write_buffer_limits(high, low)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Say farewell after what was written, and close without waiting for the peer's.

        It is not owed to us (RFC 8446 §6.1), and an idle client would not notice ours for long.
        """
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(ssl.SSLError):  # the peer's is not here yet
            self._tls.unwrap()
        self._flush()
        if self._wire is not None:
            self._wire.close()

    def abort(self) -> None:
        """Close at once, without a farewell: the peer must not take this for an end."""
        self._closing = True
        if self._wire is not None:
            self._wire.abort()

    def give_up(self) -> None:
        """Abort, and let nobody wait for an established stream any more."""
        self.abort()
        if not (self.established.cancel() or self.established.cancelled()):
            self.established.exception()  # or asyncio says that nobody asked for it

    # ---- the protocol, for the wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._incoming.write(data)
        if self._protocol is None:
            self._shake_hands()
        else:
            self._decrypt()

    def eof_received(self) -> None:
        # A farewell would have closed the stream, so this end was not announced.
        self._loss = TruncatedError("the connection ended without a farewell")
        if self._protocol is not None:
            self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        loss = self._loss or exc
        if not self.established.done():
            self.established.set_exception(loss or ConnectionResetError("closed"))
        if self._protocol is not None:
            self._protocol.connection_lost(loss)
        self._wire = self._protocol = None

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    # ---- the parts of it

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()
        self._protocol = cast("asyncio.Protocol", self._above())
        self._protocol.connection_made(self)
        if not self.established.done():
            self.established.set_result(None)
        self._decrypt()

    def _decrypt(self) -> None:
        """Hand on all that is here, in one piece."""
        parts: list[bytes] = []
        farewell = False
        try:
            while (self._incoming.pending or self._tls.pending()) and not farewell:
                part = self._tls.read(_RECORD)
                parts.append(part)
                farewell = not part
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()  # the answer to a change of keys
        data = b"".join(parts)
        protocol = self._protocol
        if data and protocol is not None:
            protocol.data_received(data)
        if farewell and not self._closing and protocol is not None:
            protocol.eof_received()
            self.close()

    def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as error:
            self._fail(error)

    def _flush(self) -> None:
        if self._wire is not None and self._outgoing.pending:
            out = self._outgoing.read()
            self.wire_bytes += len(out)
            self._wire.write(out)

    def _fail(self, error: ssl.SSLError) -> None:
        """Believe nothing more. Who cannot shake hands with us is told why by an alert."""
        self._closing = True
        self._loss = error
        if self._wire is None:
            return
        if self._protocol is None:
            self._flush()
            self._wire.close()
        else:
            self._wire.abort()
