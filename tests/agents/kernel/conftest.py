"""The tracking of a real kernel: `make observe` runs these; where they cannot run they fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .namespaces import Network, build, remove

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    if len(Path("/proc/net/route").read_text().splitlines()) > 1:  # A new namespace has no route.
        pytest.fail("these change rules of the network: run them by `make observe`", pytrace=False)
    made = build()
    try:
        yield made
    finally:
        remove(made)
