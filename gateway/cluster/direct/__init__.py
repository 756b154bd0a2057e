"""A small synchronous client of the Kubernetes API, for commands that must start at once.

It is urllib3 and PyYAML: loading the full client costs seconds, more than a command takes.
"""

from gateway.cluster.direct.client import DirectClient
from gateway.cluster.direct.connection import Connection, connect
from gateway.cluster.direct.kubeconfig import (
    Access,
    KubeconfigError,
    find_kubeconfig,
    read_kubeconfig,
)

__all__ = [
    "Access",
    "Connection",
    "DirectClient",
    "KubeconfigError",
    "connect",
    "find_kubeconfig",
    "read_kubeconfig",
]
