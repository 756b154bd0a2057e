"""What all tests share: hypothesis judges what the code does, not how busy the machine is."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Its deadlines are of real time, 200 ms for each example: a process that was made to wait for a
# core would miss one.
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")
