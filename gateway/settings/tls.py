"""What settings of TLS must fulfil: whole pairs, and files that make a context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.settings.checks import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.model import Settings

#: How the settings of each context begin, and what they call the authority of the other side.
_SERVERS: Final = {"tls": "tls_client_ca_file", "admin_tls": "admin_tls_client_ca_file"}
_UPSTREAM: Final = {"upstream_tls": "upstream_tls_ca_file"}


def tls_conflicts(settings: Settings) -> Iterator[Conflict]:
    """Find what is half configured, and files that cannot be used."""
    for prefix, ca in (_SERVERS | _UPSTREAM).items():
        halves = list(_halves(settings, prefix, ca))
        yield from halves
        if not halves:
            yield from _unusable(settings, prefix, ca)
    if settings.upstream_tls_ca_file is not None and not settings.upstream_tls_verify:
        names = ("upstream_tls_ca_file", "upstream_tls_verify")
        yield Conflict(names, "upstream_tls_ca_file has no effect: upstream_tls_verify is false")


def _halves(settings: Settings, prefix: str, ca: str) -> Iterator[Conflict]:
    certificate, key = f"{prefix}_certificate_file", f"{prefix}_key_file"
    given = [name for name in (certificate, key) if getattr(settings, name) is not None]
    if len(given) == 1:
        missing = key if given == [certificate] else certificate
        yield Conflict((given[0], missing), f"{given[0]} needs {missing}: set both, or none")
    if not given and prefix in _SERVERS and getattr(settings, ca) is not None:
        message = f"{ca} needs {certificate} and {key}: without them plain HTTP is spoken"
        yield Conflict((ca, certificate, key), message)


def _unusable(settings: Settings, prefix: str, ca: str) -> Iterator[Conflict]:
    names = (f"{prefix}_certificate_file", f"{prefix}_key_file", ca)
    certificate, key, authority = (getattr(settings, name) for name in names)
    if certificate is None and authority is None:
        return
    # Heavy, and most commands need no certificate.
    from gateway.tls import contexts  # noqa: PLC0415

    pair = contexts.KeyPair(certificate, key) if certificate is not None else None
    try:
        if prefix in _SERVERS:
            assert pair is not None, "a half was found otherwise"
            contexts.ServerFiles(pair, authority).context()
        else:
            contexts.ClientFiles(authority, pair, settings.upstream_tls_verify).context()
    except contexts.TlsFileError as error:
        parts = (contexts.Part.CERTIFICATE, contexts.Part.KEY, contexts.Part.CA)
        yield Conflict((names[parts.index(error.part)],), error.message)
