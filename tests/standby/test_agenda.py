"""What is due when: as a plain table would have it, and no larger than that for long."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from gateway.standby.agenda import SLACK, Agenda

KEYS = st.sampled_from("abcd")
TIMES = st.integers(0, 20).map(float)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, TIMES),
        st.tuples(st.just("remove"), KEYS, st.just(0.0)),
        st.tuples(st.just("pop"), st.just(""), TIMES),
    )
)


@given(STEPS)
def test_it_is_as_a_plain_table_would_have_it(steps: list[tuple[str, str, float]]) -> None:
    agenda: Agenda[str] = Agenda()
    table: dict[str, float] = {}
    for what, key, time in steps:
        match what:
            case "put":
                agenda.put(key, time)
                table[key] = min(time, table.get(key, inf))
            case "remove":
                agenda.remove(key)
                table.pop(key, None)
            case _:
                first = agenda.pop(time)
                wanted = min(((when, key) for key, when in table.items()), default=(inf, ""))
                assert first == (wanted if wanted[0] <= time else None)
                if first is not None:
                    del table[first[1]]
        assert len(agenda) == len(table)
        assert agenda.next == min(table.values(), default=inf)


def test_of_what_is_taken_off_nothing_is_kept() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.put("first", 1.0)
    for number in range(10 * SLACK):
        agenda.put(f"{number}", 1000.0)
        agenda.remove(f"{number}")
    assert len(agenda._heap) <= SLACK + 2
    assert agenda.pop(1.0) == (1.0, "first")
    assert agenda.pop(2000.0) is None


def test_of_times_that_were_later_nothing_is_kept() -> None:
    agenda: Agenda[str] = Agenda()
    for time in range(10 * SLACK, 0, -1):
        agenda.put("box", float(time))
    assert len(agenda._heap) <= SLACK + 2
    assert agenda.pop(2000.0) == (1.0, "box")
    assert agenda.pop(2000.0) is None
