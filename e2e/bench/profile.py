"""Where the microseconds of a request go: samples of the gateway under load, and a flame graph."""

from __future__ import annotations

import math
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.bench.flame import svg
from e2e.bench.loads import GET_64, told_in
from e2e.bench.model import Bars, Suite, Table
from e2e.bench.results import KEPT
from e2e.bench.stacks import GATEWAY, KERNEL, PARTS, Owner, Stack, by_owner, owner, parsed
from e2e.bench.stage import LOAD_CORE, PATIENCE, Stage, StageError

if TYPE_CHECKING:
    from collections import Counter

    from e2e.bench.model import Options
    from e2e.gateways import Gateway
    from e2e.programs import Program

#: Samples a second. A prime: no timer of the system beats with it. Each sample holds the gateway
#: for a millisecond or two, so that more would show a program that mostly starts again.
_RATE: Final = 199
#: How much longer than the sampler the load lasts, in seconds: it may be slow to start and to end.
_MARGIN: Final = 5
#: Below so many samples the shares say nothing.
_FEWEST: Final = 100
#: Modules of the gateway that the table names; the rest are added up.
_NAMED: Final = 15

_ABOUT: Final = f"""\
Under the load "{GET_64.name}", access log off. First the processor time of a request is
taken without a profiler, as the kernel accounts for it: the median of the rounds, user and kernel
apart. Then py-spy takes {_RATE} samples a second of what the gateway's event loop
is at, native frames too. The samples in system calls share out the kernel's time, the others the
rest. A part's time includes what the interpreter and the C library do for it; ± is the standard
error of sampling."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request costs, in microseconds of processor time; the kernel's is part of it."""

    whole: float
    kernel: float


@dataclass(frozen=True, slots=True)
class Shares:
    """Samples as microseconds of a request.

    How much is the kernel's is not taken from the samples: for each the process is held, which
    changes what it does next.
    """

    cost: Cost
    found: Counter[Owner]

    def time(self, owner: Owner, samples: int) -> float:
        """Return the microseconds of so many of this owner's samples."""
        of_kernel = self._in_kernel
        if not of_kernel:  # without native frames system calls look like their callers
            return samples / self.found.total() * self.cost.whole
        if owner.part == KERNEL:
            return samples / of_kernel * self.cost.kernel
        of_rest = self.found.total() - of_kernel
        return samples / of_rest * (self.cost.whole - self.cost.kernel)

    def time_of(self, owner: Owner) -> float:
        """Return the microseconds of all of this owner's samples."""
        return self.time(owner, self.found[owner])

    @property
    def kernel_by_samples(self) -> float:
        """Return the part of the samples that were in system calls."""
        return self._in_kernel / self.found.total()

    @property
    def _in_kernel(self) -> int:
        return sum(count for owner, count in self.found.items() if owner.part == KERNEL)


def run(options: Options) -> Suite:
    """Measure the cost, then take samples under the same load."""
    suite = Suite("profile", _ABOUT)
    if shutil.which("wrk") is None:
        suite.missing.append("profile: wrk is not installed")
        return suite
    with Stage(options.place / "stage") as stage:
        upstream = stage.upstream()
        gateway = stage.gateway(stage.api(GET_64.sandbox))
        load = _Load(stage, gateway, upstream)
        load.requests(1)  # the interpreter adapts, pools fill
        costs = []
        for turn in range(options.rounds):
            costs.append(_cost(load, gateway.program, options.seconds))
            print(f"profile: round {turn + 1} of {options.rounds}", file=sys.stderr)
        cost = Cost(
            statistics.median(one.whole for one in costs),
            statistics.median(one.kernel for one in costs),
        )
        print("profile: sampling", file=sys.stderr)
        stacks = _sampled(stage, load, gateway, options.rounds * options.seconds, suite)
    suite.tables.append(_cost_table(costs))
    suite.raw["whole_us"] = [one.whole for one in costs]
    suite.raw["kernel_us"] = [one.kernel for one in costs]
    if stacks:
        shares = Shares(cost, by_owner(stacks))
        _fill(suite, shares)
        kept = options.place / KEPT
        kept.mkdir()
        title = f"One request, {cost.whole:.0f} µs: {GET_64.name}"
        timed = [(one.frames, shares.time(owner(one.frames), one.samples)) for one in stacks]
        (kept / "flame.svg").write_text(svg(timed, title), encoding="utf-8")
    return suite


class _Load:
    """wrk with the throughput suite's load, as often as it is wanted."""

    def __init__(self, stage: Stage, gateway: Gateway, upstream: int) -> None:
        self._stage = stage
        self._ports = (gateway.data_port, upstream)

    def start(self, seconds: int) -> Program:
        return self._stage.start("wrk", GET_64.argv(*self._ports, seconds), LOAD_CORE)

    def requests(self, seconds: int) -> int:
        """Load for so long; return how many requests were answered."""
        wrk = self.start(seconds)
        wrk.wait(seconds + PATIENCE)
        return int(told_in(wrk.output)["requests"])


def _cost(load: _Load, gateway: Program, seconds: int) -> Cost:
    whole, kernel = gateway.cpu_seconds, gateway.kernel_seconds
    requests = load.requests(seconds)
    whole, kernel = gateway.cpu_seconds - whole, gateway.kernel_seconds - kernel
    return Cost(whole / requests * 1e6, kernel / requests * 1e6)


# ---- sampling


def _sampled(
    stage: Stage, load: _Load, gateway: Gateway, seconds: int, suite: Suite
) -> list[Stack]:
    """Return the stacks under load; none, and why in `missing`, where they cannot be had."""
    py_spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if py_spy is None:
        suite.missing.append("shares and flame graph: py-spy is not installed")
        return []
    for native in (["--native"], []):
        wrk = load.start(seconds + _MARGIN)
        file = stage.place / f"stacks{len(native)}"
        argv = [py_spy, "record", *native, "--format", "raw", "--output", str(file)]
        argv += f"--rate {_RATE} --duration {seconds} --pid {gateway.program.pid}".split()
        sampler = stage.start("py-spy", argv, LOAD_CORE)
        status = sampler.wait(seconds + PATIENCE)
        told = suite.raw["sampler"] = sampler.output + sampler.errors
        if status == 0:
            wrk.wait(_MARGIN + PATIENCE)
            told_in(wrk.output)
            return _enough(list(parsed(file.read_text().splitlines())), told, suite)
        wrk.end()
        what = "native frames, so that C and the kernel count as the Python that calls them"
        suite.missing.append(f"{what if native else 'shares and flame graph'}: {_last_line(told)}")
    return []


def _enough(stacks: list[Stack], told: str, suite: Suite) -> list[Stack]:
    samples = sum(stack.samples for stack in stacks)
    if samples < _FEWEST:
        raise StageError(f"only {samples} samples of the loop:\n{told}")
    if "behind in sampling" in told:
        suite.missing.append("evenly spaced samples: py-spy fell behind its rate")
    return stacks


def _last_line(told: str) -> str:
    return next((line for line in reversed(told.splitlines()) if line.strip()), "no reason given")


# ---- what it shows


def _fill(suite: Suite, shares: Shares) -> None:
    own = {part: [one for one in shares.found if one.part == part] for part in PARTS}
    times = {part: sum(map(shares.time_of, owners)) for part, owners in own.items() if owners}
    title, columns = "Processor time of a request by part", ("µs per request", "±", "share")
    suite.tables.append(Table(title, ("part", *columns), _by_part(times, shares)))
    for part, what in ((KERNEL, "call"), (GATEWAY, "module")):
        if own[part]:
            rows = _within(own[part], shares)
            suite.tables.append(Table(f"Within {part}", (what, *columns), rows))
    suite.bars.append(Bars(title, "µs per request", (*times,), {"gateway": [*times.values()]}))
    suite.raw["kernel_share_of_samples"] = shares.kernel_by_samples
    suite.raw["samples"] = {
        f"{owner.part}: {owner.detail}": count for owner, count in shares.found.most_common()
    }


def _cost_table(costs: list[Cost]) -> Table:
    kinds = {
        "user": [one.whole - one.kernel for one in costs],
        "kernel": [one.kernel for one in costs],
        "both": [one.whole for one in costs],
    }
    rows: list[tuple[str, ...]]
    rows = [
        (kind, f"{statistics.median(seen):.1f}", f"{min(seen):.1f} to {max(seen):.1f}")
        for kind, seen in kinds.items()
    ]
    columns = ("of", "µs per request", "rounds")
    return Table("Processor time of a request, without a profiler", columns, rows)


def _by_part(times: dict[str, float], shares: Shares) -> list[tuple[str, ...]]:
    rows = []
    for part, time in times.items():
        spent, error, share = _figures(time, shares)
        # The kernel's time as a whole is accounted, not sampled.
        rows.append((part, spent, "" if part == KERNEL else error, share))
    whole, samples = shares.cost.whole, shares.found.total()
    return [*rows, ("all", f"{whole:.1f}", "", f"{samples:,} samples")]


def _within(owners: list[Owner], shares: Shares) -> list[tuple[str, ...]]:
    longest = sorted(owners, key=shares.time_of, reverse=True)
    rows: list[tuple[str, ...]]
    rows = [(one.detail, *_figures(shares.time_of(one), shares)) for one in longest[:_NAMED]]
    if rest := longest[_NAMED:]:
        rows.append((f"others ({len(rest)})", *_figures(sum(map(shares.time_of, rest)), shares)))
    return rows


def _figures(time: float, shares: Shares) -> tuple[str, str, str]:
    share = time / shares.cost.whole
    error = math.sqrt(share * (1 - share) / shares.found.total())
    return f"{time:.1f}", f"{error * shares.cost.whole:.1f}", _percent(share)


def _percent(part: float) -> str:
    return f"{part * 100:.1f} %"
