"""Settings: one definition of every knob, read from a YAML file and the environment."""

from gateway.settings.choices import AuthMode, DialectName, LogFormat, LogLevel, TargetScheme
from gateway.settings.kinds import HostTarget, ListenAddress, Network
from gateway.settings.load import load
from gateway.settings.model import Settings
from gateway.settings.secrets import read_page_template
from gateway.settings.sources import Culprit, Entry, SettingsError

__all__ = [
    "AuthMode",
    "Culprit",
    "DialectName",
    "Entry",
    "HostTarget",
    "ListenAddress",
    "LogFormat",
    "LogLevel",
    "Network",
    "Settings",
    "SettingsError",
    "TargetScheme",
    "load",
    "read_page_template",
]
