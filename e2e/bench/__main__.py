"""Run the suites one after the other and keep what they showed: `make bench`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from e2e.bench import machine, plots, report, results
from e2e.bench.model import Options, Suite
from e2e.bench.results import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

#: The suites in the order in which they run, each a module of this package, and what each shows.
SUITES: Final = {
    "throughput": "requests per second and latency beside Envoy, HAProxy, nginx and others",
    "wake": "what waking adds to a request, and how fast waiting requests are let go",
    "scale": "memory, lists, events and throughput with 100,000 sandboxes",
    "idle": "what watching 100,000 sandboxes until nobody uses them costs",
    "resize": "what right-sizing saves and lacks: a simulated day of 1,000 sandboxes",
    "instructions": "instructions per request: shows a regression of 3 % on a noisy machine too",
    "profile": "where the microseconds of a request go, with a flame graph",
}

_EPILOG: Final = f"""\
suites:
{chr(10).join(f"  {name:13} {shows}" for name, shows in SUITES.items())}

what it needs:
  Linux, two cores with nothing else on them, wrk, nginx; HAProxy, Node and valgrind where they are
  found. What is missing is named in the results. All listeners are on loopback. All of it takes
  half an hour and more; --rounds and --seconds make it shorter and its figures less sure.

what it writes to the directory of --out, after each suite:
  results.json  every figure that was taken, each suite with its date and machine
  RESULTS.md    the tables and goals, and one PNG for each plot
  A suite that does not run this time keeps its last figures.

exit status:
  0  every suite ran; a missed goal is shown, but is a result and not a failure
  1  a suite failed; it is named, and the others' results are kept
  2  the arguments or a file that was read are wrong

examples:
  python -m e2e.bench
  python -m e2e.bench --suite wake --suite scale
  python -m e2e.bench --suite throughput --rounds 1 --seconds 1 --out /tmp/quick
  python -m e2e.bench --show
  python -m e2e.bench --readme README.md
"""


def main() -> int:
    """Do what the arguments say; return the exit status."""
    parser = _parser()
    chosen = parser.parse_args()
    if importlib.util.find_spec("matplotlib") is None:
        parser.error("matplotlib is not installed; `make bench` installs what this needs")
    try:
        entries = results.load(chosen.out)
        if chosen.readme is not None:
            _write_readme(chosen.readme, chosen.out, entries)
            return 0
        chosen.out.mkdir(parents=True, exist_ok=True)
        if chosen.show:
            for name, entry in entries.items():
                _draw(chosen.out, name, entry)
            _write_page(chosen.out, entries)
            return 0
    except (results.ResultsUnreadable, OSError) as error:
        parser.error(str(error))
    except report.MarkersMissing:
        parser.error(f"{chosen.readme}: needs the lines {report.BEGIN} and {report.END}")
    # Ended like this too, the suites end what they started.
    signal.signal(signal.SIGTERM, _ended)
    return _run(chosen.suite or list(SUITES), chosen, entries)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.bench",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--suite", action="append", choices=list(SUITES), help="run this one only; repeatable")
    add("--rounds", type=_positive, default=5, help="rounds of each comparison (%(default)s)")
    add("--seconds", type=_positive, default=4, help="of one load in one round (%(default)s)")
    add(
        "--out",
        type=Path,
        default=results.DIRECTORY,
        help="directory of the results (e2e/bench/results)",
    )
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument(
        "--show", action="store_true", help="measure nothing, write page and plots anew"
    )
    kept.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help="measure nothing, write the goals and their figures between the file's two markers",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _ended(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def _run(names: list[str], chosen: argparse.Namespace, entries: dict[str, Entry]) -> int:
    failed = []
    described = machine.described()
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        for turn, name in enumerate(names, 1):
            print(f"{name}: suite {turn} of {len(names)}", file=sys.stderr)
            options = Options(Path(home) / name, chosen.rounds, chosen.seconds)
            options.place.mkdir()
            entry = _entry(name, options, described, entries.get(name))
            if entry.failed:
                failed.append(name)
            _keep(chosen.out, name, entry, entries, options.place)
            _tell(name, entry)
    print(f"written to {chosen.out / results.PAGE}", file=sys.stderr)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _entry(name: str, options: Options, described: dict[str, str], last: Entry | None) -> Entry:
    """Run a suite; where it fails, return its last entry, or an empty one, marked as failed."""
    nothing = Entry(described, options.rounds, options.seconds, None)
    try:
        run: Callable[[Options], Suite] = importlib.import_module(f"e2e.bench.{name}").run
        entry = replace(nothing, suite=run(options))
        results.encoded(entry)
    except Exception as error:  # noqa: BLE001 - told, and the other suites' results are owed
        traceback.print_exc()
        why = f"{described['date']}: {str(error) or type(error).__name__}"
        return replace(last or nothing, failed=why)
    return entry


def _keep(out: Path, name: str, entry: Entry, entries: dict[str, Entry], place: Path) -> None:
    """Write the results with this entry among them, and take away what its last run left."""
    last = entries.get(name)
    if not entry.failed:
        entry = replace(entry, files=results.keep_files(out, name, place))
        for stale in _files(name, last) - _files(name, entry):
            (out / stale).unlink(missing_ok=True)
    entries[name] = entry
    results.save(out, entries)
    _draw(out, name, entry)
    _write_page(out, entries)


def _files(name: str, entry: Entry | None) -> set[str]:
    if entry is None or entry.suite is None:
        return set()
    return {*entry.files, *(plots.file_name(name, bars) for bars in entry.suite.bars)}


def _draw(out: Path, name: str, entry: Entry) -> None:
    for bars in entry.suite.bars if entry.suite is not None else []:
        plots.draw(bars, out / plots.file_name(name, bars))


def _write_page(out: Path, entries: dict[str, Entry]) -> None:
    (out / results.PAGE).write_text(report.page(entries, list(SUITES)), encoding="utf-8")


def _write_readme(readme: Path, out: Path, entries: dict[str, Entry]) -> None:
    link = Path(os.path.relpath(out / results.PAGE, readme.parent)).as_posix()
    block = report.readme_block(entries, list(SUITES), link)
    document = readme.read_text(encoding="utf-8")
    readme.write_text(report.inserted(document, block), encoding="utf-8")


def _tell(name: str, entry: Entry) -> None:
    """Print the goals as they came out, and what is missing."""
    if entry.failed:
        print(f"{name}: failed on {entry.failed}")
    elif entry.suite is not None:
        for goal in entry.suite.goals:
            print(f"{name}: {report.verdict(goal)}: {goal.text}: {goal.seen}")
        for one in entry.suite.missing:
            print(f"{name}: not measured: {one}")


if __name__ == "__main__":
    sys.exit(main())
