"""Holds: counted, pinned, cooling down; what the platform is told, and when that fails."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from gateway.sandbox.errors import ApiUnavailable
from gateway.standby.holds import (
    RETRY_MAX,
    Failed,
    Happened,
    Holds,
    Report,
    Schedule,
    Toggle,
    Write,
    step,
)

if TYPE_CHECKING:
    from gateway.standby.holds import Command, Event

ACQUIRED, RELEASED = Happened.ACQUIRED, Happened.RELEASED
DISABLED, ENABLED = Happened.DISABLED, Happened.ENABLED
DUE, LAPSES, WRITTEN = Happened.DUE, Happened.LAPSES, Happened.WRITTEN
OFF, ON = Toggle.OFF, Toggle.ON
DOWN = ApiUnavailable("down")


class Driver:
    """Makes each write at once, as told, and hands in what is due as time passes."""

    def __init__(self, cooldown: float = 1.0) -> None:
        self.holds = Holds(cooldown)
        self.now = 100.0
        self.due: float | None = None
        self.fails = False
        self.told: list[Toggle] = []
        self.reports: list[Report] = []

    def feed(self, *events: Event) -> None:
        for event in events:
            self.holds, commands = step(self.holds, event, self.now)
            self.do(commands)

    def do(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            match command:
                case Write(toggle):
                    self.told.append(toggle)
                    self.feed(Failed(DOWN) if self.fails else WRITTEN)
                case Schedule(at):
                    self.due = at
                case Report():
                    self.reports.append(command)

    def wait(self, seconds: float) -> None:
        ends = self.now + seconds
        while self.due is not None and self.due <= ends:
            self.now, self.due = self.due, None
            self.feed(DUE)
        self.now = ends


def test_the_first_hold_turns_it_off_and_the_last_one_on_after_the_cooldown() -> None:
    driver = Driver()
    driver.feed(ACQUIRED, ACQUIRED, RELEASED)
    driver.wait(60)
    assert driver.told == [OFF]
    driver.feed(RELEASED)
    driver.wait(0.99)
    assert driver.told == [OFF]
    driver.wait(0.01)
    assert driver.told == [OFF, ON]


def test_the_cooldown_is_a_second_unless_it_is_set() -> None:
    holds, _ = step(Holds(), ACQUIRED, 0.0)
    holds, _ = step(holds, WRITTEN, 0.0)
    assert step(holds, RELEASED, 5.0)[1] == (Schedule(6.0),)


@pytest.mark.parametrize("cooldown", [0.0, -3.0])
def test_without_a_cooldown_it_is_on_at_once(cooldown: float) -> None:
    driver = Driver(cooldown)
    driver.feed(ACQUIRED, RELEASED)
    assert driver.told == [OFF, ON]


def test_a_new_hold_ends_the_cooldown_without_a_word() -> None:
    driver = Driver()
    driver.feed(ACQUIRED, RELEASED)
    driver.wait(0.5)
    driver.feed(ACQUIRED)
    driver.wait(60)
    assert driver.told == [OFF]
    driver.feed(RELEASED)
    driver.wait(0.5)
    assert driver.told == [OFF]
    driver.wait(0.5)
    assert driver.told == [OFF, ON]


def test_ten_quick_pairs_turn_it_off_once_and_on_once() -> None:
    driver = Driver()
    for _ in range(10):
        driver.feed(ACQUIRED, RELEASED)
        driver.wait(0.05)
    driver.wait(60)
    assert driver.told == [OFF, ON]


def test_holds_are_never_fewer_than_none() -> None:
    driver = Driver()
    driver.feed(RELEASED, RELEASED)
    assert driver.holds == Holds()
    driver.feed(ACQUIRED)
    driver.wait(60)
    assert driver.told == [OFF]
    assert driver.holds.count == 1


def test_a_surplus_release_does_not_disturb_the_cooldown() -> None:
    driver = Driver()
    driver.feed(ACQUIRED, RELEASED)
    driver.wait(0.9)
    driver.feed(RELEASED)
    driver.wait(0.1)
    assert driver.told == [OFF, ON]


# ---- pins ---------------------------------------------------------------------------------------


def test_a_pin_is_a_hold_that_no_release_takes_off() -> None:
    driver = Driver()
    driver.feed(DISABLED, DISABLED, ACQUIRED, RELEASED, RELEASED)
    driver.wait(60)
    assert driver.told == [OFF]
    assert driver.holds.pinned


def test_to_enable_takes_the_pin_off_and_needs_no_cooldown() -> None:
    driver = Driver()
    driver.feed(DISABLED, DISABLED, ENABLED)
    assert driver.told == [OFF, ON]
    assert driver.holds == Holds(cooled_at=100.0)


def test_to_enable_what_is_not_disabled_does_nothing() -> None:
    driver = Driver()
    driver.feed(ENABLED)
    assert driver.holds == Holds()
    driver.feed(ACQUIRED, RELEASED, ENABLED)
    driver.wait(0.5)
    assert driver.told == [OFF]


def test_to_enable_ends_no_hold() -> None:
    driver = Driver()
    driver.feed(ACQUIRED, DISABLED, ENABLED)
    driver.wait(60)
    assert driver.told == [OFF]
    driver.feed(RELEASED)
    driver.wait(1)
    assert driver.told == [OFF, ON]


def test_enabling_that_fails_can_be_tried_again() -> None:
    driver = Driver()
    driver.feed(DISABLED)
    driver.fails = True
    driver.feed(ENABLED)
    assert driver.holds.pinned
    assert driver.reports == [Report(ON, DOWN, 1)]
    driver.wait(3600)
    assert driver.told == [OFF, ON]  # nobody asked again
    driver.fails = False
    driver.feed(ENABLED)
    assert driver.told == [OFF, ON, ON]
    assert not driver.holds.pinned


# ---- what fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [ACQUIRED, DISABLED])
def test_a_hold_of_which_the_platform_cannot_be_told_is_taken_back(event: Event) -> None:
    driver = Driver()
    driver.fails = True
    driver.feed(event)
    assert (driver.holds.count, driver.holds.pinned) == (0, False)
    assert driver.reports == [Report(OFF, DOWN, 1)]
    driver.fails = False
    driver.feed(event)
    assert driver.told == [OFF, OFF]
    assert driver.holds.held


def test_all_holds_that_waited_for_a_write_that_failed_are_taken_back() -> None:
    holds, commands = step(Holds(), ACQUIRED, 0.0)
    assert commands == (Write(OFF),)
    for event in (ACQUIRED, DISABLED):
        holds, commands = step(holds, event, 0.0)
        assert commands == ()
    holds, commands = step(holds, Failed(DOWN), 1.0)
    assert commands == (Report(OFF, DOWN, 1),)
    assert not holds.held


def test_turning_on_after_the_cooldown_is_tried_again_later_each_time() -> None:
    driver = Driver()
    driver.feed(ACQUIRED, RELEASED)
    driver.fails = True
    times = []
    for _ in range(8):
        driver.wait((driver.due or 0.0) - driver.now)
        times.append(driver.now)
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert pauses == [1, 2, 4, 8, 16, RETRY_MAX, RETRY_MAX]
    assert [report.failures for report in driver.reports] == list(range(1, 9))
    driver.fails = False
    driver.wait(RETRY_MAX)
    assert driver.holds.told is ON
    assert driver.holds.failures == 0


def test_a_hold_that_comes_while_turning_on_fails_keeps_it_off() -> None:
    driver = Driver()
    driver.feed(ACQUIRED, RELEASED)
    driver.fails = True
    driver.wait(1)
    driver.fails = False
    driver.feed(ACQUIRED)
    driver.wait(60)
    assert driver.told == [OFF, ON]
    assert driver.holds.told is OFF


# ---- writes that take their time ----------------------------------------------------------------


def play(*events: Event, cooldown: float = 1.0) -> list[Command]:
    """Return what is commanded, with nothing done by itself and no time passing."""
    holds = Holds(cooldown)
    said: list[Command] = []
    for event in events:
        holds, commands = step(holds, event, 100.0)
        said.extend(commands)
    return said


def test_one_write_is_under_way_at_a_time() -> None:
    events = [ACQUIRED, RELEASED, ACQUIRED, RELEASED, DISABLED, ENABLED, DUE, LAPSES]
    assert play(*events) == [Write(OFF)]


def test_what_was_released_during_the_write_cools_down_after_it() -> None:
    assert play(ACQUIRED, RELEASED, WRITTEN) == [Write(OFF), Schedule(101.0)]


def test_a_hold_that_comes_while_it_is_turned_on_turns_it_off_again() -> None:
    events = [ACQUIRED, WRITTEN, RELEASED, ACQUIRED, WRITTEN]
    assert play(*events, cooldown=0) == [Write(OFF), Write(ON), Write(OFF)]


def test_a_pin_that_comes_while_it_is_enabled_stays() -> None:
    events = [DISABLED, WRITTEN, ENABLED, DISABLED, WRITTEN]
    assert play(*events) == [Write(OFF), Write(ON), Write(OFF)]


def test_a_hold_that_comes_before_it_is_enabled_is_deferred_to() -> None:
    assert play(DISABLED, ENABLED, ACQUIRED, WRITTEN) == [Write(OFF)]


def test_what_is_enabled_while_the_pin_is_written_is_turned_on_after_it() -> None:
    assert play(DISABLED, ENABLED, WRITTEN) == [Write(OFF), Write(ON)]


# ---- off lasts only so long ---------------------------------------------------------------------


@pytest.mark.parametrize("event", [ACQUIRED, DISABLED])
def test_what_wears_off_is_told_again_while_it_is_held(event: Event) -> None:
    assert play(event, WRITTEN, LAPSES) == [Write(OFF), Write(OFF)]


def test_what_wears_off_is_told_again_during_the_cooldown_and_not_after_it() -> None:
    driver = Driver(cooldown=30)
    driver.feed(ACQUIRED, RELEASED)
    driver.wait(20)
    driver.feed(LAPSES)
    assert driver.told == [OFF, OFF]
    driver.wait(10)
    driver.feed(LAPSES)
    assert driver.told == [OFF, OFF, ON]


def test_a_renewal_that_fails_costs_no_hold_and_is_tried_again() -> None:
    driver = Driver()
    driver.feed(ACQUIRED)
    driver.fails = True
    driver.feed(LAPSES)
    assert driver.holds.count == 1
    assert driver.reports == [Report(OFF, DOWN, 1)]
    assert driver.due == driver.now + driver.holds.pause
