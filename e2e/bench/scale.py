"""The scale suite: what a hundred thousand sandboxes cost a gateway."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from e2e.bench import scale_busy, scale_list, scale_report, scale_wrk
from e2e.bench.model import Suite
from e2e.bench.scale_busy import CHANGES, Rig
from e2e.bench.scale_collection import FIRST_VERSION
from e2e.bench.scale_objects import REACHABLE, id_of, render, template
from e2e.bench.scale_report import Lists
from e2e.bench.scale_stage import Traffic, start_api
from e2e.bench.scale_traffic import LOAD_RATE
from e2e.bench.scale_wrk import Wrk
from e2e.bench.stage import PROXY_CORE, Stage

if TYPE_CHECKING:
    from e2e.bench.model import Options
    from e2e.bench.scale_stage import ManyApi

ROUTES: Final = 100_000
FEW: Final = 10
#: Rounds of what takes long, at most.
MOST_ROUNDS: Final = 3

ABOUT: Final = f"""\
`serve` (access log off, no credentials asked for) on the proxies' core, in front of an API that \
has {ROUTES:,} running native Sandboxes of about 2 KB, or {FEW}. The API, the load and the \
upstream, an nginx, share the other core. The API keeps all pages encoded and sends them from \
memory. Memory: the resident memory of `serve`, one second after its list, with {ROUTES:,} less \
that with {FEW}, by route; beside it the sizes of all objects that a registry holds. First list: \
from its first page sent until the reader opens the watch, by the API's clock; the bare loop \
reads the same pages with the same HTTP client, buffers, event loop and allocator settings, and \
decodes them with orjson; the gateway's processor time is that of its whole start less that of one \
with {FEW} routes. Throughput: two gateways at a time on the one core, loaded in turn, by the same \
requests to the same {FEW} sandboxes, so that they differ in their number of routes alone; a \
second load goes to {REACHABLE:,} sandboxes of the large one, which also means more connections \
to the upstream. Serving: requests to the same {FEW} fall due {LOAD_RATE:,} times a second, \
whatever the answers before do, and latencies count from then. Loop lag is the latency of a \
probe, due every 5 ms, of the admin listener's /healthz, which runs on the same loop: it contains \
the answer itself and the lateness of the sender. Events change a heartbeat and the \
resourceVersion of objects all over the list. Latencies are medians of the rounds, worst is that \
of all. Relist: {CHANGES:,} sandboxes were put to sleep without a word to the watch, which then \
ends by 410; the gateway has them once it watches again from the list's version, and is asked for \
three of them. Up to 250 ms of that are the random wait before a list.\
"""


def run(options: Options) -> Suite:
    """Measure; raise LoadFailed or StageError where something does not go as it has to."""
    suite = Suite("Scale", ABOUT)
    if shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        suite.missing.append("everything: needs taskset and two cores")
        return suite
    with Stage(options.place / "apis") as stage:
        # It measures no time, so it may run while the API makes its objects.
        argv = [sys.executable, "-m", "e2e.bench.scale_registry", str(ROUTES)]
        held = stage.start("registry", argv, PROXY_CORE)
        few, many = start_api(stage, FEW), start_api(stage, ROUTES)
        stage.until(lambda: held.exit_status == 0, held)
        rounds = scale_list.measure(options.place, few, many, min(options.rounds, MOST_ROUNDS))
        object_bytes = len(render(template(0), FIRST_VERSION))
        _show(suite, Lists(FEW, ROUTES, rounds, int(held.output), object_bytes))
        if shutil.which("nginx") is None:
            suite.missing.append("throughput, events and relist: nginx is not installed")
        else:
            _serve(suite, options, few, many)
    return suite


def _show(suite: Suite, lists: Lists) -> None:
    suite.raw["lists"] = asdict(lists)
    scale_report.show_memory(suite, lists)
    scale_report.show_lists(suite, lists)


def _serve(suite: Suite, options: Options, few: ManyApi, many: ManyApi) -> None:
    """Measure what needs an upstream."""
    ids = [id_of(number) for number in range(FEW)]
    with Stage(options.place / "serving") as stage:
        upstream = stage.upstream()
        large = stage.gateway(many.kubeconfig)
        if shutil.which("wrk") is None:
            suite.missing.append("throughput: wrk is not installed")
        else:
            wrk = Wrk(upstream, options.seconds)
            with Stage(options.place / "few") as other:
                small = other.gateway(few.kubeconfig)
                rates = scale_wrk.measure(wrk, small, large, FEW, options.rounds)
            suite.raw["rates"] = [asdict(one) for one in rates]
            scale_report.show_rates(suite, rates, FEW, ROUTES)
        rig = Rig(many, large, lambda: Traffic(stage, large, upstream, ids))
        streams = scale_busy.measure_streams(rig, options.rounds, options.seconds)
        relists = scale_busy.measure_relists(rig, min(options.rounds, MOST_ROUNDS))
    suite.raw["streams"] = asdict(streams)
    suite.raw["relists"] = [asdict(one) for one in relists]
    scale_report.show_busy(suite, streams, relists)
