"""Which addresses may be dialled. An API object says where a sandbox is; that is not enough.

A route with the address of the node, of the metadata service or of the gateway itself would turn
the gateway into a way to reach them.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressGuard:
    """Judges addresses: what is denied never, else if any networks are allowed these alone.

    An allowed network may hold addresses that are refused otherwise: loopback in local mode.
    """

    def __init__(self, allow: tuple[Network, ...] = (), deny: tuple[Network, ...] = ()) -> None:
        self._allow = allow
        self._deny = deny
        self.allows = lru_cache(maxsize=4096)(self._judge)

    def _judge(self, address: str) -> bool:
        """Return whether a sandbox may be dialled at this literal address."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if any(parsed in network for network in self._deny):
            return False
        if self._allow:
            return any(parsed in network for network in self._allow)
        return not _is_special(parsed)


def own_addresses() -> tuple[Network, ...]:
    """Return the addresses that this host's name stands for; in a pod, the pod's own.

    Loopback is left out: it is refused by itself, and in local mode sandboxes are there.
    """
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return ()
    # An IPv6 address may carry a scope: fe80::1%eth0.
    literal = {str(info[4][0]).partition("%")[0] for info in found}
    return tuple(
        ipaddress.ip_network(one)
        for one in sorted(literal)
        if not ipaddress.ip_address(one).is_loopback
    )


def _is_special(address: Address) -> bool:
    """Return whether no sandbox can have this address.

    An IPv4 address in IPv6 clothes is refused whole: a guard for the one form would not see it.
    """
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None or address.sixtofour is not None or address.teredo
    ):
        return True
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    )
