"""Why a sandbox is awake: the first rule that matches decides, and says until when."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.sandbox.standby import DISABLED, StandbyPolicy
from gateway.standby.verdict import Reason, Seen, Status, Verdict, judge

NOW = 1_000_000.0
POLICY = StandbyPolicy(enabled=True, idle_timeout=300.0)
#: Idle for long: nothing forbids that it sleeps.
READY = Seen(POLICY, running=True, idle_since=NOW - 300.0)

#: From the rule that is asked first to the last: what makes it match, and what it says.
RULES: list[tuple[dict[str, Any], Status, Reason, float | None]] = [
    ({"supported": False}, Status.UNSUPPORTED, Reason.UNSUPPORTED_PLATFORM, None),
    ({"policy": None}, Status.DISABLED, Reason.POLICY_MISSING, None),
    ({"policy": DISABLED}, Status.DISABLED, Reason.POLICY_DISABLED, None),
    ({"always_on": True}, Status.INELIGIBLE, Reason.ALWAYS_ON, None),
    ({"running": False}, Status.INELIGIBLE, Reason.NOT_RUNNING, None),
    ({"address": False}, Status.INELIGIBLE, Reason.MISSING_IP, None),
    ({"pinned": True}, Status.HELD, Reason.PINNED, None),
    ({"hold_until": NOW + 7}, Status.HELD, Reason.LEASED, NOW + 7),
    ({"requested": True}, Status.STANDBY_REQUESTED, Reason.READY, None),
    ({"observer_error": True}, Status.ERROR, Reason.OBSERVER_ERROR, None),
    ({"active": 1}, Status.ACTIVE, Reason.ACTIVE_CONNECTIONS, None),
    ({"idle_since": NOW - 299}, Status.IDLE_COUNTDOWN, Reason.NOT_ELAPSED, NOW + 1),
    ({"ran_since": NOW - 50, "min_uptime": 60.0}, Status.INELIGIBLE, Reason.MIN_UPTIME, NOW + 10),
]


@pytest.mark.parametrize("first", range(len(RULES)))
def test_the_first_rule_that_matches_decides(first: int) -> None:
    seen = READY
    for changes, *_ in reversed(RULES[first:]):
        seen = replace(seen, **changes)
    _, status, reason, until = RULES[first]
    assert judge(seen, NOW) == Verdict(status, reason, until)


@pytest.mark.parametrize(("changes", "status", "reason", "until"), RULES)
def test_each_rule_alone_forbids(
    changes: dict[str, Any], status: Status, reason: Reason, until: float | None
) -> None:
    assert judge(replace(READY, **changes), NOW) == Verdict(status, reason, until)


def test_what_nothing_forbids_may_sleep_at_the_very_moment() -> None:
    assert judge(READY, NOW) == Verdict(Status.READY_FOR_STANDBY, Reason.READY)


def test_a_lease_ends_at_its_time() -> None:
    assert judge(replace(READY, hold_until=NOW), NOW).status is Status.READY_FOR_STANDBY
