"""Which header fields a message's reader keeps apart, judged once for each spelling of a name."""

from __future__ import annotations

from typing import Final

#: What becomes of a field that is not special: it is passed on, or dropped.
ORDINARY: Final = b""
DROPPED: Final = None

#: Spellings that are remembered, and how long one may be: peers must not fill the memory.
_REMEMBERED: Final = 4096
_LONGEST: Final = 64


class FieldNames:
    """Which fields are special; `known` is for a look-up without a call.

    A name that is special but for `_` in the place of `-` is dropped: some servers take it for the
    same, and would then believe a client what only the gateway may say.
    """

    def __init__(self, special: frozenset[bytes]) -> None:
        """`special`: lower-case names. `known`: name as received → its lower-case form if it is
        special, ORDINARY or DROPPED.
        """
        self._special = special
        self.known: dict[bytes, bytes | None] = {}

    def judge(self, name: bytes) -> bytes | None:
        """Judge a name that is not known yet."""
        lower = name.lower()
        kind: bytes | None = ORDINARY
        if lower in self._special:
            kind = lower
        elif lower.replace(b"_", b"-") in self._special:
            kind = DROPPED
        if len(self.known) < _REMEMBERED and len(name) <= _LONGEST:
            self.known[name] = kind
        return kind
