"""Contexts made of files: what is refused, what follows a change, and when certificates end."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gateway.telemetry.instruments import PREFIX, Instruments
from gateway.tls.contexts import (
    ClientFiles,
    Context,
    KeyPair,
    Part,
    PeerFiles,
    ServerFiles,
    TlsFileError,
)
from gateway.tls.deployment import Tls, TlsConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

END = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def write(folder: Path, certificate: trustme.LeafCert, name: str = "tls") -> KeyPair:
    """Write a certificate with its chain, and its key."""
    pair = KeyPair(folder / f"{name}.crt", folder / f"{name}.key")
    pair.certificate.write_bytes(b"".join(one.bytes() for one in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(pair.key)
    return pair


@pytest.fixture
def pair(authority: trustme.CA, tmp_path: Path) -> KeyPair:
    return write(tmp_path, authority.issue_cert("127.0.0.1", not_after=END))


def refused(files: ServerFiles | ClientFiles | PeerFiles) -> TlsFileError:
    with pytest.raises(TlsFileError) as told:
        files.context()
    return told.value


def test_a_server_offers_http_1_1_over_tls_1_2_or_later_and_asks_for_no_certificate(
    pair: KeyPair,
) -> None:
    context = ServerFiles(pair).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_with_an_authority_for_clients_a_server_asks_for_their_certificates(
    authority: trustme.CA, pair: KeyPair, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    context = ServerFiles(pair, tmp_path / "ca.crt").context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_a_client_believes_the_authorities_it_was_given_alone(
    authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    context = ClientFiles(tmp_path / "ca.crt").context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1
    assert ClientFiles().context().verify_mode is ssl.CERT_REQUIRED
    assert ClientFiles(verify=False).context().verify_mode is ssl.CERT_NONE


def test_a_replica_believes_its_own_certificate_alone_and_not_the_chain_above_it(
    tmp_path: Path,
) -> None:
    root = trustme.CA()
    own = write(tmp_path, root.create_child_ca().issue_cert("admin.example"))
    context = PeerFiles(own).context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 0}


def test_a_file_that_is_not_there_is_named_by_what_it_is(pair: KeyPair, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    cases = {
        Part.CERTIFICATE: ServerFiles(KeyPair(nowhere, pair.key)),
        Part.KEY: ServerFiles(KeyPair(pair.certificate, nowhere)),
        Part.CA: ServerFiles(pair, nowhere),
    }
    assert refused(PeerFiles(KeyPair(nowhere, pair.key))).part is Part.CERTIFICATE
    for part, files in cases.items():
        error = refused(files)
        assert error.part is part
        assert "No such file" in error.message
        assert "nowhere" not in str(error)


def test_a_file_of_something_else_is_refused_and_nothing_of_it_is_told(
    pair: KeyPair, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("-----BEGIN NONSENSE-----\nsecret\n")
    cases: dict[Part, ServerFiles | ClientFiles] = {
        Part.CERTIFICATE: ServerFiles(KeyPair(other, pair.key)),
        Part.KEY: ServerFiles(KeyPair(pair.certificate, other)),
        Part.CA: ClientFiles(other),
    }
    for part, files in cases.items():
        error = refused(files)
        assert error.part is part
        assert "secret" not in str(error)


def test_a_key_of_another_certificate_is_refused(
    authority: trustme.CA, pair: KeyPair, tmp_path: Path
) -> None:
    stranger = write(tmp_path, authority.issue_cert("127.0.0.1"), "stranger")
    error = refused(ServerFiles(KeyPair(pair.certificate, stranger.key)))
    assert (error.part, error.message) == (Part.KEY, "it is the key of another certificate")


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(pair: KeyPair) -> None:
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    error = refused(ServerFiles(pair))
    assert error.part is Part.KEY
    assert "passphrase" in error.message


def test_a_reload_takes_the_new_files_and_keeps_the_old_context_if_they_are_broken(
    authority: trustme.CA, pair: KeyPair, tmp_path: Path
) -> None:
    context = Context(ServerFiles(pair))
    context.reload()
    first = context.newest
    assert context.end == END.timestamp()

    pair.key.write_text("half of it")
    with pytest.raises(TlsFileError):
        context.reload()
    assert (context.newest, context.end) == (first, END.timestamp())

    later = END + dt.timedelta(days=1)
    write(tmp_path, authority.issue_cert("127.0.0.1", not_after=later))
    context.reload()
    assert context.newest is not first
    assert context.end == later.timestamp()


def test_what_is_watched_is_read_again_and_how_long_it_lasts_is_shown(
    authority: trustme.CA, pair: KeyPair, tmp_path: Path
) -> None:
    watched: dict[str, tuple[tuple[Path, ...], Callable[[], None]]] = {}
    instruments = Instruments()
    config = TlsConfig(data=ServerFiles(pair), upstream=ClientFiles(verify=False))
    tls = Tls(
        config, instruments, lambda what, files, load: watched.update({what: (tuple(files), load)})
    )
    assert tls.data is not None
    assert tls.admin is None
    assert {what: files for what, (files, _) in watched.items()} == {
        "tls data": (pair.certificate, pair.key)
    }

    def lasts() -> dict[str, float]:
        return {
            sample.labels["certificate"]: sample.value
            for family in instruments.collect()
            for sample in family.samples
            if sample.name == f"{PREFIX}tls_certificate_seconds_left"
        }

    before = lasts()
    assert before.keys() == {"data"}
    now = dt.datetime.now(dt.UTC)
    soon = now + dt.timedelta(hours=1)
    write(tmp_path, authority.issue_cert("127.0.0.1", not_before=now, not_after=soon))
    watched["tls data"][1]()
    assert 3000 < lasts()["data"] <= 3600 < before["data"]
