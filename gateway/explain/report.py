"""An explanation: its parts, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.explain.case import Case, Surroundings
from gateway.explain.size import told_size
from gateway.explain.sleep import told_sleep
from gateway.explain.state import told_request, told_state
from gateway.explain.waking import told_advice, told_example, told_resumable, told_wake

if TYPE_CHECKING:
    from gateway.dialects.base import Dialect, RawObject
    from gateway.resize.snapshot import ResizeSnapshot
    from gateway.sandbox.model import Key, Route, State
    from gateway.standby.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Section:
    """One part of an explanation."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that the gateway knows and thinks of one sandbox."""

    key: Key
    state: State
    sections: tuple[Section, ...]

    def as_text(self) -> str:
        """Return it for a terminal."""
        parts = [f"{self.key} ({self.key.dialect}) is {self.state.value}"]
        parts += [
            "\n".join((one.heading, *(f"  {line}" for line in one.lines))) for one in self.sections
        ]
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, object]:
        """Return it as values for JSON."""
        sections = [{"heading": one.heading, "lines": list(one.lines)} for one in self.sections]
        return {
            "namespace": self.key.namespace,
            "name": self.key.name,
            "dialect": self.key.dialect,
            "state": self.state.value,
            "sections": sections,
        }


def explain(
    route: Route,
    raw: RawObject | None,
    dialect: Dialect,
    now: float,
    around: Surroundings | None = None,
    standby: Snapshot | None = None,
    size: ResizeSnapshot | None = None,
) -> Explanation:
    """Explain a sandbox at `now`; without the object itself (`raw`), as far as its route tells.

    `standby` is what a gateway knows of its use, `size` of its size; None: nobody has been asked.
    """
    case = Case(route, raw, dialect, now, around or Surroundings(), standby, size)
    parts = {
        "State": told_state(case),
        "A request now": told_request(case),
        "Wake on traffic": told_wake(case),
        "Waking it by hand": told_resumable(case),
        "Sleep": told_sleep(case),
        "Size": told_size(case),
        "Problems": (f"{one.field}: {one.message}" for one in route.problems),
        "Try it": told_example(case),
        "What to do": told_advice(case),
    }
    told = [Section(heading, tuple(lines)) for heading, lines in parts.items()]
    return Explanation(route.key, case.state, tuple(one for one in told if one.lines))
