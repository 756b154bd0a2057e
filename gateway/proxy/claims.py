"""Two sandboxes at one address: who was not seen to come there last is looked up before a dial.

The address of a pod that is gone is given to another one within seconds, and the news of the one's
end may come later than that of the other's beginning (two watches, a slow controller). Between
them the registry has both at that address, and a request for the first would reach the second.
Where nobody was seen to come, as in a gateway that has just started, both are looked up.

The API itself may have both there, while the first one's controller is slow. So its word is taken
only after a while in which it could have been taken back: pods that share an address in truth, as
those in the network of their node do, lose that time, at the most once for each dispute.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from gateway.sandbox.errors import ClusterError, ObjectGone, SandboxUnreachable, WakeFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry

    #: Returns a sandbox as the API has it now; raises ObjectGone or another ClusterError.
    Read = Callable[[Key, str], Awaitable[Route]]

#: Pairs of lives that are known to share an address, as pods in the network of their node do.
REMEMBERED: Final = 4096

#: How often an address in doubt is looked up, in seconds.
LOOK_AGAIN: Final = 0.5


class Claims:
    """Who may be dialled at an address that several sandboxes claim."""

    def __init__(self, registry: Registry, read: Read, doubt: float = 0.0) -> None:
        """`doubt`: seconds from the first rival's claim on in which the API's word is not taken."""
        self._registry = registry
        self._read = read
        self._doubt = doubt
        #: Of lives in doubt: since when they are, and when that was last looked at.
        self._doubted: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._confirmed: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def stands(self, route: Route) -> bool:
        """Return whether a running sandbox's claim to its address needs no other look."""
        rival = self._registry.rival(route)
        return rival is None or (route.incarnation, rival.incarnation) in self._confirmed

    async def settle(self, route: Route) -> None:
        """Look the sandbox up if another one may have come to its address since; see `stands`.

        What was learned is in the registry. Raise WakeFailed if the sandbox is gone, and
        SandboxUnreachable if that cannot be found out: to guess could give one tenant's bytes to
        another.
        """
        lock = self._reading.setdefault(route.incarnation, asyncio.Lock())
        async with lock:
            while (rival := self._registry.rival(route)) is not None and not self.stands(route):
                fresh = await self._look_up(route)
                self._registry.apply(fresh)
                if (fresh.incarnation, fresh.address) != (route.incarnation, route.address):
                    return
                doubt = self._doubt_left(route.incarnation)
                if doubt <= 0.0:
                    self._confirm(route.incarnation, rival.incarnation)
                else:
                    await asyncio.sleep(min(doubt, LOOK_AGAIN))

    async def _look_up(self, route: Route) -> Route:
        try:
            return await self._read(route.key, route.uid)
        except ObjectGone as error:
            raise WakeFailed("The sandbox was deleted while the request waited.") from error
        except ClusterError as error:
            raise SandboxUnreachable(
                "The sandbox's address may have gone to another one, and the Kubernetes API "
                "cannot be asked."
            ) from error

    def _doubt_left(self, incarnation: str) -> float:
        """Return for how long, in seconds, the API's word for a claim is not taken yet.

        One rival after the other does not prolong that: none may keep a neighbour from the world.
        """
        now = asyncio.get_running_loop().time()
        since, looked = self._doubted.get(incarnation, (now, now))
        if now - looked > self._doubt + LOOK_AGAIN:
            since = now  # that was another dispute
        self._doubted[incarnation] = since, now
        self._doubted.move_to_end(incarnation)
        if len(self._doubted) > REMEMBERED:
            self._doubted.popitem(last=False)
        return since + self._doubt - now

    def _confirm(self, incarnation: str, rival: str) -> None:
        self._confirmed[incarnation, rival] = None
        if len(self._confirmed) > REMEMBERED:
            self._confirmed.popitem(last=False)
