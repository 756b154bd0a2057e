"""The real API that all tests share, with native sandboxes in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.clusters import Cluster, InUseError, connect
from e2e.platforms import NATIVE_CRD

from .sandboxes import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[Cluster]:
    """It knows native Sandboxes, and has the namespace that they are made in."""
    try:
        with cluster.serving(NATIVE_CRD):
            cluster.kubectl("create", "namespace", NAMESPACE)
            yield cluster
    except InUseError as error:
        pytest.skip(f"needs_own_api: {error}")


@pytest.fixture
def admin(api: Cluster) -> Iterator[httpx.Client]:
    """Plain HTTP as the administrator."""
    with connect(api.kubeconfig) as client:
        yield client
