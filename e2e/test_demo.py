"""The tour of the main job: its exit status tells whether every step went as promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .gateways import LOCAL
from .programs import environment, processes_of

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program, Programs

SANDBOXES = ("demo-freezes", "demo-stops", "demo-sleeps-on")


def demo(programs: Programs, home: Path, **variables: str) -> Program:
    """Run the tour to its end."""
    argv = [*LOCAL, "--data-dir", str(home / "data"), "--demo", "--once"]
    program = programs.start("demo", argv, home, environment(home, **variables))
    program.wait(180)
    return program


def test_the_demo_prints_its_steps_and_exits_0(programs: Programs, home: Path) -> None:
    told = demo(programs, home)
    assert told.exit_status == 0, told.output + told.errors
    for step in (
        "one request is sent",
        "the gateway patches desiredState to Running",
        "the sandbox is Running and ready",
        "the sandbox answers that very request: 200",
        "a second request finds it awake",
    ):
        assert told.output.count(step) == 2, step
    assert "a request is answered 502 sandbox_not_wakeable" in told.output
    assert "Every step went as promised." in told.output
    assert "Traceback" not in told.errors
    assert [processes_of(name, home) for name in SANDBOXES] == [{}, {}, {}]


@pytest.mark.parametrize(
    ("variable", "value", "told_as"),
    [
        ("SBXGW_NEVER_WAKE_METHODS", "GET", "the request got 502"),
        ("SBXGW_AUTH_MODE", "access-token", "the request got 401"),
    ],
)
def test_the_demo_of_a_gateway_that_does_not_wake_fails_and_exits_1(
    variable: str, value: str, told_as: str, programs: Programs, home: Path
) -> None:
    told = demo(programs, home, **{variable: value})
    assert told.exit_status == 1
    assert f"The tour failed: {told_as}" in told.output
    assert "Every step went as promised." not in told.output
    assert [processes_of(name, home) for name in SANDBOXES] == [{}, {}, {}]
