"""Results on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.bench.model import Bars, Goal, Suite, Table
from e2e.bench.results import FIGURES, Entry, ResultsUnreadable, encoded, keep_files, load, save

if TYPE_CHECKING:
    from pathlib import Path


def entry(suite: Suite | None, failed: str = "") -> Entry:
    return Entry({"date": "2026-11-22"}, 5, 4, suite, failed, ["wake-flame.svg"])


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    suite = Suite(
        "wake",
        "about",
        [Table("t", ("a", "b"), [("1", "2")])],
        [Bars("b", "µs", ("one", "two"), {"gateway": [1.5, None]})],
        [Goal("g", "1", holds=True)],
        ["perf"],
        {"raw": [1, 2.5]},
    )
    entries = {"wake": entry(suite), "scale": entry(None, "2026-11-22: no wrk")}
    save(tmp_path, entries)
    assert load(tmp_path) == entries


def test_each_suite_has_a_line(tmp_path: Path) -> None:
    save(tmp_path, {"wake": entry(None), "scale": entry(None)})
    lines = (tmp_path / FIGURES).read_text().splitlines()
    assert [line.partition(":")[0] for line in lines[1:-1]] == ['"scale"', '"wake"']


def test_an_empty_directory_has_no_results(tmp_path: Path) -> None:
    assert load(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"wake": 1}', '{"wake": {"suite": null}}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FIGURES).write_text(text)
    with pytest.raises(ResultsUnreadable):
        load(tmp_path)


def test_a_figure_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encoded(entry(Suite("wake", "about", raw={"p50": float("nan")})))


def test_what_a_suite_leaves_is_copied_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "place" / "kept").mkdir(parents=True)
    (tmp_path / "place" / "kept" / "flame.svg").write_text("<svg/>")
    assert keep_files(tmp_path, "profile", tmp_path / "place") == ["profile-flame.svg"]
    assert (tmp_path / "profile-flame.svg").read_text() == "<svg/>"
