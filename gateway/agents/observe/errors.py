"""How observing fails."""

from __future__ import annotations


class Unable(Exception):
    """This process can never observe as it was started; the text says what it lacks."""


class Lost(Exception):
    """What was known of connections may not be so any more: all has to be learned anew."""
