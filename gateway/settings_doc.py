"""The reference of the settings, rendered from their one definition.

`python -m gateway.settings_doc --check README.md` fails where a document does not hold the current
reference between its two markers; `--write` puts it there.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.settings.model import GROUPS, kind_of, shown_default
from gateway.settings.sources import variable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.group import Group

BEGIN: Final = "<!-- settings:begin -->"
END: Final = "<!-- settings:end -->"

INTRODUCTION: Final = (
    "Each setting is a key of the YAML file named by --config or SBXGW_CONFIG, and an environment "
    "variable: SBXGW_ and its name in upper case. The environment wins over the file. An unknown "
    "name or a bad value stops the start, and every one of them is named."
)
EXAMPLE: Final = ("wake_timeout: 3m", "SBXGW_WAKE_TIMEOUT=3m")


class MarkersMissing(Exception):
    """The document lacks the two markers, or has them in the wrong order."""


def as_markdown() -> str:
    """Return the reference as Markdown: a table for each group."""
    parts = [f"{INTRODUCTION} So `{EXAMPLE[0]}` and `{EXAMPLE[1]}` mean the same."]
    for group in GROUPS:
        parts.append(f"### {group.__doc__}")
        rows = ["| setting | default | meaning | accepts |", "| --- | --- | --- | --- |"]
        rows += [_row(group, name) for name in group.model_fields]
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _row(group: type[Group], name: str) -> str:
    default = shown_default(name)
    shown = "to be chosen" if default is None else f"`{default}`" if default else "none"
    return f"| `{name}` | {shown} | {_meaning(group, name)} | {kind_of(name).accepts} |"


def as_text() -> str:
    """Return the reference for a terminal."""
    lines = [*textwrap.wrap(INTRODUCTION, 79), "", f"  {EXAMPLE[0]}", f"  {EXAMPLE[1]}"]
    for group in GROUPS:
        lines += ["", f"{group.__doc__}".upper()]
        for name in group.model_fields:
            lines += ["", *_entry(group, name)]
    return "\n".join(lines)


def _entry(group: type[Group], name: str) -> Iterator[str]:
    default = shown_default(name)
    yield f"  {name} = " + ("(to be chosen)" if default is None else default or "(none)")
    yield f"      {variable(name)}: {kind_of(name).accepts}"
    meaning = _meaning(group, name)
    yield textwrap.fill(meaning, 79, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _meaning(group: type[Group], name: str) -> str:
    return group.model_fields[name].description or ""


def inserted(document: str) -> str:
    """Return the document with the current reference between its markers."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarkersMissing
    return f"{before}{BEGIN}\n{as_markdown()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Check or write a document; return the exit status."""
    if len(arguments) != 2 or arguments[0] not in ("--check", "--write"):
        print("usage: python -m gateway.settings_doc --check|--write FILE", file=sys.stderr)
        return 2
    path = Path(arguments[1])
    try:
        document = path.read_text(encoding="utf-8")
        wanted = inserted(document)
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return 2
    except MarkersMissing:
        print(f"{path}: needs the lines {BEGIN} and {END}", file=sys.stderr)
        return 2
    if arguments[0] == "--write":
        path.write_text(wanted, encoding="utf-8")
    elif document != wanted:
        print(f"{path}: out of date; run with --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
