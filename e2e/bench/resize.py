"""Suite `resize`: a day of 1,000 sandboxes that are right-sized, in virtual time.

The same seed gives the same figures on every machine: nothing here is measured by a clock.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from e2e.bench import resize_plots
from e2e.bench.model import Suite
from e2e.bench.resize_day import Cluster, simulate
from e2e.bench.resize_figures import baselines, show_day, show_variants
from e2e.bench.resize_loads import GIB, KINDS
from e2e.bench.resize_sandbox import Variant
from e2e.bench.resize_tally import total
from e2e.bench.results import KEPT
from gateway.sandbox.quantities import MILLI
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from e2e.bench.model import Options
    from e2e.bench.resize_day import Outcome
    from e2e.bench.resize_loads import Life
    from e2e.bench.resize_tally import Tally

AS_IT_IS: Final = Variant("target 0.9 (default)")
OTHERS: Final = (
    Variant("target 0.9, without the load of five minutes", damped=False),
    Variant("target 0.9, CPU and memory each for itself", separate=True),
    Variant("target 0.7", load_target=0.7),
    Variant("target 1.1", load_target=1.1),
    Variant("target 0.9, wishes count for a minute", wished=60.0),
)
#: Other rules are tried on one node of so many: nodes have nothing to do with each other.
PART: Final = 12

ABOUT: Final = """\
{sandboxes:,} sandboxes, seeded, on {nodes} nodes of {cpu:g} CPUs and {memory:g} GiB, through a day
in virtual time: {kinds}. What decides is the gateway's own code: the agent's state machine, the
sizing, the permits, and the informant's load averages, its watch for what is lacking and its
consent to shrink. What it is put into is a model. All sandboxes run all day and begin at their
least size (0.25 CPU, 512 MiB); none is put to sleep. A node takes a second for a resize, and calls
take no time. CPU that is missing is lost and not made up for later. Memory grows by 64 MiB a second
at most; where more comes to be needed than there is, that is counted as an overrun (a kernel would
kill), and life goes on. A container at its CPU limit shows, as load, what it uses and the share of
time in which something waits, as the kernel's pressure does. One guest in 25 agrees to nothing for
two hours. Time goes by whole seconds; metrics are read every five, and readings that cannot change
anything are skipped, which changes no figure. Loads are invented: compare the rows, and do not take
the savings for a promise. All figures are the same on every machine, and for any `--rounds` and
`--seconds`."""


def run(options: Options) -> Suite:
    """Simulate the day, and other rules on a part of the nodes."""
    return measure(options.place, Cluster())


def measure(place: Path, cluster: Cluster) -> Suite:
    """Simulate; leave pictures in `place` to be kept."""
    suite = Suite("Right-sizing", _about(cluster))
    observed = _one_of_each_kind(cluster)
    _tell(AS_IT_IS, cluster.nodes)
    outcome = simulate(cluster, AS_IT_IS, cluster.nodes, {one.name for one in observed})
    show_day(suite, cluster, outcome, baselines(_lives(cluster, cluster.nodes)))
    suite.raw["day"] = _raw(outcome.tallies)
    _draw(place / KEPT, cluster, outcome, observed)

    part = max(cluster.nodes // PART, 1)
    lives = list(_lives(cluster, part))
    tried = {AS_IT_IS.name: {one.name: outcome.tallies[one.name] for one in lives}}
    for variant in OTHERS:
        _tell(variant, part)
        tried[variant.name] = simulate(cluster, variant, part).tallies
    show_variants(suite, tried, baselines(lives), part)
    suite.raw["part"] = {name: _raw(tallies) for name, tallies in tried.items()}
    return suite


def _about(cluster: Cluster) -> str:
    shares = "; ".join(f"{kind.about} ({kind.share:.0%})" for kind in KINDS.values())
    return ABOUT.format(
        sandboxes=cluster.sandboxes,
        nodes=cluster.nodes,
        cpu=cluster.node.cpu / MILLI,
        memory=cluster.node.memory / GIB,
        kinds=shares,
    )


def _lives(cluster: Cluster, nodes: int) -> Iterator[Life]:
    return (one for number in range(nodes) for one in cluster.lives(number))


def _one_of_each_kind(cluster: Cluster) -> list[Life]:
    found: dict[str, Life] = {}
    for one in _lives(cluster, cluster.nodes):
        found.setdefault(one.kind, one)
        if len(found) == len(KINDS):
            break
    return [found[kind] for kind in KINDS if kind in found]


def _tell(variant: Variant, nodes: int) -> None:
    print(f"resize: {nodes} nodes, {variant.name}", file=sys.stderr)


def _raw(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    return {
        "total": asdict(total(tallies.values())),
        "resizes": {name: one.resizes for name, one in tallies.items()},
    }


def _draw(kept: Path, cluster: Cluster, outcome: Outcome, observed: Sequence[Life]) -> None:
    kept.mkdir(parents=True)
    maxima = [KINDS[one.partition("-")[0]].high for one in outcome.tallies]
    most = Size(sum(one.cpu for one in maxima), sum(one.memory for one in maxima))
    room = Size(cluster.node.cpu * cluster.nodes, cluster.node.memory * cluster.nodes)
    resize_plots.draw_sum(outcome.curve, most, room, kept / "all-sandboxes.png")
    resize_plots.draw_singles(observed, outcome.moments, kept / "single-sandboxes.png")
