"""What a cluster may answer to a command, as messages that say what to do next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.cli.failures import Failed, Misconfigured
from gateway.cli.program import PROGRAM
from gateway.cluster.direct import KubeconfigError
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    InvalidWrite,
    MalformedObject,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def told(where: str) -> Iterator[None]:
    """Turn what the cluster and its kubeconfig may raise into messages; `where` names both."""
    try:
        yield
    except KubeconfigError as error:
        raise Misconfigured(
            f"{error}\nName one with --kubeconfig, or start one here: {PROGRAM} local"
        ) from error
    except ClusterError as error:
        raise Failed(f"{error}\n{_advice(error, where)}") from error
    except MalformedObject as error:
        raise Failed(f"the sandbox cannot be judged: {error}\nMend that field first.") from error


def _advice(error: ClusterError, where: str) -> str:
    if isinstance(error, AccessDenied):
        return f"Check who you are there (kubectl auth whoami) and what you may do: {where}."
    if isinstance(error, ApiUnavailable):
        return f"Is it the right cluster, and does it run? {where}."
    if isinstance(error, Conflict):
        return "Somebody else changes it at the same time: try again."
    if isinstance(error, InvalidWrite):
        return "The API refuses this change for good: its message says why."
    return f"Look again: {PROGRAM} list"
