"""`observe` from the command line: what it says when it cannot begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from gateway.agents.observe.observer import one_of_each
from gateway.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://gateway-observers.sandboxes.svc:8081"


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["observe", *arguments], env=environ)


def test_the_help_says_what_it_needs_and_what_it_does_not_see() -> None:
    said = run("--help").output
    for word in ("NET_ADMIN", "--token-file", "NODE_NAME", "headless", "Cilium", "UDP"):
        assert word in said


@pytest.mark.parametrize("url", ["gateway:8081", "ftp://gateway:1", "https://", "http://a/b"])
def test_an_address_of_no_gateway_is_refused(tmp_path: Path, url: str) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    result = run("--gateway", url, "--token-file", str(token), "--node", "node-1")
    assert result.exit_code == 2
    assert "--gateway: wanted http or https" in result.output


def test_a_token_that_cannot_be_read_is_refused_and_never_shown(tmp_path: Path) -> None:
    result = run("--gateway", URL, "--token-file", str(tmp_path / "none"), NODE_NAME="node-1")
    assert result.exit_code == 2
    assert "--token-file: the file cannot be read" in result.output


def test_a_node_without_a_name_is_refused(tmp_path: Path) -> None:
    result = run("--gateway", URL, "--token-file", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert "--node" in result.output


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("secret")
    result = run("--gateway", URL, "--token-file", str(file), "--node", "n", "--ca-file", str(file))
    assert result.exit_code == 2
    assert "--ca-file: it holds no certificates" in result.output


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"10.3.0.2", "fd00:3::2", "10.3.0.3", "fd00:3::3"}, {"10.3.0.2", "10.3.0.3"}),
        ({"fd00:3::2", "fd00:3::3"}, {"fd00:3::2", "fd00:3::3"}),
        (set(), set()),
    ],
)
def test_a_replica_with_addresses_of_both_families_is_told_once(
    found: set[str], told: set[str]
) -> None:
    assert one_of_each(found) == told
