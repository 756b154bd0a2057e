"""A plugin of pytest for CI: what would be skipped fails, and says what it needs.

A machine of one's own may lack something that a test needs; CI has all, or is not CI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

AnyReport = TypeVar("AnyReport", pytest.TestReport, pytest.CollectReport)


def _unskipped(report: AnyReport) -> AnyReport:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (nothing is skipped here)"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take a skipped test for a failed one."""
    return _unskipped((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Take a module that skips all of its tests for a failed one."""
    return _unskipped((yield))
