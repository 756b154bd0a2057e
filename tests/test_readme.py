"""What the README says of sleep is what the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gateway.dialects import own
from gateway.sandbox.standby import parse_policy
from gateway.settings.model import NAMES
from gateway.standby.verdict import Reason, Status

README: Final = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SLEEP: Final = README.partition("### Sleep: ")[2].partition("### Credentials")[0]


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table whose first column is headed so, each as its cells."""
    _, _, rest = SLEEP.partition(f"| {heading} |")
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
