"""The throughput suite: the gateway beside five other proxies, under nine loads.

Each proxy has the proxies' core to itself while it is under load; wrk and the upstream have the
other. Rounds alternate and begin with another proxy each time, so that what else the machine does
hits all alike; what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import resource
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from e2e.bench import comparison
from e2e.bench.comparison import BUSY, Result
from e2e.bench.loads import LOADS, measure
from e2e.bench.model import Suite
from e2e.bench.proxies import (
    ENVOY,
    GATEWAY,
    GATEWAY_LOGGING,
    NAMES,
    start_proxies,
    start_upstreams,
)
from e2e.bench.stage import LoadFailed, Stage, StageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.bench.loads import Load, Sample
    from e2e.bench.model import Options
    from e2e.bench.proxies import Proxy, Upstreams

_ABOUT: Final = f"""\
The gateway (as it comes; `auth_mode` none) beside other proxies. Each has one thread or process
on one core; load and upstreams share another. All route by the header `e2b-sandbox-id`, keep
connections alive on both sides, stream bodies, add `X-Forwarded-For` and `-Proto`, pass WebSockets
on and, but for `{GATEWAY_LOGGING}`, write no access log. The load is wrk (latencies as wrk tells
them, from the first byte of a request) and nginx answers; 1 MiB uploads are taken whole by a small
server of our own before it answers, and WebSocket messages (125 bytes, one at a time on each
connection) are sent, echoed and compared by programs of our own. Where each request has a new
connection, that is the client's; only Node's http-proxy passes `Connection: close` on and so
connects anew to the upstream too. One failed request voids a proxy's figures of that load.
CPU is the proxy's, user and kernel. A proxy that was less than {BUSY:.0%} busy under many
connections was not what limited the throughput (marked so): compare its CPU instead. Ratios are
taken within each round, and their median counts: it is not the ratio of two medians. Goals are
judged by the rounds in which both had their core to themselves, if there were any."""

#: Without these there is nothing to compare: their failures end the suite.
_ESSENTIAL: Final = frozenset({GATEWAY, GATEWAY_LOGGING, ENVOY})
#: How long each proxy is under a load before it is measured, in seconds.
_WARM_UP: Final = 1


def run(options: Options) -> Suite:
    """Compare all proxies under all loads. Raises StageError or LoadFailed."""
    return run_loads(options, LOADS, NAMES)


def run_loads(options: Options, loads: Sequence[Load], proxies: Sequence[str]) -> Suite:
    """Compare these proxies, by their names, under these loads."""
    _require("wrk", "nginx", "taskset")
    _allow_open_files()
    suite = Suite("throughput", _ABOUT)
    results = []
    with Stage(options.place) as stage:
        upstreams = start_upstreams(stage)
        started, suite.missing = start_proxies(stage, upstreams, proxies)
        for load in loads:
            samples, failures = _rounds(load, started, upstreams, options)
            suite.missing += failures
            results.append(Result(load, samples))
    names = [proxy.name for proxy in started]
    suite.tables = comparison.tables(results, names)
    suite.bars = comparison.bars(results, names)
    suite.goals = comparison.goals(results)
    suite.raw = {
        result.load.name: {
            name: [asdict(one) for one in some] for name, some in result.samples.items()
        }
        for result in results
    }
    return suite


def _rounds(
    load: Load, proxies: Sequence[Proxy], upstreams: Upstreams, options: Options
) -> tuple[dict[str, list[Sample]], list[str]]:
    """Return each proxy's samples, one of each round, and what failed in words.

    A rival that fails once has no samples. Raises LoadFailed if any other proxy fails.
    """
    samples: dict[str, list[Sample]] = {proxy.name: [] for proxy in proxies}
    failures = []
    for turn in range(-1, options.rounds):  # the one before the first is to warm up
        for proxy in _rotated(proxies, turn):
            if proxy.name not in samples:
                continue
            try:
                sample = measure(load, proxy, upstreams, _WARM_UP if turn < 0 else options.seconds)
            except LoadFailed as error:
                why = f"{proxy.name}, {load.name}: {error}"
                if proxy.name in _ESSENTIAL:
                    raise LoadFailed(why) from error
                failures.append(why)
                del samples[proxy.name]
                continue
            if turn >= 0:
                samples[proxy.name].append(sample)
        print(f"throughput: {load.name}: {turn + 1} of {options.rounds}", file=sys.stderr)
    return samples, failures


def _rotated(proxies: Sequence[Proxy], turn: int) -> list[Proxy]:
    first = turn % len(proxies)
    return [*proxies[first:], *proxies[:first]]


def _require(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise StageError(f"not installed: {', '.join(missing)} (Debian: apt install wrk nginx)")


def _allow_open_files() -> None:
    """Let what is started here have as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
