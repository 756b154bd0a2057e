"""Waking: how much later than a bare event loop a request comes through, and what waiting costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from e2e.bench import wake_figures, wake_latency, wake_release
from e2e.bench.model import Suite
from e2e.bench.stage import StageError
from e2e.bench.wake_bare import DIALS
from e2e.bench.wake_rig import RigError
from e2e.bench.wake_stage import room_for_crowds

if TYPE_CHECKING:
    from e2e.bench.model import Options
    from e2e.bench.wake_latency import Latencies
    from e2e.bench.wake_release import Releases

#: Wakes of each subject in a round, for each second that a load would have.
WAKES_PER_SECOND: Final = 50
CROWDS: Final = (1_000, 10_000)

#: Paragraphs.
ABOUT: Final = (
    (
        "A scripted Kubernetes API with one native Sandbox, and the sandbox's server, are one "
        "process on the load's core. It takes the time right before it writes the Running event "
        "to the watch, and when it has read the first byte of the request at the server; in "
        "between it polls and never sleeps. What it adds is the same for all. Each Running has a "
        "new podUID, so that every connection is new, and comes when all has been quiet for a "
        "few milliseconds."
    ),
    (
        "The gateway is woken by a client's request. The bare loops (asyncio's own; and uvloop, "
        "which the gateway uses too: goals are held to it) get the same events on the same core, "
        "decode each with orjson, connect, and send a request head."
    ),
    (
        "Crowds: each client has a connection and one request, which waits. The clock stops when "
        "the last request is whole at the server, which answers each at once; clients read after "
        "that. Bare loops on uvloop: one opens a connection for each request (the goal is held "
        "to it), {dials} at a time; the other opens as many as the gateway did, and uses them "
        "again."
    ),
    (
        "Memory is the resident memory of the gateway's process before any client connects, with "
        "all of them connected, and with all waiting; what the kernel holds for sockets is not "
        "in it."
    ),
    (
        "The gateway's limits on waiters and on patches are raised above what is needed. A "
        "process may have {descriptors} files open."
    ),
)


def run(options: Options) -> Suite:
    """Measure; what fails is named in `missing` and has no figure."""
    with room_for_crowds() as descriptors:
        about = "\n\n".join(ABOUT).format(dials=DIALS, descriptors=descriptors)
        suite = Suite("Wake", about)
        latencies = _latencies(suite, options)
        tried = [_releases(suite, options, crowd, descriptors) for crowd in CROWDS]
    releases = [one for one in tried if one is not None]
    wake_figures.show_latencies(suite, latencies)
    wake_figures.show_releases(suite, releases)
    wake_figures.show_memory(suite, [one.memory for one in releases])
    return suite


def _latencies(suite: Suite, options: Options) -> dict[str, Latencies] | None:
    samples = WAKES_PER_SECOND * options.seconds
    try:
        taken = wake_latency.measure(options.place / "latency", options.rounds, samples)
    except (RigError, StageError) as error:
        suite.missing.append(f"Added latency of a wake: {error}")
        return None
    suite.raw["latency_seconds"] = {name: one.rounds for name, one in taken.items()}
    return taken


def _releases(suite: Suite, options: Options, crowd: int, descriptors: int) -> Releases | None:
    place = options.place / f"crowd-{crowd}"
    try:
        taken = wake_release.measure(place, crowd, options.rounds, descriptors)
    except (RigError, StageError) as error:
        suite.missing.append(f"A crowd of {crowd:,}: {error}")
        return None
    suite.raw[f"crowd_{crowd}"] = asdict(taken)
    return taken
