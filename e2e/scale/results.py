"""The results as they are kept: figures as JSON, and a page of the same."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from e2e.scale import report
from e2e.scale.figures import Results

#: Where results go unless told otherwise; these are part of the project.
DIRECTORY: Final = Path(__file__).with_name("results")
FIGURES: Final = "scale.json"
PAGE: Final = "SCALE.md"


def save(directory: Path, found: Results) -> None:
    """Write both files."""
    encoded = msgspec.json.format(msgspec.json.encode(found), indent=1)
    (directory / FIGURES).write_bytes(encoded + b"\n")
    (directory / PAGE).write_text(report.page(found), encoding="utf-8")


def load(file: Path) -> Results:
    """Read the figures; raise OSError or msgspec.MsgspecError."""
    return msgspec.json.decode(file.read_bytes(), type=Results)
