"""What listing and watching may end in, beside the errors that every layer knows."""

from __future__ import annotations

from gateway.sandbox.errors import ApiUnavailable, ClusterError, InvalidWrite, ObjectGone


class ConfigInvalid(ClusterError):
    """There is no usable kubeconfig or service account."""


class Expired(ClusterError):
    """The API no longer (or, restored from a backup, not yet) knows this resourceVersion (410)."""


class ApiNotInstalled(ClusterError):
    """The API server does not serve this resource (404 on its collection)."""


class PathUnknown(ObjectGone):
    """Nothing is served at this path (404 without a Status), so nothing is said of an object."""


class NodeTooSmall(InvalidWrite):
    """A pod was to have more than there is of its node altogether (403, from Kubernetes 1.36 on).

    Before that the kubelet says so: `Pending.INFEASIBLE`.
    """


class ApiUnreachable(ApiUnavailable):
    """No answer: no connection, or it broke, or it took too long."""


class Silence(ApiUnreachable):
    """A watch said nothing for longer than a living peer would."""


class Garbled(ApiUnavailable):
    """The answer is not what the Kubernetes API conventions promise."""
