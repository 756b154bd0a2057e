"""What objects say of their sleep: our annotations, and that no typo puts a sandbox to sleep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.dialects import own
from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.deployment import DEPLOYMENT, STATEFUL_SET
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.sandbox.model import Problem
from gateway.sandbox.standby import (
    DISABLED,
    NO_RULES,
    IdleRules,
    StandbyCheck,
    StandbyPolicy,
    parse_policy,
)
from gateway.sandbox.texts import parse_duration, parse_time

from .objects import (
    NOW,
    agent_object,
    deployment_object,
    kruise_object,
    native_object,
    with_annotations,
    with_field,
    without_field,
)

if TYPE_CHECKING:
    from gateway.dialects.base import Dialect, RawObject

FIVE_MINUTES = '{"enabled": true, "idle_timeout": "5m"}'
POLICY = StandbyPolicy(enabled=True, idle_timeout=300.0)

DIALECTS: list[tuple[Dialect, RawObject]] = [
    (Native(), without_field(native_object(), ("spec", "standby"))),
    (Kruise(), without_field(kruise_object(), ("spec", "pauseTime"))),
    (AgentSandbox(), agent_object("v1beta1")),
    (AgentSandbox(), agent_object("v1alpha1")),
    (DEPLOYMENT, deployment_object()),
    (STATEFUL_SET, deployment_object()),
]
every_dialect = pytest.mark.parametrize(
    ("dialect", "raw"), DIALECTS, ids=lambda one: getattr(one, "name", "")
)


def read(**values: str) -> own.Annotations:
    return own.read({own.PREFIX + name.replace("_", "-"): text for name, text in values.items()})


def told(found: own.Annotations) -> Problem:
    (problem,) = found.problems
    return problem


# ---- each annotation --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotations", "rules"),
    [
        ({"auto_standby": FIVE_MINUTES}, IdleRules(policy=POLICY)),
        ({"auto_standby": '{"enabled": false}'}, IdleRules(policy=DISABLED)),
        ({"always_on": "true"}, IdleRules(always_on=True)),
        ({"always_on": "false"}, NO_RULES),
        ({"pinned": "true"}, IdleRules(pinned=True)),
        ({"pinned": "false"}, NO_RULES),
        ({"hold_until": "2026-11-22T10:20:30Z"}, IdleRules(hold_until=NOW)),
        ({"hold_until": "2026-11-22T12:20:30+02:00"}, IdleRules(hold_until=NOW)),
        ({"last_activity_at": "2026-11-22T10:20:30Z"}, IdleRules(last_activity_at=NOW)),
        ({"idle_since": "2026-11-22T10:20:30.5Z"}, IdleRules(idle_since=NOW + 0.5)),
        ({"standby_check": "8080"}, IdleRules(check=StandbyCheck(8080, "/"))),
        ({"standby_check": "8080/"}, IdleRules(check=StandbyCheck(8080, "/"))),
        ({"standby_check": "1/may-sleep"}, IdleRules(check=StandbyCheck(1, "/may-sleep"))),
        ({"standby_check": "65535/a/b%20?x=1&y"},
         IdleRules(check=StandbyCheck(65535, "/a/b%20?x=1&y"))),
    ],
)  # fmt: skip
def test_an_annotation_is_a_rule(annotations: dict[str, str], rules: IdleRules) -> None:
    assert read(**annotations) == own.Annotations(idle=rules)


def test_all_of_them_go_together() -> None:
    found = read(
        auto_standby=FIVE_MINUTES, always_on="true", pinned="true", standby_check="1",
        hold_until="2026-11-22T10:20:30Z", last_activity_at="2026-11-22T10:20:31Z",
        idle_since="2026-11-22T10:20:32Z",
    )  # fmt: skip
    assert found.problems == ()
    assert found.idle == IdleRules(
        policy=POLICY, pinned=True, hold_until=NOW, always_on=True, last_activity_at=NOW + 1,
        idle_since=NOW + 2, check=StandbyCheck(1, "/"),
    )  # fmt: skip


@pytest.mark.parametrize("value", ["True", "yes", "1", "", " true", "false ", "flase", "no"])
@pytest.mark.parametrize("name", ["always_on", "pinned"])
def test_a_switch_that_is_neither_keeps_it_awake_and_is_reported(name: str, value: str) -> None:
    found = read(**{name: value})
    assert found.idle == replace(NO_RULES, **{name: True})
    annotation = own.PREFIX + name.replace("_", "-")
    assert told(found) == Problem(annotation, 'must be "true" or "false"; read as "true"')


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is not JSON"),
        ("true", "is not a JSON object"),
        ("5m", "is not JSON"),
        ('{"enabled": true, "idle_timeout": "5m",}', "is not JSON"),
        ('{"enabled": true, "idle_timeout": "soon"}', "idle_timeout must be"),
        ('{"enabled": true, "idletimeout": "5m"}', "'idletimeout' is not known"),
        ('{"enabled": "true", "idle_timeout": "5m"}', "enabled must be"),
        ('{"enabled": false, "enabled": true, "idle_timeout": "5m"}', "names each field once"),
    ],
)
def test_a_policy_that_does_not_parse_is_off_and_is_reported(value: str, said: str) -> None:
    found = read(auto_standby=value)
    assert found.idle == IdleRules(policy=DISABLED), "None: another policy may apply"
    assert told(found).field == own.AUTO_STANDBY
    assert said in told(found).message
    assert told(found).message.endswith("; it is not put to sleep")


BAD_TIMES = ["", "tomorrow", "1795342830", "2026-11-22", "2026-11-22T10:20:30", "15m"]


@pytest.mark.parametrize("value", BAD_TIMES)
def test_a_hold_whose_end_is_not_known_holds_as_a_pin_does_and_is_reported(value: str) -> None:
    found = read(hold_until=value)
    assert found.idle == IdleRules(pinned=True)
    message = "is not an RFC 3339 time; it is held as by a pin"
    assert told(found) == Problem(own.HOLD_UNTIL, message)


@pytest.mark.parametrize("value", BAD_TIMES)
def test_what_was_noted_of_its_use_and_is_no_time_is_not_known_and_is_reported(value: str) -> None:
    idle, last = read(idle_since=value), read(last_activity_at=value)
    assert idle.idle == last.idle == NO_RULES
    assert told(idle) == Problem(own.IDLE_SINCE, "is not an RFC 3339 time; it counts as used now")
    assert told(last) == Problem(own.LAST_ACTIVITY_AT, "is not an RFC 3339 time; it is not known")


@pytest.mark.parametrize(
    "value",
    ["", "/may-sleep", "0/x", "65536/x", "8080may", "http/x", "8080//\n", "8080/a b", "8080/x#y",
     "8080/%zz", "8080/\u00e9", "8080/x\r\nHost: y", "8080?x", "\u0668", "9" * 5000, " 8080",
     "8080/" + "x" * 1024],
)  # fmt: skip
def test_a_check_that_cannot_be_made_keeps_it_awake_and_is_reported(value: str) -> None:
    found = read(standby_check=value)
    assert found.idle == IdleRules(always_on=True)
    message = "must be a port and a path, such as 8080/may-sleep; it never sleeps"
    assert told(found) == Problem(own.STANDBY_CHECK, message)


# ---- every dialect ----------------------------------------------------------------------------


@every_dialect
def test_any_object_may_have_rules_and_none_has_by_itself(dialect: Dialect, raw: RawObject) -> None:
    assert dialect.route(raw).idle is NO_RULES
    ruled = with_annotations(raw, auto_standby=FIVE_MINUTES, pinned="true", standby_check="1")
    route = dialect.route(ruled)
    assert route.idle == IdleRules(policy=POLICY, pinned=True, check=StandbyCheck(1, "/"))
    assert route.problems == ()


@every_dialect
def test_any_object_has_its_typos_reported(dialect: Dialect, raw: RawObject) -> None:
    route = dialect.route(with_annotations(raw, auto_standby="x", pinned="x", idle_since="x"))
    assert route.idle == IdleRules(policy=DISABLED, pinned=True)
    fields = [problem.field for problem in route.problems]
    assert fields == [own.AUTO_STANDBY, own.PINNED, own.IDLE_SINCE]


@every_dialect
def test_what_is_not_paused_by_a_clock_has_nothing_to_put_off(
    dialect: Dialect, raw: RawObject
) -> None:
    assert dialect.postpone_patch(raw, NOW) is None


# ---- the policy of the API and ours -----------------------------------------------------------

LONGER = StandbyPolicy(enabled=True, idle_timeout=900.0)


@pytest.mark.parametrize(
    ("api", "ours", "joined"),
    [
        (None, None, None),
        (None, POLICY, POLICY),
        (None, DISABLED, DISABLED),
        (LONGER, None, LONGER),
        (LONGER, POLICY, LONGER),
        (LONGER, DISABLED, DISABLED),
        (DISABLED, None, DISABLED),
        (DISABLED, POLICY, DISABLED),
        (DISABLED, DISABLED, DISABLED),
    ],
)
def test_the_policy_of_the_api_comes_first_and_ours_can_always_forbid(
    api: StandbyPolicy | None, ours: StandbyPolicy | None, joined: StandbyPolicy | None
) -> None:
    ruled = own.Annotations(idle=IdleRules(policy=ours, pinned=True))
    assert ruled.idle_rules(api) == IdleRules(policy=joined, pinned=True)
    assert ruled.idle_rules(api, pause_at=5.0) == IdleRules(
        policy=joined, pinned=True, pause_at=5.0
    )


# ---- what a hundred thousand cost -------------------------------------------------------------


def test_who_says_nothing_of_sleep_has_no_rules_of_its_own() -> None:
    assert read(wake_on_traffic="true", ports="80").idle is NO_RULES
    assert own.Annotations().idle_rules() is NO_RULES


def test_equal_policies_and_checks_are_one_object() -> None:
    for policy in (
        FIVE_MINUTES,
        '{"enabled": true, "idle_timeout": "5m", "ignore_source_cidrs": ["10.0.0.0/8"]}',
    ):
        assert read(auto_standby=policy).idle.policy is read(auto_standby=policy).idle.policy
    written = with_field(native_object(), ("spec", "standby"), json.loads(FIVE_MINUTES))
    assert Native().route(written).idle.policy is read(auto_standby=FIVE_MINUTES).idle.policy
    check = read(standby_check="8080/x").idle.check
    assert read(standby_check="8080/x").idle.check is check


def test_the_nodes_name_is_shared_by_all_that_run_there() -> None:
    objects = [json.loads(json.dumps(kruise_object())) for _ in range(2)]
    first, second = (Kruise().route(raw).node for raw in objects)
    assert first == "node-1"
    assert first is second


# ---- no text at all ---------------------------------------------------------------------------


def nearly(*texts: str) -> st.SearchStrategy[str]:
    """Return any text, and these with a character too many, too few, or another one."""

    def change(text: str, at: int, length: int, by: str) -> str:
        at %= len(text) + 1
        return text[:at] + by + text[at + length :]

    slips = st.builds(
        change, st.sampled_from(texts), st.integers(0, 500), st.integers(0, 2), st.text(max_size=2)
    )
    return st.sampled_from(texts) | slips | st.text(max_size=12)


policies = nearly(
    FIVE_MINUTES,
    '{"enabled": false}',
    '{"enabled":true,"idle_timeout":"1h30m","ignore_source_cidrs":["10.0.0.0/8","fd00::%1/64"]}',
    '{"enabled": true, "idle_timeout": "90s", "ignore_destination_ports": [9100, 22]}',
)
switches = nearly("true", "false")
moments = nearly("2026-11-22T10:20:30Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59")
checks = nearly("8080", "8080/may-sleep?now=1")


@given(st.sampled_from(DIALECTS), policies)
def test_no_text_becomes_an_enabled_policy_but_one_that_says_so(
    sample: tuple[Dialect, RawObject], text: str
) -> None:
    dialect, raw = sample
    route = dialect.route(with_annotations(raw, auto_standby=text))
    policy = route.idle.policy
    assert policy is not None
    if not policy.enabled:
        assert policy == DISABLED
        return
    assert route.problems == ()
    written = json.loads(text)
    assert written["enabled"] is True
    assert parse_duration(written["idle_timeout"]) == policy.idle_timeout > 0
    assert parse_policy(json.dumps(policy.as_json())) == policy


@given(st.sampled_from(DIALECTS), switches, switches, moments, checks)
def test_no_text_lifts_a_pin_but_false_and_all_that_does_not_parse_keeps_it_awake(
    sample: tuple[Dialect, RawObject], pinned: str, always_on: str, held: str, asked: str
) -> None:
    dialect, raw = sample
    ruled = with_annotations(
        raw, pinned=pinned, always_on=always_on, hold_until=held, standby_check=asked
    )
    rules = dialect.route(ruled).idle
    assert rules.pinned or pinned == "false"
    assert rules.always_on or always_on == "false"
    assert rules.pinned or rules.hold_until is not None
    assert rules.always_on or rules.check is not None


@given(st.sampled_from(DIALECTS), moments, moments)
def test_a_time_is_what_it_says_or_is_not_known(
    sample: tuple[Dialect, RawObject], last: str, since: str
) -> None:
    dialect, raw = sample
    route = dialect.route(with_annotations(raw, last_activity_at=last, idle_since=since))
    unknown = {problem.field for problem in route.problems}
    for found, name, text in (
        (route.idle.last_activity_at, own.LAST_ACTIVITY_AT, last),
        (route.idle.idle_since, own.IDLE_SINCE, since),
    ):
        assert (found is None) == (name in unknown)
        assert found is None or found == parse_time(text)
