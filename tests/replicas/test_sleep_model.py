"""The protocol of standby as a model: it is safe, and without any one of its rules it is not."""

import pytest

from .sleep_model import Bounds, Rules, explore


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(replicas=1, questions=2, requests=2),
        Bounds(replicas=2, questions=1, requests=2),
        Bounds(replicas=2, questions=2, requests=1, deaths=0),
        Bounds(replicas=1, questions=1, requests=2, born_later=1),
    ],
    ids=str,
)
def test_nothing_sleeps_while_it_is_used_and_nothing_is_sent_to_what_sleeps(
    bounds: Bounds,
) -> None:
    states, path = explore(Rules(), bounds)
    assert path == []
    assert states > 1000, "much can happen"


@pytest.mark.parametrize(
    ("rules", "bounds"),
    [
        (Rules(fences=False), Bounds(questions=1, requests=1)),
        (Rules(one_question=False), Bounds(requests=1, deaths=0)),
        (Rules(claims=False), Bounds(replicas=1, questions=1, requests=1)),
        (Rules(doubt_stays=False), Bounds(requests=1, deaths=0)),
        (Rules(news_open=False), Bounds(replicas=1, questions=1, requests=1)),
        (Rules(read_in_time=False), Bounds(questions=1, requests=1)),
        (Rules(new_ones_wait=False), Bounds(replicas=1, questions=1, requests=1, born_later=1)),
    ],
    ids=str,
)
def test_each_rule_is_needed(rules: Rules, bounds: Bounds) -> None:
    _, path = explore(rules, bounds)
    assert path, "nothing goes wrong without it"
