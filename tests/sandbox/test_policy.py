"""What becomes of a request in each state and policy, and which requests wake nothing."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.errors import SandboxBlocked, SandboxDead, SandboxNotWakeable
from gateway.sandbox.model import State, WakePolicy
from gateway.sandbox.policy import TABLE, NeverCount, NeverWake, Outcome, Verdict, outcome

from .routes import make_route

#: state → (wake on, wake off), as the contract has it.
CONTRACT: dict[State, tuple[Outcome, Outcome]] = {
    State.RUNNING: (Verdict.FORWARD, Verdict.FORWARD),
    State.PAUSED: (Verdict.WAKE, SandboxNotWakeable),
    State.PAUSING: (Verdict.WAKE, SandboxNotWakeable),
    State.CREATING: (Verdict.WAIT, Verdict.WAIT),
    State.RESUMING: (Verdict.WAIT, Verdict.WAIT),
    State.BLOCKED: (SandboxBlocked, SandboxBlocked),
    State.DEAD: (SandboxDead, SandboxDead),
}


@pytest.mark.parametrize(("state", "wake"), list(product(State, (True, False))))
def test_every_state_and_policy_has_the_outcome_of_the_contract(state: State, wake: bool) -> None:
    route = make_route(state=state, wake=WakePolicy(enabled=wake))
    assert outcome(route, now=0.0) is CONTRACT[state][0 if wake else 1]


def test_the_table_is_exhaustive_and_holds_nothing_else() -> None:
    assert set(TABLE) == set(product(State, (True, False)))


@pytest.mark.parametrize(("state", "wake"), list(product(State, (True, False))))
def test_what_has_expired_is_dead_whatever_else_it_was(state: State, wake: bool) -> None:
    route = make_route(state=state, wake=WakePolicy(enabled=wake), expires_at=10.0)
    assert outcome(route, now=10.0) is SandboxDead
    assert outcome(route, now=9.999) is CONTRACT[state][0 if wake else 1]


@given(st.sampled_from(State), st.floats(0, 1e10), st.none() | st.floats(0, 1e10))
def test_a_sandbox_that_traffic_may_not_wake_is_never_woken(
    state: State, now: float, expires_at: float | None
) -> None:
    assert outcome(make_route(state=state, expires_at=expires_at), now) is not Verdict.WAKE


def test_by_default_only_speculative_loads_wake_nothing() -> None:
    rules = NeverWake()
    assert rules.applies(b"GET", b"/", [(b"Sec-Purpose", b"prefetch;prerender")], upgrade=False)
    assert not rules.applies(b"HEAD", b"/health", [(b"User-Agent", b"bot")], upgrade=True)


@pytest.mark.parametrize(
    ("rules", "method", "path", "headers", "upgrade", "applies"),
    [
        (NeverWake(methods=frozenset({b"HEAD"})), b"HEAD", b"/", [], False, True),
        (NeverWake(methods=frozenset({b"HEAD"})), b"GET", b"/", [], False, False),
        (NeverWake(methods=frozenset({b"HEAD"})), b"head", b"/", [], False, False),
        (NeverWake(upgrades=True), b"GET", b"/", [], True, True),
        (NeverWake(upgrades=True), b"GET", b"/", [], False, False),
        (NeverWake(upgrades=False), b"GET", b"/", [], True, False),
        (NeverWake(path_prefixes=(b"/a", b"/b")), b"GET", b"/b/c", [], False, True),
        (NeverWake(path_prefixes=(b"/a",)), b"GET", b"/A", [], False, False),
        (NeverWake(path_prefixes=(b"/a",)), b"GET", b"/x/a", [], False, False),
        (NeverWake(), b"GET", b"/", [(b"SEC-PURPOSE", b"PREFETCH")], False, True),
        (NeverWake(), b"GET", b"/", [(b"sec-purpose", b"speculation")], False, False),
        (NeverWake(), b"GET", b"/", [(b"x-purpose", b"prefetch")], False, False),
        (NeverWake(prefetch=False), b"GET", b"/", [(b"sec-purpose", b"prefetch")], False, False),
        (NeverWake(user_agents=(b"Bot",)), b"GET", b"/", [(b"user-agent", b"xBOTx")], False, True),
        (NeverWake(user_agents=(b"x", b"bo")), b"GET", b"", [(b"User-Agent", b"bot")], False, True),
        (NeverWake(user_agents=(b"bot",)), b"GET", b"/", [(b"user-agent", b"curl")], False, False),
        (NeverWake(user_agents=(b"bot",)), b"GET", b"/", [(b"x-agent", b"bot")], False, False),
        (NeverWake(user_agents=(b"fetch",)), b"GET", b"/", [(b"host", b"prefetch")], False, False),
        (
            NeverWake(user_agents=(b"bot",)),
            b"GET",
            b"/",
            [(b"accept", b"*/*"), (b"user-agent", b"curl"), (b"user-agent", b"bot")],
            False,
            True,
        ),
    ],
)  # fmt: skip
def test_each_never_wake_rule_applies_to_what_it_names_and_to_nothing_else(
    rules: NeverWake,
    method: bytes,
    path: bytes,
    headers: list[tuple[bytes, bytes]],
    upgrade: bool,
    applies: bool,
) -> None:
    assert rules.applies(method, path, headers, upgrade) is applies


def test_rules_add_up_and_any_one_is_enough() -> None:
    rules = NeverWake(frozenset({b"HEAD"}), (b"/health",), (b"kube-probe",), upgrades=True)
    agent = [(b"user-agent", b"kube-probe/1.36")]
    assert rules.applies(b"HEAD", b"/", [], upgrade=False)
    assert rules.applies(b"GET", b"/healthz", [], upgrade=False)
    assert rules.applies(b"GET", b"/", agent, upgrade=False)
    assert rules.applies(b"GET", b"/", [], upgrade=True)
    assert not rules.applies(b"GET", b"/", [], upgrade=False)


def test_by_default_everything_counts_as_use() -> None:
    rules = NeverCount()
    assert not rules.has_line(b"HEAD", b"/healthz")
    assert not rules.has_agent(b"kube-probe/1.36")


def test_what_never_counts_is_told_as_what_never_wakes_is() -> None:
    rules = NeverCount(frozenset({b"HEAD"}), (b"/healthz",), (b"Kube-Probe/", b"bot"))
    assert rules.has_line(b"HEAD", b"/")
    assert rules.has_line(b"GET", b"/healthz/live")
    assert not rules.has_line(b"GET", b"/x/healthz")
    assert rules.has_agent(b"kube-probe/1.36")
    assert rules.has_agent(b"a BOT")
    assert not rules.has_agent(b"curl")
