"""What settings are defined by: groups of knobs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def knob(default: object, meaning: str) -> Any:
    """A setting, its default written as a user would write it (and validated like that)."""
    return Field(default=default, description=meaning)


class Group(BaseModel):
    """Settings that belong together; the docstring is their heading in the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
