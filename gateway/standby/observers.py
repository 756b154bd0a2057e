"""Connections to sandboxes that bypass the gateway, as the observers on the nodes tell of them.

While one counts, its sandbox is in use like by a request (`Activity`). What was missed, because an
observer was away, counts as a use that ended when it was back: nothing sleeps on a guess.

An address may be claimed by several sandboxes for a moment; what leads there counts for each. A
connection may be seen on several nodes, and counts once.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.standby.observer_link import ObserverLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.sandbox.activity import Activity, Usage
    from gateway.sandbox.model import Route
    from gateway.sandbox.standby import Network
    from gateway.standby.flow_messages import Count
    from gateway.telemetry.instruments import Instruments

#: Connections that are counted together: their source and the port that they lead to.
Origin: TypeAlias = tuple[str, int]

#: Seconds for which an observer is missed that is away, where it is not known which one sees a
#: sandbox; for which a gateway that has just begun waits for all of them; within which they must
#: answer a question; between two looks at what changes without news.
MISSED: Final = 600.0
SETTLING: Final = 30.0
CONFIRM: Final = 1.0
LOOK: Final = 2.0
#: Connections that are forgotten, or weighed anew, before other work gets its turn.
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Flows:
    """The connections to one sandbox.

    `last_seen`: when the last that counted ended, by the event loop's clock; None: not known to
    have had any. `connected`: whether those are connected who would see one; if not, there may be
    some that nobody tells of.
    """

    count: int
    last_seen: float | None
    connected: bool


@dataclass(slots=True)
class _Use:
    """What uses a sandbox now."""

    usage: Usage
    origins: set[Origin] = field(default_factory=set)


class Observers:
    """What all connected observers tell, put to the sandboxes that it concerns."""

    def __init__(
        self,
        activity: Activity,
        gateways: Callable[[], Iterable[str]],
        ignored: Sequence[Network],
        clock: Callable[[], float],
        instruments: Instruments,
        confirm_within: float = CONFIRM,
    ) -> None:
        """`gateways` gives the addresses of all replicas: theirs are requests.

        `ignored`: further sources that are no use of any sandbox. `clock` is that of `activity`.
        """
        self._activity = activity
        self._gateways = gateways
        self._own: frozenset[str] = frozenset()
        self._ignored = tuple(ignored)
        self._clock = clock
        self._began = clock()
        self._confirm_within = confirm_within
        self._links: dict[str, ObserverLink] = {}
        #: When each observer was there last, if it is not now.
        self._away: dict[str, float] = {}
        self._routes: dict[str, tuple[Route, ...]] = {}
        self._flows: dict[str, dict[Origin, dict[ObserverLink, int]]] = {}
        self._uses: dict[str, _Use] = {}
        self._last: dict[str, float] = {}
        self._gaps = instruments.counter(
            "observer_gaps",
            "Times that an observer came back: its node's sandboxes counted as used till then.",
        )
        self._gaps.prime()
        instruments.gauge(
            "observers", "Observers on nodes that are connected.", lambda: len(self._links)
        )
        instruments.gauge(
            "observed_sandboxes",
            "Sandboxes that are used by connections which bypass the gateway.",
            lambda: len(self._uses),
        )

    # ---- what the idle controller asks ------------------------------------------------------

    def active(self, route: Route) -> Flows:
        """Return what is known of a sandbox's connections now."""
        needed = self._needed(route)
        connected = needed is not None and all(link is not None and link.sees for link in needed)
        use = self._uses.get(route.uid)
        flows = self._flows.get(_address(route) or "", {})
        counts = (max(flows[one].values()) for one in use.origins if one in flows) if use else ()
        return Flows(sum(counts), self._last.get(route.uid), connected)

    async def confirm(self, routes: Iterable[Route]) -> None:
        """Return when everything is known that began before the call; `active` tells of it then.

        Whoever does not answer in time is taken for not connected until it does.
        """
        needed = {link for route in routes for link in self._needed(route) or () if link}
        if needed:
            await asyncio.gather(*(link.confirm(self._confirm_within) for link in needed))

    def _needed(self, route: Route) -> Sequence[ObserverLink | None] | None:
        """Return the observers that would see a connection to a sandbox; None: nobody knows."""
        if _address(route) is None:
            return None
        if route.node is not None:
            return (self._links.get(route.node),)
        now = self._clock()
        settled = now - self._began >= SETTLING
        if not settled or not self._links or any(self._is_missed(node, now) for node in self._away):
            return None
        return tuple(self._links.values())

    def _is_missed(self, node: str, now: float) -> bool:
        return node in self._away and now - self._away[node] < MISSED

    # ---- news of sandboxes ------------------------------------------------------------------

    def heed(self, before: Route | None, after: Route | None) -> None:
        """Take news of a sandbox, as a registry tells it."""
        was = None if before is None else _address(before)
        now_at = None if after is None else _address(after)
        if before is not None and after is not None and before.uid == after.uid and was == now_at:
            if now_at is not None:
                self._replace(now_at, before, after)
            return
        if before is not None:
            self._unplace(was, before)
            if after is None or after.uid != before.uid:
                self._last.pop(before.uid, None)
        if after is not None and now_at is not None:
            self._place(now_at, after)

    def _replace(self, address: str, before: Route, after: Route) -> None:
        self._routes[address] = tuple(
            after if one.key == after.key else one for one in self._routes.get(address, ())
        )
        if before.idle.policy != after.idle.policy:
            self._weigh(address, after)

    def _place(self, address: str, route: Route) -> None:
        there = self._routes.get(address, ())
        self._routes[address] = (*there, route)
        if not there:
            for link in self._links.values():
                link.watch(address)
        self._weigh(address, route)

    def _unplace(self, address: str | None, route: Route) -> None:
        if address is None:
            return
        others = tuple(one for one in self._routes.get(address, ()) if one.key != route.key)
        self._end_all(route.uid)
        if others:
            self._routes[address] = others
            return
        self._routes.pop(address, None)
        self._flows.pop(address, None)
        for link in self._links.values():
            link.unwatch(address)

    # ---- news of connections ----------------------------------------------------------------

    async def connect(self, node: str) -> ObserverLink:
        """Return the link to an observer that has come; it takes the place of an earlier one."""
        earlier = self._links.get(node)
        if earlier is not None:
            await self.disconnect(earlier)
        link = ObserverLink(node, self._routes)
        self._links[node] = link
        return link

    async def disconnect(self, link: ObserverLink) -> None:
        """Forget what an observer told: what it told of ends now. A second call does nothing."""
        if self._links.get(link.node) is link:
            del self._links[link.node]
            self._away[link.node] = self._clock()
        link.close()
        told = [
            (address, origin)
            for address in link.addresses
            for origin, links in self._flows.get(address, {}).items()
            if link in links
        ]
        for number, (address, origin) in enumerate(told, 1):
            self._take(link, address, origin, 0)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def take(self, link: ObserverLink, counts: Iterable[Count]) -> None:
        """Take an observer's news; raise ValueError if a source is no address."""
        for one in counts:
            if one.address in self._routes and not link.closed:
                source = str(ipaddress.ip_address(one.source))
                self._take(link, one.address, (source, one.port), one.count)

    def synced(self, link: ObserverLink, number: int) -> None:
        """Take an observer's word that it has told all; the first time it is connected by that."""
        if link.synced(number) and self._links.get(link.node) is link:
            self._came(link.node)

    def _came(self, node: str) -> None:
        """Count what an observer could not see while it was away as used till now."""
        now = self._clock()
        missed = self._is_missed(node, now)
        self._away.pop(node, None)
        if not missed and now - self._began < SETTLING:
            return  # It is this gateway that was away; its sandboxes are idle since they say so.
        self._gaps.inc()
        for routes in self._routes.values():
            for route in routes:
                if route.node == node or (missed and route.node is None):
                    self._touch(route.uid, now)

    def _take(self, link: ObserverLink, address: str, origin: Origin, count: int) -> None:
        flows = self._flows.setdefault(address, {})
        links = flows.setdefault(origin, {})
        known = bool(links)
        if count:
            links[link] = count
            link.addresses.add(address)
        else:
            links.pop(link, None)
        if not links:
            del flows[origin]
            if not flows:
                del self._flows[address]
        now = self._clock()
        for route in self._routes.get(address, ()):
            if links:
                self._begin(route, origin, now)
            elif known:
                self._end(route.uid, origin, now)
            elif self._counts(route, origin):
                self._touch(route.uid, now)  # It began and ended between two messages.

    # ---- what counts, and for whom ----------------------------------------------------------

    def _counts(self, route: Route, origin: Origin) -> bool:
        """Return whether a connection is a use of a sandbox."""
        source, port = origin
        policy = route.idle.policy
        if policy is not None and port in policy.ignored_ports:
            return False
        if source in self._own:
            return False
        address = ipaddress.ip_address(source)
        ignored = self._ignored if policy is None else (*self._ignored, *policy.ignored_sources)
        return not address.is_unspecified and not any(address in network for network in ignored)

    def _begin(self, route: Route, origin: Origin, now: float) -> None:
        use = self._uses.get(route.uid)
        if use is not None and origin in use.origins:
            return
        if not self._counts(route, origin):
            return
        if use is None:
            use = self._uses[route.uid] = _Use(self._activity.enter(route.uid, now))
        use.origins.add(origin)

    def _end(self, uid: str, origin: Origin, now: float) -> None:
        use = self._uses.get(uid)
        if use is None or origin not in use.origins:
            return
        use.origins.remove(origin)
        self._last[uid] = now
        if not use.origins:
            use.usage.leave(now)
            del self._uses[uid]

    def _end_all(self, uid: str) -> None:
        use = self._uses.get(uid)
        for origin in tuple(use.origins) if use is not None else ():
            self._end(uid, origin, self._clock())

    def _touch(self, uid: str, now: float) -> None:
        self._last[uid] = now
        usage = self._activity.of(uid)
        if usage is not None:
            usage.touch(now)

    def _weigh(self, address: str, route: Route) -> None:
        """Judge all connections to a sandbox by its policy as it is now."""
        now = self._clock()
        for origin in self._flows.get(address, ()):
            if self._counts(route, origin):
                self._begin(route, origin, now)
            else:
                self._end(route.uid, origin, now)

    # ---- what changes without news ----------------------------------------------------------

    async def run(self) -> None:
        """Look after what nobody tells of: which replicas there are, and who is missed no more."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Judge connections anew if other replicas are there than before."""
        now = self._clock()
        self._away = {node: at for node, at in self._away.items() if self._is_missed(node, now)}
        own = frozenset(str(ipaddress.ip_address(one)) for one in self._gateways())
        if own == self._own:
            return
        self._own = own
        for number, address in enumerate(tuple(self._flows), 1):
            for route in self._routes.get(address, ()):
                self._weigh(address, route)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)


def _address(route: Route) -> str | None:
    """Return a sandbox's address as observers know it; None: it has none that they could know."""
    if route.address is None:
        return None
    try:
        return str(ipaddress.ip_address(route.address))
    except ValueError:
        return None
