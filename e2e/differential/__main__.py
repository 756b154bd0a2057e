"""`python -m e2e.differential --check|--write`: the differences, in the embedded API's README."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from .differences import DIFFERENCES

README: Final = Path(__file__).parents[2] / "gateway/local/api/README.md"
_INTRODUCTION: Final = """\
# The embedded Kubernetes API

What local mode serves in the place of a cluster's API. The probes in
[`e2e/differential`](../../../e2e/differential) put the same questions to it and to a real
kube-apiserver: what is not listed here is the same, as far as they ask. Not compared are the words
of messages, managed fields, and what chance and clocks decide.

This file is generated: `python -m e2e.differential --write`.

| what differs | why it is left at that |
| --- | --- |
"""


def as_markdown() -> str:
    """Return the whole file."""
    rows = (f"| {one.what} | {one.reason[0].upper()}{one.reason[1:]} |\n" for one in DIFFERENCES)
    return _INTRODUCTION + "".join(rows)


def main(arguments: list[str], readme: Path = README) -> int:
    """Check or write the file; return the exit status."""
    if arguments not in (["--check"], ["--write"]):
        print("usage: python -m e2e.differential --check|--write", file=sys.stderr)
        return 2
    current = as_markdown()
    if arguments == ["--write"]:
        readme.write_text(current, encoding="utf-8")
    elif not readme.exists() or readme.read_text(encoding="utf-8") != current:
        print(f"{readme.name} is not current: python -m e2e.differential --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
