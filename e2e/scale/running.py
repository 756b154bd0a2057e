"""A program of this package that works until it is stopped, and then tells what it saw."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from e2e.bench.stage import LoadFailed
from e2e.waiting import TooLateError, until

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.programs import Programs

T = TypeVar("T")


class Running(Generic[T]):
    """It says a word once it works, and at SIGTERM writes a T as JSON to its last argument."""

    def __init__(
        self, programs: Programs, place: Path, name: str, tells: type[T], *arguments: str
    ) -> None:
        """Start `e2e.scale.NAME`; return once it works."""
        self._tells = tells
        self._out = place / f"{name}.json"
        argv = [sys.executable, "-m", f"e2e.scale.{name}", *arguments, str(self._out)]
        self._program = programs.start(name, argv, place, os.environ)
        until(self._works, f"{self._program.name} works")

    def _works(self) -> bool:
        if self._program.exit_status is not None:
            raise TooLateError(f"{self._program.name} ended:\n{self._program.errors[-4000:]}")
        return bool(self._program.output)

    def stop(self) -> T:
        """End it; return what it tells. Raise LoadFailed if it broke off."""
        if self._program.end() != 0:
            raise LoadFailed(f"{self._program.name} broke off:\n{self._program.errors[-4000:]}")
        return msgspec.json.decode(self._out.read_bytes(), type=self._tells)
