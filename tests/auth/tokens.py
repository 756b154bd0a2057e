"""Sandboxes, keys and tokens for tests of authentication."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from msgspec.structs import replace

from gateway.sandbox.model import Key, Route, State

KEYS = {"k1": b"1" * 32, "k2": b"2" * 40}
NOW = 1_700_000_000.0

BOX = Route(
    key=Key("native", "team", "box"),
    uid="uid-1",
    id="team--box",
    version=1,
    state=State.PAUSED,
    incarnation="life-1",
)
OTHER = replace(BOX, key=Key("native", "team", "other"), uid="uid-2", id="team--other")


def encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def sign(payload: bytes, secret: bytes = KEYS["k1"]) -> bytes:
    """Return a token over any payload, signed as the gateway's own are."""
    signed = b"v1." + encode(payload)
    return signed + b"." + encode(hmac.digest(secret, signed, hashlib.sha256))


def claims(**changes: Any) -> bytes:
    """Return a payload for BOX, changed as told; None leaves a claim out."""
    whole = {"kid": "k1", "ns": "team", "name": "box", "uid": "uid-1", "exp": int(NOW) + 60}
    whole |= changes
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()
