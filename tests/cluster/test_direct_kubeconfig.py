"""Kubeconfig files: which one is meant, what is read from it, and what is refused."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.cluster.direct import Access, KubeconfigError, find_kubeconfig, read_kubeconfig
from gateway.cluster.direct.kubeconfig import ExecPlugin
from gateway.cluster.direct.plugin import issue

if TYPE_CHECKING:
    from pathlib import Path

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
DATA = base64.b64encode(PEM.encode()).decode()


def config(
    cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **others: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}},
            {"name": "there", "context": {"cluster": "d", "user": "u"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://here:6443"} | (cluster or {})},
            {"name": "d", "cluster": {"server": "https://there:6443/"}},
        ],
        "users": [{"name": "u", "user": user or {}}],
    } | others


def written(folder: Path, content: object) -> Path:
    path = folder / "kubeconfig"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def read(
    folder: Path,
    cluster: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    **others: Any,
) -> Access:
    return read_kubeconfig(written(folder, config(cluster, user, **others)))


# ---- which one ----------------------------------------------------------------------------------


def test_the_one_that_is_named_comes_first_and_must_exist(tmp_path: Path) -> None:
    named, other = tmp_path / "named", tmp_path / "other"
    named.touch()
    other.touch()
    environ = {"KUBECONFIG": str(other)}
    assert find_kubeconfig(named, environ, [other]) == named
    with pytest.raises(KubeconfigError, match="no such file"):
        find_kubeconfig(tmp_path / "missing", environ, [other])


def test_of_the_list_in_the_environment_the_first_that_exists_is_taken(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.touch()
    environ = {"KUBECONFIG": f":{tmp_path / 'first'}:{second}:"}
    assert find_kubeconfig(None, environ, [tmp_path / "home"]) == second


def test_the_fallbacks_count_only_without_the_environment(tmp_path: Path) -> None:
    home, state = tmp_path / "home", tmp_path / "state"
    state.touch()
    assert find_kubeconfig(None, {}, [home, state]) == state
    with pytest.raises(KubeconfigError, match="nowhere"):
        find_kubeconfig(None, {"KUBECONFIG": "/nowhere"}, [home, state])


# ---- what is read -------------------------------------------------------------------------------


def test_the_current_context_is_read_or_the_one_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, config(user={"token": "hunter2"}))
    here, there = read_kubeconfig(path), read_kubeconfig(path, "there")
    assert (here.server, here.namespace, here.token) == ("https://here:6443", "team-a", "hunter2")
    assert (there.server, there.namespace) == ("https://there:6443", "default")
    assert "hunter2" not in repr(here)


def test_certificates_come_inline_or_from_files_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_text(PEM)
    inline = read(
        tmp_path,
        {"certificate-authority-data": DATA},
        {"client-certificate-data": DATA, "client-key-data": DATA},
    )
    assert (inline.ca, inline.client_certificate, inline.client_key) == (PEM, PEM, PEM)
    assert read(tmp_path, {"certificate-authority": "pki/ca.crt"}).ca == PEM


def test_a_token_file_comes_before_the_inline_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    assert read(tmp_path, user={"tokenFile": "token", "token": "inline"}).token == "from-file"


def test_a_plugin_is_read_and_its_relative_path_starts_at_the_kubeconfig(tmp_path: Path) -> None:
    spec = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "bin/login",
        "args": ["--for", 1],
        "env": [{"name": "A", "value": "b"}],
        "provideClusterInfo": True,
    }
    plugin = read(tmp_path, user={"exec": spec}).plugin
    assert plugin is not None
    assert plugin.command == str(tmp_path / "bin/login")
    assert plugin.args == ("--for", "1")
    assert plugin.env == (("A", "b"),)
    assert plugin.wants_cluster
    path_searched = read(tmp_path, user={"exec": spec | {"command": "login"}}).plugin
    assert path_searched is not None
    assert path_searched.command == "login"


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cluster", "user", "named"),
    [
        ({"proxy-url": "http://proxy"}, {}, "proxy-url"),
        ({}, {"as": "admin"}, "impersonation"),
        ({}, {"auth-provider": {"name": "gcp"}}, "auth-provider"),
        ({"server": ""}, {}, "not an http or https URL"),
        ({"server": "ftp://a"}, {}, "not an http or https URL"),
        ({"server": "https://a:b"}, {}, "not an http or https URL"),
        ({"server": "https://[::1"}, {}, "not an http or https URL"),
        ({"certificate-authority-data": "%%%"}, {}, "certificate-authority-data"),
        ({"certificate-authority": "missing.crt"}, {}, "certificate-authority"),
        (
            {"insecure-skip-tls-verify": True, "certificate-authority-data": DATA},
            {},
            "insecure-skip-tls-verify",
        ),
        ({}, {"client-certificate-data": DATA}, "belong together"),
        ({}, {"tokenFile": "missing"}, "tokenFile"),
        ({}, {"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, "exec needs a command"),
        (
            {},
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "a"}},
            "exec needs a command",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], named: str
) -> None:
    with pytest.raises(KubeconfigError, match=named):
        read(tmp_path, cluster, user)


@pytest.mark.parametrize("content", ["", "- a\n", "a: [", "text"])
def test_a_file_that_is_no_kubeconfig_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(KubeconfigError):
        read_kubeconfig(written(tmp_path, content))


def test_an_unknown_context_is_met_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="here, there"):
        read_kubeconfig(written(tmp_path, config()), "elsewhere")
    with pytest.raises(KubeconfigError, match="--context"):
        read_kubeconfig(written(tmp_path, config() | {"current-context": ""}))
    with pytest.raises(KubeconfigError, match="has no cluster 'c'"):
        read_kubeconfig(written(tmp_path, config(clusters=None)))


# ---- plugins ------------------------------------------------------------------------------------


def run_plugin(script: str, **fields: Any) -> object:
    plugin = ExecPlugin("client.authentication.k8s.io/v1", "/bin/sh", ("-c", script), **fields)
    return issue(plugin, Access(server="https://here:6443", ca=PEM))


@pytest.mark.parametrize(
    "script",
    [
        "exit 3",
        "echo hunter2",
        "echo '[]'",
        "echo '{}'",
        """echo '{"apiVersion": "client.authentication.k8s.io/v1", "status": null}'""",
        """echo '{"apiVersion": "client.authentication.k8s.io/v1", "status": {}}'""",
        """echo '{"apiVersion": "v2", "status": {"token": "hunter2"}}'""",
    ],
)
def test_a_plugin_that_gives_nothing_usable_is_refused_unquoted(script: str) -> None:
    with pytest.raises(KubeconfigError, match="/bin/sh") as caught:
        run_plugin(script)
    assert "hunter2" not in str(caught.value)


def test_a_plugin_that_is_not_there_is_told_with_its_install_hint() -> None:
    plugin = ExecPlugin("client.authentication.k8s.io/v1", "/nowhere", install_hint="get it so")
    with pytest.raises(KubeconfigError, match="get it so"):
        issue(plugin, Access(server="https://here"))


def test_a_plugin_learns_of_its_cluster_only_where_it_asks_for_it(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    answer = '{"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "t"}}'
    script = f"printf %s \"$KUBERNETES_EXEC_INFO\" > {seen}; echo '{answer}'"
    run_plugin(script)
    assert "cluster" not in yaml.safe_load(seen.read_text())["spec"]
    run_plugin(script, wants_cluster=True)
    told = yaml.safe_load(seen.read_text())["spec"]["cluster"]
    assert told == {"server": "https://here:6443", "certificate-authority-data": DATA}


def test_a_plugin_that_must_ask_questions_is_refused_without_a_terminal() -> None:
    with pytest.raises(KubeconfigError, match="terminal"):
        run_plugin("true", interactive="Always")
