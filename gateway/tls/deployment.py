"""All TLS of one gateway: that of both listeners and that towards sandboxes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.tls.client import TlsClient
from gateway.tls.contexts import ClientFiles, Context, PeerFiles, ServerFiles
from gateway.tls.server import TlsServer, handshake_counter

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.telemetry.instruments import Instruments

    Watch = Callable[[str, Sequence[Path], Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """The files of each; None: that listener speaks plain HTTP. One handshake's time in seconds."""

    data: ServerFiles | None = None
    admin: ServerFiles | None = None
    upstream: ClientFiles = field(default_factory=ClientFiles)
    handshake_timeout: float = 15.0


class Tls:
    """What the listeners and the pool speak TLS by; None: that listener speaks plain HTTP.

    `peers` gives the context by which other replicas' admin listeners are spoken to.
    """

    def __init__(self, config: TlsConfig, instruments: Instruments, watch: Watch) -> None:
        """Read the files, and read them again when `watch` calls back; raise TlsFileError."""
        self._contexts: dict[str, Context] = {}
        self._watch = watch
        self._ended = handshake_counter(instruments)
        self._timeout = config.handshake_timeout
        self.data = self._server("data", config.data)
        self.admin = self._server("admin", config.admin)
        self.upstream = TlsClient(self._context("upstream", config.upstream))
        self.peers = self._towards_peers(config.admin)
        instruments.gauges(
            "tls_certificate_seconds_left",
            "Seconds until a certificate of ours, or one of its chain, ends.",
            "certificate",
            self._seconds_left,
        )

    def _server(self, name: str, files: ServerFiles | None) -> TlsServer | None:
        if files is None:
            return None
        return TlsServer(self._context(name, files), self._ended, name, self._timeout)

    def _towards_peers(self, own: ServerFiles | None) -> Callable[[], ssl.SSLContext] | None:
        if own is None:
            return None
        context = self._context("peers", PeerFiles(own.pair))
        return lambda: context.newest

    def _context(self, name: str, files: ServerFiles | ClientFiles | PeerFiles) -> Context:
        context = self._contexts[name] = Context(files)
        if files.all:
            # Before they are read: a change between the two would never be seen.
            self._watch(f"tls {name}", files.all, context.reload)
        context.reload()
        return context

    def _seconds_left(self) -> dict[str, float]:
        now = time.time()
        found = self._contexts.items()
        return {name: one.end - now for name, one in found if one.end is not None}
