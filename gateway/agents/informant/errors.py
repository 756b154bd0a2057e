"""How informing fails."""

from __future__ import annotations

from typing import ClassVar


class Refused(Exception):
    """A request is against the protocol's rules; the text, which says why, goes to who asked."""

    status: ClassVar[int] = 400


class Unknown(Refused):
    """No such agent is registered."""

    status = 404


class AlreadyKnown(Refused):
    """An agent with this id is registered, or is being registered."""

    status = 409


class CallFailed(Exception):
    """An agent did not answer as itself; the text says what came instead."""


class CallRefused(CallFailed):
    """The agent answered that what it was told does not go with the state that it is in."""
