"""The connections that a node tracks now, and how many lead to each address. No I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.agents.observe.netlink import End, Flow

    #: Told of each change after it was made: whose count changed.
    Listener: TypeAlias = "Callable[[Path], None]"

#: Connections that are counted together: address that they lead to, their source, port. Addresses
#: are packed, 4 or 16 bytes.
Path: TypeAlias = tuple[bytes, bytes, int]


class FlowTable:
    """Follows what the kernel tells; what it tells twice counts once."""

    def __init__(self) -> None:
        self._flows: dict[bytes, tuple[bytes, tuple[End, ...]]] = {}
        self._counts: dict[bytes, dict[tuple[bytes, int], int]] = {}
        self._listeners: tuple[Listener, ...] = ()
        #: What was told of during a comparison with the whole, and what the whole has.
        self._told: set[bytes] | None = None
        self._listed: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._flows)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each change; the function returned ends that."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return unsubscribe

    def count(self, path: Path) -> int:
        """Return how many connections there are of one path."""
        address, source, port = path
        return self._counts.get(address, {}).get((source, port), 0)

    def paths(self, address: bytes) -> Iterator[Path]:
        """Give the paths of all connections that lead to an address."""
        for source, port in self._counts.get(address, ()):
            yield address, source, port

    def apply(self, flow: Flow) -> None:
        """Take news of a connection."""
        if self._told is not None:
            self._told.add(flow.key)
        self._put(flow)

    def begin(self) -> None:
        """Begin a comparison with all that the kernel tracks: `listed` for each, then `end`."""
        self._told, self._listed = set(), set()

    def listed(self, flow: Flow) -> None:
        """Take one of all connections. What was told of meanwhile is newer than that."""
        assert self._told is not None, "the comparison was begun"
        self._listed.add(flow.key)
        if flow.key not in self._told:
            self._put(flow)

    def end(self) -> None:
        """Drop what the kernel does not track any more."""
        assert self._told is not None, "the comparison was begun"
        for key in self._flows.keys() - self._listed - self._told:
            self._drop(key)
        self._told, self._listed = None, set()

    def _put(self, flow: Flow) -> None:
        known = self._flows.get(flow.key)
        if known is not None and (flow.open is False or known != (flow.source, flow.ends)):
            self._drop(flow.key)
            known = None
        # What does not say how it stands counts: rather awake in vain than asleep in use.
        if known is None and flow.open is not False:
            self._flows[flow.key] = (flow.source, flow.ends)
            for address, port in flow.ends:
                self._add((address, flow.source, port), 1)

    def _drop(self, key: bytes) -> None:
        source, ends = self._flows.pop(key)
        for address, port in ends:
            self._add((address, source, port), -1)

    def _add(self, path: Path, change: int) -> None:
        address, source, port = path
        counts = self._counts.setdefault(address, {})
        count = counts.get((source, port), 0) + change
        if count:
            counts[source, port] = count
        else:
            del counts[source, port]
            if not counts:
                del self._counts[address]
        for listener in self._listeners:
            listener(path)
