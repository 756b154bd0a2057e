"""Settings: one definition, three sources, and every culprit named at once."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.key_files import SecretError, read_secret, read_token_keys
from gateway.dialects import agent_sandbox, deployment, kruise, native
from gateway.settings import (
    AuthMode,
    DialectName,
    Entry,
    HostTarget,
    ListenAddress,
    Settings,
    SettingsError,
    TargetScheme,
    kinds,
    load,
)
from gateway.settings.model import GROUPS, NAMES, effective, kind_of, shown_default
from gateway.settings.sources import variable
from gateway.settings_doc import BEGIN, END, as_markdown, as_text, inserted

if TYPE_CHECKING:
    from pathlib import Path

CHOSEN = {"SBXGW_AUTH_MODE": "none"}
KEY = "k1:" + "QUJDRA" * 10 + "QUJD"


def culprits_of(environ: dict[str, str], file: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(environ, file=file)
    return [str(one) for one in caught.value.culprits]


def only_culprit(environ: dict[str, str], file: Path | None = None) -> str:
    found = culprits_of(CHOSEN | environ, file)
    assert len(found) == 1, found
    return found[0]


def written(path: Path, text: str) -> Path:
    file = path / "gateway.yaml"
    file.write_text(text)
    return file


# ---- where values come from ---------------------------------------------------------------------


def test_with_the_choice_made_all_defaults_hold() -> None:
    settings = load(CHOSEN)
    assert settings.auth_mode is AuthMode.NONE
    assert settings.data_listen == ListenAddress("0.0.0.0", 8080)
    assert settings.wake_timeout == 120.0
    assert settings.drain_delay == 5.0
    assert settings.max_uri_bytes == 16 * 1024
    assert settings.wake_waiting_bytes == 256 * 1024 * 1024
    assert settings.max_body_bytes == 0
    assert settings.tunnel_idle_timeout == 3600.0
    assert settings.target_schemes == tuple(TargetScheme)
    workloads = {DialectName.DEPLOYMENT, DialectName.STATEFUL_SET}
    assert set(settings.dialects) == set(DialectName) - workloads
    assert settings.admin_token_file is None


def test_the_environment_wins_over_the_file_and_an_option_over_both(tmp_path: Path) -> None:
    file = written(tmp_path, "wake_timeout: 1m\nwait_timeout: 1m\ndrain_timeout: 1m\n")
    environ = CHOSEN | {"SBXGW_WAIT_TIMEOUT": "2m", "SBXGW_DRAIN_TIMEOUT": "2m"}
    settings = load(environ, file=file, options=[Entry("drain_timeout", "3m", "--drain")])
    assert (settings.wake_timeout, settings.wait_timeout, settings.drain_timeout) == (60, 120, 180)


def test_defaults_of_the_caller_lose_to_everything() -> None:
    fallback = [Entry("auth_mode", "none", "local"), Entry("log_format", "text", "local")]
    settings = load({"SBXGW_LOG_FORMAT": "json"}, defaults=fallback)
    assert settings.auth_mode is AuthMode.NONE
    assert settings.log_format.value == "json"


def test_the_environment_may_name_the_file_and_the_callers_comes_first(tmp_path: Path) -> None:
    named = written(tmp_path, "wake_timeout: 1m\n")
    other = tmp_path / "other.yaml"
    other.write_text("wake_timeout: 2m\n")
    environ = CHOSEN | {"SBXGW_CONFIG": str(named)}
    assert load(environ).wake_timeout == 60
    assert load(environ, file=other).wake_timeout == 120


def test_a_file_may_use_the_types_of_yaml(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        auth_mode: none
        max_headers: 64
        access_log: false
        kubeconfig: null
        wake_patches_per_second: 60.5
        trusted_proxies: [10.0.0.0/8, "fd00::/8"]
        host_map:
          A.example.com: team--a:80
          b.example.com: team--b
        """,
    )
    settings = load({}, file=file)
    assert settings.max_headers == 64
    assert settings.access_log is False
    assert settings.kubeconfig is None
    assert settings.wake_patches_per_second == 60.5
    assert settings.trusted_proxies == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("fd00::/8"),
    )
    assert settings.host_map == {
        "a.example.com": HostTarget("team--a", 80),
        "b.example.com": HostTarget("team--b", None),
    }


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load(CHOSEN, file=written(tmp_path, "# nothing yet\n")) == load(CHOSEN)


def test_foreign_variables_are_left_alone() -> None:
    assert load(CHOSEN | {"PATH": "/bin", "XSBXGW_A": "1"}) == load(CHOSEN)


# ---- culprits -----------------------------------------------------------------------------------


def test_without_the_choice_of_auth_mode_the_refusal_explains_it() -> None:
    (culprit,) = culprits_of({})
    assert "SBXGW_AUTH_MODE" in culprit
    for mode in AuthMode:
        assert mode.value in culprit


def test_an_unknown_variable_is_named_with_what_was_meant() -> None:
    culprit = only_culprit({"SBXGW_WAKE_TIMOUT": "5s"})
    assert culprit == ("SBXGW_WAKE_TIMOUT: no such setting; did you mean SBXGW_WAKE_TIMEOUT?")


def test_an_unknown_key_is_named_with_its_line_and_what_was_meant(tmp_path: Path) -> None:
    file = written(tmp_path, "log_level: info\nwake-timeout: 5s\n")
    assert only_culprit({}, file) == (
        f"{file}:2: wake-timeout: no such setting; did you mean wake_timeout?"
    )


def test_all_culprits_of_all_sources_are_named_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, "wake_breaker_min: 5m\nnonsense: 1\nlog_level: loud\n")
    found = culprits_of({"SBXGW_WAKE_TIMEOUT": "5", "SBXGW_TYPO": "x"}, file)
    starts = [
        f"{file}:1: wake_breaker_min",
        f"{file}:2: nonsense",
        f"{file}:3: log_level",
        "SBXGW_WAKE_TIMEOUT",
        "SBXGW_TYPO",
        "auth_mode",
    ]
    for start in starts:
        assert any(one.startswith(start) for one in found), (start, found)
    assert len(found) == len(starts)


def test_a_bad_value_is_told_with_what_is_accepted() -> None:
    culprit = only_culprit({"SBXGW_LOG_LEVEL": "loud"})
    assert culprit == ("SBXGW_LOG_LEVEL: got 'loud', wanted one of debug, info, warning, error")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a\n- b\n", "is not a mapping"),
        ("just text\n", "is not a mapping"),
        ("a: [1\n", "is not YAML (line 2"),
        ("a: 1\n---\nb: 2\n", "is not YAML"),
        ("wake_timeout: !!python/object:os.system 5s\n", "is not a plain YAML value"),
    ],
)
def test_a_file_that_is_no_mapping_of_plain_values_is_refused(
    tmp_path: Path, content: str, problem: str
) -> None:
    file = written(tmp_path, content)
    culprit = only_culprit({}, file)
    assert culprit.startswith(str(file))
    assert problem in culprit


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    missing, folder = tmp_path / "none.yaml", tmp_path
    assert only_culprit({}, missing) == f"{missing}: cannot be read: No such file or directory"
    assert "cannot be read" in only_culprit({"SBXGW_CONFIG": str(folder)})


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_bytes(b"log_level: \xff\xfe\n")
    assert only_culprit({}, file) == f"{file}: is not UTF-8 text"


def test_doubled_keys_are_all_named(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "log_level: info\nlog_level: debug\nhost_map:\n  a.b: x\n  a.b: y\nlog_level: error\n",
    )
    assert culprits_of(CHOSEN, file) == [
        f"{file}:2: log_level stands there twice, first in line 1",
        f"{file}:5: a.b stands there twice, first in line 4",
        f"{file}:6: log_level stands there twice, first in line 1",
    ]


def test_the_value_of_an_unknown_setting_is_never_repeated(tmp_path: Path) -> None:
    file = written(tmp_path, "admin_token: hunter2\n")
    found = culprits_of(CHOSEN | {"SBXGW_ADMIN_TOKEN": "hunter2"}, file)
    assert len(found) == 2
    assert all("hunter2" not in one and "admin_token_file" in one.lower() for one in found)


@pytest.mark.parametrize("value", ["hunter2", "hunter2\x00", ["hunter2"]])
def test_a_secret_in_place_of_its_file_is_never_repeated(tmp_path: Path, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        load(CHOSEN, options=[Entry("admin_token_file", value, "--token")])
    assert "hunter2" not in str(caught.value)
    assert "--token" in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"WAKE_BREAKER_MIN": "2m"}, "wake_breaker_min (2m) must not exceed wake_breaker_max (1m)"),
        ({"WAKE_WAITERS_PER_SANDBOX": "30000"}, "wake_waiters_total"),
        ({"WAKE_PATCHES_PER_SECOND": "10"}, "wake_namespace_patches_per_second"),
        ({"WAKE_PATCHES_BURST": "10"}, "wake_namespace_patches_burst"),
        ({"UPSTREAM_CONNECT_TIMEOUT": "20s"}, "upstream_dial_timeout"),
        ({"WATCH_IDLE_TIMEOUT": "6m"}, "stale_after"),
        ({"ADMIN_LISTEN": "0.0.0.0:8080"}, "data_listen and admin_listen must differ"),
        ({"E2B_ID_HEADER": "x-sandbox-id"}, "must name different headers"),
        ({"E2B_ID_HEADER": "Host"}, "e2b_id_header must not be"),
        ({"TARGET_SCHEMES": "e2b", "HOST_SUFFIXES": "a.example"}, "target_schemes lacks host"),
        ({"ALLOW_TOKENLESS": "true"}, "auth_mode is not access-token"),
        ({"AUTH_MODE": "scoped-token"}, "needs scoped_token_keys_file"),
        ({"AUTH_MODE": "jwt", "JWT_JWKS": "https://a.example/keys"}, "jwt needs jwt_issuer"),
        ({"AUTH_MODE": "jwt", "JWT_ISSUER": "me"}, "jwt needs jwt_jwks"),
        ({"JWT_AUDIENCE": "me"}, "jwt_audience has no effect"),
        ({"JWT_LEEWAY": "5m1s"}, "jwt_leeway must not exceed 5m"),
        ({"JWT_REFRESH_INTERVAL": "2h"}, "must not exceed jwt_max_age"),
        ({"BROWSER_LOGIN": "true", "HOST_SUFFIXES": "a.example"}, "auth_mode is none"),
        ({"BROWSER_LOGIN": "true", "AUTH_MODE": "access-token"}, "needs host_suffixes"),
        ({"E2B_ID_HEADER": "E2b-Traffic-Access-Token"}, "e2b_id_header must not be"),
        ({"IDLE_DEPLOYMENTS_AFTER": "4m59s"}, "idle_deployments_after must be at least 5m"),
        (
            {"IDLE_DEPLOYMENTS": "true", "DIALECTS": "native,deployment"},
            "idle_deployments has no effect: standby is false",
        ),
        (
            {"IDLE_DEPLOYMENTS": "true", "STANDBY": "true"},
            "idle_deployments has no effect: dialects has neither",
        ),
        ({"PEER_SELECTOR": "app=gateway"}, "peer_selector has no effect"),
        ({"KUBECONFIG": "/nowhere/at/all"}, "there is no such file"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    environ: dict[str, str], named: str
) -> None:
    prefixed = {f"SBXGW_{name}": value for name, value in environ.items()}
    assert named in only_culprit(prefixed)


def test_replicas_that_elect_a_leader_name_all_that_they_need() -> None:
    found = culprits_of(CHOSEN | {"SBXGW_LEASE_NAME": "gateway", "SBXGW_POD_NAME": "gateway-1"})
    needed = ("pod_namespace", "peer_selector", "admin_token_file")
    assert len(found) == 3
    assert all(f"lease_name needs {name}" in one for name, one in zip(needed, found, strict=True))


def test_observed_connections_need_a_token_for_observers_and_somebody_who_heeds_them() -> None:
    found = culprits_of(CHOSEN | {"SBXGW_OBSERVE_CONNECTIONS": "true"})
    assert ["standby is false" in one or "needs observer_token_file" in one for one in found] == [
        True,
        True,
    ]


def test_two_listeners_on_any_free_port_do_not_contradict() -> None:
    load(CHOSEN | {"SBXGW_DATA_LISTEN": "127.0.0.1:0", "SBXGW_ADMIN_LISTEN": "127.0.0.1:0"})


def test_keys_without_their_mode_are_refused_since_they_protect_nothing(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    culprit = only_culprit({"SBXGW_SCOPED_TOKEN_KEYS_FILE": str(keys)})
    assert "has no effect" in culprit


# ---- kinds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("1.5s", 1.5)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert load(CHOSEN | {"SBXGW_WAIT_TIMEOUT": text}).wait_timeout == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "-5s", "5 s", "5d", "0s", "0", "9000h", "1e3s", "\u0665s"]
)
def test_other_durations_are_refused(text: str) -> None:
    assert "a duration such as 90s" in only_culprit({"SBXGW_WAIT_TIMEOUT": text})


def test_a_bare_number_is_met_with_the_likely_duration(tmp_path: Path) -> None:
    assert "did you mean 5s?" in only_culprit({"SBXGW_WAIT_TIMEOUT": "5"})
    assert "did you mean 5s?" in only_culprit({}, written(tmp_path, "wait_timeout: 5\n"))


def test_where_zero_has_a_meaning_it_is_taken() -> None:
    environ = {"SBXGW_DRAIN_DELAY": "0", "SBXGW_LINGER_TIMEOUT": "0s", "SBXGW_MAX_BODY_BYTES": "0"}
    settings = load(CHOSEN | environ)
    assert (settings.drain_delay, settings.linger_timeout, settings.max_body_bytes) == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "amount"), [("64KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("500", 500)]
)
def test_sizes_are_read(text: str, amount: int) -> None:
    assert load(CHOSEN | {"SBXGW_MAX_BODY_BYTES": text}).max_body_bytes == amount


@pytest.mark.parametrize(
    ("text", "hint"),
    [("64K", "64KiB?"), ("64kb", "64KiB?"), ("1m", "1MiB?"), ("0", "over 0"), ("-1", ""), ("", "")],
)
def test_other_sizes_are_refused_with_a_hint(text: str, hint: str) -> None:
    culprit = only_culprit({"SBXGW_MAX_HEADER_BYTES": text})
    assert "a size such as 64KiB" in culprit
    assert hint in culprit


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:8080", ("::1", 8080)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_listen_addresses_are_read(text: str, address: tuple[str, int]) -> None:
    assert load(CHOSEN | {"SBXGW_DATA_LISTEN": text}).data_listen == address


@pytest.mark.parametrize(
    "text",
    ["8080", ":8080", "::1:8080", "[::1]", "[::1]:", "a:65536", "a:-1", "a:08", "300.0.0.1:1",
     "a b:1", "[10.0.0]:1"],
)  # fmt: skip
def test_other_listen_addresses_are_refused(text: str) -> None:
    assert "an address such as 0.0.0.0:8080" in only_culprit({"SBXGW_DATA_LISTEN": text})


def test_an_address_without_a_host_is_met_with_the_likely_one() -> None:
    assert "did you mean 0.0.0.0:9000?" in only_culprit({"SBXGW_DATA_LISTEN": ":9000"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,,fd00::/8"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/8"),
        ("DIALECTS", ""),
        ("DIALECTS", "native,native"),
        ("MAX_HEADERS", "0"),
        ("MAX_HEADERS", "1_0"),
        ("MAX_HEADERS", "1" * 30),
        ("E2B_DEFAULT_PORT", "65536"),
        ("E2B_ID_HEADER", "a b"),
        ("ACCESS_LOG", "yes"),
        ("PATH_PREFIX", "kruise"),
        ("PATH_PREFIX", "/kruise/"),
        ("PATH_PREFIX", "/"),
        ("HOST_SUFFIXES", ".example.com"),
        ("HOST_MAP", "a.example.com"),
        ("HOST_MAP", "a.example.com=id:0"),
        ("HOST_MAP", "a.example.com=id,A.example.com=other"),
        ("HOST_MAP", "a:80=id"),
        ("NEVER_WAKE_METHODS", "head"),
        ("NEVER_WAKE_PATHS", "healthz"),
        ("NAMESPACES", "Team_A"),
        ("WAKE_PATCHES_PER_SECOND", "0"),
        ("WAKE_PATCHES_PER_SECOND", "inf"),
    ],
)
def test_values_out_of_their_kind_are_refused(name: str, text: str) -> None:
    assert only_culprit({f"SBXGW_{name}": text}).startswith(f"SBXGW_{name}: got ")


@pytest.mark.parametrize(
    "line",
    ["max_headers: true", "access_log: 1", "log_level: [info]", "wait_timeout: .inf",
     "agent_default_namespace: 12", "host_map: 5", "trusted_proxies: [1]"],
)  # fmt: skip
def test_yaml_of_another_type_is_refused(tmp_path: Path, line: str) -> None:
    assert "wanted " in only_culprit({}, written(tmp_path, line + "\n"))


def test_lists_are_comma_separated_in_the_environment() -> None:
    settings = load(CHOSEN | {"SBXGW_NAMESPACES": " a , b ", "SBXGW_NEVER_WAKE_METHODS": "HEAD"})
    assert settings.namespaces == ("a", "b")
    assert settings.never_wake_methods == ("HEAD",)


@given(st.integers(1, 10**8))
def test_a_duration_shown_is_read_back(milliseconds: int) -> None:
    kind = kinds.duration()
    seconds = milliseconds / 1000 if milliseconds < 1000 else float(milliseconds // 10)
    assert kind.parse(kind.show(seconds)) == pytest.approx(seconds)


@given(st.integers(0, 2**50))
def test_a_size_shown_is_read_back(amount: int) -> None:
    kind = kinds.size(zero=True)
    assert kind.parse(kind.show(amount)) == amount


@given(st.sampled_from(NAMES), st.text(max_size=20))
def test_any_text_for_any_setting_is_taken_or_refused_with_a_culprit(name: str, text: str) -> None:
    try:
        kind_of(name).parse(text)
    except kinds.Refused:
        return


# ---- secrets ------------------------------------------------------------------------------------


def test_a_secret_is_read_without_the_blanks_around_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("\n hunter2 \n")
    assert read_secret(file) == "hunter2"


def test_keys_are_read_by_their_ids(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# rotated yearly\n\n{KEY}\n{KEY.replace('k1', 'k2')}\n")
    keys = read_token_keys(file)
    assert list(keys) == ["k1", "k2"]
    assert len(keys["k1"]) >= 32


@pytest.mark.parametrize(
    "content",
    ["", "# none\n", "hunter2\n", "k1:\n", "k 1:QUJD\n", "k1:!!!!\n", "k1:aHVudGVyMg==\n",
     f"{KEY}\n{KEY}\n"],
)  # fmt: skip
def test_key_files_with_a_fault_are_refused_without_a_word_of_them(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(SecretError) as caught:
        read_token_keys(file)
    for word in ("hunter2", "aHVudGVyMg", "!!!!", KEY):
        assert word not in str(caught.value)


def test_a_bad_key_file_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("k1:c2hvcnQ=")
    environ = {"SBXGW_AUTH_MODE": "scoped-token", "SBXGW_SCOPED_TOKEN_KEYS_FILE": str(file)}
    assert culprits_of(environ) == [
        "SBXGW_SCOPED_TOKEN_KEYS_FILE: line 1: the secret is shorter than 32 bytes"
    ]


def test_a_good_key_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    environ = {"SBXGW_AUTH_MODE": "scoped-token", "SBXGW_SCOPED_TOKEN_KEYS_FILE": str(file)}
    assert load(environ).scoped_token_keys_file == file


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("https://issuer.example/keys?a=b", True),
        ("http://127.0.0.1:8000/keys", True),
        ("https://", False),
        ("https:/issuer.example", False),
        ("https://user:secret@issuer.example/", False),
        ("https://issuer.example/ keys", False),
    ],
)
def test_keys_of_jwts_are_at_a_url_without_a_user(value: str, accepted: bool) -> None:
    environ = {
        "SBXGW_AUTH_MODE": "jwt",
        "SBXGW_JWT_ISSUER": "me",
        "SBXGW_JWT_JWKS": value,
    }
    if accepted:
        assert load(environ).jwt_jwks == value
    else:
        assert only_culprit(environ).startswith("SBXGW_JWT_JWKS: ")


def test_keys_of_jwts_in_a_file_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    environ = {
        "SBXGW_AUTH_MODE": "jwt",
        "SBXGW_JWT_ISSUER": "me",
        "SBXGW_JWT_JWKS": str(file),
    }
    assert f"there is no such file: {file};" in only_culprit(environ)
    file.touch()
    assert load(environ).jwt_jwks == str(file)


def test_a_page_template_with_a_fault_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<h1>$title</h1>$host")
    environ = {"SBXGW_AUTH_MODE": "none", "SBXGW_PAGE_TEMPLATE_FILE": str(file)}
    (culprit,) = culprits_of(environ)
    assert culprit.startswith("SBXGW_PAGE_TEMPLATE_FILE: $host is no placeholder; there are $")


# ---- the definition and its reference -----------------------------------------------------------


def test_every_setting_belongs_to_one_group_and_has_a_kind_and_a_meaning() -> None:
    assert sorted(NAMES) == sorted(Settings.model_fields)
    assert len(set(NAMES)) == len(NAMES)
    for group in GROUPS:
        assert group.__doc__
    for name in NAMES:
        assert kind_of(name).accepts
        assert (Settings.model_fields[name].description or "").endswith(".")


def test_what_is_in_force_can_be_written_back_and_means_the_same() -> None:
    settings = load(CHOSEN | {"SBXGW_HOST_MAP": "a.b=id:80", "SBXGW_TRUSTED_PROXIES": "::1/128"})
    again = load({variable(name): value for name, value in effective(settings).items()})
    assert again == settings


def test_the_dialects_of_the_settings_are_those_that_there_are() -> None:
    apis = {native.NAME, kruise.NAME, agent_sandbox.NAME}
    workloads = {deployment.DEPLOYMENT.name, deployment.STATEFUL_SET.name}
    assert {one.value for one in DialectName} == apis | workloads


def test_the_reference_names_every_setting_with_its_default() -> None:
    markdown, text = as_markdown(), as_text()
    for name in NAMES:
        default = shown_default(name)
        assert f"| `{name}` |" in markdown
        assert f"  {name} = " in text
        assert variable(name) in text
        if default:
            assert f"`{default}`" in markdown


def test_a_reference_is_put_between_its_markers_and_nowhere_else() -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    renewed = inserted(document)
    assert renewed.startswith(f"before\n{BEGIN}\n")
    assert renewed.endswith(f"{END}\nafter\n")
    assert "\nold\n" not in renewed
    assert inserted(renewed) == renewed


def test_the_generator_checks_and_writes_a_document(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(f"# Title\n{BEGIN}\n{END}\n")

    def run(mode: str, path: Path) -> int:
        command = [sys.executable, "-m", "gateway.settings_doc", mode, str(path)]
        return subprocess.run(command, check=False, capture_output=True).returncode

    assert run("--check", document) == 1
    assert run("--write", document) == 0
    assert run("--check", document) == 0
    assert "wake_timeout" in document.read_text()
    assert run("--check", tmp_path / "missing.md") == 2
    document.write_text("no markers")
    assert run("--write", document) == 2
    assert run("--frobnicate", document) == 2
