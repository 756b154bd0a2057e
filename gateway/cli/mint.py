"""`mint`: scoped tokens for sandboxes, and the keys that sign them."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import click

from gateway.auth import scoped
from gateway.auth.key_files import SecretError, read_token_keys, token_key_line
from gateway.cli.cluster import (
    ClientOptions,
    SandboxName,
    SandboxNameType,
    client_options,
    open_cluster,
)
from gateway.cli.failures import Misconfigured
from gateway.cli.kinds import Duration
from gateway.cli.program import PROGRAM
from gateway.sandbox.model import Key


@click.command()
@client_options
@click.argument("name", type=SandboxNameType(), metavar="[NAMESPACE/NAME]", required=False)
@click.option(
    "--keys-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the signing keys, the gateway's scoped_token_keys_file.",
)
@click.option("--key-id", help="Key to sign with. Default: the first of the file.")
@click.option(
    "--ttl", type=Duration(), default="1h", show_default=True, help="How long the token is good."
)
@click.option("--uid", help="The sandbox's uid. Default: it is looked up in the cluster.")
@click.option("--new-key", metavar="KEY-ID", help="Print a line for the keys file, and no token.")
def mint(
    options: ClientOptions,
    name: SandboxName | None,
    keys_file: Path | None,
    key_id: str | None,
    ttl: float,
    uid: str | None,
    new_key: str | None,
) -> None:
    """Mint a token that opens one sandbox for a while (auth_mode: scoped-token).

    It is bound to the sandbox's uid: a new sandbox of the same name needs a new token.

    \b
    Examples:
      sandbox-gateway mint --new-key k1 >> keys     a key; the gateway reads the file again
      sandbox-gateway mint default/demo --keys-file keys --ttl 8h

    \b
    Next:
      curl -H "E2b-Traffic-Access-Token: $(sandbox-gateway mint default/demo --keys-file keys)" \\
           -H "e2b-sandbox-id: default--demo" http://gateway:8080/

    To change keys: add a line with a new id, mint with it, and take the old line out once the last
    token that it signed has expired.
    """
    if new_key is not None:
        click.echo(_new_key(new_key))
        return
    if name is None or keys_file is None:
        raise click.UsageError("name a sandbox and its --keys-file, or ask for a --new-key")
    if ttl <= 0:
        raise click.UsageError("--ttl: a token must be good for some time, such as 1h")
    chosen, secret = _key(keys_file, key_id)
    key = Key("", name.namespace, name.name)
    found = uid or _uid(options, name)
    click.echo(scoped.mint(key, found, time.time() + ttl, chosen, secret))


def _new_key(key_id: str) -> str:
    try:
        return token_key_line(key_id, secrets.token_bytes(scoped.MIN_KEY_BYTES))
    except SecretError as error:
        raise Misconfigured(
            "--new-key: a key id has letters, digits, - and _, up to 64 of them"
        ) from error


def _key(file: Path, key_id: str | None) -> tuple[str, bytes]:
    """Return the key to sign with."""
    try:
        keys = read_token_keys(file)
    except SecretError as error:
        raise Misconfigured(
            f"--keys-file: {error}\nMake a key: {PROGRAM} mint --new-key k1 >> {file}"
        ) from error
    chosen = next(iter(keys)) if key_id is None else key_id
    if chosen not in keys:
        raise Misconfigured(f"--key-id: the file has no such key; it has {', '.join(keys)}")
    return chosen, keys[chosen]


def _uid(options: ClientOptions, name: SandboxName) -> str:
    with open_cluster(options) as cluster:
        return cluster.find(name).route.uid
