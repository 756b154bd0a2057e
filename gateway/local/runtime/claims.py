"""Which sandbox has which port: the first that claimed it, until it lets go."""

from collections.abc import Callable


class PortClaims:
    """Claims in the order in which they were made; the first one holds the port.

    `on_grant(uid)` is called when a port passes to a sandbox that waited for it.
    """

    def __init__(self, on_grant: Callable[[str], None]) -> None:
        self._on_grant = on_grant
        self._claims: dict[int, list[str]] = {}
        self._ports: dict[str, set[int]] = {}

    def claim(self, uid: str, port: int) -> None:
        """Claim a port, beside those that the sandbox has already."""
        ports = self._ports.setdefault(uid, set())
        if port not in ports:
            ports.add(port)
            self._claims.setdefault(port, []).append(uid)

    def release(self, uid: str, keep: int | None = None) -> None:
        """Let go of all ports of a sandbox but `keep`."""
        ports = self._ports.get(uid, set())
        for port in [port for port in ports if port != keep]:
            ports.remove(port)
            self._drop(uid, port)
        if not ports:
            self._ports.pop(uid, None)

    def holder(self, port: int) -> str | None:
        """The uid of the sandbox that has the port."""
        claimants = self._claims.get(port)
        return claimants[0] if claimants else None

    def _drop(self, uid: str, port: int) -> None:
        claimants = self._claims[port]
        held = claimants[0] == uid
        claimants.remove(uid)
        if not claimants:
            del self._claims[port]
        elif held:
            self._on_grant(claimants[0])
