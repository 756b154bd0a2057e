"""Settings of TLS: whole pairs of files that can be used, or no start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.pki import Pki
from gateway import wiring
from gateway.settings import SettingsError, load
from gateway.tls.contexts import ClientFiles, ServerFiles

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


def made(**knobs: object) -> Settings:
    return load(
        {"SBXGW_AUTH_MODE": "none"} | {f"SBXGW_{k.upper()}": str(v) for k, v in knobs.items()}
    )


def culprits(**knobs: object) -> list[str]:
    with pytest.raises(SettingsError) as told:
        made(**knobs)
    return [str(one) for one in told.value.culprits]


def test_without_files_plain_http_is_spoken_and_sandboxes_are_verified() -> None:
    config = wiring.tls(made())
    assert (config.data, config.admin, config.upstream) == (None, None, ClientFiles())
    assert config.handshake_timeout == 15.0


def test_each_file_reaches_its_place(pki: Pki) -> None:
    admin, upstream = pki.issue("admin", "a"), pki.issue("upstream", "u")
    settings = made(
        tls_certificate_file=pki.server.certificate,
        tls_key_file=pki.server.key,
        tls_client_ca_file=pki.ca_file,
        admin_tls_certificate_file=admin.certificate,
        admin_tls_key_file=admin.key,
        upstream_tls_ca_file=pki.ca_file,
        upstream_tls_certificate_file=upstream.certificate,
        upstream_tls_key_file=upstream.key,
        request_head_timeout="7s",
    )
    config = wiring.tls(settings)
    assert config.data == ServerFiles(pki.server, pki.ca_file)
    assert config.admin == ServerFiles(admin)
    assert config.upstream == ClientFiles(pki.ca_file, upstream)
    assert config.handshake_timeout == 7.0
    assert wiring.tls(made(upstream_tls_verify="false")).upstream == ClientFiles(verify=False)


@pytest.mark.parametrize("prefix", ["", "admin_", "upstream_"])
def test_half_a_pair_is_refused_and_the_other_half_is_named(pki: Pki, prefix: str) -> None:
    certificate, key = f"{prefix}tls_certificate_file", f"{prefix}tls_key_file"
    (told,) = culprits(**{certificate: pki.server.certificate})
    assert told == f"SBXGW_{certificate.upper()}: {certificate} needs {key}: set both, or none"
    (told,) = culprits(**{key: pki.server.key})
    assert told == f"SBXGW_{key.upper()}: {key} needs {certificate}: set both, or none"


@pytest.mark.parametrize("prefix", ["", "admin_"])
def test_an_authority_for_clients_without_a_certificate_protects_nothing(
    pki: Pki, prefix: str
) -> None:
    (told,) = culprits(**{f"{prefix}tls_client_ca_file": pki.ca_file})
    assert f"{prefix}tls_client_ca_file needs {prefix}tls_certificate_file" in told


def test_an_authority_that_nothing_is_verified_by_is_refused(pki: Pki) -> None:
    (told,) = culprits(upstream_tls_ca_file=pki.ca_file, upstream_tls_verify="false")
    assert "upstream_tls_ca_file has no effect" in told


@pytest.mark.parametrize("prefix", ["", "admin_", "upstream_"])
def test_files_that_make_no_context_are_named_one_by_one(pki: Pki, prefix: str) -> None:
    nowhere, other = pki.folder / "nowhere", pki.issue("other", "o")
    names = [f"{prefix}tls_{part}_file" for part in ("certificate", "key")]
    names.append("upstream_tls_ca_file" if prefix == "upstream_" else f"{prefix}tls_client_ca_file")
    good = dict(zip(names, (pki.server.certificate, pki.server.key, pki.ca_file), strict=True))
    made(**good)
    for name in names:
        (told,) = culprits(**good | {name: nowhere})
        assert told.startswith(f"SBXGW_{name.upper()}: the file cannot be read: No such file")
    (told,) = culprits(**good | {names[1]: other.key})
    assert told == f"SBXGW_{names[1].upper()}: it is the key of another certificate"


def test_the_path_of_a_key_is_never_repeated() -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nsecret"
    assert not [one for one in culprits(tls_key_file=secret) if "secret" in one]
