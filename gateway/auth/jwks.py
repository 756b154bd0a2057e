"""An identity provider's public keys, as it publishes them (RFC 7517 §5), and where they are."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, Protocol, cast

import aiohttp
import msgspec
from joserfc import jwk
from joserfc.errors import SecurityWarning

if TYPE_CHECKING:
    from pathlib import Path

#: A set is read up to this size in bytes, and may hold this many keys.
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100

#: Bits of an RSA key: shorter ones are weak (RFC 7518 §3.3), longer ones cost too much to check.
RSA_BITS: Final = range(2048, 8192 + 1)

#: Kinds of keys with a public half.
_KINDS: Final = ("RSA", "EC", "OKP")


class KeysUnavailable(Exception):
    """The keys cannot be had now; the text is safe to show."""


class KeySource(Protocol):
    """Where the keys come from."""

    async def fetch(self) -> bytes:
        """Return the set as it is published; raise KeysUnavailable."""


class KeyFile:
    """A file, which may be replaced at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> bytes:
        """Read the file."""
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise KeysUnavailable(f"the file cannot be read: {error.strerror}") from error


class KeyUrl:
    """A URL of the provider. No redirect is followed: the keys are where the settings say."""

    def __init__(self, url: str, timeout: float) -> None:
        """`timeout`: seconds for the whole of a fetch."""
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def fetch(self) -> bytes:
        """Ask the provider, past any proxy that the environment names."""
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=self._timeout,
                    trust_env=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                ) as session,
                session.get(self._url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise KeysUnavailable(f"the answer is {response.status}")
                return await _bounded(response.content)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise KeysUnavailable(f"no answer: {type(error).__name__}") from error


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    found = bytearray()
    async for piece in content.iter_any():
        found += piece
        if len(found) > MAX_BYTES:
            break
    return bytes(found)


def parse_keys(published: bytes) -> dict[str, jwk.Key]:
    """Return the keys that may verify tokens, by key id; raise KeysUnavailable if there is none.

    One that names an algorithm (`alg`) verifies no other; that is for joserfc to see to.
    Keys without an id, for another use, or of a kind that is not accepted are left out, and so are
    those that share an id: which of them is meant could not be told.
    """
    if len(published) > MAX_BYTES:
        raise KeysUnavailable(f"the key set is larger than {MAX_BYTES} bytes")
    try:
        entries = msgspec.json.decode(published, type=_KeySet).keys
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise KeysUnavailable("it is not a JSON Web Key Set") from error
    if len(entries) > MAX_KEYS:
        raise KeysUnavailable(f"the key set has more than {MAX_KEYS} keys")
    ids = [entry.get("kid") for entry in entries]
    found = {}
    for kid, entry in zip(ids, entries, strict=True):
        key = _key(entry) if isinstance(kid, str) and ids.count(kid) == 1 else None
        if key is not None:
            found[cast("str", kid)] = key
    if not found:
        raise KeysUnavailable("the key set has no key that may verify tokens")
    return found


class _KeySet(msgspec.Struct):
    keys: list[dict[str, object]]


def _key(entry: dict[str, object]) -> jwk.Key | None:
    algorithm = entry.get("alg")
    if entry.get("kty") not in _KINDS or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(algorithm, str | None):
        return None
    if algorithm == "EdDSA":
        entry["alg"] = "Ed25519"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)
            key = jwk.import_key(cast("dict[str, str | list[str]]", entry))
            return key if _is_of_fit_length(key) else None
    except Exception:  # noqa: BLE001 - whatever is odd about one key, the others must be had
        return None


def _is_of_fit_length(key: jwk.Key) -> bool:
    return not isinstance(key, jwk.RSAKey) or key.public_key.key_size in RSA_BITS
