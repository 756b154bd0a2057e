"""A request head as the rest of the proxy sees it, whatever server read it from the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.proxy.admission import Admitted
    from gateway.proxy.target import Target

#: A header section splits in two while it is parsed: `special` fields are read or rewritten by the
#: gateway, all others are kept as the lines they were, ready to be sent on.
Special = dict[bytes, list[bytes]]

WEBSOCKET: Final = b"websocket"


class Findings:
    """What was found out about the fields of a head, so that it need not be found out again.

    A client repeats its fields from request to request; the heads of one connection whose fields
    are the same, byte for byte, share these. `targets` are those that the fields alone name,
    `admitted` is where they led, `sent` what a sandbox is sent of them, `counts` whether who sends
    them uses it. None: not known yet.
    """

    __slots__ = ("admitted", "counts", "sent", "targets")

    def __init__(self) -> None:
        self.targets: list[Target] | None = None
        self.admitted: Admitted | None = None
        self.sent: bytes | None = None
        self.counts: bool | None = None


@dataclass(slots=True)
class RequestHead:
    """One legal request head.

    `target` is in origin-form, byte for byte. `special` maps lower-case names to their values,
    stripped, in order. `lines` are the other fields, each with its CRLF. `length` is None for a
    chunked body and 0 where there is none. `upgrade` is the protocol asked for, lower case.
    """

    method: bytes
    target: bytes
    http_1_1: bool
    special: Special
    lines: list[bytes]
    length: int | None
    keep_alive: bool
    upgrade: bytes | None = None
    findings: Findings = field(default_factory=Findings, compare=False, repr=False)

    @property
    def size(self) -> int:
        """Return about how many bytes the head keeps in memory."""
        special = sum(len(value) for values in self.special.values() for value in values)
        return len(self.target) + sum(map(len, self.lines)) + special

    def first(self, name: bytes) -> bytes | None:
        """Return the first value of a special field."""
        values = self.special.get(name)
        return values[0] if values else None

    def value(self, name: bytes) -> bytes | None:
        """Return the first value of a field, special or not; off the hot path."""
        if name in self.special:
            return self.special[name][0]
        return next((value for found, value in self.fields() if found == name), None)

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """Return the fields that are not special, as (lower-case name, value); off the hot path."""
        for line in self.lines:
            name, _, value = line.partition(b":")
            yield name.lower(), value.strip()
