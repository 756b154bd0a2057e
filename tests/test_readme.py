"""What the README says of sleep and of right-sizing is what the code has."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import yaml

from gateway.cluster.pod_facts import Obstacle
from gateway.cluster.pod_reading import DEFAULT_CONTAINER
from gateway.dialects import own
from gateway.resize import metrics, sizing, snapshot
from gateway.sandbox.scaling import DEFAULT_LOAD_TARGET, DEFAULT_MEMORY_TARGET, parse_scaling
from gateway.sandbox.standby import parse_policy
from gateway.settings.model import NAMES
from gateway.standby.verdict import Reason, Status

README: Final = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SLEEP: Final = README.partition("### Sleep: ")[2].partition("### Right-sizing: ")[0]
SIZING: Final = README.partition("### Right-sizing: ")[2].partition("### Credentials")[0]


def table(heading: str, section: str = SLEEP) -> list[list[str]]:
    """Return the rows of the table whose first column is headed so, each as its cells."""
    _, _, rest = section.partition(f"| {heading} |")
    rows = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def codes(cell: str) -> list[str]:
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", cell)


def test_every_status_and_reason_is_explained() -> None:
    rows = table("status")
    assert {codes(row[0])[0] for row in rows} == {one.value for one in Status}
    reasons = [reason for row in rows for reason in codes(row[1])]
    assert set(reasons) == {one.value for one in Reason}


def test_every_annotation_of_sleep_is_explained() -> None:
    named = {
        own.PREFIX + re.split(r"[:,]", code)[0]
        for row in table("annotation `sandbox-gateway.dev/…`")
        for code in codes(row[0])
    }
    assert named == {
        own.ALWAYS_ON, own.PINNED, own.HOLD_UNTIL, own.STANDBY_CHECK, own.IDLE_SINCE,
        own.LAST_ACTIVITY_AT,
    }  # fmt: skip
    assert own.AUTO_STANDBY in SLEEP


def test_the_policy_that_is_shown_is_one() -> None:
    (shown,) = re.findall(rf"{own.AUTO_STANDBY}=(\{{.*?\}})", SLEEP)
    assert parse_policy(shown).enabled
    fields = {codes(row[0])[0] for row in table("field")}
    assert fields == {"enabled", "idle_timeout", "ignore_source_cidrs", "ignore_destination_ports"}


def test_the_settings_that_are_named_exist() -> None:
    prefixes = ("standby", "idle_d", "hold_", "uncounted", "observe", "lease_", "peer_", "activity")
    named = {code for code in codes(SLEEP) if code.startswith(prefixes) and "_" in code}
    assert named - {one.value for one in Status} - {one.value for one in Reason} <= set(NAMES)
    assert len(named) > 10


# ---- right-sizing -------------------------------------------------------------------------------


def test_the_sandbox_that_is_shown_is_right_sized() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", SIZING, re.DOTALL)
    metadata = yaml.safe_load(shown)["metadata"]
    found = own.read(metadata["annotations"], metadata["labels"])
    assert found.problems == ()
    assert found.scaling is not None
    assert found.scaling.floor is not None
    assert found.scaling.boost is not None


def test_the_floor_that_is_shown_is_reached_by_one_that_runs_and_does_nothing() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", SIZING, re.DOTALL)
    metadata = yaml.safe_load(shown)["metadata"]
    scaling = own.read(metadata["annotations"], metadata["labels"]).scaling
    assert scaling is not None
    rules = sizing.Rules.of(scaling)
    assert rules.floor is not None
    idle = sizing.Metrics(load1=0.0, memory=0.1)
    unused = replace(rules, low=rules.floor)
    assert sizing.goal(rules.high, idle, None, None, unused, sizing.DEFAULT_UNIT) == rules.floor


def test_every_field_of_the_configuration_is_explained_with_its_default() -> None:
    bounds = '{"min": {"cpu": "1", "mem": "1Gi"}, "max": {"cpu": "2", "mem": "4Gi"}}'
    defaults = parse_scaling(bounds, None).as_json()
    rows = {codes(row[0])[0]: row[1] for row in table("field", SIZING)}
    assert rows.keys() == defaults.keys() - {"min", "max"} | {"idleFloor", "wakeBoost"}
    for name, default in rows.items():
        told = defaults.get(name, "none")
        assert default == (told if isinstance(told, str) else json.dumps(told))
    assert (defaults["loadAverageFractionTarget"], defaults["memoryUsageFractionTarget"]) == (
        DEFAULT_LOAD_TARGET,
        DEFAULT_MEMORY_TARGET,
    )


def test_every_status_and_obstacle_of_a_size_is_explained() -> None:
    statuses = [code for row in table("status", SIZING) for code in codes(row[0])]
    assert sorted(statuses) == sorted(one.value for one in snapshot.Status)
    obstacles = [code for row in table("obstacle", SIZING) for code in codes(row[0])]
    assert sorted(obstacles) == sorted(one.value for one in Obstacle)


def test_the_settings_and_metrics_of_sizes_that_are_named_exist() -> None:
    made = Path(metrics.__file__).read_text(encoding="utf-8")
    named = {code for code in codes(SIZING) if re.fullmatch(r"(resize|lease)_\w+", code)}
    assert {one for one in named if f'"{one}"' not in made} <= set(NAMES)
    assert len(named) > 6
    assert DEFAULT_CONTAINER in codes(SIZING)
