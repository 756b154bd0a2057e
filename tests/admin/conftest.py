"""What only some machines have."""

from __future__ import annotations

import socket

import pytest


@pytest.fixture
def own_address() -> str:
    """Return an address of this machine that is not loopback; skip where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses a source address
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])
