"""Which requests count, and how a use becomes a tunnel that is only listed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from gateway.proxy.admission import Admitted
from gateway.proxy.body import NO_BODY
from gateway.proxy.request import Request
from gateway.proxy.target import Target
from gateway.proxy.uses import CountConfig, Uses
from gateway.replicas.gate import Gate
from gateway.replicas.sleep import Word
from gateway.sandbox.activity import Activity
from gateway.sandbox.policy import NeverCount
from gateway.sandbox.registry import Registry
from tests.sandbox.routes import make_route

from .heads import make_head

if TYPE_CHECKING:
    from gateway.proxy.client import Connection
    from gateway.proxy.exchange import Exchange
    from gateway.proxy.message import RequestHead
    from gateway.sandbox.model import Key

ROUTE = make_route()
TEXT = b"\x81\x02hi"
PING = b"\x89\x00"


class Desk:
    """A counter of uses, and the requests that it counts."""

    def __init__(self, config: CountConfig | None = None) -> None:
        self.now = 1000.0
        self.activity = Activity()
        self.activity.heed(None, ROUTE, 0.0, 0.0)
        self.gate = Gate(self.activity, Registry(), _claim, lambda: self.now)
        self.uses = Uses(self.gate, config or CountConfig())
        loop = SimpleNamespace(time=lambda: self.now)
        self._connection = cast("Connection", SimpleNamespace(loop=loop))

    def admitted(self, path: bytes | None = None) -> Admitted:
        target = Target(port=80, default_port=80, path=path, id="box")
        return Admitted(ROUTE, 80, target, [])

    def counted(self, head: RequestHead, path: bytes | None = None) -> Request:
        request = Request(head, NO_BODY, self._connection)
        request.began = self.now
        self.uses.count(request, head, self.admitted(path))
        return request

    @property
    def count(self) -> int:
        return self.usage()[0]

    @property
    def last(self) -> float:
        return self.usage()[1]

    def usage(self) -> tuple[int, float]:
        found = self.activity.of(ROUTE.uid)
        assert found is not None
        return found.count, found.last


async def _claim(key: Key, uid: str) -> None:
    raise AssertionError((key, uid))


def agent(text: bytes) -> list[bytes]:
    return [b"Accept: */*\r\n", b"User-Agent: %b\r\n" % text, b"X-Agent: kube-probe/1\r\n"]


def test_by_default_every_request_counts_and_is_given_back_once() -> None:
    desk = Desk()
    request = desk.counted(make_head(lines=agent(b"kube-probe/1")))
    assert desk.usage() == (1, 0.0)
    desk.now += 1
    request.leave(desk.now)
    request.leave(desk.now + 1)
    assert desk.usage() == (0, 1001.0)


@pytest.mark.parametrize(
    ("never", "head", "counts"),
    [
        (NeverCount(methods=frozenset({b"HEAD"})), make_head(method=b"HEAD"), False),
        (NeverCount(methods=frozenset({b"HEAD"})), make_head(), True),
        (NeverCount(path_prefixes=(b"/up",)), make_head(target=b"/up?x"), False),
        (NeverCount(path_prefixes=(b"/up",)), make_head(target=b"/x/up"), True),
        (NeverCount(user_agents=(b"kube-probe/",)), make_head(lines=agent(b"KUBE-probe/2")), False),
        (NeverCount(user_agents=(b"kube-probe/",)), make_head(lines=agent(b"curl")), True),
        (NeverCount(user_agents=(b"kube-probe/",)), make_head(), True),
        (NeverCount(user_agents=(b"user-agent",)), make_head(lines=agent(b"curl")), True),
        (
            NeverCount(frozenset({b"HEAD"}), (b"/up",), (b"kube-probe/",)),
            make_head(method=b"HEAD", lines=agent(b"curl")),
            False,
        ),
    ],
)  # fmt: skip
def test_what_is_told_by_its_first_line_or_its_agent_does_not_count(
    never: NeverCount, head: RequestHead, counts: bool
) -> None:
    desk = Desk(CountConfig(never_count=never))
    for _ in range(2):  # the second time, its fields have been seen
        request = desk.counted(head)
        assert desk.count == counts
        request.leave(desk.now)
        assert desk.usage() == (0, desk.now if counts else 0.0)


def test_the_path_that_counts_is_the_one_that_is_forwarded() -> None:
    desk = Desk(CountConfig(never_count=NeverCount(path_prefixes=(b"/up",))))
    desk.counted(make_head(target=b"/team/box/80/up"), path=b"/up")
    assert desk.count == 0
    desk.counted(make_head(target=b"/up/box/80/"), path=b"/")
    assert desk.count == 1


def test_what_was_found_of_the_fields_is_not_looked_for_again() -> None:
    desk = Desk(CountConfig(never_count=NeverCount(user_agents=(b"kube-probe/",))))
    head = make_head(lines=agent(b"kube-probe/1"))
    desk.counted(head)
    head.lines.clear()
    desk.counted(head)
    assert desk.count == 0


def test_requests_wait_for_what_may_be_falling_asleep() -> None:
    desk = Desk()
    assert desk.admitted().route.uid not in desk.uses.shut
    assert desk.gate.ask("q", ROUTE.uid, 10.0) is Word.UNUSED
    assert desk.admitted().route.uid in desk.uses.shut


# ---- tunnels -------------------------------------------------------------------------------------


class Tunnel:
    """As much of an exchange as a tunnel's is asked for; it keeps how often it was ended."""

    def __init__(self, request: Request, incarnation: str = ROUTE.incarnation) -> None:
        self.request = request
        self.upstream = SimpleNamespace(incarnation=incarnation)
        self.ended = 0

    def end_tunnel(self) -> None:
        self.ended += 1


def opened(desk: Desk, incarnation: str = ROUTE.incarnation) -> Tunnel:
    request = desk.counted(make_head(upgrade=b"websocket"))
    frames = desk.uses.frames(request)
    tunnel = Tunnel(request, incarnation)
    desk.now += 1
    frames.opened(cast("Exchange", tunnel))
    return tunnel


def test_a_websocket_counts_while_it_is_open_unless_pings_do_not() -> None:
    for pings in (True, False):
        desk = Desk(CountConfig(pings=pings))
        tunnel = opened(desk)
        assert desk.count == pings
        desk.now += 1
        tunnel.request.leave(desk.now)
        assert desk.usage() == (0, desk.now if pings else desk.now - 1)


@pytest.mark.parametrize("side", ["up", "down"])
def test_data_of_either_side_is_a_use_when_it_passes(side: str) -> None:
    desk = Desk(CountConfig(pings=False))
    request = desk.counted(make_head(upgrade=b"websocket"))
    frames = desk.uses.frames(request)
    frames.opened(cast("Exchange", Tunnel(request)))
    feed = getattr(frames, side)
    before = desk.last
    desk.now += 10
    feed(PING)
    assert desk.last == before
    feed(TEXT[:3])
    assert desk.usage() == (0, desk.now)
    desk.now += 10
    feed(TEXT[3:])
    assert desk.usage() == (0, desk.now)
    assert frames.may_close


def test_a_websocket_that_does_not_count_at_all_does_not_count_by_its_data() -> None:
    never = NeverCount(methods=frozenset({b"GET"}))
    desk = Desk(CountConfig(never_count=never, pings=False))
    tunnel = opened(desk)
    frames = desk.uses.frames(tunnel.request)
    frames.down(TEXT)
    frames.up(TEXT)
    assert desk.usage() == (0, 0.0)


def test_only_the_tunnels_into_a_life_that_is_over_are_ended_and_once() -> None:
    desk = Desk(CountConfig(pings=False))
    one, two, other = opened(desk), opened(desk), opened(desk, "uid-1/pod-2")
    desk.uses.end_tunnels(ROUTE.incarnation)
    desk.uses.end_tunnels(ROUTE.incarnation)
    assert (one.ended, two.ended, other.ended) == (1, 1, 0)
    for tunnel in (one, two, other):
        tunnel.request.leave(desk.now)
    assert desk.count == 0


def test_a_tunnel_that_has_ended_is_not_ended_again() -> None:
    desk = Desk(CountConfig(pings=False))
    one, two = opened(desk), opened(desk)
    one.request.leave(desk.now)
    desk.uses.end_tunnels(ROUTE.incarnation)
    assert (one.ended, two.ended) == (0, 1)


def test_tunnels_that_count_while_they_are_open_are_left_to_their_sandboxes() -> None:
    desk = Desk()
    tunnel = opened(desk)
    desk.uses.end_tunnels(ROUTE.incarnation)
    assert tunnel.ended == 0
