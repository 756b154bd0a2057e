"""Secrets come from files only: their reading, and errors that never repeat a word of them."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from gateway.auth.scoped import MIN_KEY_BYTES

if TYPE_CHECKING:
    from pathlib import Path

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class SecretError(Exception):
    """A secret that cannot be had from its file; the text is safe to show."""


def read_secret(path: Path) -> str:
    """Return a file's content without the blanks around it; raise SecretError."""
    try:
        content = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SecretError(f"the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SecretError("the file is not UTF-8 text") from error
    if not content:
        raise SecretError("the file is empty")
    return content


def read_token_keys(path: Path) -> dict[str, bytes]:
    """Return the keys of scoped tokens by their ids, in the file's order; raise SecretError.

    Lines are KEY-ID:SECRET, the secret in base64; blank lines and those with a # are left out.
    """
    keys: dict[str, bytes] = {}
    for number, line in enumerate(read_secret(path).splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            key_id, secret = _token_key(stripped, number)
            if key_id in keys:
                raise SecretError(f"line {number} has the key id of a line before it")
            keys[key_id] = secret
    if not keys:
        raise SecretError("the file has no key")
    return keys


def token_key_line(key_id: str, secret: bytes) -> str:
    """Return a key as `read_token_keys` reads it; raise SecretError if the id is none."""
    line = f"{key_id}:{base64.b64encode(secret).decode()}"
    _token_key(line, 1)
    return line


def _token_key(line: str, number: int) -> tuple[str, bytes]:
    key_id, _, encoded = line.partition(":")
    if _KEY_ID.fullmatch(key_id) is None or not encoded:
        raise SecretError(f"line {number} is not KEY-ID:SECRET")
    try:
        secret = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretError(f"line {number}: the secret is not base64") from error
    if len(secret) < MIN_KEY_BYTES:
        raise SecretError(f"line {number}: the secret is shorter than {MIN_KEY_BYTES} bytes")
    return key_id, secret
