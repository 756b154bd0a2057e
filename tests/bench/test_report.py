"""The page of results and the block in a README."""

from __future__ import annotations

import pytest

from e2e.bench.model import Bars, Goal, Suite, Table
from e2e.bench.report import BEGIN, END, MarkersMissing, inserted, page, readme_block
from e2e.bench.results import Entry

MACHINE = {
    "date": "2026-11-22",
    "commit": "abc1234",
    "cpu": "A processor",
    "cores": "2",
    "kernel": "Linux 6.1",
    "python": "3.11.7 (GCC 12.2.0, no PGO, no LTO)",
    "uvloop": "0.23.0",
    "HAProxy": "not found",
}


def entry(suite: Suite | None = None, failed: str = "") -> Entry:
    return Entry(MACHINE, 5, 4, suite or a_suite(), failed)


def a_suite() -> Suite:
    return Suite(
        "wake",
        "What a wake adds.",
        tables=[Table("Latency", ("what", "µs"), [("a|b", "12")])],
        bars=[Bars("Added latency", "µs", ("p50",), {"gateway": [1.0]})],
        goals=[Goal("p50 at most 4", "3.1", holds=True), Goal("p99 at most 10", "11", holds=False)],
        missing=["perf: not installed"],
    )


def test_a_section_has_what_the_suite_showed() -> None:
    text = page({"wake": entry()}, ["wake"])
    for part in (
        "## wake\n\nWhat a wake adds.",
        "### Latency\n\n| what | µs |\n| --- | --- |\n| a\\|b | 12 |",
        "| p50 at most 4 | 3.1 | yes |",
        "| p99 at most 10 | 11 | **missed** |",
        "![Added latency](wake-added-latency.png)",
        "- perf: not installed",
    ):
        assert part in text


def test_a_section_names_date_and_machine_and_what_the_machine_lacks() -> None:
    text = page({"wake": entry()}, ["wake"])
    assert "on 2026-11-22 at commit abc1234" in text
    assert "A processor, 2 cores, Linux 6.1; Python 3.11.7 (GCC 12.2.0, no PGO, no LTO)" in text
    assert "Not on the machine: HAProxy." in text


def test_a_failed_run_is_named_beside_the_last_figures() -> None:
    text = page({"wake": entry(failed="2026-11-23: nginx\nis gone")}, ["wake"])
    assert "**The last run failed** (2026-11-23: nginx is gone)." in text
    assert "What a wake adds." in text


def test_a_suite_that_never_ran_is_named() -> None:
    assert "## scale\n\nNot measured yet." in page({"wake": entry()}, ["wake", "scale"])
    assert "scale: not measured." in readme_block({"wake": entry()}, ["wake", "scale"], "R.md")


def test_suites_of_one_run_share_the_line_of_their_machine() -> None:
    block = readme_block({"wake": entry(), "scale": entry()}, ["wake", "scale"], "R.md")
    assert "wake, scale: Measured on 2026-11-22" in block
    assert "| scale | p50 at most 4 | 3.1 | yes |" in block


def test_a_block_replaces_what_was_between_the_markers() -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert inserted(document, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert inserted(inserted(document, "new"), "new") == inserted(document, "new")


@pytest.mark.parametrize("document", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_document_without_both_markers_is_refused(document: str) -> None:
    with pytest.raises(MarkersMissing):
        inserted(document, "new")
