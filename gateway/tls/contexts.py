"""Contexts made from files of PEM, and made anew when the files change.

A connection keeps the context that it began with; a new one gets the newest.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from pathlib import Path

_ALPN: Final = ("http/1.1",)  # RFC 7301: no other protocol is spoken here


class Part(Enum):
    """What a file is to a context."""

    CERTIFICATE = "certificate"
    KEY = "key"
    CA = "ca"


class TlsFileError(Exception):
    """A file that makes no context; the text is safe to show, and says nothing of what is in it."""

    def __init__(self, part: Part, message: str) -> None:
        super().__init__(f"{part.value}: {message}")
        self.part = part
        self.message = message


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its chain, and its private key, which has no passphrase."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """What we prove to clients, and whose certificates clients must prove (None: none asked)."""

    pair: KeyPair
    client_ca: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        """The files to watch."""
        return _present(self.pair.certificate, self.pair.key, self.client_ca)

    def context(self) -> ssl.SSLContext:
        """Return a context for taking connections; raise TlsFileError."""
        context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        _load_pair(context, self.pair)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            _load_ca(context, self.client_ca)
        return context


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """Whose certificates we believe (None: the system's), and what we prove if we are asked.

    Without `verify`, any certificate is good: who can get in between reads everything.
    """

    ca: Path | None = None
    pair: KeyPair | None = None
    verify: bool = True

    @property
    def all(self) -> tuple[Path, ...]:
        """The files to watch."""
        pair = self.pair
        return _present(self.ca, *((pair.certificate, pair.key) if pair else ()))

    def context(self) -> ssl.SSLContext:
        """Return a context for making connections; raise TlsFileError."""
        context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        context.hostname_checks_common_name = False  # RFC 9525 §6.3: names are in subjectAltName
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca is not None:
            _load_ca(context, self.ca)
        else:
            context.load_default_certs()
        if self.pair is not None:
            _load_pair(context, self.pair)
        return context


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """What we prove to other replicas, and they to us: that they hold the key of our certificate.

    That is more than a name proves; so none is asked for, and the authority may be any.
    """

    pair: KeyPair

    @property
    def all(self) -> tuple[Path, ...]:
        """The files to watch."""
        return _present(self.pair.certificate, self.pair.key)

    def context(self) -> ssl.SSLContext:
        """Return a context for making connections; raise TlsFileError."""
        context = _hardened(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _load_pair(context, self.pair)
        context.load_verify_locations(cadata=_own(self.pair.certificate))
        return context


def _present(*files: Path | None) -> tuple[Path, ...]:
    return tuple(file for file in files if file is not None)


def _hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(list(_ALPN))
    return context


def _load_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    certificate_end(pair.certificate)
    try:
        # Without a password given, OpenSSL would ask the terminal for one.
        context.load_cert_chain(pair.certificate, pair.key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(Part.KEY, "it is the key of another certificate") from error
        raise TlsFileError(Part.KEY, "it holds no key in PEM without a passphrase") from error
    except OSError as error:
        raise _unreadable(Part.KEY, error) from error


def _load_ca(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise TlsFileError(Part.CA, "it holds no certificates in PEM") from error
    except OSError as error:
        raise _unreadable(Part.CA, error) from error


def certificate_end(file: Path) -> float:
    """Return when the first certificate of a chain ends (epoch seconds); raise TlsFileError."""
    return min(one.not_valid_after_utc.timestamp() for one in _chain(file))


def _own(file: Path) -> bytes:
    """Return the certificate that a chain is for, in DER; raise TlsFileError."""
    return _chain(file)[0].public_bytes(Encoding.DER)


def _chain(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except ValueError as error:
        raise TlsFileError(Part.CERTIFICATE, "it holds no certificate in PEM") from error
    except OSError as error:
        raise _unreadable(Part.CERTIFICATE, error) from error


def _unreadable(part: Part, error: OSError) -> TlsFileError:
    return TlsFileError(part, f"the file cannot be read: {error.strerror}")


class Context:
    """The newest context of some files; to be loaded before it is used.

    `end` is when our certificate ends (epoch seconds), None if we have none.
    """

    newest: ssl.SSLContext
    end: float | None

    def __init__(self, files: ServerFiles | ClientFiles | PeerFiles) -> None:
        self._files = files

    def reload(self) -> None:
        """Read the files; raise TlsFileError and keep what was read before."""
        context, pair = self._files.context(), self._files.pair
        self.end = certificate_end(pair.certificate) if pair is not None else None
        self.newest = context
