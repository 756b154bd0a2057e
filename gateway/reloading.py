"""Files that may be replaced while the gateway runs: keys, tokens, certificates.

A mounted Secret is swapped by renaming a symlink, an editor writes a new file over the old one, a
tool writes in place. What all of these change is seen by `stat`, which follows symlinks; so files
are looked at every few seconds, and nothing depends on how their file system tells of changes.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.telemetry.instruments import Instruments

_LOG = logging.getLogger(__name__)

#: How often files are looked at, in seconds.
PERIOD: Final = 5.0

#: What tells one content of a file from another, of each file; None: it is not there.
_Stamps = tuple[tuple[int, ...] | None, ...]


@dataclass(slots=True)
class _Watched:
    what: str
    files: tuple[Path, ...]
    reload: Callable[[], None]
    seen: _Stamps


class Reloader:
    """Calls back when files have changed."""

    def __init__(self, instruments: Instruments, period: float = PERIOD) -> None:
        """`period`: seconds between two looks."""
        self._period = period
        self._watched: list[_Watched] = []
        self._reloads = instruments.counter(
            "reloads", "Files that changed and were read again.", "file", "outcome"
        )

    def watch(self, what: str, files: Sequence[Path], reload: Callable[[], None]) -> None:
        """Call `reload` whenever one of the files has changed; call this before they are read.

        `what` names them together in log and metric. `reload` keeps what it has and raises if the
        new content is of no use; its error's text is logged, so it must repeat nothing secret. It
        is called again when the files change again: a certificate may be there before its key.
        """
        self._watched.append(_Watched(what, tuple(files), reload, _stamps(files)))
        for outcome in ("loaded", "failed"):
            self._reloads.prime(what, outcome)

    async def run(self) -> None:
        """Look at the files again and again, until cancelled."""
        while self._watched:
            await asyncio.sleep(self._period)
            self.look()

    def look(self) -> None:
        """Look at all files once."""
        for watched in self._watched:
            now = _stamps(watched.files)
            if now != watched.seen:
                watched.seen = now
                self._reload(watched)

    def _reload(self, watched: _Watched) -> None:
        try:
            watched.reload()
        except Exception as error:  # noqa: BLE001 - whatever a file holds, the watching goes on
            self._reloads.inc(watched.what, "failed")
            _LOG.error(
                "cannot use a changed file; what was read before stays in force",
                extra={"file": watched.what, "error": f"{type(error).__name__}: {error}"},
            )
        else:
            self._reloads.inc(watched.what, "loaded")
            _LOG.info("read a changed file", extra={"file": watched.what})


def _stamps(files: Sequence[Path]) -> _Stamps:
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
