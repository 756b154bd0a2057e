"""Whatever happens in whatever order, holds keep their promises."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.sandbox.errors import ApiUnavailable
from gateway.standby.holds import (
    RETRY_MAX,
    Event,
    Failed,
    Happened,
    Holds,
    Report,
    Schedule,
    Toggle,
    Write,
    step,
)

COOLDOWN = 5.0


class HoldsMachine(RuleBasedStateMachine):
    """A platform that is told slowly, or not, against a plain count of who holds.

    Who is told that it could not hold (`Report`) counts no more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.holds = Holds(COOLDOWN)
        self.now = 1_000.0
        self.due: float | None = None
        self.users = 0
        self.pinned = False
        #: Somebody asked for the pin to go, and the platform was not told yet.
        self.enabling = False
        #: When nothing held it any more, last.
        self.left_at = 0.0
        self.platform = Toggle.ON
        self.write: Write | None = None

    def feed(self, event: Event) -> None:
        self.holds, commands = step(self.holds, event, self.now)
        for command in commands:
            match command:
                case Write():
                    self.begin(command)
                case Schedule(at):
                    assert at > self.now
                    self.due = at
                case Report(toggle):
                    assert isinstance(event, Failed)
                    if self.platform is Toggle.ON:
                        assert toggle is Toggle.OFF
                        self.users, self.pinned, self.enabling = 0, False, False

    def begin(self, write: Write) -> None:
        assert self.write is None, "two writes at once"
        if write.toggle is Toggle.ON:
            assert self.users == 0, "told on while in use"
            assert self.platform is Toggle.OFF, "told on twice"
            assert self.now >= self.left_at + COOLDOWN or self.enabling
        self.write = write

    def defers(self) -> None:
        """Take the pin off that was asked to go: who uses it holds it now, and no word is due.

        While the platform is being told, that waits: if it is told in vain, the pin stays.
        """
        if self.enabling and self.users and self.write is None:
            self.pinned = self.enabling = False

    # ---- what people do -------------------------------------------------------------------

    @rule()
    def acquire(self) -> None:
        self.users += 1
        self.defers()
        self.feed(Happened.ACQUIRED)

    @precondition(lambda self: self.users)
    @rule()
    def release(self) -> None:
        self.users -= 1
        if not self.users and not self.pinned:
            self.left_at = self.now
        self.defers()
        self.feed(Happened.RELEASED)

    @precondition(lambda self: not self.users)
    @rule()
    def release_once_too_often(self) -> None:
        before = self.holds
        self.feed(Happened.RELEASED)
        assert self.holds == before

    @rule()
    def disable(self) -> None:
        self.pinned, self.enabling = True, False
        self.feed(Happened.DISABLED)

    @precondition(lambda self: not self.pinned)
    @rule()
    def enable_what_is_not_disabled(self) -> None:
        before = self.holds
        self.feed(Happened.ENABLED)
        assert self.holds == before

    @precondition(lambda self: self.pinned)
    @rule()
    def enable(self) -> None:
        if self.users:
            self.pinned = self.enabling = False
        else:
            self.enabling = True
        self.feed(Happened.ENABLED)

    # ---- what the platform and time do ----------------------------------------------------

    @precondition(lambda self: self.write)
    @rule()
    def write_lands(self) -> None:
        assert self.write is not None
        self.platform, self.write = self.write.toggle, None
        if self.enabling and self.platform is Toggle.ON:
            self.pinned = self.enabling = False
        self.defers()
        self.feed(Happened.WRITTEN)

    @precondition(lambda self: self.write)
    @rule()
    def write_fails(self) -> None:
        assert self.write is not None
        if self.write.toggle is Toggle.ON:
            self.enabling = False
        self.write = None
        self.feed(Failed(ApiUnavailable("down")))

    @rule()
    def wears_off(self) -> None:
        self.feed(Happened.LAPSES)

    @rule(seconds=st.sampled_from([0.5, 2.0, COOLDOWN, RETRY_MAX]))
    def wait(self, seconds: float) -> None:
        ends = self.now + seconds
        while self.due is not None and self.due <= ends:
            self.now, self.due = self.due, None
            self.defers()
            self.feed(Happened.DUE)
        self.now = ends

    # ---- what holds -----------------------------------------------------------------------

    @invariant()
    def counts_who_holds(self) -> None:
        assert self.holds.count == self.users
        assert self.holds.pinned == self.pinned

    @invariant()
    def is_off_while_held_or_is_being_told(self) -> None:
        if self.users or self.pinned:
            assert self.platform is Toggle.OFF or self.write is not None

    @invariant()
    def knows_what_the_platform_knows(self) -> None:
        assert self.holds.told is self.platform
        assert self.holds.writing is (self.write and self.write.toggle)

    def teardown(self) -> None:
        """It does not stay off for ever: once all is well, it is as what holds it says."""
        for _ in range(3):
            if self.write is not None:
                self.write_lands()
            self.wait(RETRY_MAX + COOLDOWN)
        held = self.users > 0 or self.pinned
        assert self.platform is (Toggle.OFF if held else Toggle.ON)


TestHolds = HoldsMachine.TestCase
