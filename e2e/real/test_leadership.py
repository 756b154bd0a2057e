"""Three replicas, one Lease of a real API server: whatever ends, halts or is cut off, one acts."""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from e2e.clusters import fresh_name
from e2e.real_api import RealApi
from e2e.waiting import until
from gateway.replicas.election import JITTER, REFUSED_PAUSE, ElectionConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.clusters import Cluster
    from e2e.programs import Program, Programs

PROGRAM: Final = Path(__file__).with_name("candidate.py")
CONFIG: Final = ElectionConfig(6.0)
#: What a busy machine may add to any wait, in seconds.
BUSY: Final = 10.0


class Act(NamedTuple):
    """Somebody acted, at a time of the machine's monotonic clock."""

    at: float
    identity: str
    term: int


@dataclass
class Candidates:
    """Replicas over one API, each under a name, and the record of their acts."""

    api: Cluster
    programs: Programs
    home: Path
    namespace: str = field(default_factory=lambda: fresh_name("leadership"))
    #: When none had begun yet.
    began: float = field(default_factory=time.monotonic)
    running: dict[str, Program] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api.kubectl("create", "namespace", self.namespace)

    @property
    def record(self) -> Path:
        return self.home / "acts"

    def kubectl(self, *arguments: str) -> str:
        return self.api.kubectl(f"--namespace={self.namespace}", *arguments)

    def lease(self) -> dict[str, Any]:
        """Return what stands in the Lease."""
        found = json.loads(self.kubectl("get", "lease", "leader", "--output=json"))
        spec: dict[str, Any] = found["spec"]
        return spec

    def start(self, *names: str, kubeconfig: Path | None = None) -> None:
        for name in names:
            where = str(kubeconfig or self.api.kubeconfig)
            about = (where, self.namespace, name, str(CONFIG.lease_duration), str(self.record))
            argv = [sys.executable, str(PROGRAM), *about]
            self.running[name] = self.programs.start(f"candidate-{name}", argv, self.home)

    def acts(self, since: float = 0.0) -> list[Act]:
        """Return all acts after that time, in the order of their times."""
        if not self.record.exists():
            return []
        # The last line may be half written.
        whole, _, _ = self.record.read_text().rpartition("\n")
        rows = (line.split() for line in whole.splitlines())
        made = (Act(float(at), identity, int(term)) for identity, term, at in rows)
        return sorted(one for one in made if one.at > since)

    def leader(self, since: float, other_than: str = "") -> Act:
        """Return the first act of anybody else since then, once there is one."""

        def first() -> Act | None:
            return next((one for one in self.acts(since) if one.identity != other_than), None)

        return until(first, "somebody leads")

    def wait_lost(self, leader: str) -> None:
        """Return once a leader has found that its right has ended."""
        until(
            lambda: "this replica leads no more" in self.running[leader].errors,
            f"{leader} leads no more",
        )

    def check(self) -> None:
        """Never two acted: no term begins before the one before it is over for good."""
        terms = [(one.identity, one.term) for one in self.acts()]
        changes = [terms[0], *(after for before, after in pairwise(terms) if before != after)]
        assert len(changes) == len(set(changes)), changes


@pytest.fixture
def candidates(api: Cluster, programs: Programs, home: Path) -> Iterator[Candidates]:
    """Three over the API of all tests, in a namespace where no replica has been before."""
    made = Candidates(api, programs, home)
    made.start("a", "b", "c")
    yield made
    made.check()
    for program in made.running.values():
        program.signal(signal.SIGCONT)
        program.end()
        assert "Traceback" not in program.errors


def wall_time(at: float) -> float:
    """Return what the wall clock shows at a time of the monotonic one."""
    return time.time() - time.monotonic() + at


def test_the_lease_says_who_leads_as_other_tools_read_it(candidates: Candidates) -> None:
    leader, began = candidates.leader(0.0), candidates.began
    assert leader.at - began > CONFIG.lease_duration, "who held it before may still have acted"
    spec = candidates.lease()
    assert spec.keys() == {
        "acquireTime",
        "holderIdentity",
        "leaseDurationSeconds",
        "leaseTransitions",
        "renewTime",
    }
    assert spec["holderIdentity"] == leader.identity
    assert spec["leaseTransitions"] == 1
    table = candidates.kubectl("get", "lease", "leader", "--no-headers").split()
    assert table[:2] == ["leader", leader.identity]
    until(lambda: candidates.lease()["renewTime"] > spec["renewTime"], "it is renewed")


def test_a_leader_that_is_killed_is_replaced_once_its_lease_has_run_out(
    candidates: Candidates,
) -> None:
    killed = candidates.leader(0.0).identity
    candidates.running[killed].kill()
    at = time.monotonic()
    renewed = datetime.fromisoformat(candidates.lease()["renewTime"]).timestamp()
    following = candidates.leader(at, other_than=killed)
    assert following.at - at < CONFIG.lease_duration + 2 * CONFIG.pause * (1 + JITTER) + BUSY
    # Its own clock is the machine's wall clock, and the Lease was seen no sooner than sent.
    assert wall_time(following.at) - renewed > CONFIG.lease_duration


def test_a_leader_that_ends_hands_over_without_waiting_for_its_lease(
    candidates: Candidates,
) -> None:
    ended = candidates.leader(0.0).identity
    assert candidates.running[ended].end() == 0
    last = [one for one in candidates.acts() if one.identity == ended][-1]
    following = candidates.leader(last.at, other_than=ended)
    assert following.at - last.at < CONFIG.lease_duration
    assert candidates.lease()["leaseTransitions"] == 2


def test_a_leader_that_was_stopped_never_acts_on_its_old_right(candidates: Candidates) -> None:
    stopped = candidates.leader(0.0).identity
    candidates.running[stopped].signal(signal.SIGSTOP)
    at = time.monotonic()
    following = candidates.leader(at, other_than=stopped)
    candidates.running[stopped].signal(signal.SIGCONT)
    candidates.wait_lost(stopped)
    until(
        lambda: candidates.acts(time.monotonic() - 1.0)[-1:] and candidates.acts(at + 10.0),
        "others act on",
    )
    assert {one.identity for one in candidates.acts(at + 0.1)} == {following.identity}


def test_a_leader_whose_lease_is_deleted_stops_before_anybody_else_acts(
    candidates: Candidates,
) -> None:
    leader = candidates.leader(0.0).identity
    candidates.kubectl("delete", "lease", "leader")
    at = time.monotonic()
    candidates.wait_lost(leader)
    following = candidates.leader(candidates.acts()[-1].at)
    assert following.at - at > CONFIG.lease_duration / 2


@pytest.mark.needs_own_api
def test_nobody_acts_without_the_api_and_one_does_when_it_is_back(
    programs: Programs, home: Path
) -> None:
    api = RealApi.not_yet_running(programs, home)
    api.start()
    candidates = Candidates(api, programs, home)
    candidates.start("a", "b", "c")
    leader = candidates.leader(0.0).identity
    api.kill()
    at = time.monotonic()
    candidates.wait_lost(leader)
    assert candidates.acts()[-1].at - at < CONFIG.right
    last, back = candidates.acts()[-1].at, time.monotonic()
    api.start()
    assert candidates.leader(last).at > back
    candidates.check()
    for program in candidates.running.values():
        assert program.end() == 0
        assert "Traceback" not in program.errors


def test_the_least_rights_do_and_without_them_it_steps_down_and_says_so_once(
    api: Cluster, programs: Programs, home: Path
) -> None:
    candidates = Candidates(api, programs, home)
    candidates.kubectl("create", "serviceaccount", "candidate")
    leases, one = "--resource=leases.coordination.k8s.io", "--resource-name=leader"
    candidates.kubectl("create", "role", "made", "--verb=create", leases)
    candidates.kubectl("create", "role", "kept", "--verb=get,patch", leases, one)
    account = f"--serviceaccount={candidates.namespace}:candidate"
    for role in ("made", "kept"):
        candidates.kubectl("create", "rolebinding", role, f"--role={role}", account)
    candidates.start("a", kubeconfig=api.kubeconfig_of("candidate", candidates.namespace))
    candidates.leader(0.0)

    candidates.kubectl("delete", "rolebinding", "kept")
    withdrawn = time.monotonic()
    candidates.wait_lost("a")
    program = candidates.running["a"]
    told = [one["message"] for one in program.records() if "cannot be had" in one["message"]]
    kinds = [message.split(": ")[1] for message in told]
    assert "AccessDenied" in kinds
    assert all(before != after for before, after in pairwise(kinds)), told

    last, restored = candidates.acts()[-1].at, time.monotonic()
    candidates.kubectl("create", "rolebinding", "kept", "--role=kept", account)
    again = candidates.leader(last)
    assert again.at > restored
    assert again.at - withdrawn < REFUSED_PAUSE * (1 + JITTER) + CONFIG.lease_duration + BUSY
    assert program.end() == 0
    assert candidates.lease()["holderIdentity"] == ""
