"""Certificates of tests, as files and as contexts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trustme

from gateway.tls.contexts import ClientFiles, KeyPair, ServerFiles

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


@dataclass
class Pki:
    """An authority, and what it issued into a folder; `server` is for 127.0.0.1."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        self.server = self.issue("server", "127.0.0.1")

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    def issue(self, name: str, *identities: str, **terms: Any) -> KeyPair:
        """Issue a certificate, in the place of the one with this name; `terms` are its times.

        Each file is swapped at once, as in a mounted Secret.
        """
        pair = KeyPair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        issued = self.ca.issue_cert(*identities, **terms)
        chain = b"".join(one.bytes() for one in issued.cert_chain_pems)
        for path, content in (
            (pair.key, issued.private_key_pem.bytes()),
            (pair.certificate, chain),
        ):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.rename(path)
        return pair

    def for_clients(self, pair: KeyPair | None = None) -> ssl.SSLContext:
        """Return the context of a client that believes this authority, and has this certificate."""
        return ClientFiles(self.ca_file, pair).context()

    def for_servers(self, pair: KeyPair, client_ca: Path | None = None) -> ssl.SSLContext:
        return ServerFiles(pair, client_ca).context()
