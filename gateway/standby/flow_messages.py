"""What observers and the gateway tell each other, as JSON over one WebSocket.

The gateway says which addresses it wants to hear of; the observer tells how many connections lead
to each of them, by their source and port: at once, and again whenever a number has changed. All
that the gateway has of an observer ends with the WebSocket.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

#: Where the gateway takes observers' WebSockets.
PATH: Final = "/api/v1/observers"
#: The longest message, in bytes, and the most entries of one, which take about two milliseconds.
MAX_MESSAGE: Final = 1024 * 1024
MAX_ENTRIES: Final = 200
#: Seconds after which a side that says nothing is asked, and soon after is taken for gone.
HEARTBEAT: Final = 5.0

Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


class Count(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How many connections there are now from a source to a port of an address; 0: none any more.

    `address` is written as the gateway wrote it.
    """

    address: Text
    source: Text
    port: Port
    count: Number


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The observer's first word: which node it runs on, and which release it is."""

    node: Text
    version: Text


class Counts(msgspec.Struct, frozen=True, tag="counts"):
    """News of the observer."""

    counts: tuple[Count, ...]


class Synced(msgspec.Struct, frozen=True, tag="synced"):
    """All that the kernel had told the observer when it read this number was told before this."""

    number: Number


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """The gateway's wish: hear of these addresses, and of those no more."""

    add: tuple[Text, ...] = ()
    drop: tuple[Text, ...] = ()


class Sync(msgspec.Struct, frozen=True, tag="sync"):
    """The gateway's question for `Synced`."""

    number: Number


FromObserver: TypeAlias = Hello | Counts | Synced
FromGateway: TypeAlias = Watch | Sync

_from_observer: Final[msgspec.json.Decoder[FromObserver]] = msgspec.json.Decoder(FromObserver)
_from_gateway: Final[msgspec.json.Decoder[FromGateway]] = msgspec.json.Decoder(FromGateway)
_encoder: Final = msgspec.json.Encoder()


def read_observer(text: str) -> FromObserver:
    """Return an observer's message; raise msgspec.DecodeError."""
    return _from_observer.decode(text)


def read_gateway(text: str) -> FromGateway:
    """Return a gateway's message; raise msgspec.DecodeError."""
    return _from_gateway.decode(text)


def write(message: FromObserver | FromGateway) -> str:
    """Return a message as text."""
    return _encoder.encode(message).decode()
