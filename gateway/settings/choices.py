"""Settings that choose from a list: the lists."""

from enum import Enum


class AuthMode(Enum):
    """What a request must prove."""

    NONE = "none"
    ACCESS_TOKEN = "access-token"  # noqa: S105 - a mode's name
    SCOPED_TOKEN = "scoped-token"  # noqa: S105 - a mode's name
    JWT = "jwt"


class TargetScheme(Enum):
    """How a request may name a sandbox."""

    E2B = "e2b"
    AGENT_SANDBOX = "agent-sandbox"
    HOST = "host"
    PATH = "path"


class DialectName(Enum):
    """Which Sandbox APIs are watched."""

    NATIVE = "native"
    KRUISE = "kruise"
    AGENT_SANDBOX = "agent-sandbox"
    DEPLOYMENT = "deployment"
    STATEFUL_SET = "statefulset"


class LogLevel(Enum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(Enum):
    """How a log line is written."""

    JSON = "json"
    TEXT = "text"
