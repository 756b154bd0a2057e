"""What a soak injected, what clients saw and what was lost: a table, and the same as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .plan import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .injector import Injection
    from .ledger import Ledger, Record
    from .timeline import Timeline


@dataclass(frozen=True, slots=True)
class Report:
    """One run. `memory`: medians (bytes) of its second and its last quarter."""

    seed: int
    seconds: float
    injections: Sequence[Injection]
    ledger: Ledger
    violations: Sequence[str]
    memory: tuple[float, float]
    wakes: int
    resizes: int
    timeline: Timeline

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each kind of fault. What met two faults is told of both."""
        return [self._row(fault) for fault in Fault]

    def _row(self, fault: Fault) -> dict[str, Any]:
        injected = [one for one in self.injections if one.fault is fault]
        grace = self.timeline.grace
        met = [
            record
            for record in self.ledger.odd
            if any(one.touches(record, grace) for one in injected)
        ]
        return {
            "fault": fault.value,
            "times": len(injected),
            "meanwhile": sum(self.ledger.right_between(one.begin, one.end) for one in injected),
            "seen": dict(Counter(map(_told, met)).most_common()),
            "lost": sum(not self.timeline.excuses(record) for record in met),
        }

    def markdown(self) -> str:
        summary = (
            f"Seed {self.seed}, {self.seconds:.0f} s: {self.ledger.right} requests answered right "
            f"({self.ledger.cold} after a wake, the slowest after {self.ledger.slowest:.1f} s), "
            f"{self.wakes} wakes by one write each, {self.resizes} resizes, "
            f"{len(self.violations)} violations. Memory of a gateway: "
            f"{self.memory[0] / 2**20:.1f} MiB in the second quarter, "
            f"{self.memory[1] / 2**20:.1f} MiB in the last."
        )
        lines = [
            summary,
            "",
            "| fault | times | answered right meanwhile | what clients saw | lost |",
            "| --- | --- | --- | --- | --- |",
        ]
        for row in self.rows():
            seen = ", ".join(f"{count} {what}" for what, count in row["seen"].items()) or "nothing"
            lines.append(
                f"| {row['fault']} | {row['times']} | {row['meanwhile']} | {seen} | {row['lost']} |"
            )
        lines += ["", *(f"- violation: {one}" for one in self.violations)]
        return "\n".join(lines)

    def write(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "soak.md").write_text(self.markdown() + "\n")
        whole = {
            "seed": self.seed,
            "seconds": self.seconds,
            "right": self.ledger.right,
            "cold": self.ledger.cold,
            "slowest": self.ledger.slowest,
            "wakes": self.wakes,
            "resizes": self.resizes,
            "memory": self.memory,
            "outcomes": self.ledger.summary(),
            "faults": self.rows(),
            "violations": list(self.violations),
        }
        (directory / "soak.json").write_text(json.dumps(whole, indent=2) + "\n")


def _told(record: Record) -> str:
    """Return what the client saw, as a report calls it."""
    if record.reason and record.status >= 400:
        return f"{record.status} {record.reason}"
    return record.outcome.value
