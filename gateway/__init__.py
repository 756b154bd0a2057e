"""Sandbox gateway: a request to a paused sandbox wakes it and is answered."""

__version__ = "0.1.0"
