"""The results as Markdown: the page beside them, and the block in a README. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from e2e.bench.machine import ABSENT
from e2e.bench.plots import file_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from e2e.bench.model import Goal, Suite, Table
    from e2e.bench.results import Entry

BEGIN: Final = "<!-- bench:begin -->"
END: Final = "<!-- bench:end -->"

_HEAD: Final = """\
# Benchmark results

Written by `make bench`; do not edit. Each suite names its date and machine: one that was not run
again keeps its last figures. All figures, also those of single rounds, are in `results.json`."""

#: What `_measured` says in words of its own; the rest are versions.
_OWN_WORDS: Final = ("date", "commit", "cpu", "cores", "kernel", "python")


class MarkersMissing(Exception):
    """The document lacks the two markers, or has them in the wrong order."""


def page(entries: Mapping[str, Entry], suites: Sequence[str]) -> str:
    """Return the page: the goals of all suites in one table, then a section for each."""
    parts = [_HEAD]
    if goals := list(_goals(entries, suites)):
        parts.append(_grid(("suite", "goal", "measured", "holds"), goals))
    for name in suites:
        parts += [f"## {name}", *_section(name, entries.get(name))]
    return "\n\n".join(parts) + "\n"


def readme_block(entries: Mapping[str, Entry], suites: Sequence[str], link: str) -> str:
    """Return the goals and what was measured, with dates and machines; `link` leads to the page."""
    parts = []
    if goals := list(_goals(entries, suites)):
        parts.append(_grid(("suite", "goal", "measured", "holds"), goals))
    by_run: dict[str, list[str]] = {}
    for name in suites:
        entry = entries.get(name)
        run = "not measured." if entry is None or entry.suite is None else _measured(entry)
        by_run.setdefault(run, []).append(name)
    parts += [f"{', '.join(names)}: {run}" for run, names in by_run.items()]
    parts.append(f"All tables, plots and what could not be measured: [{link}]({link}).")
    return "\n\n".join(parts)


def inserted(document: str, block: str) -> str:
    """Return the document with the block between its markers; raise MarkersMissing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkersMissing
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def verdict(goal: Goal) -> str:
    """Say in a word whether the goal was reached."""
    if goal.holds is None:
        return "not shown"
    return "yes" if goal.holds else "**missed**"


def _goals(entries: Mapping[str, Entry], suites: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for name in suites:
        entry = entries.get(name)
        if entry is not None and entry.suite is not None:
            for goal in entry.suite.goals:
                yield name, goal.text, goal.seen, verdict(goal)


def _section(name: str, entry: Entry | None) -> Iterator[str]:
    if entry is None:
        yield "Not measured yet."
        return
    if entry.failed:
        yield f"**The last run failed** ({_one_line(entry.failed)})."
    if entry.suite is None:
        return
    yield entry.suite.about.strip()
    yield _measured(entry)
    yield from _figures(entry.suite)
    for bars in entry.suite.bars:
        yield f"![{bars.title}]({file_name(name, bars)})"
    for file in entry.files:
        shown = f"![{file}]({file})" if file.endswith((".svg", ".png")) else file
        yield f"[{shown}]({file})"
    if entry.suite.missing:
        yield "Not measured:\n\n" + "\n".join(f"- {one}" for one in entry.suite.missing)


def _figures(suite: Suite) -> Iterator[str]:
    for table in suite.tables:
        yield f"### {table.title}"
        yield _table(table)
    if suite.goals:
        yield "### Goals"
        rows = [(goal.text, goal.seen, verdict(goal)) for goal in suite.goals]
        yield _grid(("goal", "measured", "holds"), rows)


def _measured(entry: Entry) -> str:
    told = entry.machine
    others = {name: version for name, version in told.items() if name not in _OWN_WORDS}
    found = [f"{name} {version}" for name, version in others.items() if version != ABSENT]
    absent = [name for name, version in others.items() if version == ABSENT]
    text = (
        f"Measured on {told['date']} at commit {told['commit']} with --rounds {entry.rounds} "
        f"--seconds {entry.seconds}: {told['cpu']}, {told['cores']} cores, {told['kernel']}; "
        f"Python {told['python']}; {', '.join(found)}."
    )
    return f"{text} Not on the machine: {', '.join(absent)}." if absent else text


def _table(table: Table) -> str:
    return _grid(table.columns, table.rows)


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_row(columns), _row(["---"] * len(columns)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())
