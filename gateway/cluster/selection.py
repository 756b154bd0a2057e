"""Which objects one reflector keeps up with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.dialects.base import Resource


@dataclass(frozen=True, slots=True)
class Selection:
    """A resource in one namespace (None: all), narrowed by a label and a field selector."""

    resource: Resource
    namespace: str | None = None
    label_selector: str = ""
    field_selector: str = ""

    def query(self) -> list[tuple[str, str | int]]:
        """Return the query parameters of this selection."""
        selectors = (("labelSelector", self.label_selector), ("fieldSelector", self.field_selector))
        return [(name, value) for name, value in selectors if value]
