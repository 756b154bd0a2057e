"""The suite: its tables, goals and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.bench.resize import AS_IT_IS, OTHERS, measure
from e2e.bench.resize_day import Cluster
from e2e.bench.resize_loads import HOUR
from e2e.bench.results import KEPT, Entry, encoded

if TYPE_CHECKING:
    from pathlib import Path


def test_the_suite_shows_tables_goals_and_pictures(tmp_path: Path) -> None:
    suite = measure(tmp_path, Cluster(sandboxes=24, nodes=4, seconds=HOUR))
    day, kinds, others = suite.tables
    assert [row[0] for row in day.rows] == [
        "needed",
        "fixed at the maximum",
        "fixed at the 95th percentile",
        "right-sized",
    ]
    assert kinds.rows[-1][:2] == ("all", "24")
    names = [AS_IT_IS.name, *(variant.name for variant in OTHERS)]
    assert [row[0] for row in others.rows[3:]] == names
    for table in suite.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert [goal.holds for goal in suite.goals[:2]] == [True, True]
    pictures = sorted(file.name for file in (tmp_path / KEPT).iterdir())
    assert pictures == ["all-sandboxes.png", "single-sandboxes.png"]
    encoded(Entry({}, 1, 1, suite))


def test_a_part_of_the_cluster_has_the_same_sandboxes_as_the_whole() -> None:
    cluster = Cluster(sandboxes=24, nodes=4, seconds=HOUR)
    numbers = sorted(
        int(one.name.partition("-")[2]) for node in range(4) for one in cluster.lives(node)
    )
    assert numbers == list(range(24))
