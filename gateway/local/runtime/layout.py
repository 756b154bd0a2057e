"""Where the runtime keeps what in its data directory, and that nobody else uses it."""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.local.runtime.spec import Identity

_FILE_NAME_LIMIT = 200


class DataDirInUseError(Exception):
    """Another gateway runs on this data directory."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The data directory. `directory_id` tells its processes from those of any other."""

    root: Path
    directory_id: str

    @property
    def records(self) -> Path:
        """Records of running processes."""
        return self.root / "runtime" / "records"

    def log(self, identity: Identity) -> Path:
        """The log of a sandbox."""
        stem = f"{identity.namespace}_{identity.name}"
        if len(stem) > _FILE_NAME_LIMIT:
            stem = identity.uid
        return self.root / "logs" / f"{stem}.log"

    def work(self, identity: Identity) -> Path:
        """The working directory of a sandbox that names none: by uid, so no heir finds it."""
        return self.root / "work" / identity.uid

    def marker(self, uid: str) -> str:
        """The value of the environment variable that marks the processes of a sandbox."""
        return f"{self.directory_id}/{uid}"


@contextmanager
def opened_layout(root: Path) -> Iterator[Layout]:
    """Create what is missing and keep others out; DataDirInUseError if another one was first."""
    root = root.resolve()
    for folder in ("runtime/records", "logs", "work"):
        (root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(root / "runtime" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(lock)
        yield Layout(root, _directory_id(root / "runtime" / "id"))
    finally:
        os.close(lock)


def _take(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataDirInUseError("another gateway runs on this data directory") from error


def _directory_id(path: Path) -> str:
    known = path.read_text().strip() if path.exists() else ""
    if known:
        return known
    fresh = uuid.uuid4().hex
    draft = path.with_suffix(".tmp")
    draft.write_text(fresh)
    draft.replace(path)
    return fresh
