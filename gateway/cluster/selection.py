"""Which objects one reflector keeps up with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.dialects.base import Resource


@dataclass(frozen=True, slots=True)
class Selection:
    """A resource in one namespace (None: all), narrowed by a label selector."""

    resource: Resource
    namespace: str | None = None
    label_selector: str = ""

    def query(self) -> list[tuple[str, str | int]]:
        """Return the query parameters of this selection."""
        return [("labelSelector", self.label_selector)] if self.label_selector else []
