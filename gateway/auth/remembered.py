"""What tokens have been found to say, so that a token that comes again is not verified again."""

from __future__ import annotations

import hashlib
from typing import Final, Generic, TypeVar

T = TypeVar("T")

#: Tokens that are remembered; the one that was verified first makes room.
REMEMBERED: Final = 4096


class Remembered(Generic[T]):
    """Claims by the digests of the genuine tokens that made them: few bytes each, however long.

    Only what does not change with time may be kept here: whether a token has expired by now is to
    be judged each time.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._claims: dict[bytes, T] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def find(self, token: bytes) -> T | None:
        """Return what a token says; None: it is not remembered."""
        return self._claims.get(hashlib.sha256(token).digest())

    def keep(self, token: bytes, claims: T) -> None:
        """Remember a genuine token."""
        if len(self._claims) >= self._most:
            del self._claims[next(iter(self._claims))]
        self._claims[hashlib.sha256(token).digest()] = claims

    def forget(self) -> None:
        """Forget everything: the keys have changed."""
        self._claims.clear()
