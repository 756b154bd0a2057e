"""A day of a cluster's sandboxes in virtual time. The same seed is the same day.

Sandboxes share nothing but their node, so one node after the other is simulated.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.bench.resize_loads import DAY, GIB, life
from e2e.bench.resize_node import Node
from e2e.bench.resize_sandbox import Sandbox
from e2e.bench.resize_tally import Curve
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from e2e.bench.resize_loads import Life
    from e2e.bench.resize_sandbox import Moment, Variant
    from e2e.bench.resize_tally import Tally

#: What pods may have of one node.
NODE: Final = Size(24_000, 64 * GIB)


@dataclass(frozen=True, slots=True)
class Cluster:
    """How many sandboxes, on how many nodes, for how long."""

    seed: int = 8
    sandboxes: int = 1_000
    nodes: int = 50
    node: Size = NODE
    seconds: int = DAY

    def lives(self, node: int) -> Iterator[Life]:
        """Yield the sandboxes of one node, which do not depend on the rules that are tried."""
        for number in range(node, self.sandboxes, self.nodes):
            yield life(self.seed, number, self.seconds)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: a tally of each sandbox, the sums over time, and the most of each node.

    `moments`: all that some of the sandboxes went through, by name.
    """

    tallies: dict[str, Tally]
    curve: Curve
    fullest: list[Size]
    moments: dict[str, list[Moment]]


def simulate(
    cluster: Cluster, variant: Variant, nodes: int, observed: Collection[str] = ()
) -> Outcome:
    """Go through the day of the first so many nodes."""
    outcome = Outcome({}, Curve.over(cluster.seconds), [], {})
    for number in range(nodes):
        node = Node(f"node-{number}", cluster.node)
        sandboxes = [
            Sandbox(one, node, variant, outcome.curve, observed=one.name in observed)
            for one in cluster.lives(number)
        ]
        _run(sandboxes, cluster.seconds)
        outcome.fullest.append(node.most)
        for one in sandboxes:
            outcome.tallies[one.life.name] = one.tally
            if one.moments is not None:
                outcome.moments[one.life.name] = one.moments
    return outcome


def _run(sandboxes: Sequence[Sandbox], seconds: int) -> None:
    due = [(0, number) for number in range(len(sandboxes))]
    while due[0][0] < seconds:
        now, number = due[0]
        sandbox = sandboxes[number]
        sandbox.step(now)
        assert sandbox.due > now, "time goes on"
        heapq.heapreplace(due, (sandbox.due, number))
    for sandbox in sandboxes:
        sandbox.end(seconds)
