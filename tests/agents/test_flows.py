"""The table of a node's connections: what it counts, and a comparison among news."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.agents.observe.flows import FlowTable
from gateway.agents.observe.netlink import Flow

if TYPE_CHECKING:
    from gateway.agents.observe.flows import Path

POD, SERVICE, CLIENT = b"pod.", b"serv", b"clnt"


def flow(number: int = 1, is_open: bool | None = True, port: int = 80, to: bytes = POD) -> Flow:
    return Flow(b"%d" % number, CLIENT, ((to, port),), is_open)


def counted(table: FlowTable) -> int:
    return table.count((POD, CLIENT, 80))


def test_connections_of_one_source_to_one_port_are_counted_together() -> None:
    table = FlowTable()
    for number in range(3):
        table.apply(flow(number))
    table.apply(flow(4, port=81))
    assert counted(table) == 3
    assert set(table.paths(POD)) == {(POD, CLIENT, 80), (POD, CLIENT, 81)}


def test_a_connection_counts_for_each_of_its_ends() -> None:
    table = FlowTable()
    table.apply(Flow(b"1", CLIENT, ((SERVICE, 80), (POD, 8080)), True))
    assert table.count((SERVICE, CLIENT, 80)) == table.count((POD, CLIENT, 8080)) == 1


def test_what_is_told_twice_counts_once_and_ends_once() -> None:
    table = FlowTable()
    for _ in range(2):
        table.apply(flow())
    assert counted(table) == 1
    for _ in range(2):
        table.apply(flow(is_open=False))
    assert counted(table) == 0
    assert not list(table.paths(POD))
    table.apply(flow())
    assert counted(table) == 1


def test_what_does_not_say_how_it_stands_changes_nothing_that_is_known_and_counts_else() -> None:
    table = FlowTable()
    table.apply(flow(1, None))
    assert counted(table) == 1
    table.apply(flow(1, None))
    assert counted(table) == 1


def test_a_connection_that_leads_elsewhere_now_counts_there() -> None:
    table = FlowTable()
    table.apply(flow())
    table.apply(flow(to=SERVICE))
    assert counted(table) == 0
    assert table.count((SERVICE, CLIENT, 80)) == 1


def test_who_listens_is_told_of_every_change_after_it_was_made() -> None:
    table = FlowTable()
    told: list[tuple[Path, int]] = []
    stop = table.subscribe(lambda path: told.append((path, table.count(path))))
    path = (POD, CLIENT, 80)
    table.apply(flow(1))
    table.apply(flow(2))
    table.apply(flow(1, False))
    stop()
    table.apply(flow(2, False))
    assert told == [(path, 1), (path, 2), (path, 1)]


def test_a_comparison_finds_what_was_missed() -> None:
    table = FlowTable()
    table.apply(flow(1))
    table.begin()
    table.listed(flow(2))
    table.end()
    assert counted(table) == 1
    assert len(table) == 1


def test_news_during_a_comparison_is_newer_than_the_list() -> None:
    table = FlowTable()
    table.apply(flow(1))
    table.begin()
    table.apply(flow(2))
    table.apply(flow(1, False))
    table.listed(flow(1))
    table.end()
    assert counted(table) == 1
    assert len(table) == 1


KEYS = st.integers(0, 4)


class Comparing(RuleBasedStateMachine):
    """A kernel whose news comes late, and in order; once it has come the table is as the kernel.

    A comparison reads the kernel piece by piece, while connections come and go.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = FlowTable()
        self.told: Counter[Path] = Counter()
        self.kernel: set[int] = set()
        self.news: list[Flow] = []
        self.unread: list[int] | None = None
        self.table.subscribe(self.heed)

    def heed(self, path: Path) -> None:
        self.told[path] = self.table.count(path)

    @rule(number=KEYS)
    def opens(self, number: int) -> None:
        self.kernel.add(number)
        self.news.append(flow(number))

    @rule(number=KEYS)
    def ends(self, number: int) -> None:
        self.kernel.discard(number)
        self.news.append(flow(number, False))

    @precondition(lambda self: self.news)
    @rule()
    def comes(self) -> None:
        self.table.apply(self.news.pop(0))

    @precondition(lambda self: self.unread is None)
    @rule()
    def begins(self) -> None:
        self.table.begin()
        self.unread = list(range(5))

    @precondition(lambda self: self.unread)
    @rule()
    def reads(self) -> None:
        assert self.unread is not None
        number = self.unread.pop()
        if number in self.kernel:
            self.table.listed(flow(number))

    @precondition(lambda self: self.unread == [])
    @rule()
    def compared(self) -> None:
        self.table.end()
        self.unread = None

    @rule()
    def all_news_comes(self) -> None:
        while self.news:
            self.table.apply(self.news.pop(0))
        if self.unread is None:
            assert counted(self.table) == len(self.kernel)

    @invariant()
    def never_below_zero_and_all_is_told(self) -> None:
        assert counted(self.table) >= 0
        assert self.told[(POD, CLIENT, 80)] == counted(self.table)


TestComparing = Comparing.TestCase
TestComparing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
