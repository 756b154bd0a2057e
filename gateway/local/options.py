"""What `sandbox-gateway local` was asked to do, and where it keeps its things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
#: The kubeconfig of the embedded API, in the data directory.
KUBECONFIG: Final = "kubeconfig"


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """Everything that local mode is told. The addresses are (host, port); port 0: any free one.

    `files` are objects to apply at the start, `crds` further definitions to serve. `demo` brings a
    sandbox to play with, `once` ends after one wake has been shown.
    """

    data_dir: Path
    listen: tuple[str, int]
    admin: tuple[str, int]
    api: tuple[str, int]
    files: tuple[Path, ...]
    crds: tuple[Path, ...]
    demo: bool
    once: bool


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return where state is kept by default (XDG Base Directory: a relative path is ignored)."""
    named = Path(environ.get("XDG_STATE_HOME", ""))
    state = named if named.is_absolute() else Path.home() / ".local" / "state"
    return state / "sandbox-gateway"
