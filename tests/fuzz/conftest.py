"""Every test of this directory runs on asyncio's own loop and on uvloop, which is what serves."""

from tests.conformance.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
